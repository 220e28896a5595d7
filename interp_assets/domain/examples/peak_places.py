"""Random places for the peaks of windows that scorers see.

A window that is cut around its peak at one place gives the place away: "strong at token 24" reads nothing and correlates with the
activations by 0.4. So each window for validation or held out is cut again, with its peak at a random place.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from interp_assets.domain.examples.apart import Spans, near_pairs
from interp_assets.domain.examples.text_hashes import HashedTokens, HashSet, in_sorted
from interp_assets.domain.examples.windows import WindowShape

TRIES = 16
"""Random places that are tried for a peak. A peak stays at three quarters of its window where none of them is possible."""

OWNER_FACTOR = np.uint64(0xD6E8FEB86659FD93)


def owned(hashes: np.ndarray, owner: np.ndarray) -> np.ndarray:
    """uint64 [n]: the hashes of texts of several features, so that equal texts of different features have different hashes."""
    return hashes + owner.astype(np.uint64) * OWNER_FACTOR


@dataclass(frozen=True, eq=False)
class DrawnWindows:
    """The drawn windows of several features, all [n], feature by feature, before their peaks get random places.

    `owner` is the place of a window's feature among the features. `row`, `start` and `length` are int64, and `peak` is the peak's position
    in the row. A window may be cut wherever it keeps to its row or passage, from `begin` to `end`, and to the places from `low` to `high`,
    exclusive, where no stronger activation is (row · context + position).
    """

    owner: np.ndarray
    row: np.ndarray
    start: np.ndarray
    length: np.ndarray
    peak: np.ndarray
    low: np.ndarray
    high: np.ndarray


def with_peaks_anywhere(
    drawn: DrawnWindows,
    part: np.ndarray,
    taken: Sequence[HashSet],
    hashed: HashedTokens,
    shape: WindowShape,
    rngs: Sequence[np.random.Generator],
) -> tuple[DrawnWindows, np.ndarray]:
    """The windows, those of `part` with peaks at random places (`WindowShape.placed`); and the hashes (`owned`) of the new places.

    `part` has ascending indices. `taken` are the hashes of the token sequences of all activating windows, in several sets. Each
    feature has its own generator. A window is moved only to where its peak stays its strongest token, where it shares no token with another
    window, and where its token sequence is new. So strata and roles stay as they were drawn.
    """
    start, length = drawn.start.copy(), drawn.length.copy()
    begin = drawn.row * shape.context_tokens
    n_places = hashed.rows.size
    own = owned(hashed.of_runs(begin + start, length), drawn.owner)
    added = np.empty(0, dtype=np.uint64)
    pending = part
    near = near_pairs(Spans.of(drawn.owner, begin + drawn.peak, length, n_places).begin, 2 * shape.window_tokens) if len(part) else None

    def now() -> Spans:
        return Spans.of(drawn.owner, begin + start, length, n_places)

    for _ in range(TRIES):
        if not len(pending) or near is None:
            break
        row, peak, owner = drawn.row[pending], drawn.peak[pending], drawn.owner[pending]
        tried = shape.placed(row, peak, PeakPlaces(owner, rngs))
        first = begin[pending] + tried.start
        hashes = owned(hashed.of_runs(first, tried.length), owner)
        known = in_sorted(hashes, added)
        for some in taken:
            known |= some.holds(hashes)
        moved = (
            HashSet.of(hashes).is_first
            & (~known | (hashes == own[pending]))
            & (first >= drawn.low[pending])
            & (first + tried.length <= drawn.high[pending])
        )
        moved[moved] = _are_apart(Spans.of(owner, first, tried.length, n_places).take(np.flatnonzero(moved)), pending[moved], now(), near)
        start[pending[moved]], length[pending[moved]] = tried.start[moved], tried.length[moved]
        added = np.sort(np.concatenate([added, hashes[moved]]))
        pending = pending[~moved]
    return DrawnWindows(drawn.owner, drawn.row, start, length, drawn.peak, drawn.low, drawn.high), added


@dataclass(frozen=True, eq=False)
class PeakPlaces:
    """Draws a whole number for each of several windows, in order: a window's number comes from the generator of the window's feature."""

    owner: np.ndarray
    rngs: Sequence[np.random.Generator]

    def integers(self, low: int, high: int, n: int) -> np.ndarray:
        """int64 [n] in [low, high)."""
        assert n == len(self.owner), f"{n} numbers for {len(self.owner)} windows"
        firsts = np.flatnonzero(np.diff(self.owner, prepend=-1))
        spans = pairwise([*firsts.tolist(), n])
        parts = [self.rngs[int(self.owner[first])].integers(low, high, end - first) for first, end in spans]
        return np.concatenate([np.empty(0, dtype=np.int64), *parts])


def reach_of_peaks(owner: np.ndarray, place: np.ndarray, rank: np.ndarray, peak: np.ndarray, window_tokens: int) -> tuple[np.ndarray, ...]:
    """(low, high), int64 [peaks]: from place `low` to place `high`, exclusive, no activation of the peak's feature is stronger.

    `owner`, `place` and `rank` (0 = strongest) are of all activations, ascending by owner and place; `peak` [peaks] are indices. Places
    that no window with the peak holds are not looked at: `low` and `high` are then far away.
    """
    found = np.zeros(len(peak), dtype=np.int64), np.full(len(peak), np.iinfo(np.int64).max)
    for step, bound in ((-1, found[0]), (1, found[1])):
        waiting, there = np.arange(len(peak)), peak
        while len(waiting):
            there = there + step
            kept = (there >= 0) & (there < len(place))
            waiting, there = waiting[kept], there[kept]
            kept = (owner[there] == owner[peak[waiting]]) & (np.abs(place[there] - place[peak[waiting]]) < window_tokens)
            waiting, there = waiting[kept], there[kept]
            stronger = rank[there] < rank[peak[waiting]]
            bound[waiting[stronger]] = place[there[stronger]] + (step < 0)
            waiting, there = waiting[~stronger], there[~stronger]
    return found


def _are_apart(tried: Spans, which: np.ndarray, now: Spans, near: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Bool [n]: whether the new place of each of the windows `which` shares no token with the place of another window, where all windows
    are `now`, nor with another new place. Only windows that are a pair of `near` (`near_pairs`) can share tokens."""
    place = np.full(len(now.begin), -1)
    place[which] = np.arange(len(which))
    mine, other = place[near[0]], near[1]
    mine, other = mine[mine >= 0], other[mine >= 0]
    theirs = place[other]
    begin, end = tried.begin[mine], tried.end[mine]
    touches = (begin < now.end[other]) & (now.begin[other] < end)
    touches |= (theirs >= 0) & (begin < tried.end[theirs]) & (tried.begin[theirs] < end)
    apart = np.ones(len(which), dtype=bool)
    apart[mine[touches]] = False
    return apart
