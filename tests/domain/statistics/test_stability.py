"""Scores that are simulated from known components: what is found, how often intervals hold, and what differences scores can carry."""

import math

import numpy as np
import pytest

from interp_assets.domain.statistics.stability import (
    CARRIED,
    Components,
    dictionary_difference,
    features_needed,
    icc_interval,
    method_difference,
    nested_components,
    repeatability,
    windows_needed,
)

TRUE = Components(0.7, feature=0.01, draw=0.004, explanation=0.002, judgement=0.001)


def simulated(rng: np.random.Generator, n_features: int, true: Components = TRUE, shape: tuple[int, int, int] = (2, 2, 2)) -> np.ndarray:
    """Scores [features, draws, explanations, judgements] with these components."""
    scores = np.full((n_features, *shape), true.mean)
    for axes, variance in enumerate((true.feature, true.draw, true.explanation, true.judgement), start=1):
        size = (n_features, *shape)[:axes]
        scores = scores + rng.normal(0, math.sqrt(variance), size).reshape(size + (1,) * (4 - axes))
    return scores


def test_components_by_hand() -> None:
    """Two features, two draws, two explanations, two judgements. Each level's effect is ±, so its sum of squares is counted by hand:

    judgements ±1: 16 / 8 = 2. Explanations ±2: mean square 2 · 8 · 4 / 4 = 16, (16 - 2) / 2 = 7. Draws ±4: 4 · 4 · 16 / 2 = 128,
    (128 - 16) / 4 = 28. Features ±8: 8 · 2 · 64 / 1 = 1024, (1024 - 128) / 8 = 112.
    """
    sign = np.array([-1.0, 1.0])
    scores = 8 * sign[:, None, None, None] + 4 * sign[:, None, None] + 2 * sign[:, None] + sign
    found = nested_components(scores)
    assert found == Components(0.0, 112.0, 28.0, 7.0, 2.0)
    assert found.icc == 112 / 149 and found.noise == 37


def test_components_are_found_without_bias() -> None:
    rng = np.random.default_rng(0)
    found = np.array([[c.feature, c.draw, c.explanation, c.judgement] for c in (nested_components(simulated(rng, 60)) for _ in range(200))])
    expected = np.array([0.01, 0.004, 0.002, 0.001])
    assert np.abs(found.mean(axis=0) / expected - 1).max() < 0.06


def test_a_component_is_never_negative_and_a_level_of_one_counts_above() -> None:
    rng = np.random.default_rng(1)
    for _ in range(50):
        pure = nested_components(simulated(rng, 12, Components(0.5, 0.0, 0.0, 0.0, 0.01)))
        assert min(pure.feature, pure.draw, pure.explanation) >= 0
    once = simulated(rng, 4000, TRUE, (2, 2, 1))
    found = nested_components(once)
    assert found.judgement == 0 and found.explanation == pytest.approx(0.003, rel=0.1), "what judging adds is in the explanations' part"
    alone = nested_components(simulated(rng, 4000, TRUE, (2, 1, 1)))
    assert alone.draw == pytest.approx(0.007, rel=0.1) and alone.explanation == 0


@pytest.mark.parametrize(("n_features", "feature"), [(20, 0.01), (60, 0.01), (30, 0.001)])
def test_the_interval_of_the_icc_holds_the_truth(n_features: int, feature: float) -> None:
    rng, n_runs = np.random.default_rng(2), 600
    true = Components(0.7, feature, TRUE.draw, TRUE.explanation, TRUE.judgement)
    held = 0
    for _ in range(n_runs):
        one = icc_interval(simulated(rng, n_features, true))
        assert one.ci_low is not None and one.ci_high is not None and one.value is not None
        assert 0 <= one.ci_low <= one.value <= one.ci_high <= 1
        held += one.ci_low <= (true.icc or 0) <= one.ci_high
    assert 0.92 <= held / n_runs <= 0.98


def test_perfect_scores_repeat_and_random_scores_do_not() -> None:
    steady = np.broadcast_to(np.linspace(0, 1, 40)[:, None, None, None], (40, 2, 2, 2))
    same = repeatability(steady)
    assert (same.icc.value, same.rank_correlation, same.top_overlap) == (1.0, pytest.approx(1.0), 1.0)
    rng = np.random.default_rng(3)
    chance = [repeatability(simulated(rng, 40, Components(0.5, 0.0, 0.01, 0.0, 0.0))) for _ in range(100)]
    assert abs(np.mean([one.rank_correlation or 0 for one in chance])) < 0.05
    assert np.mean([one.top_overlap for one in chance]) == pytest.approx(0.1, abs=0.03) and chance[0].top_chance == 0.1
    constant = repeatability(np.full((20, 2, 2, 2), 0.5))
    assert constant.icc.value is None and constant.rank_correlation is None
    assert constant.top_overlap == pytest.approx(0.1), "all tied: the top tenth is drawn by lot"


def test_a_shift_between_the_halves_of_the_corpus_is_seen() -> None:
    scores = simulated(np.random.default_rng(4), 60)
    assert (shift := repeatability(scores).shift).ci_low is not None and shift.ci_high is not None and shift.ci_low < 0 < shift.ci_high
    scores[:, 1] += 0.2
    assert (shift := repeatability(scores).shift).ci_low is not None and 0.1 < shift.ci_low < 0.2


def significant(first: np.ndarray, second: np.ndarray, paired: bool) -> bool:
    """Whether a z test at 5 % tells two samples of scores [features] apart."""
    error = (first - second).std(ddof=1) / math.sqrt(len(first)) if paired else math.sqrt((first.var() + second.var()) / len(first))
    return bool(abs(first.mean() - second.mean()) > 1.96 * error)


def test_the_smallest_differences_are_seen_in_four_runs_of_five() -> None:
    rng, n, runs = np.random.default_rng(5), 100, 600
    by_dictionary = by_method = 0
    for _ in range(runs):
        ours, theirs = (simulated(rng, n, TRUE, (1, 1, 1)).ravel() for _ in range(2))
        by_dictionary += significant(ours, theirs + dictionary_difference(TRUE, n), paired=False)
        features = rng.normal(0, 0.1, n)
        one, other = (features + rng.normal(0, math.sqrt(TRUE.noise), n) for _ in range(2))
        by_method += significant(one, other + method_difference(TRUE, n), paired=True)
    assert 0.74 < by_dictionary / runs < 0.86 and 0.74 < by_method / runs < 0.86


def test_what_is_needed_is_what_carries_the_difference() -> None:
    n = features_needed(TRUE.total, 0.05)
    assert dictionary_difference(TRUE, n) <= 0.05 < dictionary_difference(TRUE, n - 1)
    few = 60
    windows = windows_needed(TRUE.noise, TRUE.draw, 20, 0.035, few)
    assert windows is not None and windows > 20
    more = Components(TRUE.mean, TRUE.feature, TRUE.draw * 20 / windows, TRUE.explanation, TRUE.judgement)
    assert method_difference(more, few) <= 0.035 < method_difference(TRUE, few)
    assert windows_needed(TRUE.total, TRUE.draw, 20, 0.01, few) is None, "features and explanations alone vary more than that"
    assert features_needed(0.0, 0.05) == 1 and pytest.approx(2.8016, abs=1e-4) == CARRIED
