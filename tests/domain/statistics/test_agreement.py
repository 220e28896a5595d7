"""Krippendorff's α against values worked out in the literature, and its properties."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interp_assets.domain.statistics.agreement import krippendorff_alpha, reliability_of_mean
from interp_assets.domain.statistics.rank_correlation import cluster_draws

N = None
# Krippendorff, "Computing Krippendorff's alpha-reliability" (2011), example C/D: four observers, twelve units, missing values.
FOUR_OBSERVERS = [
    [1, 2, 3, 3, 2, 1, 4, 1, 2, N, N, N],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, N, 3],
    [N, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, N],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, N],
]
# Three coders, fifteen units: the worked example of the article on α in Wikipedia, interval α 0.811.
THREE_CODERS = [
    [N, N, N, N, N, 3, 4, 1, 2, 1, 1, 3, 3, N, 3],
    [1, N, 2, 1, 3, 3, 4, 3, N, N, N, N, N, N, N],
    [N, N, 2, 1, 3, 4, 4, N, 2, 1, 1, 3, 3, N, 4],
]


def flat(table: list[list[int | None]]) -> tuple[np.ndarray, np.ndarray]:
    """(values, units) of a table of observers by units."""
    pairs = [(value, unit) for row in table for unit, value in enumerate(row) if value is not None]
    values, units = zip(*pairs, strict=True)
    return np.array(values, dtype=float), np.array(units)


@pytest.mark.parametrize(
    ("table", "level", "published"),
    [(FOUR_OBSERVERS, "ordinal", 0.815), (FOUR_OBSERVERS, "interval", 0.849), (THREE_CODERS, "interval", 0.811)],
)
def test_values_from_the_literature(table: list[list[int | None]], level: str, published: float) -> None:
    assert krippendorff_alpha(*flat(table), level).value == pytest.approx(published, abs=5e-4)  # type: ignore[arg-type]


def test_two_raters_by_hand() -> None:
    """Units (1, 1), (2, 3): within, mean squared difference ½; all six pairs of 1 1 2 3 differ by 0 1 4 1 4 1, mean 11/6."""
    found = krippendorff_alpha(np.array([1, 1, 2, 3]), np.array([0, 0, 1, 1]), "interval")
    assert found.value == pytest.approx(1 - (1 / 2) / (11 / 6))


def test_undefined_without_a_unit_rated_twice_or_with_equal_values() -> None:
    assert krippendorff_alpha(np.array([1, 2, 3]), np.array([0, 1, 2]), "ordinal").value is None
    assert krippendorff_alpha(np.array([2, 2, 2, 2]), np.array([0, 0, 1, 1]), "interval").value is None
    assert krippendorff_alpha(np.array([]), np.array([]), "ordinal").value is None


@settings(deadline=None, max_examples=50)
@given(st.lists(st.lists(st.integers(1, 5), min_size=1, max_size=4), min_size=2, max_size=12))
def test_properties(rated: list[list[int]]) -> None:
    values = np.array([value for unit in rated for value in unit], dtype=float)
    units = np.array([number for number, unit in enumerate(rated) for _ in unit])
    pairable = [value for unit in rated if len(unit) > 1 for value in unit]
    ordinal, interval = (krippendorff_alpha(values, units, level).value for level in ("ordinal", "interval"))  # type: ignore[arg-type]
    if len(set(pairable)) < 2:
        assert ordinal is None and interval is None
        return
    assert ordinal is not None and interval is not None and ordinal <= 1 and interval <= 1
    # Ordinal α sees the order alone; interval α is the same on any linear scale; the order of ratings does not matter.
    assert krippendorff_alpha(np.exp(values), units, "ordinal").value == pytest.approx(ordinal)
    assert krippendorff_alpha(3 * values - 7, units, "interval").value == pytest.approx(interval)
    shuffled = np.random.default_rng(0).permutation(len(values))
    assert krippendorff_alpha(values[shuffled], units[shuffled], "ordinal").value == pytest.approx(ordinal)
    agreeing = np.repeat(np.arange(len(rated)), [len(unit) for unit in rated]).astype(float)
    if sum(len(unit) > 1 for unit in rated) > 1:
        assert krippendorff_alpha(agreeing, units, "ordinal").value == pytest.approx(1.0)


@pytest.mark.parametrize("level", ["ordinal", "interval"])
def test_replicates_equal_listing_the_drawn_units_out(level: str) -> None:
    rng = np.random.default_rng(0)
    values, units = rng.integers(1, 5, 30).astype(float), np.arange(30) // 3
    draws = cluster_draws(units, 400, rng)
    listed = []
    for weights in draws:
        copies = [(values[units == u], weights[units == u][0]) for u in range(10)]
        parts = [part for part, count in copies for _ in range(count)]
        drawn = krippendorff_alpha(np.concatenate(parts), np.repeat(np.arange(len(parts)), 3), level).value  # type: ignore[arg-type]
        listed.append(drawn)
    found = krippendorff_alpha(values, units, level, draws)  # type: ignore[arg-type]
    assert (found.ci_low, found.ci_high) == pytest.approx(tuple(np.percentile(listed, [2.5, 97.5])))


def test_reliability_of_a_mean() -> None:
    """Four raters of reliability 0.5: 4 · 0.5 / (1 + 3 · 0.5) = 0.8. Ratings that tell nothing apart have none."""
    assert float(reliability_of_mean(0.5, 4)) == pytest.approx(0.8)
    assert float(reliability_of_mean(1.0, 3)) == pytest.approx(1.0) and float(reliability_of_mean(0.3, 1)) == pytest.approx(0.3)
    assert np.isnan(reliability_of_mean(np.array([0.0, -0.2]), 4)).all()
