"""The report's numbers: on real raters, on studies whose truth is known, and where it must refuse to say anything."""

import csv
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import kendalltau, pearsonr, spearmanr

from interp_assets.domain.ratings.human_correlation import (
    STATISTICS,
    CorrelationReport,
    CorrelationRow,
    CorrelationSettings,
    RatedItem,
    correlation_report,
)
from interp_assets.domain.ratings.scorer_pairs import PairRow, ranking
from interp_assets.domain.statistics.metrics import UNDEFINED
from interp_assets.domain.statistics.rank_correlation import LEAST_FEATURES

TOPICS = Path(__file__).parents[2] / "data" / "topic_ratings_nytimes.csv"
KNOWN_SPEARMAN = {"c_npmi_10_full": 0.3776, "c_v_full": 0.4153, "c_uci_full": 0.3902, "u_mass_full": 0.1063}


@pytest.fixture(scope="module")
def topics() -> list[RatedItem]:
    """150 topics of three topic models, each rated by 15 people and scored by four coherence measures."""
    rows = defaultdict(list)
    with TOPICS.open() as file:
        for row in csv.DictReader(file):
            rows[row["model"], int(row["topic_idx"])].append(row)
    return [
        RatedItem(
            model, "nytimes", topic, float(np.mean([float(row["rating"]) for row in own])),
            {row["rater"]: float(row["rating"]) for row in own},
            {scorer: float(own[0][scorer]) for scorer in KNOWN_SPEARMAN},
        )
        for (model, topic), own in rows.items()
    ]  # fmt: skip


@pytest.fixture(scope="module")
def on_topics(topics: list[RatedItem]) -> CorrelationReport:
    return correlation_report(topics, CorrelationSettings(n_bootstrap=1000))


def row(report: CorrelationReport, scorer: str, statistic: str = "spearman", scope_value: str = "") -> CorrelationRow:
    (found,) = (r for r in report.correlations if (r.scorer, r.statistic, r.scope_value) == (scorer, statistic, scope_value))
    return found


def pair(report: CorrelationReport, scorer: str, other: str) -> PairRow:
    (found,) = (p for p in report.pairs if (p.scorer, p.other) == (scorer, other))
    return found


def study(
    n: int, noise: dict[str, float], seed: int = 0, n_raters: int = 3, rater_noise: float = 0.5, n_dictionaries: int = 1
) -> list[RatedItem]:
    """n features with a true quality, scorers that see it through noise, raters likewise."""
    rng = np.random.default_rng(seed)
    items = []
    for feature in range(n):
        quality = rng.normal()
        raters = {f"r{i}": quality + rater_noise * rng.normal() for i in range(n_raters)}
        scores = {scorer: quality + sd * rng.normal() for scorer, sd in noise.items()}
        dictionary = f"m/0{feature % n_dictionaries}/d"
        items.append(RatedItem(dictionary, dictionary[:4], feature, float(np.mean(list(raters.values()))), raters, scores))
    return items


def test_real_raters_give_the_known_correlations_to_four_digits(on_topics: CorrelationReport, topics: list[RatedItem]) -> None:
    ratings = [item.rating for item in topics]
    for scorer, known in KNOWN_SPEARMAN.items():
        scores = [item.scores[scorer] for item in topics]
        found = row(on_topics, scorer)
        assert round(found.estimate.value or 0, 4) == known and found.n_items == found.n_features == 150
        for statistic, reference in (("spearman", spearmanr), ("pearson", pearsonr), ("kendall_tau_b", kendalltau)):
            assert row(on_topics, scorer, statistic).estimate.value == pytest.approx(reference(scores, ratings).statistic, abs=1e-12)
    intervals = [row(on_topics, scorer).estimate for scorer in KNOWN_SPEARMAN]
    assert all((e.ci_low or 0) < (e.value or 0) < (e.ci_high or 0) for e in intervals)
    # Of four scores only u_mass is told from 0 by nothing, as the published conclusion has it: its interval holds 0.
    assert [(e.ci_low or 0) > 0 for e in intervals] == [True, True, True, False]


def test_agreement_and_correction_on_real_raters(on_topics: CorrelationReport, topics: list[RatedItem]) -> None:
    ordinal, interval, *raters = on_topics.agreement
    assert (ordinal.n_raters, ordinal.n_units, ordinal.n_ratings, len(raters)) == (15, 150, 2250, 15)
    assert ordinal.estimate.value == pytest.approx(0.475, abs=0.001) and (ordinal.estimate.ci_low or 0) > 0.3
    alpha = interval.estimate.value or 0
    corrected = row(on_topics, "c_v_full", "spearman_corrected_for_attenuation").estimate.value
    assert corrected == pytest.approx((row(on_topics, "c_v_full").estimate.value or 0) / np.sqrt(15 * alpha / (1 + 14 * alpha)))
    first = [item.raters["0"] for item in topics]
    others = [np.mean([value for rater, value in item.raters.items() if rater != "0"]) for item in topics]
    assert raters[0].estimate.value == pytest.approx(spearmanr(first, others).statistic)


def test_scopes_and_partial_correlations(on_topics: CorrelationReport, topics: list[RatedItem]) -> None:
    of_one = [item for item in topics if item.dictionary == "etm"]
    expected = spearmanr([item.scores["c_v_full"] for item in of_one], [item.rating for item in of_one]).statistic
    found = row(on_topics, "c_v_full", "spearman", "etm")
    assert (
        found.scope == "dictionary" and found.estimate.value == pytest.approx(expected) and found.n_items == 50 and found.place_low is None
    )
    assert row(on_topics, "c_v_full", "spearman_partial_layer").outcome == "one_group"
    partial = row(on_topics, "c_v_full", "spearman_partial_dictionary")
    assert (
        partial.outcome == "ok"
        and (partial.estimate.value or 0) > expected - 1
        and partial.estimate.value != row(on_topics, "c_v_full").estimate.value
    )


def test_pairs_on_real_raters_are_the_correlations_of_the_rows(on_topics: CorrelationReport, topics: list[RatedItem]) -> None:
    found = pair(on_topics, "c_v_full", "u_mass_full")
    assert found.difference.value == pytest.approx(0.4153 - 0.1063, abs=1e-4)
    columns = [[item.scores[name] for item in topics] for name in ("c_v_full", "u_mass_full")]
    assert found.between.value == pytest.approx(spearmanr(*columns).statistic)
    assert len(on_topics.pairs) == 6 and not pair(on_topics, "c_npmi_10_full", "c_uci_full").differ


def test_scorers_that_clearly_differ_are_told_apart_and_placed() -> None:
    report = correlation_report(study(150, {"good": 0.2, "fair": 1.0, "none": 30.0}), CorrelationSettings(n_bootstrap=2000))
    assert all(p.differ for p in report.pairs)
    assert [(row(report, s).place_low, row(report, s).place_high) for s in ("good", "fair", "none")] == [(1, 1), (2, 2), (3, 3)]
    first, lines = ranking(report.pairs)
    assert first.startswith("All pairs of scorers differ significantly (paired bootstrap over features, Holm over 3 pairs")
    assert len(lines) == 3 and any(line.startswith("good agrees with the ratings more than fair: by 0.") for line in lines)


def test_no_order_is_given_where_the_intervals_give_none() -> None:
    report = correlation_report(study(20, {"a": 0.8, "b": 0.9, "c": 1.0}), CorrelationSettings(n_bootstrap=500))
    values = [row(report, s).estimate.value for s in ("a", "b", "c")]
    assert len(set(values)) == 3  # there would be an order to give, if numbers were enough
    assert not any(p.differ for p in report.pairs) and all((row(report, s).place_low, row(report, s).place_high) == (1, 3) for s in "abc")
    first, lines = ranking(report.pairs)
    assert first.startswith("No order of the scorers is given") and "would have been found with probability 0.8" in first and lines == []


def test_scorers_that_are_equally_good_are_seldom_told_apart() -> None:
    """Of 40 studies of two scorers with equal noise, the 5 % level lets about 2 through."""
    rows = [study(60, {"a": 1.0, "b": 1.0}, seed, n_raters=1) for seed in range(40)]
    found = [correlation_report(items, CorrelationSettings(n_bootstrap=200)).pairs[0] for items in rows]
    assert sum(p.differ for p in found) <= 6
    assert {round(p.smallest_detectable or 0, 1) for p in found} <= {0.1, 0.2, 0.3, 0.4}


def test_scorers_that_rank_alike_differ_in_nothing_that_could_be_found() -> None:
    items = [RatedItem(**{**vars(item), "scores": {"a": item.scores["a"], "b": 2 * item.scores["a"]}}) for item in study(30, {"a": 1.0})]
    (only,) = correlation_report(items, CorrelationSettings(n_bootstrap=100)).pairs
    assert only.between.value == pytest.approx(1) and only.difference.value == pytest.approx(0)
    assert only.smallest_detectable is None and not only.differ
    assert ranking([only])[0].endswith("5 % level).")


def test_correction_finds_the_correlation_with_the_truth_behind_noisy_raters() -> None:
    """A scorer with r = 1/√2 of the truth; two raters with noise of sd 1.5 hide a third of that. Corrected, it is back."""
    items = study(1500, {"s": 1.0}, n_raters=2, rater_noise=1.5)
    report = correlation_report(items, CorrelationSettings(n_bootstrap=20))
    truth = 6 / np.pi * np.arcsin(1 / np.sqrt(2) / 2)
    plain, corrected = (row(report, "s", name).estimate.value or 0 for name in ("spearman", "spearman_corrected_for_attenuation"))
    assert plain < truth - 0.15 and corrected == pytest.approx(truth, abs=0.07)


def test_scorers_need_not_have_scored_the_same() -> None:
    items = study(60, {"a": 0.5, "b": 0.5, "c": 0.5})
    gapped = [
        RatedItem(**{**vars(item), "scores": {name: value for name, value in item.scores.items() if name != "b" or item.feature % 2}})
        for item in items
    ]
    report = correlation_report(gapped, CorrelationSettings(n_bootstrap=50))
    odd = [item for item in items if item.feature % 2]
    assert row(report, "b").n_items == pair(report, "a", "b").n_items == 30 and pair(report, "a", "c").n_items == 60
    a, b = (spearmanr([item.scores[name] for item in odd], [item.rating for item in odd]).statistic for name in "ab")
    assert pair(report, "a", "b").difference.value == pytest.approx(a - b)


def test_too_few_features_are_an_outcome_and_not_a_number() -> None:
    few = correlation_report(study(LEAST_FEATURES - 1, {"a": 0.1, "b": 0.1}), CorrelationSettings(n_bootstrap=20))
    assert {r.outcome for r in few.correlations} == {"too_few_features"} == {p.outcome for p in few.pairs}
    assert all(r.estimate == UNDEFINED for r in few.correlations) and {r.statistic for r in few.correlations} == set(STATISTICS)
    assert ranking(few.pairs) == (
        "No order of the scorers is given: no two of them scored enough of the same rated features to be compared.",
        [],
    )
    # Many explanations of few features are few all the same.
    one = study(1, {"a": 0.1})[0]
    assert row(correlation_report([one] * 40, CorrelationSettings(n_bootstrap=20)), "a").outcome == "too_few_features"


def test_nothing_rated_and_ratings_that_are_all_alike() -> None:
    assert correlation_report([], CorrelationSettings(n_bootstrap=20)) == CorrelationReport((), (), ())
    alike = [RatedItem(**{**vars(item), "rating": 0.5, "raters": {"r": 0.5}}) for item in study(20, {"a": 1.0, "b": 1.0})]
    report = correlation_report(alike, CorrelationSettings(n_bootstrap=20))
    assert {r.outcome for r in report.correlations if r.scope == "all"} == {"constant"} and report.pairs[0].outcome == "constant"
    assert {r.outcome for r in report.agreement} == {"one_rater"}


def test_one_rater_or_raters_who_do_not_agree_leave_nothing_to_correct_by() -> None:
    one = correlation_report(study(30, {"a": 1.0}, n_raters=1), CorrelationSettings(n_bootstrap=20))
    assert row(one, "a", "spearman_corrected_for_attenuation").outcome == "one_rater" and row(one, "a").outcome == "ok"
    opposed = [RatedItem(**{**vars(i), "raters": {"x": i.rating, "y": -i.rating}}) for i in study(30, {"a": 1.0})]
    report = correlation_report(opposed, CorrelationSettings(n_bootstrap=20))
    assert row(report, "a", "spearman_corrected_for_attenuation").outcome == "no_reliability"
    assert (report.agreement[0].estimate.value or 0) < 0


def test_the_same_seed_gives_the_same_report() -> None:
    items = study(20, {"a": 1.0, "b": 1.0})
    first, second = (correlation_report(items, CorrelationSettings(n_bootstrap=100, seed=1)) for _ in range(2))
    assert first == second != correlation_report(items, CorrelationSettings(n_bootstrap=100, seed=2))
