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
        self._place_of = np.empty(0, dtype=np.int32)  # by id, the place of its text among the texts so far; -1 where it is not there
        self._texts = pa.array([], pa.string())

    def left_out(self, vocabulary_size: int) -> list[int]:
        """Ids below `vocabulary_size` that stand for no text, ascending: special, reserved and unused ids. Worked out once."""
        if vocabulary_size not in self._left_out:
            stands_for_none = np.ones(vocabulary_size, dtype=bool)
            stands_for_none[self._text_ids[self._text_ids < vocabulary_size]] = False
            self._left_out[vocabulary_size] = np.flatnonzero(stands_for_none).tolist()
        return self._left_out[vocabulary_size]

    def of(self, token_ids: np.ndarray) -> pa.StringArray:
        """The text of each id of [n]; each distinct id is looked up once."""
        if not len(token_ids):
            return self._texts[:0]
        lacking = int(token_ids.max()) + 1 - len(self._place_of)
        if lacking > 0:
            self._place_of = np.append(self._place_of, np.full(lacking, -1, dtype=np.int32))
        is_new = np.zeros(len(self._place_of), dtype=bool)
        is_new[token_ids[self._place_of[token_ids] < 0]] = True
        new = np.flatnonzero(is_new)
        if len(new):
            self._place_of[new] = np.arange(len(self._texts), len(self._texts) + len(new))
            self._texts = pa.concat_arrays([self._texts, pa.array(self._tokenizer.texts(new), pa.string())])
        return self._texts.take(pa.array(self._place_of[token_ids]))
