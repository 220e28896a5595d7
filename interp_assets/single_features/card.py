"""All that the lake holds of one feature, for the terminal and for notebooks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from interp_assets.config.keys import RangeKey, lake_partition
from interp_assets.domain.explaining import METHODS
from interp_assets.domain.scoring import SCORERS
from interp_assets.installation.home import Home
from interp_assets.reading.neighbours import CO_OCCURRENCE, DECODER_COSINE
from interp_assets.tables import (
    EXAMPLES,
    EXPLANATIONS,
    FEATURE_EXAMPLES,
    FEATURE_NEIGHBOURS,
    FEATURE_STATISTICS,
    SCORES,
    VOCABULARY_PROJECTIONS,
    Table,
)
from resources.store.lake import Lake

Row = Mapping[str, Any]
N_NEIGHBOURS = 8


@dataclass(frozen=True)
class FeatureCard:
    """One feature as rows of the lake's tables; empty where a table has no rows of the feature.

    `statistics` and `examples_outcome` are None where the stage is not made. `examples` are in the order in which they were written:
    shown windows first, strongest first. `scores` are headline scores. `neighbours` are of one measure, nearest first, with the first
    explanation of each where it has one.
    """

    dictionary: str
    feature: int
    statistics: Row | None
    examples_outcome: Row | None
    examples: Sequence[Row]
    explanations: Sequence[Row]
    scores: Sequence[Row]
    neighbours: Sequence[Row]
    projections: Mapping[str, Sequence[tuple[str, float]]]

    @property
    def max_activation(self) -> float:
        """The feature's largest activation: over the whole sample where it is known, else over its examples; 0.0 without any."""
        known = None if self.statistics is None else self.statistics["max_activation"]
        return float(known if known is not None else max((row["max_activation"] for row in self.examples), default=0.0))

    def windows(self, role: str = "shown", kind: str = "activating") -> list[Row]:
        """Windows of one role and kind, strongest first."""
        chosen = [row for row in self.examples if row["role"] == role and row["kind"] == kind]
        return sorted(chosen, key=lambda row: -row["max_activation"])

    def scores_of(self, method: str) -> dict[str, Row]:
        """The headline score of an explanation by each scorer."""
        return {row["scorer"]: row for row in self.scores if row["explanation_method"] == method}

    @property
    def scorers(self) -> list[str]:
        """Scorers with a score of any explanation of the feature, in the order of SCORERS."""
        there = {row["scorer"] for row in self.scores}
        return [scorer.NAME for scorer in SCORERS if scorer.NAME in there]


def read_card(home: Home, key: str, feature: int) -> FeatureCard:
    """The card of a feature. Raises `UserError` for a dictionary that is not registered and for a feature that it does not select."""
    record, lake = home.registry.get(key), home.lake
    partition = record.range_of(feature)
    here = lake_partition(partition)
    statistics = _rows(lake, FEATURE_STATISTICS, here, feature)
    outcome = _rows(lake, FEATURE_EXAMPLES, here, feature)
    explanations = [row for method in METHODS for row in _rows(lake, EXPLANATIONS, {"explanation_method": method, **here}, feature)]
    scores = [row for one in SCORERS for row in _rows(lake, SCORES, {"scorer": one.NAME, **here}, feature) if row["headline"]]
    projected = _rows(lake, VOCABULARY_PROJECTIONS, here, feature)
    return FeatureCard(
        key,
        feature,
        statistics[0] if statistics else None,
        outcome[0] if outcome else None,
        _rows(lake, EXAMPLES, here, feature),
        explanations,
        scores,
        _neighbours(home, partition, feature),
        {side: _ranked(projected, side) for side in ("promoted", "suppressed")},
    )


def _rows(lake: Lake, table: Table, partition: Mapping[str, str], feature: int) -> list[dict[str, Any]]:
    """The rows of a feature; empty where the partition is not made."""
    if lake.manifest(table.name, partition) is None:
        return []
    return lake.read(table.name, partition, filters=[("feature", "=", feature)]).to_pylist()


def _ranked(rows: Sequence[Row], side: str) -> list[tuple[str, float]]:
    return [(row["token"], row["logit"]) for row in sorted(rows, key=lambda row: row["rank"] or 0) if row["side"] == side]


def _neighbours(home: Home, partition: RangeKey, feature: int) -> list[dict[str, Any]]:
    """The nearest features by decoder cosine, or by co-occurrence where the dictionary has no decoder, each with an explanation."""
    rows = [
        row for row in _rows(home.lake, FEATURE_NEIGHBOURS, {"dictionary": partition.dictionary}, feature) if row["outcome"] == "ok"
    ]  # fmt: skip
    measure = DECODER_COSINE if any(row["measure"] == DECODER_COSINE for row in rows) else CO_OCCURRENCE
    nearest = sorted((row for row in rows if row["measure"] == measure), key=lambda row: row["rank"])[:N_NEIGHBOURS]
    record = home.registry.get(partition.dictionary)
    for row in nearest:
        row["explanation"] = _explanation(home.lake, record.range_of(row["neighbour"]), row["neighbour"])
    return nearest


def _explanation(lake: Lake, partition: RangeKey, feature: int) -> str | None:
    """The first explanation of a feature that is no other feature's explanation; None where there is none."""
    for method in METHODS:
        for row in _rows(lake, EXPLANATIONS, {"explanation_method": method, **lake_partition(partition)}, feature):
            if row["explanation"] and row["donor_feature"] is None:
                return row["explanation"]
    return None
