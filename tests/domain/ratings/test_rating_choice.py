"""Which explanations are chosen for rating: evenly, without favouring a scorer, and reproducibly."""

from collections import Counter

import numpy as np
import pytest

from interp_assets.domain.ratings.rating_tasks import Candidate, by_importance, score_quantiles, spread, stratified


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def candidates(n: int = 100, methods: tuple[str, ...] = ("max_act", "vocab_proj"), scored: bool = True) -> list[Candidate]:
    """n features, each explained by every method; higher features have higher scores and more importance."""
    return [
        Candidate("m/00/n", f, f"{method}-{f}", "text", method, {"fuzzing": f / n, "detection": 5 + f} if scored else {}, float(f))
        for f in range(n)
        for method in methods
    ]


def test_methods_and_quantiles_get_equal_shares_and_features_are_not_repeated() -> None:
    chosen = stratified(candidates(), 40, rng())
    assert len(chosen) == len({one.feature for one in chosen}) == 40
    assert Counter((one.method, one.feature // 20) for one in chosen) == {(m, q): 4 for m in ("max_act", "vocab_proj") for q in range(5)}


def test_few_of_many_strata_are_not_always_the_same_ones() -> None:
    strata = [{(one.method, one.feature // 20) for one in stratified(candidates(), 3, rng(seed))} for seed in range(20)]
    assert all(len(one) == 3 for one in strata) and len(set().union(*strata)) == 10


def test_the_choice_is_the_seeds() -> None:
    assert stratified(candidates(), 10, rng(1)) == stratified(candidates(), 10, rng(1)) != stratified(candidates(), 10, rng(2))


def test_all_there_are_where_there_are_fewer() -> None:
    few = candidates(3)
    assert sorted(one.explanation_id for one in stratified(few, 100, rng())) == sorted(one.explanation_id for one in few)
    assert stratified([], 5, rng()) == [] == by_importance([], 5, rng())


def test_quantiles_weigh_scorers_alike_whatever_their_scale() -> None:
    """Two scorers that rank four explanations oppositely, one of them in thousands: all stand in the middle."""
    opposed = [Candidate("m/00/n", i, str(i), "", "max_act", {"a": i, "b": 1000.0 * (3 - i)}) for i in range(4)]
    assert score_quantiles(opposed) == [2, 2, 2, 2]
    agreeing = [Candidate("m/00/n", i, str(i), "", "max_act", {"a": i}) for i in range(10)]
    assert score_quantiles(agreeing) == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert score_quantiles([*agreeing, Candidate("m/00/n", 99, "x", "", "max_act", {})])[-1] is None
    assert len(stratified(candidates(20, scored=False), 10, rng())) == 10


def test_importance_draws_in_proportion_without_replacement() -> None:
    """One of two features, one of three times the importance: it comes first 3 times in 4. Those of no importance come last."""
    two = [Candidate("m/00/n", f, str(f), "", "max_act", {}, importance) for f, importance in ((0, 1.0), (1, 3.0), (2, 0.0), (3, None))]
    first = Counter(by_importance(two, 1, rng(seed))[0].feature for seed in range(800))
    assert first[1] / 800 == pytest.approx(0.75, abs=0.05) and set(first) == {0, 1}
    assert [{one.feature for one in by_importance(two, n, rng())} for n in (2, 4)] == [{0, 1}, {0, 1, 2, 3}]
    assert Counter(one.method for one in by_importance(candidates(), 20, rng())) == {"max_act": 10, "vocab_proj": 10}


def test_windows_are_spread_over_strata() -> None:
    strata = [0] * 10 + [1] * 10 + [2] * 2
    chosen = spread(strata, 6, rng())
    assert Counter(strata[i] for i in chosen) == {0: 2, 1: 2, 2: 2} and len(set(chosen)) == 6
    assert sorted(spread(strata, 99, rng())) == list(range(22)) and spread([], 3, rng()) == []
