"""All that is known of one feature, as its page shows it. Each part is read from the row groups that hold the feature."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from markupsafe import Markup

from interp_assets.config.keys import FEATURE_RANGE_KEYS, RangeKey, lake_partition, range_holding
from interp_assets.config.records import DictionaryRecord
from interp_assets.domain.explaining import BASELINES, METHODS
from interp_assets.domain.features.feature_statistics import HISTOGRAM_EDGES
from interp_assets.domain.scoring import SCORERS
from interp_assets.explorer.app import Explorer
from interp_assets.explorer.charts import histogram, score_strip
from interp_assets.explorer.columns import FeatureColumns
from interp_assets.explorer.shading import ShadedToken, number, shaded
from interp_assets.tables import EXAMPLES, EXPLANATIONS, FEATURE_EXAMPLES, FEATURE_STATISTICS, SCORES

INTERVAL_RATIO = 2
"""Bins of the stored histogram in one interval of activations: two bins are a factor of √2."""
N_INTERVALS = 6


@dataclass(frozen=True)
class Badge:
    """One score of one explanation; `lift` is over the feature's `shuffled` score by the same scorer."""

    scorer: str
    metric: str
    value: float | None
    low: float | None
    high: float | None
    floor: float | None
    lift: float | None
    outcome: str
    strip: Markup


@dataclass(frozen=True)
class ExplanationView:
    """One explanation with its scores; `text` is None where the method ended in another outcome."""

    method: str
    text: str | None
    outcome: str
    model: str
    version: str
    donor: int | None
    badges: tuple[Badge, ...]

    @property
    def is_baseline(self) -> bool:
        """Whether the text was never meant to explain the feature."""
        return self.method in BASELINES


@dataclass(frozen=True)
class WindowView:
    """One window, shaded."""

    example_id: str
    row: int
    start: int
    peak: float
    role: str
    kind: str
    sampling: str
    stratum: int | None
    tokens: Sequence[ShadedToken]


@dataclass(frozen=True)
class IntervalView:
    """Windows whose peak lies from `low` up to `high`; `share` of the tokens that fire do so in this interval, None where not counted."""

    name: str
    low: float
    high: float
    share: float | None
    windows: tuple[WindowView, ...]


@dataclass(frozen=True)
class FeatureView:
    """One feature: rows as read, and what is drawn of them."""

    record: DictionaryRecord
    feature: int
    statistics: dict[str, Any] | None
    drawn: dict[str, Any] | None
    explanations: tuple[ExplanationView, ...]
    own_badges: tuple[Badge, ...]
    intervals: tuple[IntervalView, ...]
    silent: tuple[WindowView, ...]
    range_key: RangeKey

    @cached_property
    def title(self) -> str | None:
        """The explanation that stands for the feature: the first that is no baseline, in the order of METHODS."""
        return next((one.text for one in self.explanations if one.text and not one.is_baseline), None)

    @cached_property
    def activation_histogram(self) -> Markup | None:
        """Firing tokens by activation, over the bins between the smallest and the largest that are not empty."""
        if not self.statistics or not self.statistics["firing_count"]:
            return None
        counts = np.asarray(self.statistics["histogram"], dtype=float)
        held = np.flatnonzero(counts)
        first, last = int(held[0]) // 4 * 4, min(len(counts), (int(held[-1]) // 4 + 1) * 4)
        edges = HISTOGRAM_EDGES[first : last + 1]
        doublings = range(0, last - first + 1, 4 * max(1, (last - first) // 24))
        ticks = [(place, number(float(edges[place]))) for place in doublings]
        title = f"Activations of the {self.statistics['firing_count']:,} tokens on which feature {self.feature} fires, on logarithmic axes"
        return histogram(counts[first:last].tolist(), edges.tolist(), title, ticks, logarithmic=True)


def feature_view(explorer: Explorer, record: DictionaryRecord, columns: FeatureColumns, feature: int) -> FeatureView:
    """Everything about a feature. A part whose partition is not complete is empty."""
    range_key = range_of(record, feature)
    where = lake_partition(range_key)
    rows = explorer.rows
    statistics = next(iter(rows.of(FEATURE_STATISTICS, where, feature)), None)
    drawn = next(iter(rows.of(FEATURE_EXAMPLES, where, feature)), None)
    scores = [
        {**row, "scorer": scorer.NAME}
        for scorer in SCORERS
        for row in rows.of(SCORES, {"scorer": scorer.NAME, **where}, feature)
        if row["headline"]
    ]
    explanations = [
        {**row, "method": method} for method in METHODS for row in rows.of(EXPLANATIONS, {"explanation_method": method, **where}, feature)
    ]
    examples = rows.of(EXAMPLES, where, feature)
    largest = (statistics or {}).get("max_activation") or max((row["max_activation"] for row in examples), default=0.0)
    windows = [_window(row, largest) for row in examples]
    return FeatureView(
        record, feature, statistics, drawn,
        tuple(_explanation(row, scores, columns) for row in sorted(explanations, key=_order)),
        tuple(_badge(row, None, columns) for row in scores if row["explanation_method"] == "none"),
        tuple(_intervals([one for one in windows if one.kind == "activating"], statistics, largest)),
        tuple(sorted((one for one in windows if one.kind != "activating"), key=lambda one: one.sampling)),
        range_key,
    )  # fmt: skip


def range_of(record: DictionaryRecord, feature: int) -> RangeKey:
    """The range that holds a feature."""
    selected = record.selected_features
    place = min(int(np.searchsorted(selected, feature)), len(selected) - 1)
    return RangeKey(record.key, FEATURE_RANGE_KEYS[range_holding(place, len(selected))])


def _order(row: dict[str, Any]) -> tuple[bool, int]:
    """Explanations in the order of METHODS, baselines last."""
    return row["method"] in BASELINES, METHODS.index(row["method"])


def _explanation(row: dict[str, Any], scores: list[dict[str, Any]], columns: FeatureColumns) -> ExplanationView:
    controls = {score["scorer"]: score["value"] for score in scores if score["explanation_method"] == "shuffled"}
    own = [score for score in scores if score["explanation_method"] == row["method"]]
    badges = tuple(_badge(score, None if row["method"] == "shuffled" else controls.get(score["scorer"]), columns) for score in own)
    return ExplanationView(
        row["method"], row["explanation"], row["outcome"], row["model"], row["prompt_version"], row["donor_feature"], badges
    )


def _badge(row: dict[str, Any], control: float | None, columns: FeatureColumns) -> Badge:
    value = row["value"]
    lift = None if value is None or control is None else value - control
    strip = score_strip(value, row["ci_low"], row["ci_high"], row["floor"], control, columns.span_of(row["scorer"]))
    return Badge(row["scorer"], row["metric"], value, row["ci_low"], row["ci_high"], row["floor"], lift, row["outcome"], strip)


def _window(row: dict[str, Any], largest: float) -> WindowView:
    return WindowView(
        row["example_id"], row["row"], row["start"], row["max_activation"], row["role"], row["kind"], row["sampling"], row["stratum"],
        shaded(row["tokens"], row["activations"], largest),
    )  # fmt: skip


def _intervals(windows: list[WindowView], statistics: dict[str, Any] | None, largest: float) -> list[IntervalView]:
    """Windows by the interval of their peak, strongest first. Bounds are edges of the stored histogram, so that shares are exact; the last
    interval reaches down to the weakest activation."""
    if not windows:
        return []
    top = int(np.searchsorted(HISTOGRAM_EDGES, largest, side="right"))
    top = min(top + top % INTERVAL_RATIO, len(HISTOGRAM_EDGES) - 1)
    bounds = [max(0, top - INTERVAL_RATIO * place) for place in range(N_INTERVALS)] + [0]
    counts = np.asarray((statistics or {}).get("histogram") or [], dtype=float)
    found = []
    for high, low in pairwise(bounds):
        least = float(HISTOGRAM_EDGES[low]) if low else 0.0
        own = sorted((one for one in windows if least <= one.peak < HISTOGRAM_EDGES[high]), key=lambda one: -one.peak)
        part = float(counts[low:high].sum() / counts.sum()) if counts.sum() else None
        if own or part:
            found.append(IntervalView(f"i{len(found)}", least, float(HISTOGRAM_EDGES[high]), part, tuple(own)))
    return found
