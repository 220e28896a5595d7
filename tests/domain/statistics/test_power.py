"""Power: what a study of n can show, by hand and by simulating studies."""

import math

import numpy as np
import pytest
from scipy.stats import spearmanr

from interp_assets.domain.statistics.power import (
    items_needed,
    smallest_detectable_difference,
    smallest_detectable_spearman,
    spearman_interval,
)


def test_by_hand() -> None:
    """(1.959964 + 0.841621) · √(1.06 / 78) = 0.32660, tanh of it 0.31546."""
    assert smallest_detectable_spearman(81) == pytest.approx(0.31546, abs=1e-5)
    assert smallest_detectable_spearman(3) is None and spearman_interval(0.5, 3) is None
    assert smallest_detectable_difference(0.1) == pytest.approx(0.28016, abs=1e-5)


@pytest.mark.parametrize("spearman", [0.1, -0.3, 0.6, 0.95])
def test_items_needed_are_just_enough(spearman: float) -> None:
    n = items_needed(spearman)
    enough, fewer = smallest_detectable_spearman(n), smallest_detectable_spearman(n - 1)
    assert enough is not None and enough <= abs(spearman) and (fewer is None or fewer > abs(spearman))


def test_the_interval_of_a_published_value_is_around_it_and_not_beyond_1() -> None:
    low, high = spearman_interval(0.69, 81) or (0, 0)
    assert low < 0.69 < high < 1 and math.atanh(high) - math.atanh(0.69) == pytest.approx(math.atanh(0.69) - math.atanh(low))


def test_studies_of_that_size_find_it_about_8_times_in_10() -> None:
    """Normal pairs whose ρ is the smallest detectable for n = 40; a study finds it when scipy's p is below 0.05."""
    rho = smallest_detectable_spearman(40)
    assert rho is not None
    r, rng = 2 * math.sin(math.pi / 6 * rho), np.random.default_rng(0)
    found = 0
    for _ in range(600):
        x = rng.normal(size=40)
        found += spearmanr(x, r * x + math.sqrt(1 - r * r) * rng.normal(size=40)).pvalue < 0.05
    assert 0.75 <= found / 600 <= 0.87
