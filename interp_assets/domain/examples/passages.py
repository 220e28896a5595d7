"""Passages of a token sample: runs of text tokens of one document. No window runs over the end of a passage.

A passage ends with its document, at a control token, at a chat template's own tokens, and at the end of a row. A place is row · context +
position in the row.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

MOST_TRIMMED = 8
"""Most tokens that are left out at a window's end because they are a part of a word; a longer part of a word stays in the window."""

BEYOND = 255
"""Stands for more steps than MOST_TRIMMED."""


@dataclass(frozen=True, eq=False)
class Passages:
    """n passages in order: `row`, `start` (position in the row) and `length` > 0 are int64 [n]; rows have `context_tokens` tokens."""

    row: np.ndarray
    start: np.ndarray
    length: np.ndarray
    context_tokens: int

    @staticmethod
    def of(is_text: np.ndarray, document_starts: Sequence[Sequence[int]]) -> "Passages":
        """The runs of true values in `is_text`, bool [rows, context], cut where a document starts: row r at positions
        document_starts[r]."""
        rows, context = is_text.shape
        fresh = np.zeros((rows, context), dtype=bool)
        fresh[:, 0] = True
        counts = [len(starts) for starts in document_starts]
        places = np.fromiter((start for starts in document_starts for start in starts), dtype=np.int64, count=sum(counts))
        fresh[np.repeat(np.arange(len(counts)), counts), places] = True
        flat, fresh = is_text.reshape(-1), fresh.reshape(-1)
        before = np.concatenate([[False], flat[:-1]])
        begins = np.flatnonzero(flat & (fresh | ~before))
        after, fresh_after = np.append(flat[1:], False), np.append(fresh[1:], True)
        ends = np.flatnonzero(flat & (fresh_after | ~after)) + 1
        return Passages(begins // context, begins % context, ends - begins, context)

    def __len__(self) -> int:
        return len(self.row)

    @cached_property
    def begin(self) -> np.ndarray:
        """int64 [n]: the first place of each passage."""
        return self.row * self.context_tokens + self.start

    @cached_property
    def end(self) -> np.ndarray:
        """int64 [n]: the place after the last place of each passage."""
        return self.begin + self.length

    def holding(self, place: np.ndarray) -> np.ndarray:
        """int64, one for each place >= 0: the number of the passage that holds the place, -1 where no passage does."""
        return self._number_at.take(place, mode="clip").astype(np.int64)

    @cached_property
    def _number_at(self) -> np.ndarray:
        """int32 [places up to the last passage + 1]: the number of the passage at each place, -1 outside all passages; 4 bytes a token."""
        begin, end = self.begin, self.end
        gap = begin - np.concatenate([[0], end[:-1]]) if len(self) else begin
        numbers = np.arange(len(self), dtype=np.int32)
        parts = np.stack([np.full(len(self), -1, dtype=np.int32), numbers], axis=1).reshape(-1)
        return np.append(np.repeat(parts, np.stack([gap, self.length], axis=1).reshape(-1)), np.int32(-1))

    def is_text(self, n_rows: int) -> np.ndarray:
        """Bool [n_rows, context]: whether a place is in a passage."""
        steps = np.zeros(n_rows * self.context_tokens + 1, dtype=np.int8)
        np.add.at(steps, self.begin, 1)
        np.subtract.at(steps, self.end, 1)
        return np.cumsum(steps[:-1], dtype=np.int8).reshape(n_rows, self.context_tokens).astype(bool)


@dataclass(frozen=True, eq=False)
class SampleText:
    """The passages of a token sample, and where its words go on.

    `goes_on` bool [rows · context]: whether the token at a place goes on with the word, or the character, of the token before it. Where a
    document goes on in the next row, the token before the first text token of that row is the last token of the row before. `goes_on` None:
    words are not known.
    """

    passages: Passages
    goes_on: np.ndarray | None = None

    def trimmed(self, begin: np.ndarray, length: np.ndarray, kept: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """(begin, length) of runs of places, without parts of words at the ends of the runs.

        At each end at most MOST_TRIMMED tokens and at most a quarter of the run are left out, and never the place `kept` [n].
        """
        if self.goes_on is None:
            return begin, length
        most = np.minimum(MOST_TRIMMED, length // 4)
        first_kept, last_kept = (begin + length, begin - 1) if kept is None else (kept, kept)
        lead = _at_most(self._ahead.take(begin), np.minimum(most, first_kept - begin))
        tail = _at_most(self._behind.take(begin + length), np.minimum(most, begin + length - 1 - last_kept))
        return begin + lead, length - lead - tail

    def is_cut(self, begin: np.ndarray, length: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Bool [n] twice: whether each run of places begins, and whether it ends, inside a word; False where words are not known."""
        if self.goes_on is None:
            return np.zeros(len(begin), dtype=bool), np.zeros(len(begin), dtype=bool)
        return self.goes_on.take(begin), self._behind.take(begin + length) > 0

    @cached_property
    def _ahead(self) -> np.ndarray:
        """uint8 [places]: steps from a place at which a word goes on to the next place at which none does, BEYOND where it is more than
        MOST_TRIMMED steps away; 0 at all other places."""
        assert self.goes_on is not None
        steps = np.full(len(self.goes_on), BEYOND, dtype=np.uint8)
        for step in range(MOST_TRIMMED, 0, -1):
            steps[:-step][~self.goes_on[step:]] = step
        steps[~self.goes_on] = 0
        return steps

    @cached_property
    def _behind(self) -> np.ndarray:
        """uint8 [places + 1]: steps back from a place after a run, where the word of the run goes on, to the next place at which none does;
        BEYOND and 0 as in `_ahead`."""
        assert self.goes_on is not None
        steps = np.full(len(self.goes_on) + 1, BEYOND, dtype=np.uint8)
        for step in range(MOST_TRIMMED, 0, -1):
            steps[step:][~self.goes_on[: len(steps) - step]] = step
        goes_on = np.append(self.goes_on, False)
        row_ends = np.arange(0, len(steps), self.passages.context_tokens)
        goes_on[row_ends] = self._goes_on_at(row_ends)
        steps[~goes_on] = 0
        return steps

    def _goes_on_at(self, end: np.ndarray) -> np.ndarray:
        """Whether a word goes on at `end`, the place after a run; at the end of a row: whether it goes on in the next row."""
        assert self.goes_on is not None
        context = self.passages.context_tokens
        at_row_end = end % context == 0
        next_start = self._row_starts[np.minimum(end // context, len(self._row_starts) - 1)]
        place = np.where(at_row_end, end + next_start, end)
        return self.goes_on[np.minimum(place, len(self.goes_on) - 1)] & (place < len(self.goes_on))

    @cached_property
    def _row_starts(self) -> np.ndarray:
        """int64 [rows]: the first position of text in each row, 0 in a row without text."""
        assert self.goes_on is not None
        starts = np.zeros(len(self.goes_on) // self.passages.context_tokens, dtype=np.int64)
        rows, first = np.unique(self.passages.row, return_index=True)
        starts[rows] = self.passages.start[first]
        return starts


def _at_most(steps: np.ndarray, most: np.ndarray) -> np.ndarray:
    """int64 [n]: the steps; 0 where they exceed `most` [n]."""
    return np.where(steps <= most, steps, 0).astype(np.int64)
