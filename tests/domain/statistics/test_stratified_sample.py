"""Rates from one window a stratum: unbiased whatever the prediction is worth, and better the more it is worth."""

import numpy as np
import pytest

from interp_assets.domain.statistics.stratified_sample import neyman, one_per_stratum, sampled_rate

N = 60


def population(seed: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """(answers [N], chances of yes [N]): answers rise with the chances."""
    chance = np.linspace(0.02, 0.98, N)
    return np.random.default_rng(seed).random(N) < chance, chance


PREDICTIONS = {
    "useless": lambda answers, chance: np.random.default_rng(9).random(N),
    "constant": lambda answers, chance: np.full(N, 0.5),
    "good": lambda answers, chance: chance,
    "anticorrelated": lambda answers, chance: 1 - chance,
    "perfect": lambda answers, chance: answers.astype(float),
}


def estimates(name: str, n: int, draws: int = 1200) -> tuple[np.ndarray, np.ndarray, float]:
    answers, chance = population()
    predicted = PREDICTIONS[name](answers, chance)
    spreads = np.sqrt(np.clip(predicted * (1 - predicted), 0.05, None))
    rng = np.random.default_rng(0)
    found = []
    for _ in range(draws):
        chosen, weights = one_per_stratum(predicted, spreads, n, rng)
        assert weights.sum() == N and len(set(chosen.tolist())) == n and weights.min() >= 1
        found.append(sampled_rate(answers[chosen], weights, predicted[chosen], N))
    return np.array([one.value for one in found]), np.array([one.variance for one in found]), float(answers.mean())


@pytest.mark.parametrize("n", [3, 12])
@pytest.mark.parametrize("name", PREDICTIONS)
def test_the_estimate_is_unbiased_whatever_the_prediction_is_worth(name: str, n: int) -> None:
    values, _, truth = estimates(name, n)
    assert abs(values.mean() - truth) < 4 * values.std() / np.sqrt(len(values)) + 1e-12
    assert values.min() >= 0 and values.max() <= 1


def test_a_good_prediction_saves_what_it_explains_and_a_reversed_one_as_much() -> None:
    """Variances of 12 of 60 windows: against drawing at random, p (1 - p) / 12 · 48 / 59, a good prediction leaves about 1 - R²."""
    answers, chance = population()
    left = 1 - np.corrcoef(answers, chance)[0, 1] ** 2
    at_random = answers.mean() * (1 - answers.mean()) / 12 * 48 / 59
    variance = {name: estimates(name, 12)[0].var() for name in ("useless", "good", "anticorrelated", "perfect")}
    assert variance["useless"] == pytest.approx(at_random, rel=0.35)
    for name in ("good", "anticorrelated"):
        assert variance[name] < at_random * (left + 0.12)
    assert variance["perfect"] < 0.2 * at_random


@pytest.mark.parametrize("name", ["constant", "good", "anticorrelated"])
def test_the_stated_variance_is_the_variance(name: str) -> None:
    values, stated, _ = estimates(name, 12)
    assert stated.mean() == pytest.approx(values.var(), rel=0.3)


def test_windows_that_were_all_asked_have_no_sampling_variance() -> None:
    answers, chance = population()
    chosen, weights = one_per_stratum(chance, np.ones(N), N, np.random.default_rng(0))
    found = sampled_rate(answers[chosen], weights, chance[chosen], N)
    assert (found.value, found.variance, found.n_effective) == (pytest.approx(answers.mean()), 0.0, pytest.approx(N))


def test_strata_are_small_where_answers_are_uncertain() -> None:
    """Spreads 1 and 3: of 12 + 12 windows and 4 strata, one stratum holds the certain twelve, three hold the others."""
    _, weights = one_per_stratum(np.arange(24.0), np.repeat([1.0, 3.0], 12), 4, np.random.default_rng(0))
    assert weights.tolist() == [12, 4, 4, 4]


@pytest.mark.parametrize(
    ("spreads", "n", "least", "most", "expected"),
    [
        ([1.0, 3.0], 8, [0, 0], [9, 9], [2, 6]),
        ([1.0, 3.0], 8, [3, 0], [9, 9], [3, 5]),
        ([1.0, 3.0], 8, [0, 0], [9, 4], [4, 4]),
        ([1.0, 1.0, 1.0], 4, [0, 0, 0], [9, 9, 9], [2, 1, 1]),
        ([1.0, 1.0], 30, [0, 0], [9, 9], [9, 9]),
        ([1.0, 1.0], 0, [1, 2], [9, 9], [1, 2]),
        ([0.0, 0.0], 3, [0, 0], [9, 9], [2, 1]),
    ],
)
def test_neymans_allocation_by_hand(spreads, n, least, most, expected) -> None:
    assert neyman(np.array(spreads), n, np.array(least), np.array(most)).tolist() == expected
