"""How often a feature fires by chance: on a window of the sample, and on the text at the beginning of a context.

A text that a model writes is run by itself, right behind BOS. Some features fire there whatever the text says: on the first token, or on
tokens at certain places. So what a text that means nothing reaches is read off the beginnings of the sample's contexts.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

START_PARTS = (0.25, 0.5, 1.0)
"""Lengths of the beginnings of contexts that are looked at. Unit: windows."""

WORTH = 16
"""Contexts that the share of all windows counts for where the share of beginnings is estimated: of few contexts little is known."""


@dataclass(frozen=True)
class FiringShares:
    """`of_windows` is the share of the sample's windows, cut side by side, on which the feature fires. `of_starts` has, for each of
    START_PARTS, the estimated share of contexts on whose first tokens it fires."""

    of_windows: float
    of_starts: tuple[float, ...]


def firing_shares(positions: np.ndarray, n_contexts: int, context_tokens: int, first_position: int, window_tokens: int) -> FiringShares:
    """The shares of a feature that fires at `positions`, int64 [n], ascending: row · context + position in the row.

    `n_contexts` counts the contexts in which the feature's activations are known. `first_position` is the first position of text in a
    context. Without contexts all shares are 0.
    """
    return firing_shares_of_each([positions], [n_contexts], context_tokens, first_position, window_tokens)[0]


def firing_shares_of_each(
    positions: Sequence[np.ndarray], n_contexts: Sequence[int], context_tokens: int, first_position: int, window_tokens: int
) -> list[FiringShares]:
    """`firing_shares` of each of several features, counted together."""
    place = np.concatenate([np.empty(0, dtype=np.int64), *positions])
    ends = np.cumsum([len(own) for own in positions], dtype=np.int64)
    begun = np.flatnonzero(_is_new(place // window_tokens, ends))
    n_windows = np.diff(np.searchsorted(begun, ends), prepend=0).tolist()
    row = place // context_tokens
    place = place - row * context_tokens - first_position
    at_start = np.flatnonzero((place >= 0) & (place < int(max(START_PARTS) * window_tokens)))
    row, place, owner = row[at_start], place[at_start], np.searchsorted(ends, at_start, side="right")
    n_firing: list[list[int]] = []
    for part in START_PARTS:
        early = np.flatnonzero(place < part * window_tokens)
        whose = owner[early]
        first = _is_new(row[early], np.searchsorted(whose, np.arange(len(positions)), side="right"))
        n_firing.append(np.bincount(whose[first], minlength=len(positions)).tolist())
    found: list[FiringShares] = []
    for i, n in enumerate(n_contexts):
        share = min(n_windows[i] * window_tokens / max(n * context_tokens, 1), 1.0)
        starts = [(count[i] + WORTH * by_chance(share, part)) / (n + WORTH) for part, count in zip(START_PARTS, n_firing, strict=True)]
        found.append(FiringShares(share, tuple(starts)))
    return found


def by_chance(share: float, windows: float) -> float:
    """Probability that a feature, firing on a share of the windows, fires on text as long as so many windows."""
    return float(1 - (1 - share) ** windows)


def at_a_start(of_windows: float, of_starts: Sequence[float], windows: float) -> float:
    """Probability that a feature with these shares fires on a text as long as so many windows that stands at the beginning of a context.

    Between the lengths of START_PARTS the logarithm of the probability of silence is interpolated; text beyond a window is like any text.
    """
    silence = [0.0, *(_log_silence(share) for share in of_starts)]
    known = float(np.interp(windows, (0.0, *START_PARTS), silence))
    return float(-np.expm1(known + max(windows - START_PARTS[-1], 0.0) * _log_silence(of_windows)))


def _log_silence(share: float) -> float:
    return float(np.log1p(-min(share, 1 - 1e-9)))


def _is_new(numbers: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Bool [n]: whether a number differs from the number before it, or begins a part; `ends` int64 has where each part ends."""
    is_new = np.ones(len(numbers), dtype=bool)
    np.not_equal(numbers[1:], numbers[:-1], out=is_new[1:])
    is_new[ends[ends < len(numbers)]] = True
    return is_new
