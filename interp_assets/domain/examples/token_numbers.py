"""Numbers for tokens as examples show them: equal numbers mean equal texts. Equal token ids need not mean equal texts.

Imported windows are texts of tokens, and not every text is a token of the subject's vocabulary. One token of the vocabulary can have
different texts in different places, since a part of a character is shown at the character's first token.
"""

from collections.abc import Sequence

NO_ID = -1


class TokenNumbers:
    """Gives each text without an id a number of its own: -2, -3, … in the order in which texts come. `texts` has the text of every number.

    An id is the number of the first text that came with it. A token with this id and a different text gets the number of its text.
    """

    def __init__(self) -> None:
        self.texts: dict[int, str] = {}
        self._numbers: dict[str, int] = {}

    def numbered(self, token_ids: Sequence[int], texts: Sequence[str]) -> tuple[int, ...]:
        """`token_ids`, where each NO_ID, and each id that came with a different text before, is replaced by the number of its text."""
        numbers: list[int] = []
        for token_id, text in zip(token_ids, texts, strict=True):
            number = token_id
            if token_id == NO_ID or self.texts.get(token_id, text) != text:
                number = self._numbers.setdefault(text, NO_ID - 1 - len(self._numbers))
            self.texts[number] = text
            numbers.append(number)
        return tuple(numbers)
