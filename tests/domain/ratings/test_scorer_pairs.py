"""What differences of scorers allow to say: adjusted p values and open places. Whole studies are in test_human_correlation.py."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from interp_assets.domain.ratings.scorer_pairs import PairRow, compared, holm, place, ranking
from interp_assets.domain.statistics.metrics import UNDEFINED, Estimate
from interp_assets.domain.statistics.rank_correlation import cluster_draws


def test_a_pair_is_compared_on_what_both_scored() -> None:
    """Replicates of the difference are those of the two correlations on the same draws."""
    rng = np.random.default_rng(0)
    ratings = rng.normal(size=30)
    scores = {"b": ratings + rng.normal(size=30), "a": rng.normal(size=30)}
    scores["a"][:5] = np.nan
    draws = cluster_draws(np.arange(30), 200, rng)
    (found,) = compared(ratings, scores, np.arange(30), draws)
    assert (found.scorer, found.other, found.n_items, found.n_features) == ("a", "b", 25, 25)
    differences = []
    for weights in draws[:, 5:]:
        a, b, rated = (np.repeat(values[5:], weights) for values in (scores["a"], scores["b"], ratings))
        differences.append(spearmanr(a, rated).statistic - spearmanr(b, rated).statistic)
    bounds = found.difference.ci_low, found.difference.ci_high
    assert bounds == pytest.approx(tuple(np.percentile(differences, [2.5, 97.5])))
    below = min(sum(d <= 0 for d in differences), sum(d >= 0 for d in differences))
    assert found.p == pytest.approx(2 * (below + 1) / 201) == found.p_adjusted
    assert found.smallest_detectable == pytest.approx(2.8016 * np.std(differences, ddof=1), rel=1e-4)


def test_one_scorer_or_none_compares_nothing() -> None:
    assert compared(np.zeros(3), {"a": np.zeros(3)}, np.arange(3), np.ones((2, 3))) == []
    assert ranking([])[0].startswith("No order of the scorers is given")


def test_holm_by_hand() -> None:
    """Sorted 0.01 0.02 0.03 0.5 times 4 3 2 1: 0.04 0.06 0.06 0.5, never falling."""
    assert holm([0.03, 0.01, 0.5, 0.02]) == pytest.approx([0.06, 0.04, 0.5, 0.06])
    assert holm([]) == [] and holm([0.9, 0.8]) == [1.0, 1.0]


def test_places_are_what_the_differences_leave_open() -> None:
    def compared(scorer: str, other: str, difference: float, differ: bool) -> PairRow:
        return PairRow(scorer, other, UNDEFINED, Estimate(difference, None, None), 0.01, 0.01, differ, None, 50, 50, "ok")

    pairs = [compared("a", "b", 0.1, False), compared("a", "c", 0.4, True), compared("b", "c", 0.3, False)]
    assert [place(s, pairs, "abc") for s in "abc"] == [(1, 2), (1, 3), (2, 3)]
    assert place("d", pairs, "abcd") == (None, None)
