"""All that is known of one feature, as its page shows it. Each part is read from the row groups that hold the feature."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from markupsafe import Markup

from interp_assets.config.keys import FEATURE_RANGE_KEYS, RangeKey, lake_partition, range_holding
from interp_assets.config.records import DictionaryRecord
from interp_assets.domain.explaining import BASELINES, IMPORTED_METHODS, METHODS, control_of
from interp_assets.domain.features.feature_statistics import HISTOGRAM_EDGES
from interp_assets.domain.scoring import SCORERS
from interp_assets.domain.trials import NO_EXPLANATION
from interp_assets.explorer.charts import histogram, score_strip
from interp_assets.explorer.columns import FeatureColumns
from interp_assets.explorer.explorer import Explorer
from interp_assets.explorer.related_view import (
    LogitsView,
    RelatedFeature,
    SteeredView,
    logits,
    matches,
    neighbours,
    steered,
    token_changes,
)
from interp_assets.explorer.shading import number
from interp_assets.explorer.window_view import IntervalView, SilentView, intervals, silent, window_view
from interp_assets.tables import EXAMPLES, EXPLANATIONS, FEATURE_EXAMPLES, FEATURE_STATISTICS, IMPORTED_EXPLANATIONS, LEDGER, SCORES

SHOWN_OF_SCORES = (
    "explanation_method", "metric", "headline", "value", "ci_low", "ci_high", "floor", "outcome",
    "n_positive", "n_negative", "n_unanswered",
)  # fmt: skip
"""Columns of scores that the pages of a feature show."""

COUNTED_OF_LEDGER = ("price_usd", "prompt_tokens", "completion_tokens", "seconds")
"""Columns of the ledger that a page of a feature counts."""


@dataclass(frozen=True)
class Badge:
    """One score of one explanation; `lift` is over the score of the method's control on the feature by the same scorer, `over_list` over
    the score of its token list."""

    scorer: str
    method: str
    metric: str
    value: float | None
    low: float | None
    high: float | None
    floor: float | None
    lift: float | None
    over_list: float | None
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
    raw_reply: str | None
    badges: tuple[Badge, ...]
    further_donors: tuple[int, ...] = ()
    """Donors of the texts of later deals, whose scores are in the mean."""
    author: str | None = None
    """Who wrote an imported text; None where its file does not say."""

    @property
    def is_baseline(self) -> bool:
        """Whether the text was never meant to explain the feature."""
        return self.method in BASELINES


@dataclass(frozen=True)
class Cost:
    """What one asset's questions about a feature cost."""

    asset: str
    n_questions: int
    prompt_tokens: int
    completion_tokens: int
    seconds: float
    usd: float | None


@dataclass(frozen=True)
class FeatureView:
    """One feature: rows as read, and what is drawn of them."""

    record: DictionaryRecord
    feature: int
    where: RangeKey
    statistics: dict[str, Any] | None
    drawn: dict[str, Any] | None
    explanations: tuple[ExplanationView, ...]
    own_badges: tuple[Badge, ...]
    intervals: tuple[IntervalView, ...]
    silent: tuple[SilentView, ...]
    logits: LogitsView | None
    token_changes: LogitsView | None
    neighbours: dict[str, list[RelatedFeature]]
    matches: dict[str, list[RelatedFeature]]
    steered: list[SteeredView]
    costs: tuple[Cost, ...]

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
        ticks = [(place, number(float(edges[place]))) for place in range(0, last - first + 1, 4 * max(1, (last - first) // 24))]
        title = f"Activations of the {self.statistics['firing_count']:,} tokens on which feature {self.feature} fires, on logarithmic axes"
        return histogram(counts[first:last].tolist(), edges.tolist(), title, ticks, logarithmic=True)


def feature_view(explorer: Explorer, record: DictionaryRecord, columns: FeatureColumns, feature: int) -> FeatureView:
    """Everything about a feature. A part whose partition is not complete is empty."""
    where = range_of(record, feature)
    partition, rows = lake_partition(where), explorer.rows
    statistics = next(iter(rows.of(FEATURE_STATISTICS, partition, feature)), None)
    scores = headline_rows(explorer, where, feature)
    examples = rows.of(EXAMPLES, partition, feature)
    largest = largest_activation(statistics, examples)
    windows = [window_view(row, largest) for row in examples]
    activating = [one for one in windows if one.kind == "activating"]
    return FeatureView(
        record, feature, where, statistics,
        drawn=next(iter(rows.of(FEATURE_EXAMPLES, partition, feature)), None),
        explanations=explanation_views(explorer, where, feature, scores, columns),
        own_badges=tuple(_badge(row, None, None, columns) for row in scores if row["explanation_method"] == NO_EXPLANATION),
        intervals=intervals(activating, (statistics or {}).get("histogram"), largest),
        silent=silent([one for one in windows if one.kind != "activating"]),
        logits=logits(explorer, where, feature),
        token_changes=token_changes(explorer, where, feature),
        neighbours=neighbours(explorer, columns, record.key, feature),
        matches=matches(explorer, record.key, feature),
        steered=steered(explorer, where, feature),
        costs=tuple(costs(explorer, where, feature)),
    )  # fmt: skip


def range_of(record: DictionaryRecord, feature: int) -> RangeKey:
    """The range that holds a feature."""
    if record.features is None:  # without a list of a million numbers
        return RangeKey(record.key, FEATURE_RANGE_KEYS[range_holding(min(feature, record.width - 1), record.width)])
    selected = record.selected_features
    place = min(int(np.searchsorted(selected, feature)), len(selected) - 1)
    return RangeKey(record.key, FEATURE_RANGE_KEYS[range_holding(place, len(selected))])


def largest_activation(statistics: dict[str, Any] | None, examples: list[dict[str, Any]]) -> float:
    """The largest activation of a feature in the whole sample; in its windows where the sample was not counted."""
    return (statistics or {}).get("max_activation") or max((row["max_activation"] for row in examples), default=0.0)


def headline_rows(explorer: Explorer, where: RangeKey, feature: int) -> list[dict[str, Any]]:
    """The headline scores of a feature by every scorer, in the order of SCORERS."""
    return [
        {**row, "scorer": scorer.NAME}
        for scorer in SCORERS
        for row in explorer.rows.of(SCORES, {"scorer": scorer.NAME, **lake_partition(where)}, feature, SHOWN_OF_SCORES)
        if row["headline"]
    ]


def explanation_views(
    explorer: Explorer, where: RangeKey, feature: int, scores: list[dict[str, Any]], columns: FeatureColumns
) -> tuple[ExplanationView, ...]:
    """The explanations of a feature with their scores, in the order of METHODS, baselines last."""
    values: dict[str, dict[str, float | None]] = {}
    for score in scores:
        values.setdefault(score["explanation_method"], {})[score["scorer"]] = score["value"]
    lists = {row["scorer"]: row["value"] for row in scores if row["explanation_method"] == "token_list"}
    lists.setdefault("detection", lists.get("matcher"))  # the matcher's headline is detection without a judge
    found = []
    for method in sorted(METHODS, key=lambda name: name in BASELINES):
        for row in explorer.rows.of(EXPLANATIONS, {"explanation_method": method, **lake_partition(where)}, feature):
            own = [score for score in scores if score["explanation_method"] == method]
            beside = values.get(control_of(method) or "", {})
            over = {} if method == "token_list" or method in BASELINES else lists
            badges = tuple(_badge(one, beside.get(one["scorer"]), over.get(one["scorer"]), columns) for one in own)
            found.append(
                ExplanationView(
                    method, row["explanation"], row["outcome"], row["model"], row["prompt_version"], row["donor_feature"],
                    row["raw_reply"], badges, tuple(deal["donor_feature"] for deal in row["further_deals"] or ()),
                    _author(explorer, where, method, feature, row["explanation"]),
                )
            )  # fmt: skip
    return tuple(found)


def costs(explorer: Explorer, where: RangeKey, feature: int) -> list[Cost]:
    """What was asked about a feature, by asset, and what it cost when it was first asked."""
    assets = [*(f"explanations/{method}" for method in METHODS), *(f"scores/{scorer.NAME}" for scorer in SCORERS)]
    found = []
    for asset in assets:
        rows = explorer.rows.of(LEDGER, {"asset": asset, **lake_partition(where)}, feature, COUNTED_OF_LEDGER)
        if rows:
            prices = [row["price_usd"] for row in rows if row["price_usd"] is not None]
            found.append(
                Cost(
                    asset, len(rows), sum(row["prompt_tokens"] for row in rows), sum(row["completion_tokens"] for row in rows),
                    sum(row["seconds"] for row in rows), sum(prices) if prices else None,
                )
            )  # fmt: skip
    return found


def _author(explorer: Explorer, where: RangeKey, method: str, feature: int, text: str | None) -> str | None:
    if method not in IMPORTED_METHODS or text is None:
        return None
    rows = explorer.rows.of(IMPORTED_EXPLANATIONS, {"explanation_method": method, "dictionary": where.dictionary}, feature)
    return next((row["author"] for row in rows if row["explanation"] == text), None)


def _badge(row: dict[str, Any], control: float | None, token_list: float | None, columns: FeatureColumns) -> Badge:
    value, low, high, floor = row["value"], row["ci_low"], row["ci_high"], row["floor"]
    lift, over_list = (None if value is None or other is None else value - other for other in (control, token_list))
    strip = score_strip(value, low, high, floor, control, columns.span_of(row["scorer"]))
    return Badge(row["scorer"], row["explanation_method"], row["metric"], value, low, high, floor, lift, over_list, row["outcome"], strip)
