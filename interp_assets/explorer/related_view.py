"""A feature among others, and what it does: tokens that it promotes and suppresses, nearest features, matches, steered completions."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from interp_assets.config.keys import RangeKey, lake_partition
from interp_assets.explorer.columns import FeatureColumns
from interp_assets.explorer.explorer import Explorer
from interp_assets.explorer.readiness import NotReadYet
from interp_assets.tables import FEATURE_MATCHES, FEATURE_NEIGHBOURS, STEERED_TEXTS, STEERING, TOKEN_CHANGES, VOCABULARY_PROJECTIONS

N_TOKENS = 12
N_PROMPTS = 3


@dataclass(frozen=True)
class RelatedFeature:
    """Another feature: of which dictionary, how near, and what it is said to be, in full and as a label; `by` names the measure or the
    assignment."""

    dictionary: str
    feature: int
    similarity: float
    by: str
    explanation: str | None
    label: str | None = None


@dataclass(frozen=True)
class LogitsView:
    """Tokens with their numbers, most first; `outcome` says why there are none."""

    promoted: list[tuple[str, float]]
    suppressed: list[tuple[str, float]]
    outcome: str
    histogram: dict[str, Any] | None = None


@dataclass(frozen=True)
class SteeredView:
    """One intervention on the feature, with clean and steered completions side by side."""

    name: str
    strength: float | None
    realised_kl: float | None
    outcome: str
    texts: list[dict[str, Any]]


def logits(explorer: Explorer, where: RangeKey, feature: int) -> LogitsView | None:
    """The tokens at both ends of the feature's projection onto the vocabulary; None where it was not made."""
    rows = explorer.rows.of(VOCABULARY_PROJECTIONS, lake_partition(where), feature)
    return _two_sided(rows, "promoted", "suppressed", "logit") if rows else None


def token_changes(explorer: Explorer, where: RangeKey, feature: int) -> LogitsView | None:
    """The tokens whose logits rise and fall most while the feature is clamped; None where it was not made."""
    rows = explorer.rows.of(TOKEN_CHANGES, lake_partition(where), feature)
    positive = [row for row in rows if row["sign"] in ("positive", None)]
    return _two_sided(positive, "raised", "lowered", "change") if positive else None


def neighbours(explorer: Explorer, columns: FeatureColumns, key: str, feature: int) -> dict[str, list[RelatedFeature]]:
    """The nearest features by each measure, nearest first."""
    rows = explorer.rows.of(FEATURE_NEIGHBOURS, {"dictionary": key}, feature)
    found: dict[str, list[RelatedFeature]] = {}
    for row in sorted(rows, key=lambda row: row["rank"]):
        if row["outcome"] == "ok":
            said, label = columns.title_of(row["neighbour"]), columns.label_of(row["neighbour"])
            one = RelatedFeature(key, row["neighbour"], row["similarity"], row["measure"], said, label)
            found.setdefault(row["measure"], []).append(one)
    return found


def matches(explorer: Explorer, key: str, feature: int) -> dict[str, list[RelatedFeature]]:
    """The nearest features of other dictionaries, by dictionary; the one-to-one match first."""
    rows = explorer.rows.of(FEATURE_MATCHES, {"dictionary": key}, feature)
    found: dict[str, list[RelatedFeature]] = {}
    for row in sorted(rows, key=lambda row: (row["other_dictionary"], row["assignment"] != "one_to_one", row["rank"])):
        if row["outcome"] == "ok" and row["rank"] < 3:
            said, label = _said(explorer, row["other_dictionary"], row["matched_feature"])
            one = RelatedFeature(row["other_dictionary"], row["matched_feature"], row["cosine"], row["assignment"], said, label)
            found.setdefault(row["other_dictionary"], []).append(one)
    return found


def steered(explorer: Explorer, where: RangeKey, feature: int) -> list[SteeredView]:
    """What the model says under each intervention, weakest first; empty where the feature was not steered."""
    texts = explorer.rows.of(STEERED_TEXTS, lake_partition(where), feature)
    found = []
    for row in sorted(explorer.rows.of(STEERING, lake_partition(where), feature), key=_by_target):
        own = [text for text in texts if (text["intervention"], text["target_kl"]) == (row["intervention"], row["target_kl"])]
        name = "not steered" if row["intervention"] is None else row["intervention"].replace("_", " ")
        if row["target_kl"] is not None:
            name = f"KL {row['target_kl']:+g} nats"
        found.append(SteeredView(name, row["strength"], row["realised_kl"], row["outcome"], sorted(own, key=lambda one: one["prompt"])))
    return found


def _by_target(row: dict[str, Any]) -> tuple[bool, float]:
    return row["target_kl"] is None, row["target_kl"] or 0.0


def _two_sided(rows: Iterable[dict[str, Any]], up: str, down: str, number: str) -> LogitsView:
    kept = sorted((row for row in rows), key=lambda row: (row["side"] or "", row["rank"] or 0))
    sides = {side: [(row["token"], row[number]) for row in group] for side, group in groupby(kept, key=lambda row: row["side"])}
    return LogitsView(sides.get(up, [])[:N_TOKENS], sides.get(down, [])[:N_TOKENS], kept[0]["outcome"] if kept else "")


def _said(explorer: Explorer, key: str, feature: int) -> tuple[str | None, str | None]:
    """What a feature of another dictionary is said to be, in full and as a label."""
    try:
        columns = explorer.dictionaries.columns(key, patience=0.0)
    except NotReadYet:
        return None, None
    return columns.title_of(feature), columns.label_of(feature)
