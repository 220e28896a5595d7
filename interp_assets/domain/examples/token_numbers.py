"""Numbers for tokens that have no id: imported windows are text first, and not every text is one token of the subject's vocabulary."""

from collections.abc import Sequence

NO_ID = -1


class TokenNumbers:
    """Gives each text without an id a number of its own, -2, -3, … in order of first sight. `texts` has the text of every number."""

    def __init__(self) -> None:
        self.texts: dict[int, str] = {}
        self._numbers: dict[str, int] = {}

    def numbered(self, token_ids: Sequence[int], texts: Sequence[str]) -> tuple[int, ...]:
        """`token_ids` with each NO_ID replaced by the number of its text, so that equal numbers mean equal tokens."""
        numbers = []
        for token_id, text in zip(token_ids, texts, strict=True):
            number = self._numbers.setdefault(text, NO_ID - 1 - len(self._numbers)) if token_id == NO_ID else token_id
            self.texts[number] = text
            numbers.append(number)
        return tuple(numbers)
