"""Correlations and their bootstrap replicates: against scipy, against listing the draws out, and how often intervals hold the truth."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kendalltau, norm, pearsonr, spearmanr

from interp_assets.domain.statistics import rank_correlation
from interp_assets.domain.statistics.rank_correlation import (
    Correlation,
    cluster_draws,
    interval,
    kendall_weighted,
    partial_spearman,
    pearson_weighted,
    replicates,
    spearman_matrices,
    spearman_weighted,
    value_of,
    weighted_ranks,
)

REFERENCES = ((spearman_weighted, spearmanr), (pearson_weighted, pearsonr), (kendall_weighted, kendalltau))
POINTS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=3, max_size=25)


@settings(deadline=None, max_examples=60)
@given(POINTS, st.integers(0, 10))
def test_values_and_replicates_equal_scipy_on_the_draws_listed_out(points: list[tuple[int, int]], seed: int) -> None:
    x, y = np.array(points, dtype=np.float64).T
    draws = cluster_draws(np.arange(len(x)), 4, np.random.default_rng(seed))
    for ours, reference in REFERENCES:
        for weights, found in [(np.ones(len(x), dtype=int), value_of(ours, x, y)), *zip(draws, replicates(ours, x, y, draws), strict=True)]:
            a, b = np.repeat(x, weights), np.repeat(y, weights)
            if len(set(a)) == 1 or len(set(b)) == 1:
                assert np.isnan(found)
            else:
                assert found == pytest.approx(reference(a, b).statistic, abs=1e-9)


def test_kendall_by_hand_with_ties() -> None:
    """One concordant pair, two discordant ones, one tied in x and two in y."""
    x, y = np.array([1.0, 1.0, 2.0, 3.0]), np.array([1.0, 2.0, 2.0, 1.0])
    # (0,1) tied in x; (0,2) concordant; (0,3) tied in y; (1,2) tied in y; (1,3) discordant; (2,3) discordant.
    assert value_of(kendall_weighted, x, y) == pytest.approx((1 - 2) / np.sqrt((6 - 1) * (6 - 2)))


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 6, 30).astype(float), rng.integers(0, 6, 30).astype(float)
    draws = cluster_draws(np.arange(30) // 2, 50, rng)
    whole = [replicates(ours, x, y, draws) for ours, _ in REFERENCES]
    matrices = spearman_matrices(np.stack([x, y]), draws)
    monkeypatch.setattr(rank_correlation, "BLOCK_NUMBERS", 70)
    assert all(np.allclose(replicates(ours, x, y, draws), one) for (ours, _), one in zip(REFERENCES, whole, strict=True))
    assert np.allclose(spearman_matrices(np.stack([x, y]), draws), matrices)


def test_matrices_hold_the_correlation_of_every_pair() -> None:
    rng = np.random.default_rng(1)
    columns = rng.integers(0, 5, (3, 20)).astype(float)
    columns[2] = 1.0
    draws = cluster_draws(np.arange(20), 30, rng)
    found = spearman_matrices(columns, draws)
    assert np.allclose(found[:, 0, 1], replicates(spearman_weighted, columns[0], columns[1], draws))
    assert np.allclose(found[:, 0, 0], 1.0) and np.isnan(found[:, 2]).all()


def test_items_of_a_cluster_are_drawn_together_and_as_many_clusters_as_there_are() -> None:
    draws = cluster_draws(np.array(["a", "b", "a", "c"]), 200, np.random.default_rng(0))
    assert (draws[:, 0] == draws[:, 2]).all() and (draws[:, [0, 1, 3]].sum(axis=1) == 3).all() and draws[:, 1].min() == 0
    assert cluster_draws(np.array([]), 5, np.random.default_rng(0)).shape == (5, 0)


def test_ranks_in_a_replicate_by_hand() -> None:
    """Values 10, 20, 20, 30 drawn 2, 1, 0, 1 times: the list is 10 10 20 30 with ranks 1.5 1.5 3 4."""
    ranks = weighted_ranks(np.array([10.0, 20.0, 20.0, 30.0]), np.array([[2.0, 1.0, 0.0, 1.0]]))
    assert ranks[0, [0, 1, 3]].tolist() == [1.5, 3.0, 4.0]


def residuals(values: np.ndarray, groups: np.ndarray) -> np.ndarray:
    indicators = (groups[:, None] == np.unique(groups)).astype(float)
    return values - indicators @ np.linalg.lstsq(indicators, values, rcond=None)[0]


def test_partial_is_the_correlation_of_what_a_regression_on_the_groups_leaves_of_the_ranks() -> None:
    rng = np.random.default_rng(2)
    groups = rng.choice(["x", "y", "z"], 60)
    shift = np.select([groups == "x", groups == "y"], [3.0, -2.0])
    x, y = shift + rng.normal(size=60), shift + rng.normal(size=60)
    ranks = [np.argsort(np.argsort(values)) + 1.0 for values in (x, y)]
    expected = pearsonr(residuals(ranks[0], groups), residuals(ranks[1], groups)).statistic
    assert value_of(partial_spearman(groups), x, y) == pytest.approx(expected)
    assert abs(expected) < 0.3 < value_of(spearman_weighted, x, y)  # what the groups share is gone
    draws = cluster_draws(np.arange(60), 5, rng)
    for weights, found in zip(draws, replicates(partial_spearman(groups), x, y, draws), strict=True):
        listed = [np.repeat(values, weights) for values in (x, y)]
        assert found == pytest.approx(value_of(partial_spearman(np.repeat(groups, weights)), *listed))
    assert np.isnan(value_of(partial_spearman(np.arange(60)), x, y))  # nothing is left where each is a group of its own


def test_an_interval_needs_a_value_and_defined_replicates() -> None:
    found = interval(0.5, np.linspace(0, 1, 101))
    assert (found.value, found.ci_low, found.ci_high) == (0.5, pytest.approx(0.025), pytest.approx(0.975))
    assert interval(float("nan"), np.zeros(10)).value is None
    mostly = np.concatenate([np.full(6, np.nan), np.zeros(94)])
    assert interval(0.5, mostly).ci_low is None and interval(0.5, mostly[1:]).ci_low is None and interval(0.5, mostly[2:]).ci_low == 0.0


@pytest.mark.parametrize(
    ("correlation", "truth"), [(spearman_weighted, 6 / np.pi * np.arcsin(0.3)), (kendall_weighted, 2 / np.pi * np.arcsin(0.6))]
)
def test_intervals_hold_the_true_correlation_about_95_times_in_100(correlation: Correlation, truth: float) -> None:
    """Normal pairs with r = 0.6: ρ = 6/π·arcsin(r/2), τ = 2/π·arcsin(r). Of 300 studies of 60 items, 285 ± 4."""
    rng, covered = np.random.default_rng(3), 0
    for _ in range(300):
        x = norm.rvs(size=60, random_state=rng)
        y = 0.6 * x + 0.8 * norm.rvs(size=60, random_state=rng)
        draws = cluster_draws(np.arange(60), 300, rng)
        found = interval(value_of(correlation, x, y), replicates(correlation, x, y, draws))
        assert found.ci_low is not None and found.ci_high is not None
        covered += found.ci_low <= truth <= found.ci_high
    assert 0.90 <= covered / 300 <= 0.985


def test_intervals_over_clusters_are_wider_where_items_of_a_cluster_are_alike() -> None:
    """20 features, each with 5 near-equal explanations: listing each five times adds nothing that could narrow the interval."""
    rng = np.random.default_rng(4)
    x = rng.normal(size=20)
    y = x + rng.normal(size=20)
    many = [np.repeat(values, 5) + rng.normal(0, 1e-3, 100) for values in (x, y)]
    widths = []
    for clusters in (np.repeat(np.arange(20), 5), np.arange(100)):
        found = interval(value_of(pearson_weighted, *many), replicates(pearson_weighted, *many, cluster_draws(clusters, 2000, rng)))
        assert found.ci_low is not None and found.ci_high is not None
        widths.append(found.ci_high - found.ci_low)
    assert widths[0] > 1.8 * widths[1]  # √5 = 2.2 for many items
