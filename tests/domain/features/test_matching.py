"""One-to-one matches against a dense assignment, and the features that stand as controls."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from interp_assets.domain.features.co_occurrence import Nearest
from interp_assets.domain.features.matching import controls, one_to_one


def nearest(cosines: np.ndarray, n: int) -> Nearest:
    """The n nearest of each row of a matrix of cosines."""
    order = np.argsort(-cosines, axis=1, kind="stable")[:, :n]
    bounds = np.arange(len(cosines) + 1) * order.shape[1]
    return Nearest(bounds, order.ravel().astype(np.int64), np.take_along_axis(cosines, order, 1).ravel().astype(np.float32))


def matched(cosines: np.ndarray, n: int) -> list[tuple[int, int]]:
    index, partner, cosine = one_to_one(nearest(cosines, n), nearest(cosines.T, n))
    assert cosine == pytest.approx(cosines[index, partner], abs=1e-6)
    return list(zip(index.tolist(), partner.tolist(), strict=True))


def test_three_by_three_by_hand() -> None:
    """Both first features are nearest to the first of theirs. 0.9 + 0.1 + 0.6 loses to 0.8 + 0.85 + 0.6: the greedy choice is not made."""
    cosines = np.array([[0.9, 0.8, 0.0], [0.85, 0.1, 0.2], [0.3, 0.2, 0.6]])
    assert nearest(cosines, 1).neighbour.tolist() == [0, 0, 2]
    assert matched(cosines, 3) == [(0, 1), (1, 0), (2, 2)]


def test_a_feature_whose_only_candidate_does_better_elsewhere_stays_alone() -> None:
    assert matched(np.array([[0.9, -0.5], [0.4, -0.1], [-0.2, -0.3]]), 2) == [(0, 0)]


def test_a_candidate_of_either_side_counts() -> None:
    """The nearest of both of ours is 0; that 1 of theirs is near to 1 of ours is known from its own side alone."""
    cosines = np.array([[0.9, 0.1], [0.8, 0.7]])
    ours, theirs = nearest(cosines, 1), nearest(cosines.T, 1)
    assert one_to_one(ours, theirs)[1].tolist() == [0, 1]


@pytest.mark.parametrize("n", [1, 3])
def test_a_permuted_dictionary_is_recovered_exactly(n: int) -> None:
    source = np.random.default_rng(0)
    rows = source.standard_normal((200, 16))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    permutation = source.permutation(200)
    assert matched(rows @ rows[permutation].T, n) == list(enumerate(np.argsort(permutation).tolist()))


def test_a_noisy_copy_is_recovered() -> None:
    source = np.random.default_rng(0)
    rows = source.standard_normal((150, 64))
    noisy = rows + 0.5 * source.standard_normal(rows.shape)
    rows, noisy = (m / np.linalg.norm(m, axis=1, keepdims=True) for m in (rows, noisy))
    assert matched(rows @ noisy.T, 4) == [(i, i) for i in range(150)]


@settings(deadline=None, max_examples=80)
@given(st.integers(0, 10_000), st.integers(1, 12), st.integers(1, 12))
def test_with_all_pairs_as_candidates_the_total_is_that_of_the_hungarian_method(seed: int, n_ours: int, n_theirs: int) -> None:
    cosines = np.random.default_rng(seed).uniform(-0.5, 1, (n_ours, n_theirs)).astype(np.float32)
    pairs = matched(cosines, max(n_ours, n_theirs))
    # The dense method must match as many as it can: a pair of no gain stands for staying alone.
    gain = np.maximum(cosines, 0)
    best = gain[linear_sum_assignment(gain, maximize=True)].sum()
    assert sum(cosines[i, j] for i, j in pairs) == pytest.approx(best, abs=1e-5)
    assert len({i for i, _ in pairs}) == len({j for _, j in pairs}) == len(pairs) and all(cosines[i, j] > 0 for i, j in pairs)


def test_parts_that_share_no_candidate_are_matched_as_if_alone() -> None:
    source = np.random.default_rng(1)
    blocks = [source.uniform(0.1, 1, (5, 5)).astype(np.float32) for _ in range(3)]
    whole = np.full((15, 15), -1, dtype=np.float32)
    for i, block in enumerate(blocks):
        whole[5 * i : 5 * i + 5, 5 * i : 5 * i + 5] = block
    apart = [(5 * i + a, 5 * i + b) for i, block in enumerate(blocks) for a, b in matched(block, 4)]
    assert matched(whole, 4) == apart


def test_nothing_matches_nothing() -> None:
    none = Nearest(np.zeros(1, dtype=np.int64), np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32))
    three = Nearest(np.zeros(4, dtype=np.int64), np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32))
    for ours, theirs in ((none, none), (none, three), (three, none), (three, three)):
        assert [len(part) for part in one_to_one(ours, theirs)] == [0, 0, 0]


def test_a_control_is_any_other_explained_feature_equally_often() -> None:
    draws = (np.arange(3000) + 0.5) / 3000
    explained = np.array([2, 5, 6, 9])
    for matched_feature, others in ((5, [2, 6, 9]), (9, [2, 5, 6]), (4, [2, 5, 6, 9])):
        chosen, there = controls(draws, np.full(3000, matched_feature), explained)
        values, counts = np.unique(chosen, return_counts=True)
        assert there.all() and values.tolist() == others and set(counts.tolist()) == {3000 // len(others)}


def test_there_is_no_control_where_no_other_feature_is_explained() -> None:
    assert not controls(np.array([0.3]), np.array([5]), np.array([5]))[1].any()
    assert not controls(np.array([0.3, 0.9]), np.array([5, 1]), np.empty(0, dtype=np.int64))[1].any()
    assert [len(part) for part in controls(np.empty(0), np.empty(0, dtype=np.int64), np.array([5]))] == [0, 0]
