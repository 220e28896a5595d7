"""Silent windows as long as activating windows, for features that are seldom silent.

A window of few tokens is silent more often than a long window. For a feature that fires nearly everywhere, silent windows would be short
documents and ends of documents, and "short" would be an answer. So its silent windows are taken in the lengths of its activating windows.
"""

import numpy as np

SELDOM_SILENT = 0.5
"""A feature that is silent in a smaller share of the windows of the sample gets silent windows in the lengths of its activating windows.
At this share, a judge that looks at lengths alone has a balanced accuracy of at most 0.51."""

LENGTHS = 8
"""Lengths of windows are told apart in eighths of a window."""

RARE = 0.1
"""Lengths of a smaller share of the activating windows may be missing among the silent windows. Where other lengths are missing, all
lengths have fewer windows in proportion."""


def as_long_as(lengths: np.ndarray, like: np.ndarray, count: int, window_tokens: int) -> np.ndarray:
    """Indices, ascending, of at most `count` candidates of these `lengths` int64 [n], the first of each length: as many of each length, in
    proportion, as the windows of lengths `like` int64 [m] have. Fewer where candidates of a length of at least a RARE share are too few;
    the first `count` where `like` is empty.
    """
    if not len(like):
        return np.arange(min(count, len(lengths)))
    of_candidates, of_model = (((np.asarray(one) * LENGTHS - 1) // window_tokens).clip(0, LENGTHS - 1) for one in (lengths, like))
    shares = np.bincount(of_model, minlength=LENGTHS) / len(like)
    available = np.bincount(of_candidates, minlength=LENGTHS)
    common = (shares >= RARE) & (count > 0)
    possible = min(float(count), float((available[common] / shares[common]).min(initial=np.inf)))
    quotas = _whole(shares * possible)
    order = np.argsort(of_candidates, kind="stable")
    place = np.empty_like(order)
    place[order] = np.arange(len(order)) - (np.cumsum(available) - available)[of_candidates[order]]
    return np.flatnonzero(place < quotas[of_candidates])


def _whole(exact: np.ndarray) -> np.ndarray:
    """int64 [n]: whole numbers, every sum of neighbours within one of the sum of `exact`: so many small shares are not all rounded down."""
    return np.diff(np.floor(np.cumsum(exact) + 0.5 - 1e-9), prepend=0).astype(np.int64)
