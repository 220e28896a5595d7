import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import sem, spearmanr, ttest_ind
from sklearn import metrics as reference

from interp_assets.domain.statistics.metrics import (
    UNDEFINED,
    Estimate,
    floors,
    mean_difference,
    mean_with_error,
    mixed_auroc,
    prediction_metrics,
    probability_metrics,
    random_average_precision,
    signed_gini,
    spearman,
    wilson,
)


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_metrics_by_hand() -> None:
    """4 positives of which 3 found, 6 negatives of which 2 wrongly accused."""
    truth = [1, 1, 1, 1, 0, 0, 0, 0, 0, 0]
    found = prediction_metrics(np.array(truth), np.array([1, 1, 1, 0, 1, 1, 0, 0, 0, 0]), 1000, rng())
    assert found["recall"].value == 3 / 4
    assert found["precision"].value == 3 / 5
    assert found["f1"].value == pytest.approx(2 * 3 / (3 + 2 + 4))
    assert found["balanced_accuracy"].value == pytest.approx((3 / 4 + 4 / 6) / 2)


def test_ranking_metrics_by_hand() -> None:
    """Positives .9 .5 .5, negatives .7 .5 .1: pairs won 3 + 1 + 1, ties ½ + ½, of 9."""
    found = probability_metrics(np.array([1, 1, 1, 0, 0, 0]), np.array([0.9, 0.5, 0.5, 0.7, 0.5, 0.1]), 1000, rng())
    assert found["auroc"].value == pytest.approx(6 / 9)
    assert found["average_precision"].value == pytest.approx(1 / 3 * 1 + 2 / 3 * 3 / 5)  # after .9: 1 of 1; after .5: 3 of 5


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.booleans(), st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.75, 1.0])), min_size=2, max_size=60))
def test_metrics_equal_scikit_learn(items: list[tuple[bool, float]]) -> None:
    truth, score = np.array([t for t, _ in items]), np.array([s for _, s in items])
    prediction = score >= 0.5
    ours = prediction_metrics(truth, prediction, 10, rng()) | probability_metrics(truth, score, 10, rng())
    if truth.any():
        assert ours["recall"].value == pytest.approx(reference.recall_score(truth, prediction))
        assert ours["f1"].value == pytest.approx(reference.f1_score(truth, prediction, zero_division=0))
    if prediction.any():
        assert ours["precision"].value == pytest.approx(reference.precision_score(truth, prediction))
    if truth.any() and not truth.all():
        assert ours["balanced_accuracy"].value == pytest.approx(reference.balanced_accuracy_score(truth, prediction))
        assert ours["auroc"].value == pytest.approx(reference.roc_auc_score(truth, score))
        assert ours["average_precision"].value == pytest.approx(reference.average_precision_score(truth, score))


def test_what_is_undefined_is_none() -> None:
    never_yes = prediction_metrics(np.array([1, 0]), np.array([0, 0]), 10, rng())
    assert never_yes["precision"].value is None
    assert (never_yes["f1"].value, never_yes["recall"].value, never_yes["balanced_accuracy"].value) == (0.0, 0.0, 0.5)
    no_positives = prediction_metrics(np.array([0, 0]), np.array([0, 1]), 10, rng())
    assert [no_positives[m].value for m in ("recall", "f1", "balanced_accuracy", "precision")] == [None, None, None, 0.0]
    assert probability_metrics(np.array([1, 1]), np.array([0.1, 0.2]), 10, rng())["auroc"].value is None


def test_bootstrap_intervals_agree_with_theory() -> None:
    """Recall 60 of 100: the binomial's normal interval is 0.6 ± 1.96 · 0.049."""
    truth = np.repeat([True, False], 100)
    prediction = np.concatenate([np.arange(100) < 60, np.arange(100) < 30])
    recall = prediction_metrics(truth, prediction, 20_000, rng())["recall"]
    assert recall.ci_low == pytest.approx(0.504, abs=0.012)
    assert recall.ci_high == pytest.approx(0.696, abs=0.012)


def test_the_auroc_interval_of_many_items_agrees_with_a_plain_bootstrap() -> None:
    draw = np.random.default_rng(5)
    truth = np.repeat([True, False], 60)
    score = np.round(draw.normal(truth * 0.8, 1.0), 1)
    ours = probability_metrics(truth, score, 4000, rng())
    plain = []
    for _ in range(600):
        pick = np.concatenate([draw.integers(0, 60, 60), draw.integers(60, 120, 60)])
        plain.append((reference.roc_auc_score(truth[pick], score[pick]), reference.average_precision_score(truth[pick], score[pick])))
    for name, (low, high) in zip(("auroc", "average_precision"), np.percentile(plain, [2.5, 97.5], axis=0).T, strict=True):
        assert (ours[name].ci_low, ours[name].ci_high) == (pytest.approx(low, abs=0.06), pytest.approx(high, abs=0.06))


def test_equal_seeds_give_equal_intervals() -> None:
    truth, score = np.repeat([True, False], 20), np.linspace(0, 1, 40)
    assert probability_metrics(truth, score, 100, rng()) == probability_metrics(truth, score, 100, rng())


def test_floors_by_hand() -> None:
    """25 positives, 75 negatives: always yes has precision ¼ and F1 2·25 / (2·25 + 75) = 0.4."""
    expected = {"balanced_accuracy": 0.5, "f1": 0.4, "precision": 0.25, "recall": None, "auroc": 0.5}
    found = floors(25, 75)
    harmonic = sum(1 / k for k in range(1, 101))
    assert found.pop("average_precision") == pytest.approx((harmonic + 24 / 99 * (100 - harmonic)) / 100) and found == expected
    assert set(floors(0, 0).values()) == {None}


@pytest.mark.parametrize(
    ("n_positive", "n_negative", "expected"), [(5, 5, 0.6072), (100, 100, 0.5123), (1, 1, 0.75), (3, 0, 1.0), (0, 4, 0.0)]
)
def test_average_precision_of_a_random_order(n_positive: int, n_negative: int, expected: float) -> None:
    """Of 1 + 1 either the positive comes first (1) or last (½): 0.75."""
    assert random_average_precision(n_positive, n_negative) == pytest.approx(expected, abs=5e-5)


@pytest.mark.parametrize(
    "score", [[0.9, 0.7, 0.7, 0.4, 0.4, 0.4], [1.0, 1.0, 1.0, 0.0, 0.0, 0.0], [0.5] * 6, [6.0, 5.0, 4.0, 3.0, 2.0, 1.0]]
)
def test_average_precision_where_scores_say_nothing_is_the_mean_over_all_deals(score: list[float]) -> None:
    for n_positive in (1, 2, 4):
        deals = [np.isin(np.arange(6), chosen) for chosen in itertools.combinations(range(6), n_positive)]
        mean = np.mean([reference.average_precision_score(truth, score) for truth in deals])
        assert floors(n_positive, 6 - n_positive, np.array(score))["average_precision"] == pytest.approx(mean)


def test_wilson_by_the_textbook() -> None:
    """8 of 10 (Wilson 1927): 0.490 to 0.943."""
    found = wilson(8, 10)
    assert (found.value, found.ci_low, found.ci_high) == (0.8, pytest.approx(0.490, abs=5e-4), pytest.approx(0.943, abs=5e-4))
    assert wilson(0, 0).value is None
    assert wilson(0, 5).ci_low == 0.0


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=2, max_size=30))
def test_spearman_equals_scipy(points: list[tuple[int, int]]) -> None:
    x, y = np.array(points).T
    ours = spearman(x, y)
    if len(set(x)) == 1 or len(set(y)) == 1:
        assert ours is None
    else:
        assert ours == pytest.approx(spearmanr(x, y).statistic)


def test_mixed_auroc_by_hand() -> None:
    """Positives 2, 1. Against 0, 1: wins 2 + 1 and a tie of 4 pairs, 0.875. Against 3: none of 2. With weights ¾ and ¼: 0.65625."""
    found = mixed_auroc(np.array([2.0, 1.0]), [(0.75, np.array([0.0, 1.0])), (0.25, np.array([3.0]))], 500, rng())
    assert found.value == pytest.approx(0.75 * 3.5 / 4)
    assert 0 <= found.ci_low <= found.value <= found.ci_high <= 1


LEVELS = st.lists(st.sampled_from([0.0, 0.5, 1.0, 3.0]), min_size=1, max_size=12)


@settings(deadline=None, max_examples=50)
@given(LEVELS, LEVELS, LEVELS, st.sampled_from([0.01, 0.3, 0.5, 0.9]))
def test_mixed_auroc_equals_the_weighted_auroc_of_scikit_learn(positives, first, second, share) -> None:
    ours = mixed_auroc(np.array(positives), [(1 - share, np.array(first)), (share, np.array(second))], 10, rng())
    truth = [1] * len(positives) + [0] * (len(first) + len(second))
    weights = [1.0] * len(positives) + [(1 - share) / len(first)] * len(first) + [share / len(second)] * len(second)
    assert ours.value == pytest.approx(reference.roc_auc_score(truth, [*positives, *first, *second], sample_weight=weights))


def test_mixed_auroc_of_one_group_has_the_interval_of_the_plain_one() -> None:
    draw = np.random.default_rng(3)
    positives, negatives = np.round(draw.normal(0.8, 1, 40), 1), np.round(draw.normal(0, 1, 60), 1)
    mixed = mixed_auroc(positives, [(1.0, negatives), (0.0, np.array([]))], 4000, rng())
    plain = probability_metrics(np.repeat([True, False], [40, 60]), np.concatenate([positives, negatives]), 4000, rng())["auroc"]
    assert mixed.value == pytest.approx(plain.value)
    assert (mixed.ci_low, mixed.ci_high) == (pytest.approx(plain.ci_low, abs=0.01), pytest.approx(plain.ci_high, abs=0.01))


def test_mixed_auroc_without_a_side_is_undefined() -> None:
    some, none = np.array([1.0]), np.array([])
    assert mixed_auroc(none, [(1.0, some)], 10, rng()) == mixed_auroc(some, [(0.5, some), (0.5, none)], 10, rng()) == UNDEFINED


def test_a_mean_its_error_and_interval_by_hand() -> None:
    """1, 2, 3, 6: mean 3, s² = (4 + 1 + 0 + 9) / 3. The error of 400 draws from a normal is 1 / 20, and the interval 1.96 of it wide."""
    mean, error = mean_with_error(np.array([1, 2, 3, 6]))
    assert mean.ci_high - mean.value == pytest.approx(3.1824 * np.sqrt(14 / 3 / 4), rel=1e-4) == mean.value - mean.ci_low
    assert mean.value == 3.0 and error.value == pytest.approx(np.sqrt(14 / 3 / 4)) and error.ci_low is None
    many = np.random.default_rng(1).standard_normal(400)
    mean, error = mean_with_error(many)
    assert error.value == pytest.approx(sem(many)) == pytest.approx(1 / 20, rel=0.1)
    assert mean.ci_high - mean.value == pytest.approx(1.96 * error.value, rel=0.1) == mean.value - mean.ci_low
    assert mean_with_error(np.array([2.0])) == (Estimate(2.0, None, None), UNDEFINED)
    assert mean_with_error(np.array([1.0, 2.0, 4.0]))[0].ci_low is None  # three values have no honest interval
    assert mean_with_error(np.array([])) == (UNDEFINED, UNDEFINED)


def test_signed_gini_by_hand() -> None:
    assert signed_gini(Estimate(0.75, 0.5, 1.0)) == Estimate(0.5, 0.0, 1.0)
    assert signed_gini(Estimate(0.0, None, None)) == Estimate(-1.0, None, None)
    assert signed_gini(UNDEFINED) == UNDEFINED


def test_mean_difference_by_hand() -> None:
    """Means 4 and 1. Welch's interval as scipy has it; whether one mean is above another is a single trial, without an interval."""
    first, second = np.array([0.0, 5.0, 7.0, 4.0]), np.array([1.0, 1.0, 0.0, 2.0, 1.0])
    difference, larger = mean_difference(first, second)
    assert (difference.value, larger) == (3.0, Estimate(1.0, None, None))
    expected = ttest_ind(first, second, equal_var=False).confidence_interval()
    assert (difference.ci_low, difference.ci_high) == pytest.approx((expected.low, expected.high))
    assert mean_difference(first[:3], second)[0] == Estimate(3.0, None, None)
    assert mean_difference(np.array([2.0]), np.array([2.0]))[1] == Estimate(0.0, None, None)
    assert mean_difference(np.array([]), np.array([1.0])) == (UNDEFINED, UNDEFINED)


def test_the_interval_of_a_mean_difference_agrees_with_theory() -> None:
    """Two samples of 100 with variances 1 and 4: 1.96 · √(1/100 + 4/100) = 0.438 to each side."""
    draw = np.random.default_rng(1)
    first, second = draw.normal(1, 1, 100), draw.normal(0, 2, 100)
    difference, _ = mean_difference(first, second)
    half = 1.96 * np.sqrt(first.var() / 100 + second.var() / 100)
    assert difference.value == pytest.approx(first.mean() - second.mean())
    assert (difference.ci_high - difference.ci_low) / 2 == pytest.approx(half, rel=0.05)
