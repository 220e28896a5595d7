"""The texts of tokens in their windows, as codes into all texts that have come so far.

Token by token there is one look-up, of whole arrays. What a token reads in the middle of a window and what it reads first in one are two
tables of codes; windows with a token whose text depends on its neighbours are read by the tokenizer.
"""

from collections.abc import Callable, Sequence
from threading import Lock
from typing import Protocol

import numpy as np
import pyarrow as pa

ENTANGLED = 1 << 30
"""Is added to the codes of tokens whose texts depend on their neighbours; there are fewer texts than that."""


class TokenTexts(Protocol):
    """The texts of token ids: a tokenizer, or an import that knows its tokens."""

    def tokens(self, token_ids: Sequence[int] | np.ndarray, /) -> list[str]:
        """The text of each token of a run."""
        ...

    def texts(self, token_ids: Sequence[int] | np.ndarray, /) -> list[str]:
        """Each token's own text, as in the middle of a text."""
        ...

    def is_plain(self, token_ids: np.ndarray, /) -> np.ndarray:
        """Bool [n]: whether a token has the same text wherever it stands."""
        ...


class WindowTexts:
    """The text of each token in its window, by a tokenizer or an import. Several threads may ask at the same time.

    Each distinct token is looked up once; only windows with a token whose text depends on its neighbours are read token by token.
    """

    def __init__(self, texts: TokenTexts) -> None:
        self._texts = texts
        self._lock = Lock()
        self._found: dict[str, int] = {}
        self._as_array = pa.array([], pa.string())
        self._inside, self._first = _CodeTable(), _CodeTable()

    def of(self, token_ids: np.ndarray, lengths: np.ndarray) -> pa.DictionaryArray:
        """The text of each token, dictionary-encoded. `token_ids` holds windows of these lengths, all above 0, end to end."""
        if not len(token_ids):
            return pa.array([], pa.string()).dictionary_encode()
        ends = np.cumsum(lengths)
        starts = ends - lengths
        codes = self._codes(self._inside, token_ids, self._inside_codes)
        first = self._codes(self._first, token_ids[starts], self._first_codes)
        mixed: list[int] = []
        if int(codes.max()) >= ENTANGLED:
            is_entangled = codes >= ENTANGLED
            mixed = np.unique(np.searchsorted(ends, np.flatnonzero(is_entangled), side="right")).tolist()
            codes[is_entangled] -= ENTANGLED
        codes[starts] = first
        with self._lock:
            for window in mixed:
                span = slice(starts[window], ends[window])
                codes[span] = [self._code(text) for text in self._texts.tokens(token_ids[span])]
            if len(self._as_array) < len(self._found):
                self._as_array = pa.array(list(self._found), pa.string())
            texts = self._as_array
        return pa.DictionaryArray.from_arrays(pa.array(codes), texts)

    def _code(self, text: str) -> int:
        return self._found.setdefault(text, len(self._found))

    def _codes(self, table: "_CodeTable", token_ids: np.ndarray, codes_of: Callable[[np.ndarray], list[int]]) -> np.ndarray:
        """int32 [n]: the code of each token in `table`; tokens that have not come before are looked up by `codes_of`."""
        codes = table.of(token_ids)
        if int(codes.min()) < 0:
            with self._lock:
                new = np.unique(token_ids[table.of(token_ids) < 0])  # none where another thread has just looked them up
                if len(new):
                    table.take_in(new, codes_of(new))
            codes = table.of(token_ids)
        return codes

    def _inside_codes(self, new: np.ndarray) -> list[int]:
        """The code of each token inside a window, plus ENTANGLED where its text there depends on its neighbours."""
        entangled = (~self._texts.is_plain(new) * ENTANGLED).tolist()
        return [self._code(text) + mark for text, mark in zip(self._texts.texts(new), entangled, strict=True)]

    def _first_codes(self, new: np.ndarray) -> list[int]:
        """The code of each token as the first of a window."""
        return [self._code(self._texts.tokens([token_id])[0]) for token_id in new.tolist()]


class _CodeTable:
    """A code >= 0 for each token id that is known. One thread may look up while another takes in."""

    def __init__(self) -> None:
        self._known = 0, np.empty(0, dtype=np.int32)  # the lowest id and the codes from it on: replaced together

    def of(self, token_ids: np.ndarray) -> np.ndarray:
        """int32 [n]: the code of each token, -1 where it is unknown."""
        lowest, codes = self._known
        if lowest <= int(token_ids.min()) and int(token_ids.max()) < lowest + len(codes):
            return codes.take(token_ids - lowest if lowest else token_ids)
        found = np.full(len(token_ids), -1, dtype=np.int32)
        inside = (token_ids >= lowest) & (token_ids < lowest + len(codes))
        found[inside] = codes[token_ids[inside] - lowest]
        return found

    def take_in(self, token_ids: np.ndarray, new: Sequence[int]) -> None:
        """Know the codes of some distinct tokens."""
        lowest, codes = self._known
        low, end = min(lowest, int(token_ids.min())), max(lowest + len(codes), int(token_ids.max()) + 1)
        codes = np.pad(codes, (lowest - low, end - lowest - len(codes)), constant_values=-1)
        codes[token_ids - low] = new
        self._known = low, codes
