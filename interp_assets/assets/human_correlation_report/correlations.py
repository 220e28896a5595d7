"""The tables of the report on how scorers agree with people: made from the ratings and scores in the lake."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from interp_assets.config.base import fingerprint
from interp_assets.config.keys import RangeKey, lake_partition
from interp_assets.config.registry import DictionaryRegistry
from interp_assets.domain.explaining import BASELINES
from interp_assets.domain.outcomes import RatedOutcome
from interp_assets.domain.ratings.human_correlation import AgreementRow, CorrelationReport, CorrelationRow, CorrelationSettings, RatedItem
from interp_assets.domain.ratings.ratings import RatedExplanation, Rating, rated_explanations
from interp_assets.domain.ratings.scorer_pairs import PairRow
from interp_assets.domain.scoring import SCORERS
from interp_assets.domain.trials import NO_EXPLANATION
from interp_assets.reading.ratings import stored_ratings
from interp_assets.tables import HUMAN_CORRELATIONS, HUMAN_RATINGS, RATED_EXPLANATIONS, RATER_AGREEMENT, SCORER_PAIRS, SCORES, Table
from resources.store.lake import Lake

CODE_VERSION = "1"
TABLES_OF_THE_REPORT = (RATED_EXPLANATIONS, SCORER_PAIRS, RATER_AGREEMENT, HUMAN_CORRELATIONS)
"""In the order of writing: the manifest of the last table says that the report is complete."""


@dataclass(frozen=True)
class RatedScores:
    """The inputs of the report: ratings of one kind, the rated explanations, and the scores and outcome of each rated explanation.

    `n_of_other_kinds` counts ratings that are left out because people did not give them.
    """

    rater_kind: str
    ratings: tuple[Rating, ...]
    explanations: tuple[RatedExplanation, ...]
    outcomes: tuple[RatedOutcome, ...]
    scores: tuple[Mapping[str, float], ...]
    n_of_other_kinds: int

    @property
    def items(self) -> list[RatedItem]:
        """The rated explanations that correlations are computed from."""
        return [
            RatedItem(one.dictionary, one.dictionary.rpartition("/")[0], one.feature, one.score or 0.0, one.raters, scores)
            for one, outcome, scores in zip(self.explanations, self.outcomes, self.scores, strict=True)
            if outcome == "ok"
        ]

    @property
    def outcome_counts(self) -> Counter[str]:
        """How many rated explanations ended in each outcome."""
        return Counter(self.outcomes)


def report_version(lake: Lake, registry: DictionaryRegistry, settings: CorrelationSettings) -> tuple[str, dict[str, str]]:
    """(data version, inputs) of the report: over the ratings, the scores of all ranges with rated features, and the settings.

    Raises `LakeError` where no ratings have been read into the lake.
    """
    inputs = {HUMAN_RATINGS.name: lake.require(HUMAN_RATINGS.name, {}).data_version}
    for key in _rated_ranges(registry, stored_ratings(lake)):
        for scorer in SCORERS:
            manifest = lake.manifest(SCORES.name, {"scorer": scorer.NAME, **lake_partition(key)})
            if manifest is not None and manifest.rows:
                inputs[f"{SCORES.name}/{scorer.NAME} {key}"] = manifest.data_version
    return fingerprint(CODE_VERSION, settings, inputs), inputs


def rated_scores(lake: Lake, registry: DictionaryRegistry, settings: CorrelationSettings) -> RatedScores:
    """The ratings in the lake with the scores of the rated explanations: the ratings of people, or generated ratings where people gave
    none.

    The score of an explanation by a scorer is its headline score; where several methods wrote the same text, the mean of their headline
    scores. For a scorer that reads no explanation, it is the score of the feature.
    """
    ratings = stored_ratings(lake)
    kind = "human" if any(rating.rater_kind == "human" for rating in ratings) or not ratings else "generated"
    chosen = tuple(rating for rating in ratings if rating.rater_kind == kind)
    explanations = rated_explanations(chosen, settings.min_contexts)
    found = _scores(lake, _rated_ranges(registry, chosen), {(one.dictionary, one.feature) for one in explanations})
    scores = []
    for one in explanations:
        methods = (*one.explained.methods, NO_EXPLANATION)
        by_scorer: dict[str, list[float]] = defaultdict(list)
        for method in methods:
            for scorer, value in found.get((one.dictionary, one.feature, method), {}).items():
                by_scorer[scorer].append(value)
        scores.append({scorer: sum(values) / len(values) for scorer, values in sorted(by_scorer.items())})
    outcomes: tuple[RatedOutcome, ...] = tuple(_outcome(one, own) for one, own in zip(explanations, scores, strict=True))
    return RatedScores(kind, chosen, tuple(explanations), outcomes, tuple(scores), len(ratings) - len(chosen))


def _outcome(one: RatedExplanation, scores: Mapping[str, float]) -> RatedOutcome:
    if one.score is None:
        return "too_few_contexts"
    if set(one.explained.methods) <= set(BASELINES):
        return "baseline"
    return "ok" if scores else "not_scored"


def _rated_ranges(registry: DictionaryRegistry, ratings: Iterable[Rating]) -> list[RangeKey]:
    """The partitions that hold rated features; dictionaries that are not registered are left out."""
    records = registry.read_all()[0]
    rated = {(rating.dictionary, rating.feature) for rating in ratings if rating.dictionary in records}
    return sorted({records[dictionary].range_of(feature) for dictionary, feature in rated})


def _scores(lake: Lake, ranges: Sequence[RangeKey], features: set[tuple[str, int]]) -> dict[tuple[str, int, str], dict[str, float]]:
    """Headline scores by scorer of each (dictionary, feature, method) among `features`."""
    found: dict[tuple[str, int, str], dict[str, float]] = defaultdict(dict)
    columns = ["feature", "explanation_method", "headline", "value"]
    wanted: dict[str, list[int]] = defaultdict(list)
    for dictionary, feature in sorted(features):
        wanted[dictionary].append(feature)
    for key in ranges:
        rated = pa.array(wanted[key.dictionary], SCORES.schema.field("feature").type)
        for scorer in SCORERS:
            partition = {"scorer": scorer.NAME, **lake_partition(key)}
            if lake.manifest(SCORES.name, partition) is None:
                continue
            rows = lake.read(SCORES.name, partition, columns=columns)
            # Few features of a range are rated: the others never become Python objects.
            rows = rows.filter(pc.and_(pc.and_(rows["headline"], pc.is_valid(rows["value"])), pc.is_in(rows["feature"], rated)))
            for row in rows.to_pylist():
                found[key.dictionary, row["feature"], row["explanation_method"]][scorer.NAME] = row["value"]
    return found


def write_report(lake: Lake, rated: RatedScores, report: CorrelationReport, version: str, inputs: Mapping[str, str]) -> None:
    """Write the report's tables."""
    kind = {"rater_kind": rated.rater_kind}
    rows: dict[Table, list[dict[str, Any]]] = {
        RATED_EXPLANATIONS: [{**kind, **_rated_row(*one)} for one in zip(rated.explanations, rated.outcomes, strict=True)],
        SCORER_PAIRS: [{**kind, **_pair_row(pair)} for pair in report.pairs],
        RATER_AGREEMENT: [{**kind, **_agreement_row(row)} for row in report.agreement],
        HUMAN_CORRELATIONS: [{**kind, **_correlation_row(row)} for row in report.correlations],
    }
    for table in TABLES_OF_THE_REPORT:
        lake.write(table.name, {}, table.schema, pa.Table.from_pylist(rows[table], schema=table.schema), version, inputs)


def _rated_row(one: RatedExplanation, outcome: RatedOutcome) -> dict[str, Any]:
    return {
        "dictionary": one.dictionary, "feature": one.feature, "explanation_id": one.explained.explanation_id,
        "explanation": one.explained.text, "explanation_methods": list(one.explained.methods), "rating": one.score,
        "n_ratings": one.n_ratings, "n_raters": len(one.raters), "n_contexts": one.n_contexts, "outcome": outcome,
    }  # fmt: skip


def _correlation_row(row: CorrelationRow) -> dict[str, Any]:
    return {
        "scope": row.scope, "scope_value": row.scope_value, "scorer": row.scorer, "statistic": row.statistic,
        "value": row.estimate.value, "ci_low": row.estimate.ci_low, "ci_high": row.estimate.ci_high, "n_explanations": row.n_items,
        "n_features": row.n_features, "smallest_detectable": row.smallest_detectable, "place_low": row.place_low,
        "place_high": row.place_high, "outcome": row.outcome,
    }  # fmt: skip


def _pair_row(pair: PairRow) -> dict[str, Any]:
    return {
        "scorer": pair.scorer, "other": pair.other, "spearman": pair.between.value, "spearman_ci_low": pair.between.ci_low,
        "spearman_ci_high": pair.between.ci_high, "difference": pair.difference.value, "ci_low": pair.difference.ci_low,
        "ci_high": pair.difference.ci_high, "p": pair.p, "p_adjusted": pair.p_adjusted, "differ": pair.differ,
        "smallest_detectable": pair.smallest_detectable, "n_explanations": pair.n_items, "n_features": pair.n_features,
        "outcome": pair.outcome,
    }  # fmt: skip


def _agreement_row(row: AgreementRow) -> dict[str, Any]:
    return {
        "measure": row.measure, "rater": row.rater, "value": row.estimate.value, "ci_low": row.estimate.ci_low,
        "ci_high": row.estimate.ci_high, "n_raters": row.n_raters, "n_explanations": row.n_units, "n_values": row.n_ratings,
        "outcome": row.outcome,
    }  # fmt: skip
