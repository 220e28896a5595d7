"""Windows of one feature: short runs of tokens around its activations, inside one row.

All functions take one feature's activations as three arrays of equal length [n], sorted by (row, position): `row`, `position`
within the row, and `value` > 0. `first_position` is the first position that a window may contain: 1 where rows begin with BOS,
else 0.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

Builder = Literal["centred", "cells"]

PEAK_SHARE = 0.75  # where a centred window holds its peak: more is seen of what led up to it than of what followed


@dataclass(frozen=True)
class Windows:
    """n windows of one feature, sorted by (row, start); every field is an array [n].

    A window covers positions [start, start + length) of its row; `peak_position` (also counted in the row) is its strongest
    token, the first of equals, and `max_activation` that token's activation.
    """

    row: np.ndarray
    start: np.ndarray
    length: np.ndarray
    peak_position: np.ndarray
    max_activation: np.ndarray

    def __len__(self) -> int:
        return len(self.row)

    def take(self, index: np.ndarray) -> "Windows":
        """The windows at `index`, in its order."""
        return Windows(*(array[index] for array in (self.row, self.start, self.length, self.peak_position, self.max_activation)))


@dataclass(frozen=True)
class Places:
    """n runs of consecutive tokens, positions [start, start + length) of a row each; every field is int64 [n], lengths > 0."""

    row: np.ndarray
    start: np.ndarray
    length: np.ndarray

    def __len__(self) -> int:
        return len(self.row)

    def take(self, index: np.ndarray) -> "Places":
        """The places at `index`, in its order."""
        return Places(self.row[index], self.start[index], self.length[index])

    @staticmethod
    def joined(parts: "list[Places]") -> "Places":
        """All places of `parts`, in order; no parts: no places."""
        fields = ([getattr(part, name) for part in parts] for name in ("row", "start", "length"))
        return Places(*(np.concatenate([np.empty(0, dtype=np.int64), *arrays]) for arrays in fields))


@dataclass(frozen=True)
class WindowShape:
    """How windows are cut out of rows of `context_tokens`: by which builder, how long, and from which position on."""

    builder: Builder
    window_tokens: int
    context_tokens: int
    first_position: int = 0

    @property
    def full_length(self) -> int:
        """Tokens of a window that no end of a row cuts short."""
        return min(self.window_tokens, self.context_tokens - self.first_position)

    def windows(self, row: np.ndarray, position: np.ndarray, value: np.ndarray) -> Windows:
        """The windows of a feature by this builder: see `centred_windows` and `cell_windows`."""
        build = centred_windows if self.builder == "centred" else cell_windows
        return build(row, position, value, self.window_tokens, self.context_tokens, self.first_position)

    def around(self, row: np.ndarray, position: np.ndarray) -> Places:
        """The window [n] that a lone activation at each (row, position) would get."""
        if self.builder == "centred":
            lead = int(self.window_tokens * PEAK_SHARE)
            start = np.clip(position - lead, self.first_position, self.context_tokens - self.full_length)
            return Places(row, start, np.full(len(row), self.full_length))
        return self.cells_at(self.cell_of(row, position))

    @property
    def cells_per_row(self) -> int:
        """Fixed cells that a row is cut into, the short one at its end counted."""
        return len(cell_starts(self.window_tokens, self.context_tokens, self.first_position))

    def cell_of(self, row: np.ndarray, position: np.ndarray) -> np.ndarray:
        """Number [n] of the fixed cell that holds each (row, position): row · cells_per_row + cell of the row, whatever the builder."""
        return row * self.cells_per_row + (position - self.first_position) // self.window_tokens

    def cells_at(self, cell: np.ndarray) -> Places:
        """The cells of these numbers; the last of a row is shorter where the window does not divide the row."""
        start = self.first_position + cell % self.cells_per_row * self.window_tokens
        return Places(cell // self.cells_per_row, start, np.minimum(self.window_tokens, self.context_tokens - start))


def centred_windows(
    row: np.ndarray, position: np.ndarray, value: np.ndarray, window_tokens: int, context_tokens: int, first_position: int = 0
) -> Windows:
    """One window per local peak, the peak at three quarters of it; shifted, never dropped, at the ends of the row.

    Peaks are chosen greedily, strongest first (the earlier of equals), each at least `window_tokens` from every peak chosen
    before in its row, so that unshifted windows do not overlap and no peak is inside another's window. A window can hold a
    stronger token than the peak it was cut around, when that token stood too near to a yet stronger one; that token is then its
    `peak_position`. Rows shorter than the window give windows of the whole row. No activations: no windows.
    """
    row, position, value = _usable(row, position, value, first_position)
    key = row * (context_tokens + window_tokens) + position  # firings of different rows are never within a window of each other
    ranks = _ranks(key, value)
    chosen = _separated_peaks(key, ranks[0], window_tokens)
    length = min(window_tokens, context_tokens - first_position)
    lead = int(window_tokens * PEAK_SHARE)
    start = np.clip(position[chosen] - lead, first_position, context_tokens - length)
    return _windows_at(row[chosen], start, np.full(len(chosen), length), key, position, value, key[chosen] - position[chosen], ranks)


def cell_windows(
    row: np.ndarray, position: np.ndarray, value: np.ndarray, window_tokens: int, context_tokens: int, first_position: int = 0
) -> Windows:
    """The active ones among the fixed cells of each row, cut every `window_tokens` from `first_position` on.

    The last cell of a row is shorter where the window does not divide the row. No activations: no windows.
    """
    row, position, value = _usable(row, position, value, first_position)
    n_cells = len(cell_starts(window_tokens, context_tokens, first_position))
    cell = np.unique(row * n_cells + (position - first_position) // window_tokens)
    start = first_position + cell % n_cells * window_tokens
    length = np.minimum(window_tokens, context_tokens - start)
    stride = context_tokens + window_tokens
    key = row * stride + position
    return _windows_at(cell // n_cells, start, length, key, position, value, cell // n_cells * stride, _ranks(key, value))


def cell_starts(window_tokens: int, context_tokens: int, first_position: int = 0) -> np.ndarray:
    """Start positions of the cells of any row, ascending."""
    return np.arange(first_position, context_tokens, window_tokens)


def silent_windows(
    row: np.ndarray, position: np.ndarray, n_rows: int, window_tokens: int, context_tokens: int, first_position: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Runs of window starts that leave the feature silent: (row, first start, count) of each run, all [runs], counts > 0.

    Every full window without an activation is in exactly one run, so that drawing a number below `count.sum()` draws a silent
    window uniformly without listing them. Costs memory in activations plus rows, not in tokens.
    """
    length = min(window_tokens, context_tokens - first_position)
    key = np.asarray(row, dtype=np.int64) * context_tokens + np.asarray(position, dtype=np.int64)
    row_end = np.arange(1, n_rows + 1, dtype=np.int64) * context_tokens
    stops = np.searchsorted(key, row_end) + np.arange(n_rows)  # where the ends of rows come to stand among the activations
    is_end = np.zeros(len(key) + n_rows, dtype=bool)
    is_end[stops] = True
    stop = np.empty(len(is_end), dtype=np.int64)
    stop[is_end], stop[~is_end] = row_end, key
    stop_row = np.cumsum(is_end) - is_end
    stop_position = stop - stop_row * context_tokens
    begin = np.full(len(stop), first_position, dtype=np.int64)
    begin[1:] = np.where(is_end[:-1], first_position, np.maximum(stop_position[:-1] + 1, first_position))
    count = stop_position - begin - length + 1
    kept = count > 0
    return stop_row[kept], begin[kept], count[kept]


def _usable(row: np.ndarray, position: np.ndarray, value: np.ndarray, first_position: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The activations at positions that windows may contain, as int64, int64, float64."""
    kept = np.asarray(position) >= first_position
    row, position, value = np.asarray(row)[kept], np.asarray(position)[kept], np.asarray(value)[kept]
    return row.astype(np.int64), position.astype(np.int64), value.astype(np.float64)


def _separated_peaks(key: np.ndarray, rank: np.ndarray, separation: int) -> np.ndarray:
    """Indices, ascending, of the greedy choice of strongest first with every two keys at least `separation` apart.

    In rounds: whoever is the strongest of its neighbourhood is chosen, and its neighbours are out. As being a neighbour is mutual
    this gives exactly the greedy choice, in a handful of vectorised rounds instead of one step per activation.
    """
    alive = np.arange(len(key))
    chosen: list[np.ndarray] = []
    while len(alive):
        keys, ranks = key[alive], rank[alive]
        low = np.searchsorted(keys, keys - separation, side="right")
        high = np.searchsorted(keys, keys + separation, side="left")
        taken = _range_min(ranks, low, high) == ranks
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
    """Windows with their strongest token looked up; each must hold an activation. `row_key` [n] is the key of position 0."""
    low = np.searchsorted(key, row_key + start, side="left")
    high = np.searchsorted(key, row_key + start + length, side="left")
    rank, by_rank = ranks
    peak = by_rank[_range_min(rank, low, high)]
    return Windows(row, start, length, position[peak], value[peak])


def _ranks(key: np.ndarray, value: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rank of each activation, 0 = strongest and the earlier of equals first, and the inverse: the index at each rank."""
    by_rank = np.lexsort((key, -value))
    rank = np.empty_like(by_rank)
    rank[by_rank] = np.arange(len(by_rank))
    return rank, by_rank


def _range_min(values: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """The least of values[low[i]:high[i]] for every i; each range must hold something."""
    if len(low) == 0:
        return values[:0]
    assert (low < high).all(), "empty range"
    bounds = np.stack([low, high], axis=1).ravel()
    return np.minimum.reduceat(np.append(values, values[-1]), bounds)[::2]
