"""Token texts as readers see them: where a document or a turn ends, a sign of a break stands instead of the control token's own text.

    The end.<|endoftext|>Once upon  ─▶  The end.¶Once upon

Readers are people, and language models that would take `<|endoftext|>` for the end of their own prompt.
"""

from collections.abc import Sequence

import numpy as np

from resources.subject.interface import SubjectTokenizer

BREAK = "¶"


class ReadableTexts:
    """The texts of a tokenizer's tokens, BREAK for a control token."""

    def __init__(self, tokenizer: SubjectTokenizer) -> None:
        self._tokenizer = tokenizer

    def tokens(self, token_ids: Sequence[int] | np.ndarray) -> list[str]:
        """The text of each token of a run."""
        return self._with_breaks(token_ids, self._tokenizer.tokens(token_ids))

    def texts(self, token_ids: Sequence[int] | np.ndarray) -> list[str]:
        """Each token's own text, as in the middle of a text."""
        return self._with_breaks(token_ids, self._tokenizer.texts(token_ids))

    def text(self, token_ids: Sequence[int] | np.ndarray) -> str:
        """The text of a run."""
        return "".join(self.tokens(token_ids))

    def is_plain(self, token_ids: np.ndarray) -> np.ndarray:
        """Bool [n]: see `Tokenizer.is_plain`."""
        return self._tokenizer.is_plain(token_ids)

    def _with_breaks(self, token_ids: Sequence[int] | np.ndarray, texts: list[str]) -> list[str]:
        control = self._tokenizer.control_token_ids
        return [BREAK if int(token_id) in control else text for token_id, text in zip(token_ids, texts, strict=True)]
