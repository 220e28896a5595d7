"""Random places for the peaks of windows that scorers see.

A window that is cut around its peak at one place gives the place away: "strong at token 24" reads nothing and correlates with the
activations by 0.4. So each window for validation or held out is cut again, with its peak at a random place.
"""

from dataclasses import dataclass, replace

import numpy as np

from interp_assets.domain.examples.negatives import window_hashes
from interp_assets.domain.examples.windows import Places, Windows, WindowShape, range_min, ranks_of

TRIES = 16
"""Random places that are tried for a peak. A peak stays at three quarters of its window where none of them is possible."""


@dataclass(frozen=True, eq=False)
class Placing:
    """The windows of one feature that are about to get random places for their peaks.

    `positions` int64 [n], ascending, and `values` float64 [n] are the feature's activations; `hashes` are the hashes of the token sequences
    of all its activating windows.
    """

    positions: np.ndarray
    values: np.ndarray
    token_rows: np.ndarray
    shape: WindowShape
    hashes: np.ndarray

    def placed(self, windows: Windows, part: slice, rng: np.random.Generator) -> tuple[Windows, "Placing"]:
        """The windows, those of `part` with peaks at random places (`WindowShape.placed`); and this placing with their hashes too.

        A window is moved only to where its peak stays its strongest token, where it shares no token with a window outside `part`, and where
        its token sequence is new. So strata and roles stay as they were drawn.
        """
        pending = np.arange(len(windows))[part]
        others = windows.take(np.delete(np.arange(len(windows)), pending))
        start, length, taken = windows.start.copy(), windows.length.copy(), self.hashes
        own = window_hashes(windows.row, windows.start, windows.length, self.token_rows)
        for _ in range(TRIES):
            if len(pending) == 0:
                break
            peak = windows.peak_position[pending]
            tried = self.shape.placed(windows.row[pending], peak, rng)
            hashes = window_hashes(tried.row, tried.start, tried.length, self.token_rows)
            first = np.zeros(len(pending), dtype=bool)
            first[np.unique(hashes, return_index=True)[1]] = True
            moved = (
                first
                & (~np.isin(hashes, taken) | (hashes == own[pending]))
                & self._keeps_its_peak(tried, peak)
                & ~_shares_tokens(tried, others, self.shape.context_tokens)
            )
            start[pending[moved]], length[pending[moved]] = tried.start[moved], tried.length[moved]
            taken = np.concatenate([taken, hashes[moved]])
            pending = pending[~moved]
        return replace(windows, start=start, length=length), replace(self, hashes=taken)

    def _keeps_its_peak(self, places: Places, peak: np.ndarray) -> np.ndarray:
        """Bool [n]: whether the activation at position `peak` of its row is the strongest in each place, of equals the first."""
        begin = places.row * self.shape.context_tokens + places.start
        rank, by_rank = ranks_of(self.positions, self.values)
        low, high = np.searchsorted(self.positions, begin), np.searchsorted(self.positions, begin + places.length)
        return self.positions[by_rank[range_min(rank, low, high)]] == places.row * self.shape.context_tokens + peak


def _shares_tokens(places: Places, others: Windows, context_tokens: int) -> np.ndarray:
    """Bool [n]: whether a place and any of the other windows share a token."""
    begin, other_begin = places.row * context_tokens + places.start, others.row * context_tokens + others.start
    begun = np.searchsorted(np.sort(other_begin), begin + places.length)
    ended = np.searchsorted(np.sort(other_begin + others.length), begin, side="right")
    return begun > ended
