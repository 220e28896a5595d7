"""Do scorers agree with people? Correlations of every scorer with the mean rating, how far raters agree, and which scorers differ.

The protocol of P1 (arXiv 2410.13928, section 4): people's score of an explanation is the mean of their ratings, and a scorer is as good as
its correlation with people's scores. Intervals are 95 % percentile bootstraps over whole features. All scorers share the same draws, so
that differences of two scorers are paired.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from interp_assets.domain.bounds import PositiveCount, Seed
from interp_assets.domain.outcomes import CorrelationOutcome
from interp_assets.domain.ratings.scorer_pairs import PairRow, compared, place
from interp_assets.domain.statistics.agreement import alpha_replicates, krippendorff_alpha, rated_twice, reliability_of_mean
from interp_assets.domain.statistics.metrics import UNDEFINED, Estimate
from interp_assets.domain.statistics.power import smallest_detectable_spearman
from interp_assets.domain.statistics.rank_correlation import (
    LEAST_FEATURES,
    Correlation,
    cluster_draws,
    interval,
    kendall_weighted,
    partial_spearman,
    pearson_weighted,
    replicates,
    spearman_weighted,
    value_of,
)

PUBLISHED_SPEARMAN = {"fuzzing": 0.69, "simulation": 0.60, "detection": 0.59, "surprisal": 0.34, "embedding": 0.32}
PUBLISHED_EXPLANATIONS, PUBLISHED_CONTEXTS = 81, 700
"""P1's correlations of scorers with people, and the numbers of explanations and of rated contexts behind these correlations."""

HEADLINE = "spearman"
STATISTICS = (
    "spearman", "pearson", "kendall_tau_b", "spearman_corrected_for_attenuation", "spearman_partial_layer", "spearman_partial_dictionary",
)  # fmt: skip
ScopeKind = Literal["all", "layer", "dictionary"]


@dataclass(frozen=True)
class CorrelationSettings:
    """How the report on human ratings is computed."""

    n_bootstrap: PositiveCount = 10_000
    """Bootstrap replicates of every interval. Unit: replicates."""
    seed: Seed = 0
    """Seed of the bootstrap. Unit: whole number."""
    min_contexts: PositiveCount = 5
    """Fewest rated contexts with which an explanation counts (5 in arXiv 2410.13928). Unit: contexts."""


@dataclass(frozen=True)
class RatedItem:
    """A rated explanation, or anything else that people rate and scorers score.

    `rating` is the mean rating, `raters` has each rater's own mean, `scores` the score by each scorer.
    """

    dictionary: str
    layer: str
    feature: int
    rating: float
    raters: Mapping[str, float]
    scores: Mapping[str, float]


@dataclass(frozen=True)
class CorrelationRow:
    """One statistic of one scorer in one scope.

    `place_low` to `place_high` is the range of the scorer's places among all scorers (1 = best) that the data leave open. Only rows of the
    scope "all" have places.
    """

    scope: ScopeKind
    scope_value: str
    scorer: str
    statistic: str
    estimate: Estimate
    n_items: int
    n_features: int
    smallest_detectable: float | None
    outcome: CorrelationOutcome
    place_low: int | None = None
    place_high: int | None = None


@dataclass(frozen=True)
class AgreementRow:
    """One measure of how far raters agree, over the units that at least two raters rated."""

    measure: str
    rater: str | None
    estimate: Estimate
    n_raters: int
    n_units: int
    n_ratings: int
    outcome: CorrelationOutcome


@dataclass(frozen=True)
class CorrelationReport:
    """The three tables of the report on human ratings."""

    correlations: tuple[CorrelationRow, ...]
    pairs: tuple[PairRow, ...]
    agreement: tuple[AgreementRow, ...]


def correlation_report(items: Sequence[RatedItem], settings: CorrelationSettings) -> CorrelationReport:
    """The report on rated items; empty tables without items. Its scorers are all that scored at least one item, by name."""
    scorers = sorted({scorer for item in items for scorer in item.scores})
    features = np.array([f"{item.dictionary}:{item.feature}" for item in items])
    draws = cluster_draws(features, settings.n_bootstrap, np.random.default_rng(settings.seed))
    scores = {scorer: np.array([item.scores.get(scorer, np.nan) for item in items]) for scorer in scorers}
    pairs = compared(np.array([item.rating for item in items]), scores, features, draws)
    rows: list[CorrelationRow] = []
    for kind, value, here in _scopes(items):
        for scorer in scorers:
            chosen = here & np.array([scorer in item.scores for item in items], dtype=bool)
            found = _correlations(
                kind,
                value,
                scorer,
                [item for item, here_too in zip(items, chosen, strict=True) if here_too],
                features[chosen],
                draws[:, chosen],
            )
            places = place(scorer, pairs, scorers) if kind == "all" else (None, None)
            rows += [replace(row, place_low=places[0], place_high=places[1]) for row in found]
    return CorrelationReport(tuple(rows), tuple(pairs), tuple(_agreement(items, features, draws)))


def _scopes(items: Sequence[RatedItem]) -> list[tuple[ScopeKind, str, np.ndarray]]:
    """(kind, value, bool [items]: which items it holds) of each scope: all items, then each layer, then each dictionary."""
    layers = np.array([item.layer for item in items])
    dictionaries = np.array([item.dictionary for item in items])
    parts: list[tuple[ScopeKind, str, np.ndarray]] = []
    parts.append(("all", "", np.ones(len(items), dtype=bool)))
    by_group: tuple[tuple[ScopeKind, np.ndarray], ...] = (("layer", layers), ("dictionary", dictionaries))
    for kind, names in by_group:
        parts.extend((kind, str(name), names == name) for name in np.unique(names))
    return parts


def _correlations(
    kind: ScopeKind, value: str, scorer: str, items: Sequence[RatedItem], features: np.ndarray, draws: np.ndarray
) -> list[CorrelationRow]:
    """A row for each of STATISTICS; statistics that hold a group constant only in the scope "all"."""
    scores = np.array([item.scores[scorer] for item in items])
    ratings = np.array([item.rating for item in items])
    n_features = len(set(features.tolist()))
    groups = {"layer": [item.layer for item in items], "dictionary": [item.dictionary for item in items]}
    plain: dict[str, Correlation] = {"spearman": spearman_weighted, "pearson": pearson_weighted, "kendall_tau_b": kendall_weighted}
    rows: list[CorrelationRow] = []
    for statistic in STATISTICS:
        group = statistic.removeprefix("spearman_partial_")
        outcome: CorrelationOutcome = "ok"
        found = UNDEFINED
        if group in groups and kind != "all":
            continue
        if n_features < LEAST_FEATURES:
            outcome = "too_few_features"
        elif np.isnan(value_of(spearman_weighted, scores, ratings)):
            outcome = "constant"
        elif statistic == "spearman_corrected_for_attenuation":
            found, outcome = _corrected(items, scores, ratings, draws)
        elif group in groups and len(set(groups[group])) == 1:
            outcome = "one_group"
        else:
            correlation = plain.get(statistic) or partial_spearman(np.array(groups[group]))
            found = _estimated(correlation, scores, ratings, draws)
            outcome = "ok" if found.value is not None else "constant"
        detectable = smallest_detectable_spearman(n_features)
        rows.append(CorrelationRow(kind, value, scorer, statistic, found, len(items), n_features, detectable, outcome))
    return rows


def _estimated(correlation: Correlation, x: np.ndarray, y: np.ndarray, draws: np.ndarray) -> Estimate:
    return interval(value_of(correlation, x, y), replicates(correlation, x, y, draws))


def _corrected(
    items: Sequence[RatedItem], scores: np.ndarray, ratings: np.ndarray, draws: np.ndarray
) -> tuple[Estimate, CorrelationOutcome]:
    """Spearman's ρ divided by the square root of the reliability of the mean rating (Spearman, 1904): an estimate of ρ with endlessly many
    raters. May exceed 1. The scorer's own noise is not corrected for.

    The reliability is `reliability_of_mean` of interval α of the raters' means, for k raters, where k is the harmonic mean of the numbers
    of raters of the explanations. The reliability is computed anew in each replicate.
    """
    units, values = _rater_means(items)
    paired = rated_twice(units)
    if not paired.any():
        return UNDEFINED, "one_rater"
    k = 1 / float(np.mean([1 / len(item.raters) for item in items]))
    reliability = reliability_of_mean(krippendorff_alpha(values, units, "interval").value or 0.0, k)
    if np.isnan(reliability):
        return UNDEFINED, "no_reliability"
    drawn = reliability_of_mean(alpha_replicates(values[paired], units[paired], "interval", draws[:, units[paired]]), k)
    value = value_of(spearman_weighted, scores, ratings) / float(np.sqrt(reliability))
    return interval(value, replicates(spearman_weighted, scores, ratings, draws) / np.sqrt(drawn)), "ok"


def _rater_means(items: Sequence[RatedItem]) -> tuple[np.ndarray, np.ndarray]:
    """(item number, value) of each rater's mean of each item, both [raters' means]."""
    return (
        np.array([number for number, item in enumerate(items) for _ in item.raters], dtype=np.int64),
        np.array([value for item in items for value in item.raters.values()], dtype=np.float64),
    )


def _agreement(items: Sequence[RatedItem], features: np.ndarray, draws: np.ndarray) -> list[AgreementRow]:
    """α of the raters' means of each item, ordinal and interval; then, for each rater, the correlation with the mean of all other
    raters."""
    if not items:
        return []
    units, values = _rater_means(items)
    names = np.array([rater for item in items for rater in item.raters])
    paired = rated_twice(units)
    counts = len(set(names[paired].tolist())), len(set(units[paired].tolist())), int(paired.sum())
    outcome: Callable[[Estimate], CorrelationOutcome] = lambda found: "ok" if found.value is not None else "constant"  # noqa: E731
    if not paired.any():
        measures = ("krippendorff_alpha_ordinal", "krippendorff_alpha_interval")
        return [AgreementRow(measure, None, UNDEFINED, *counts, "one_rater") for measure in measures]
    rows: list[AgreementRow] = []
    for level in ("ordinal", "interval"):
        found = krippendorff_alpha(values, units, level, draws[:, units])
        rows.append(AgreementRow(f"krippendorff_alpha_{level}", None, found, *counts, outcome(found)))
    for rater in sorted(set(names[paired].tolist())):
        shared = np.array([rater in item.raters and len(item.raters) > 1 for item in items], dtype=bool)
        here = [item for item, both in zip(items, shared, strict=True) if both]
        own = np.array([item.raters[rater] for item in here])
        others = np.array([np.mean([value for name, value in item.raters.items() if name != rater]) for item in here])
        few = len(set(features[shared].tolist())) < LEAST_FEATURES
        found = UNDEFINED if few else _estimated(spearman_weighted, own, others, draws[:, shared])
        n_ratings = sum(len(item.raters) for item in here)
        rows.append(
            AgreementRow(
                "spearman_with_the_others", rater, found, counts[0], len(here), n_ratings, "too_few_features" if few else outcome(found)
            )
        )
    return rows
