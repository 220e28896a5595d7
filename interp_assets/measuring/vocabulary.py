"""The texts of a model's vocabulary, and the ids that stand for no text."""

import numpy as np
import pyarrow as pa

from resources.subject.interface import SubjectTokenizer


class VocabularyTexts:
    """The texts of a vocabulary and the ids that are left out of projections onto it."""

    def __init__(self, tokenizer: SubjectTokenizer) -> None:
        self._tokenizer = tokenizer
        self._text_ids = tokenizer.text_token_ids
        self._left_out: dict[int, list[int]] = {}

    def left_out(self, vocabulary_size: int) -> list[int]:
        """Ids below `vocabulary_size` that stand for no text, ascending: special, reserved and unused ids. Worked out once."""
        if vocabulary_size not in self._left_out:
            stands_for_none = np.ones(vocabulary_size, dtype=bool)
            stands_for_none[self._text_ids[self._text_ids < vocabulary_size]] = False
            self._left_out[vocabulary_size] = np.flatnonzero(stands_for_none).tolist()
        return self._left_out[vocabulary_size]

    def of(self, token_ids: np.ndarray) -> pa.StringArray:
        """The text of each id of [n]; each distinct id is looked up once."""
        distinct, place = np.unique(token_ids, return_inverse=True)
        return pa.array(self._tokenizer.texts(distinct), pa.string()).take(pa.array(place.ravel()))
