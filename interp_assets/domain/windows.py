"""Windows of one feature: short runs of tokens around its activations, inside one row.

All functions take one feature's activations as three arrays of equal length [n], sorted by (row, position): `row`, `position`
within the row, and `value` > 0. `first_position` is the first position that a window may contain: 1 where rows begin with BOS,
else 0.
"""

from dataclasses import dataclass

import numpy as np

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
    chosen = _separated_peaks(key, value, window_tokens)
    length = min(window_tokens, context_tokens - first_position)
    lead = int(window_tokens * PEAK_SHARE)
    start = np.clip(position[chosen] - lead, first_position, context_tokens - length)
    return _windows_at(row[chosen], start, np.full(len(chosen), length), key, position, value, key[chosen] - position[chosen])


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
    return _windows_at(cell // n_cells, start, length, row * stride + position, position, value, cell // n_cells * stride)


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
    rows = np.arange(n_rows, dtype=np.int64)
    stop_row = np.concatenate([np.asarray(row, dtype=np.int64), rows])
    stop_position = np.concatenate([np.asarray(position, dtype=np.int64), np.full(n_rows, context_tokens, dtype=np.int64)])
    order = np.lexsort((stop_position, stop_row))
    stop_row, stop_position = stop_row[order], stop_position[order]
    begin = np.roll(stop_position, 1) + 1
    is_first_of_row = np.concatenate([[True], stop_row[1:] != stop_row[:-1]])[: len(stop_row)]
    begin[is_first_of_row] = first_position
    begin = np.maximum(begin, first_position)
    count = stop_position - begin - length + 1
    kept = count > 0
    return stop_row[kept], begin[kept], count[kept]


def _usable(row: np.ndarray, position: np.ndarray, value: np.ndarray, first_position: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The activations at positions that windows may contain, as int64, int64, float64."""
    kept = np.asarray(position) >= first_position
    row, position, value = np.asarray(row)[kept], np.asarray(position)[kept], np.asarray(value)[kept]
    return row.astype(np.int64), position.astype(np.int64), value.astype(np.float64)


def _separated_peaks(key: np.ndarray, value: np.ndarray, separation: int) -> np.ndarray:
    """Indices, ascending, of the greedy choice of strongest first with every two keys at least `separation` apart.

    In rounds: whoever is the strongest of its neighbourhood is chosen, and its neighbours are out. As being a neighbour is mutual
    this gives exactly the greedy choice, in a handful of vectorised rounds instead of one step per activation.
    """
    rank = _ranks(key, value)[0]
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
) -> Windows:
    """Windows with their strongest token looked up; each must hold an activation. `row_key` [n] is the key of position 0."""
    low = np.searchsorted(key, row_key + start, side="left")
    high = np.searchsorted(key, row_key + start + length, side="left")
    rank, by_rank = _ranks(key, value)
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
