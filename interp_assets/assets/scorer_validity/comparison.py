"""Compares the scores of planted features under true and perturbed explanations: rows of scorer_validity, and the finding on each
scorer."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from interp_assets.config.base import fingerprint
from interp_assets.config.keys import FEATURE_RANGE_KEYS, RangeKey, lake_partition
from interp_assets.config.records import PLANTED_KIND, DictionaryRecord
from interp_assets.config.registry import DictionaryRegistry
from interp_assets.config.settings import PlatformSettings, StageSettings
from interp_assets.domain.planted.validity import PERTURBED, TRUE, Finding, Movement, in_words, movement, with_holm
from interp_assets.domain.scoring import SCORERS, Scorer
from interp_assets.domain.statistics.metrics import Estimate
from interp_assets.tables import SCORER_VALIDITY, SCORES, TRIALS
from resources.store.lake import Lake

CODE_VERSION = "2"
ESTIMATED = ("mean_true", "mean_perturbed", "median_true", "median_perturbed", "share_right", "p_value")


def planted_records(registry: DictionaryRegistry) -> list[DictionaryRecord]:
    """The planted dictionaries that are registered, by key."""
    return [record for _, record in sorted(registry.read_all()[0].items()) if record.kind == PLANTED_KIND]


def validity_version(lake: Lake, record: DictionaryRecord, settings: PlatformSettings) -> str:
    """Data version of the scorer validity of a planted dictionary: over the complete scores among the scores that it asks for."""
    stages = settings.stage_settings(record.stages)
    scores = {
        scorer.NAME: [lake.require(SCORES.name, partition).data_version for partition in _partitions(record, scorer)]
        for scorer in scored_scorers(lake, record, stages)
    }
    return fingerprint(SCORER_VALIDITY.name, CODE_VERSION, stages.scoring.n_bootstrap, stages.seed, scores)


def validity_is_current(lake: Lake, record: DictionaryRecord, settings: PlatformSettings) -> bool:
    """Whether the scorer validity of a dictionary was made from its present scores; True for a dictionary that is not planted."""
    return record.kind != PLANTED_KIND or lake.is_current(
        SCORER_VALIDITY.name, {"dictionary": record.key}, validity_version(lake, record, settings)
    )


def scored_scorers(lake: Lake, record: DictionaryRecord, stages: StageSettings) -> list[Scorer]:
    """The scorers of a planted dictionary with complete scores that judge both true and perturbed explanations."""
    return [
        scorer
        for scorer in SCORERS
        if TRUE in stages.scored(scorer)
        and set(PERTURBED.values()) & set(stages.scored(scorer))
        and all(lake.manifest(SCORES.name, partition) is not None for partition in _partitions(record, scorer))
    ]


def validity_rows(lake: Lake, record: DictionaryRecord, settings: PlatformSettings) -> pa.Table:
    """Rows of the table scorer_validity for a planted dictionary: by scorer, metric and perturbation."""
    stages = settings.stage_settings(record.stages)
    scorers = scored_scorers(lake, record, stages)
    judges = {scorer.NAME: _judge(lake, record, scorer) for scorer in scorers}
    found = [(scorer.NAME, finding) for scorer in scorers for finding in _findings(_values(lake, record, scorer), scorer)]
    rows: list[dict[str, Any]] = []
    for (scorer, _), finding in zip(found, with_holm([finding for _, finding in found]), strict=True):
        move = finding.movement
        rows.append(
            {
                "dictionary": record.key, "scorer": scorer, "metric": finding.metric, "headline": finding.headline,
                "perturbation": finding.perturbation, "judge": judges[scorer], "n_features": move.n_features,
                "n_undefined": move.n_undefined, **{name: getattr(move, name) for name in ESTIMATED}, "difference": move.difference.value,
                "ci_low": move.difference.ci_low, "ci_high": move.difference.ci_high, "p_adjusted": finding.p_adjusted,
                "outcome": finding.outcome,
            }
        )  # fmt: skip
    return pa.Table.from_pylist(rows, schema=SCORER_VALIDITY.schema)


def words_of(rows: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], str]:
    """The findings in rows of scorer_validity as words, by dictionary and scorer, in the order of the rows."""
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        groups[row["dictionary"], row["scorer"]].append(row)
    return {key: in_words(key[1], own[0]["judge"], [_finding(row) for row in own]) for key, own in groups.items()}


def _finding(row: Mapping[str, Any]) -> Finding:
    difference = Estimate(row["difference"], row["ci_low"], row["ci_high"])
    move = Movement(row["n_features"], row["n_undefined"], difference=difference, **{name: row[name] for name in ESTIMATED})
    return Finding(row["metric"], row["headline"], row["perturbation"], move, row["p_adjusted"])


def _partitions(record: DictionaryRecord, scorer: Scorer) -> list[dict[str, str]]:
    return [{"scorer": scorer.NAME, **lake_partition(RangeKey(record.key, name))} for name in FEATURE_RANGE_KEYS]


def _values(lake: Lake, record: DictionaryRecord, scorer: Scorer) -> dict[str, dict[str, dict[int, float | None]]]:
    """Values by metric, explanation method and feature; values of single strata are left out."""
    found: dict[str, dict[str, dict[int, float | None]]] = defaultdict(lambda: defaultdict(dict))
    columns = ["metric", "explanation_method", "feature", "stratum", "value"]
    for partition in _partitions(record, scorer):
        for row in lake.read(SCORES.name, partition, columns=columns).to_pylist():
            if row["stratum"] is None:
                found[row["metric"]][row["explanation_method"]][row["feature"]] = row["value"]
    return found


def _findings(values: Mapping[str, Mapping[str, Mapping[int, float | None]]], scorer: Scorer) -> list[Finding]:
    """Every metric under every perturbation that was scored, the headline metric first."""
    found = []
    for metric in sorted(values, key=lambda name: name != scorer.HEADLINE):
        by_method = values[metric]
        for perturbation, method in PERTURBED.items():
            if TRUE in by_method and method in by_method:
                move = movement(by_method[TRUE], by_method[method])
                found.append(Finding(metric, metric == scorer.HEADLINE, perturbation, move))
    return found


def _judge(lake: Lake, record: DictionaryRecord, scorer: Scorer) -> str:
    """Who answered the scorer's questions; empty where nobody was asked."""
    judges: set[str] = set()
    for partition in _partitions(record, scorer):
        judges |= set(lake.read(TRIALS.name, partition, columns=["model"]).column(0).cast(pa.string()).to_pylist())
    return ", ".join(sorted(judges - {""}))
