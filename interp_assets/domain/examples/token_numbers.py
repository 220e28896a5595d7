"""Numbers for tokens as examples show them: equal numbers mean equal texts, which equal ids do not.

Imported windows are text first, and not every text is one token of the subject's vocabulary. A token of the vocabulary can have another
text in another place, as a part of a character that is shown elsewhere.
"""

from collections.abc import Sequence

NO_ID = -1


class TokenNumbers:
    """Gives each text that no id stands for a number of its own, -2, -3, … in order of first sight. `texts` has the text of every number.

    An id stands for the first text that it was seen with; with another text it gets that text's number.
    """

    def __init__(self) -> None:
        self.texts: dict[int, str] = {}
        self._numbers: dict[str, int] = {}

    def numbered(self, token_ids: Sequence[int], texts: Sequence[str]) -> tuple[int, ...]:
        """`token_ids` with each NO_ID, and each id whose text is another one here, replaced by the number of the text."""
        numbers = []
        for token_id, text in zip(token_ids, texts, strict=True):
            number = token_id
            if token_id == NO_ID or self.texts.get(token_id, text) != text:
                number = self._numbers.setdefault(text, NO_ID - 1 - len(self._numbers))
            self.texts[number] = text
            numbers.append(number)
        return tuple(numbers)
