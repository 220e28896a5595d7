"""Token metrics by hand, against scipy and scikit-learn, and what a token's place alone can say."""

import numpy as np
import pytest
from growth import fastest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import pearsonr
from sklearn import metrics as reference

from interp_assets.domain.statistics.intervals import ratio_interval
from interp_assets.domain.statistics.token_metrics import place_floor, token_metrics


def windows_of(n: int, seed: int, gain: float = 1.0, offset: float = 0.0) -> tuple[list[np.ndarray], list[np.ndarray], np.ndarray]:
    """Predictions and truths of n windows of 5 to 12 tokens, the first half of them activating."""
    draw = np.random.default_rng(seed)
    activating = np.arange(n) < n // 2
    true = [np.maximum(draw.normal(1.0 if on else -9.0, 1, int(draw.integers(5, 13))), 0) for on in activating]
    return [gain * y + draw.normal(offset, 1, len(y)) for y in true], true, activating


def test_correlation_over_all_tokens_by_hand() -> None:
    """(0, 0) (1, 2) | (2, 1) (3, 3): Σ(x - 1.5)(y - 1.5) = 4, both Σ² = 5. The windows' own r are 1 and 1: their mean says nothing."""
    found = token_metrics([np.array([0, 1]), np.array([2, 3])], [np.array([0, 2]), np.array([1, 3])], np.array([1, 1]))
    assert found["pearson"].value == pytest.approx(4 / 5)
    assert found["r2"].value == pytest.approx(1 - 2 / 5)


@settings(deadline=None, max_examples=25)
@given(st.integers(2, 30), st.integers(0, 10_000), st.floats(-3, 3), st.floats(-50, 50))
def test_token_metrics_equal_scipy_and_scikit_learn(n: int, seed: int, gain: float, offset: float) -> None:
    predicted, true, activating = windows_of(n, seed, gain, offset)
    found = token_metrics(predicted, true, activating)
    x, y = np.concatenate(predicted), np.concatenate(true)
    assert found["pearson"].value == pytest.approx(pearsonr(x, y).statistic)
    assert found["r2"].value == pytest.approx(reference.r2_score(y, x))


def test_the_interval_of_a_ratio_by_hand() -> None:
    """Numerators 0, 2, 4, 6 over ones: 3 with Student's interval of a mean, 3 ± 3.182 · √(20/3) / 2."""
    found = ratio_interval(np.array([0.0, 2, 4, 6]), np.ones(4), np.ones(4, dtype=bool))
    half = 3.1824463 * np.sqrt(20 / 3) / 2
    assert (found.value, found.ci_low, found.ci_high) == pytest.approx((3, 3 - half, 3 + half))


def test_a_few_units_that_are_all_alike_do_not_say_that_all_are() -> None:
    """Five of ratio 1: without more, no width. With one more of ratio 0, and one of ratio 1, the six of seven are not all."""
    ones, kinds = np.ones(5), np.ones(5, dtype=bool)
    assert (found := ratio_interval(ones, ones, kinds)).ci_low == pytest.approx(found.ci_high)
    assert ratio_interval(ones, ones, kinds, 1.0).ci_low < 0.8


def test_a_ratio_without_an_honest_interval_has_none() -> None:
    """Three units; a kind of one unit; denominators that may as well sum to 0."""
    ones = np.ones(6)
    for numerators, denominators, kinds in (
        (ones[:3], ones[:3], ones[:3] > 0),
        (np.arange(6.0), ones, np.arange(6) == 0),
        (np.arange(6.0), np.array([1.0, -1, 1, -1, 1, -0.9]), ones > 0),
    ):
        assert ratio_interval(numerators, denominators, kinds).ci_low is None


@pytest.mark.parametrize(("n", "least"), [(40, 0.9), (100, 0.92)])
def test_intervals_hold_the_truth_where_a_simulator_understands_some_windows(n: int, least: float) -> None:
    """Of n windows, half of them silent, a simulator understands six in ten and guesses the rest."""

    def drawn(n: int, source: np.random.Generator) -> tuple[list[np.ndarray], list[np.ndarray], np.ndarray]:
        activating = np.arange(n) < n // 2
        true = np.zeros((n, 16))
        true[np.arange(n // 2), source.integers(0, 16, n // 2)] = source.lognormal(0, 0.5, n // 2)
        return list(3 * true * (source.random((n, 1)) < 0.6) + (source.random((n, 16)) < 0.05)), list(true), activating

    truth = token_metrics(*drawn(20_000, np.random.default_rng(1)))["pearson"].value
    source, hits = np.random.default_rng(2), 0
    for _ in range(200):
        found = token_metrics(*drawn(n, source))["pearson"]
        hits += found.ci_low is not None and found.ci_low <= truth <= found.ci_high
    assert hits / 200 >= least


def test_the_place_alone_predicts_peaks_that_stand_at_one_place_and_no_others() -> None:
    """Half of 40 windows have a peak. At token 12 of 16: another fold's mean there is 1/2, so r is that of a constant profile with the
    peaks, √((1/2)(15/16) / (1 - 1/32)) = 0.70. At a random place nothing is known, and the floor is about 0, also for windows of unequal
    length."""
    fixed, random = np.zeros((40, 16)), np.zeros((40, 16))
    fixed[::2, 12] = 1
    random[np.arange(0, 40, 2), np.random.default_rng(0).permutation(20) % 16] = 1
    assert place_floor(list(fixed)) == pytest.approx(0.70, abs=0.02)
    assert place_floor(list(random)) < 0.1
    assert place_floor([one[: 10 + number % 6] for number, one in enumerate(random)]) < 0.15
    assert place_floor(list(fixed[:4])) == place_floor(list(np.zeros((9, 4)))) == 0


def test_correlations_of_constants_are_undefined() -> None:
    none, some, ones = np.array([]), [np.array([0.0, 2.0])], [np.array([1.0, 1.0])]
    assert {e.value for e in token_metrics([], [], none).values()} == {None}
    assert {e.value for e in token_metrics(some, ones, np.array([1])).values()} == {None}
    flat = token_metrics(ones, some, np.array([1]))
    assert (flat["pearson"].value, flat["r2"].value) == (None, 0.0)  # the mean of 0 and 2, always


def test_two_hundred_windows_are_bootstrapped_in_milliseconds() -> None:
    predicted, true, activating = windows_of(200, 2)
    assert fastest(lambda: token_metrics(predicted, true, activating)) < 0.05  # about 3 ms on a quiet core
