"""Windows of a feature that share no token with each other.

Two windows with a passage in common can be told to be of one kind. Where few windows are silent, silent windows would overlap far oftener
than activating windows do, and "there is another window like this one" would be an answer. So no two windows of a feature overlap.
"""

from bisect import bisect_left, insort
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Spans:
    """Runs of places of several features, int64 [n] each: from `begin` to `end`, exclusive. A feature's places are moved on by a stride for
    each feature before it, so that spans of different features never touch."""

    begin: np.ndarray
    end: np.ndarray

    @staticmethod
    def of(owner: np.ndarray | int, place: np.ndarray, length: np.ndarray, n_places: int) -> "Spans":
        """The spans of `length` from `place` on, in a sample of `n_places` tokens; `owner` numbers their features."""
        begin = place + np.asarray(owner, dtype=np.int64) * n_places
        return Spans(begin, begin + length)

    @staticmethod
    def joined(parts: "list[Spans]") -> "Spans":
        """All spans of `parts`, in order."""
        empty = np.empty(0, dtype=np.int64)
        return Spans(np.concatenate([empty, *(part.begin for part in parts)]), np.concatenate([empty, *(part.end for part in parts)]))

    def take(self, index: np.ndarray) -> "Spans":
        """The spans at `index`."""
        return Spans(self.begin[index], self.end[index])

    def n_overlapped(self, others: "Spans") -> np.ndarray:
        """int64 [n]: the number of `others` with which each span shares a place."""
        begins, ends = np.sort(others.begin), np.sort(others.end)
        return np.searchsorted(begins, self.end) - np.searchsorted(ends, self.begin, side="right")


def near_pairs(place: np.ndarray, reach: int) -> tuple[np.ndarray, np.ndarray]:
    """int64 [pairs] twice: the indices of every two places, int64 [n], that are less than `reach` apart. Each pair comes both ways."""
    order = np.argsort(place, kind="stable")
    ascending = place[order]
    near, step = np.arange(len(place)), 0
    one, other = [near[:0]], [near[:0]]
    while len(near):
        step += 1
        near = near[: np.searchsorted(near, len(place) - step)]
        near = near[ascending[near + step] - ascending[near] < reach]
        one.append(order[near])
        other.append(order[near + step])
    return np.concatenate([*one, *other]), np.concatenate([*other, *one])


def first_apart(spans: Spans, taken: Spans) -> np.ndarray:
    """Bool [n]: whether a span shares no place with any of `taken`, nor with an earlier span that is kept."""
    kept = spans.n_overlapped(taken) == 0
    free = np.flatnonzero(kept)
    by_begin = free[np.argsort(spans.begin[free], kind="stable")]
    begin, reach = spans.begin[by_begin], np.maximum.accumulate(spans.end[by_begin])
    touches = begin[1:] < reach[:-1]
    in_group = np.concatenate([[False], touches]) | np.concatenate([touches, [False]])
    begins: list[int] = []
    end_of: dict[int, int] = {}
    for i in np.sort(by_begin[in_group[: len(by_begin)]]).tolist():
        first, end = int(spans.begin[i]), int(spans.end[i])
        at = bisect_left(begins, first)
        if (at < len(begins) and begins[at] < end) or (at > 0 and end_of[begins[at - 1]] > first):
            kept[i] = False
            continue
        insort(begins, first)
        end_of[first] = end
    return kept
