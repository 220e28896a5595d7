"""Windows of a feature's examples as pages show them: shaded, in intervals of their strongest activation, or by kind of silence."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Any

import numpy as np
from markupsafe import Markup

from interp_assets.domain.features.feature_statistics import HISTOGRAM_EDGES
from interp_assets.explorer.shading import shaded

BINS = 2
"""Bins of the stored histogram in one interval of activations: two bins are a factor of √2."""

N_INTERVALS = 6
KINDS = {
    "neighbour": "a neighbouring feature fires", "token": "around its tokens", "similar": "nearest in meaning to its windows",
    "random": "from anywhere", "imported": "imported",
}  # fmt: skip
"""Kinds of silent windows, near misses first."""


@dataclass(frozen=True)
class WindowView:
    """One window; `peak` is the largest activation of the feature on it, `position` the token of the window that has it."""

    example_id: str
    row: int
    position: int
    peak: float
    role: str
    kind: str
    sampling: str
    html: Markup


@dataclass(frozen=True)
class IntervalView:
    """Windows whose peak lies from `low` up to `high`; `share` of the tokens that fire do so in this interval, None where not counted."""

    low: float
    high: float
    share: float | None
    windows: tuple[WindowView, ...]


@dataclass(frozen=True)
class SilentView:
    """Windows on which the feature is silent, of one kind."""

    kind: str
    meaning: str
    windows: tuple[WindowView, ...]


def window_view(row: dict[str, Any], largest: float) -> WindowView:
    """A row of the table examples; `largest` has the deepest shade."""
    values = row["activations"]
    position = row["start"] + (max(range(len(values)), key=values.__getitem__) if values else 0)
    html = shaded(row["tokens"], values, largest)
    return WindowView(row["example_id"], row["row"], position, row["max_activation"], row["role"], row["kind"], row["sampling"], html)


def intervals(windows: Sequence[WindowView], histogram: Sequence[int] | None, largest: float) -> tuple[IntervalView, ...]:
    """Activating windows by the interval of their peak, strongest first.

    Bounds are edges of the stored histogram, so that shares are exact. The last interval reaches down to the weakest activation. Intervals
    with neither windows nor firings are left out.
    """
    if not windows:
        return ()
    top = min(int(np.searchsorted(HISTOGRAM_EDGES, largest, side="right")), len(HISTOGRAM_EDGES) - 1)
    top = min(top + top % BINS, len(HISTOGRAM_EDGES) - 1)
    bounds = [max(0, top - BINS * place) for place in range(N_INTERVALS)] + [0]
    counts = np.asarray(histogram or [], dtype=float)
    found = []
    for high, low in pairwise(bounds):
        least = float(HISTOGRAM_EDGES[low]) if low else 0.0
        own = sorted((one for one in windows if least <= one.peak < HISTOGRAM_EDGES[high]), key=lambda one: -one.peak)
        share = float(counts[low:high].sum() / counts.sum()) if counts.sum() else None
        if own or share:
            found.append(IntervalView(least, float(HISTOGRAM_EDGES[high]), share, tuple(own)))
    return tuple(found)


def silent(windows: Sequence[WindowView]) -> tuple[SilentView, ...]:
    """Silent windows by kind, near misses first."""
    order = {name: place for place, name in enumerate(KINDS)}
    ordered = sorted(windows, key=lambda one: order.get(one.sampling, len(order)))
    groups = ((kind, tuple(group)) for kind, group in groupby(ordered, key=lambda one: one.sampling))
    return tuple(SilentView(kind, KINDS.get(kind, kind), group) for kind, group in groups)
