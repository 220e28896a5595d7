"""Windows of one feature: short runs of tokens around its activations, inside one row.

All functions take one feature's activations as arrays of equal length [n], sorted by (row, position): `row`, `position` within the row, and
`value` > 0. `first_position` is the first position that a window may contain: 1 where rows begin with BOS, else 0. With `passages` every
window lies in one passage, and activations outside all passages are left out. Without `passages` every window lies in one row.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from interp_assets.domain.examples.passages import Passages, SampleText

Builder = Literal["centred", "cells"]

PEAK_SHARE = 0.75
"""Place of the peak in a centred window that explainers see: the window shows more tokens before the peak than after it. In windows that
scorers see peaks stand at random places (`peak_places`), so that a place is no answer."""


@dataclass(frozen=True)
class Windows:
    """n windows of one feature, sorted by (row, start); every field is an array [n].

    A window covers positions [start, start + length) of its row. `peak_position`, also counted in the row, is the window's strongest token
    (of equals the first), and `max_activation` the activation on this token.
    """

    row: np.ndarray
    start: np.ndarray
    length: np.ndarray
    peak_position: np.ndarray
    max_activation: np.ndarray

    def __len__(self) -> int:
        return len(self.row)

    def take(self, index: np.ndarray) -> "Windows":
        """The windows at `index`, in the order of `index`."""
        return Windows(*(array[index] for array in (self.row, self.start, self.length, self.peak_position, self.max_activation)))


@dataclass(frozen=True)
class Places:
    """n runs of consecutive tokens; a run covers positions [start, start + length) of its row; every field is int64 [n], lengths > 0."""

    row: np.ndarray
    start: np.ndarray
    length: np.ndarray

    def __len__(self) -> int:
        return len(self.row)

    def take(self, index: np.ndarray) -> "Places":
        """The places at `index`, in the order of `index`."""
        return Places(self.row[index], self.start[index], self.length[index])

    @staticmethod
    def joined(parts: "list[Places]") -> "Places":
        """All places of `parts`, in order; no parts: no places."""
        fields = ([getattr(part, name) for part in parts] for name in ("row", "start", "length"))
        return Places(*(np.concatenate([np.empty(0, dtype=np.int64), *arrays]) for arrays in fields))


@dataclass(frozen=True)
class WindowShape:
    """How windows are cut out of rows of `context_tokens`: by which builder, how long, from which position on, and out of which text.

    Without `text` each row is text from `first_position` on, and words are not known.
    """

    builder: Builder
    window_tokens: int
    context_tokens: int
    first_position: int = 0
    text: SampleText | None = None

    @property
    def passages(self) -> Passages | None:
        """The passages whose ends windows may not run over; None: windows may not run over the ends of rows."""
        return self.text.passages if self.text else None

    @property
    def full_length(self) -> int:
        """Tokens of a window that the end of its row or passage does not cut short."""
        return min(self.window_tokens, self.context_tokens - self.first_position)

    def usable(self, positions: np.ndarray) -> np.ndarray:
        """Bool [n]: whether a window may contain each place, row · context + position in the row."""
        if self.passages is not None:
            return self.passages.holding(positions) >= 0
        return positions % self.context_tokens >= self.first_position

    def windows(self, row: np.ndarray, position: np.ndarray, value: np.ndarray) -> Windows:
        """The windows of a feature by this builder, without parts of words at their ends: see `centred_windows` and `cell_windows`."""
        build = centred_windows if self.builder == "centred" else cell_windows
        found = build(row, position, value, self.window_tokens, self.context_tokens, self.first_position, self.passages)
        if self.text is None:
            return found
        at = found.row * self.context_tokens
        begin, length = self.text.trimmed(at + found.start, found.length, at + found.peak_position)
        return Windows(found.row, begin - at, length, found.peak_position, found.max_activation)

    def trimmed(self, places: Places, kept: np.ndarray) -> Places:
        """The places without parts of words at their ends, but with the position `kept` [n] of their rows."""
        if self.text is None:
            return places
        at = places.row * self.context_tokens
        begin, length = self.text.trimmed(at + places.start, places.length, at + kept)
        return Places(places.row, begin - at, length)

    def is_cut(self, places: Places) -> tuple[np.ndarray, np.ndarray]:
        """Bool [n] twice: whether each place begins, and whether it ends, inside a word; False where words are not known."""
        if self.text is None:
            return np.zeros(len(places), dtype=bool), np.zeros(len(places), dtype=bool)
        return self.text.is_cut(places.row * self.context_tokens + places.start, places.length)

    def placed(self, row: np.ndarray, position: np.ndarray, rng: np.random.Generator) -> Places:
        """For each (row, position) a window in which the position stands at a random place, without parts of words at its ends.

        A window must be able to contain the position. Every place of a window but the first is as likely; windows that would run over an
        end of their row or passage are shifted. With the "cells" builder it is the cell that holds the position.
        """
        if self.builder == "cells":
            return self.trimmed(self.cells_at(self.cell_of(row, position)), position)
        before = rng.integers(min(1, self.window_tokens - 1), self.window_tokens, len(row))
        return self.trimmed(Places(row, *_around(position, before, *_bounds(row, position, self)[1:], self.window_tokens)), position)

    def n_cells(self, n_rows: int) -> int:
        """Fixed cells of a sample of `n_rows` rows."""
        if self.passages is not None:
            return int(_first_cells(self.passages, self.window_tokens)[-1])
        return n_rows * self.cells_per_row

    def cell_of(self, row: np.ndarray, position: np.ndarray) -> np.ndarray:
        """Number [n] of the fixed cell that holds each (row, position), whatever the builder; cells are numbered over all rows or
        passages."""
        if self.passages is not None:
            passage, begin, _ = _bounds(row, position, self)
            return _first_cells(self.passages, self.window_tokens)[passage] + (position - begin) // self.window_tokens
        return row * self.cells_per_row + (position - self.first_position) // self.window_tokens

    def cells_at(self, cell: np.ndarray) -> Places:
        """The cells with these numbers; the last cell of a row or passage is shorter where the window does not divide the row or
        passage."""
        if self.passages is not None:
            firsts = _first_cells(self.passages, self.window_tokens)
            passage = np.searchsorted(firsts, cell, side="right") - 1
            offset = (cell - firsts[passage]) * self.window_tokens
            length = np.minimum(self.window_tokens, self.passages.length[passage] - offset)
            return Places(self.passages.row[passage], self.passages.start[passage] + offset, length)
        start = self.first_position + cell % self.cells_per_row * self.window_tokens
        return Places(cell // self.cells_per_row, start, np.minimum(self.window_tokens, self.context_tokens - start))

    def bounds(self, row: np.ndarray, position: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(first position, position after the last), both int64 [n], of the row or passage that holds each (row, position)."""
        return _bounds(row, position, self)[1:]

    def is_short(self, places: Places) -> np.ndarray:
        """Bool [n]: whether a place is shorter than the windows around peaks in its row or passage; its length would give it away."""
        _, begin, end = _bounds(places.row, places.start, self)
        return places.length < np.minimum(self.window_tokens, end - begin)

    @property
    def cells_per_row(self) -> int:
        """Fixed cells that a row without passages is cut into, with the short cell at the end of the row."""
        return len(cell_starts(self.window_tokens, self.context_tokens, self.first_position))


def centred_windows(
    row: np.ndarray,
    position: np.ndarray,
    value: np.ndarray,
    window_tokens: int,
    context_tokens: int,
    first_position: int = 0,
    passages: Passages | None = None,
) -> Windows:
    """One window for each chosen peak, with the peak at three quarters of the window.

    At the ends of a row or passage windows are shifted, not dropped. Peaks are chosen greedily, strongest first (of equals the earlier),
    each at least `window_tokens` from every peak chosen before in its row. So unshifted windows do not overlap, and no chosen peak is
    inside the window of another. A window can hold a stronger token than the peak it was cut around: a token too near to a yet stronger
    peak is not chosen. This stronger token is then the window's `peak_position`. Rows shorter than the window give windows of the whole
    row. No activations: no windows.
    """
    shape = WindowShape("centred", window_tokens, context_tokens, first_position, None if passages is None else SampleText(passages))
    row, position, value = _usable(row, position, value, shape)
    group, begin, end = _bounds(row, position, shape)
    # Activations of different rows or passages are never within a window of each other.
    key = row * context_tokens + position + group * window_tokens
    ranks = ranks_of(key, value)
    chosen = _separated_peaks(key, ranks[0], window_tokens)
    start, length = _around(position[chosen], int(window_tokens * PEAK_SHARE), begin[chosen], end[chosen], window_tokens)
    return _windows_at(row[chosen], start, length, key, position, value, key[chosen] - position[chosen], ranks)


def cell_windows(
    row: np.ndarray,
    position: np.ndarray,
    value: np.ndarray,
    window_tokens: int,
    context_tokens: int,
    first_position: int = 0,
    passages: Passages | None = None,
) -> Windows:
    """The fixed cells in which the feature fires; cells are cut every `window_tokens` of a row from `first_position` on, or of a passage.

    The last cell of a row or passage is shorter where the window does not divide the row or passage. No activations: no windows.
    """
    shape = WindowShape("cells", window_tokens, context_tokens, first_position, None if passages is None else SampleText(passages))
    row, position, value = _usable(row, position, value, shape)
    cells = shape.cells_at(np.unique(shape.cell_of(row, position)))
    stride = context_tokens + window_tokens
    key = row * stride + position
    return _windows_at(cells.row, cells.start, cells.length, key, position, value, cells.row * stride, ranks_of(key, value))


def _bounds(row: np.ndarray, position: np.ndarray, shape: WindowShape) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(number, first position, end) of the row or passage that holds each (row, position), all [n]."""
    if shape.passages is None:
        return row, np.full(len(row), shape.first_position), np.full(len(row), shape.context_tokens)
    passage = shape.passages.holding(row * shape.context_tokens + position)
    assert (passage >= 0).all(), "a place outside all passages"
    begin = shape.passages.start[passage]
    return passage, begin, begin + shape.passages.length[passage]


def _around(
    position: np.ndarray, before: np.ndarray | int, begin: np.ndarray, end: np.ndarray, window_tokens: int
) -> tuple[np.ndarray, np.ndarray]:
    """(start, length) of the window with `before` tokens before each position, shifted to lie between `begin` and `end`."""
    length = np.minimum(window_tokens, end - begin)
    return np.clip(position - before, begin, end - length), length


def _first_cells(passages: Passages, window_tokens: int) -> np.ndarray:
    """int64 [passages + 1]: the number of the first cell of each passage, then the number of all cells."""
    return np.concatenate([[0], np.cumsum(-(-passages.length // window_tokens))])


def cell_starts(window_tokens: int, context_tokens: int, first_position: int = 0) -> np.ndarray:
    """Start positions of the cells of any row, ascending."""
    return np.arange(first_position, context_tokens, window_tokens)


def silent_windows(
    row: np.ndarray,
    position: np.ndarray,
    n_rows: int,
    window_tokens: int,
    context_tokens: int,
    first_position: int = 0,
    passages: Passages | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Runs of window starts that leave the feature silent: (row, first start, count) of each run, all [runs], counts > 0.

    Every full window without an activation is in exactly one run. So a number below `count.sum()`, drawn uniformly, is a uniform draw of a
    silent window without a list of silent windows. A row or passage shorter than the window is one window. Memory grows with activations
    plus rows, not with tokens.
    """
    if passages is None:
        rows = np.arange(n_rows, dtype=np.int64)
        length = np.full(n_rows, context_tokens - first_position)
        passages = Passages(rows, np.full(n_rows, first_position), length, context_tokens)
    key = np.asarray(row, dtype=np.int64) * context_tokens + np.asarray(position, dtype=np.int64)
    key = key[passages.holding(key) >= 0]
    ends = passages.end
    stops = np.searchsorted(key, ends) + np.arange(len(passages))  # places of the ends of passages among the activations
    is_end = np.zeros(len(key) + len(passages), dtype=bool)
    is_end[stops] = True
    stop = np.empty(len(is_end), dtype=np.int64)
    stop[is_end], stop[~is_end] = ends, key
    passage = np.cumsum(is_end) - is_end
    begin = passages.begin[passage]
    begin[1:] = np.where(is_end[:-1], begin[1:], stop[:-1] + 1)
    count = stop - begin - np.minimum(window_tokens, passages.length[passage]) + 1
    kept = count > 0
    return passages.row[passage[kept]], begin[kept] - passages.row[passage[kept]] * context_tokens, count[kept]


def _usable(row: np.ndarray, position: np.ndarray, value: np.ndarray, shape: WindowShape) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The activations at positions that windows may contain, as int64, int64, float64."""
    row, position = np.asarray(row, dtype=np.int64), np.asarray(position, dtype=np.int64)
    kept = shape.usable(row * shape.context_tokens + position)
    return row[kept], position[kept], np.asarray(value)[kept].astype(np.float64)


def _separated_peaks(key: np.ndarray, rank: np.ndarray, separation: int) -> np.ndarray:
    """Indices, ascending, of a greedy choice, strongest first, with every two chosen keys at least `separation` apart.

    In each round every activation that is the strongest of its neighbourhood is chosen, and its neighbours are removed. Since neighbours
    are neighbours of each other, this gives exactly the greedy choice, in a few vectorised rounds instead of one step for each activation.
    """
    alive = np.arange(len(key))
    chosen: list[np.ndarray] = []
    while len(alive):
        keys, ranks = key[alive], rank[alive]
        low = np.searchsorted(keys, keys - separation, side="right")
        high = np.searchsorted(keys, keys + separation, side="left")
        taken = range_min(ranks, low, high) == ranks
        chosen.append(alive[taken])
        covered_before = np.concatenate([[0], np.cumsum(taken)])
        alive = alive[covered_before[high] == covered_before[low]]
    return np.sort(np.concatenate(chosen)) if chosen else alive


def _windows_at(
    row: np.ndarray,
    start: np.ndarray,
    length: np.ndarray,
    key: np.ndarray,
    position: np.ndarray,
    value: np.ndarray,
    row_key: np.ndarray,
    ranks: tuple[np.ndarray, np.ndarray],
) -> Windows:
    """Windows, with the strongest token of each; each window must hold an activation. `row_key` [n] is the key of position 0."""
    low = np.searchsorted(key, row_key + start, side="left")
    high = np.searchsorted(key, row_key + start + length, side="left")
    rank, by_rank = ranks
    peak = by_rank[range_min(rank, low, high)]
    return Windows(row, start, length, position[peak], value[peak])


def ranks_of(key: np.ndarray, value: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(rank of each activation, 0 = strongest, of equals the earlier first; the inverse: the index at each rank)."""
    by_rank = np.lexsort((key, -value))
    rank = np.empty_like(by_rank)
    rank[by_rank] = np.arange(len(by_rank))
    return rank, by_rank


def range_min(values: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """The least of values[low[i]:high[i]] for every i; no range may be empty."""
    if len(low) == 0:
        return values[:0]
    assert (low < high).all(), "empty range"
    bounds = np.stack([low, high], axis=1).ravel()
    return np.minimum.reduceat(np.append(values, values[-1]), bounds)[::2]
