"""Nearest features by co-occurrence, against the definition."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interp_assets.domain.features import co_occurrence
from interp_assets.domain.features.co_occurrence import nearest_by_co_occurrence, sampled_positions


def joined(sets: list[set[int]]) -> tuple[np.ndarray, np.ndarray]:
    positions = np.array([p for s in sets for p in sorted(s)], dtype=np.int32)
    return positions, np.cumsum([0, *map(len, sets)])


def test_the_jaccard_index_of_three_features_by_hand() -> None:
    """{0,1,2,3} and {2,3,4} share 2 of 5 positions, {0} and the first 1 of 4; {0} and {2,3,4} share none, and {} none with anyone."""
    found = nearest_by_co_occurrence(*joined([{0, 1, 2, 3}, {2, 3, 4}, {0}, set()]), 5, 4)
    assert [(n.tolist(), s.tolist()) for n, s in map(found.of, range(4))] == [
        ([1, 2], [pytest.approx(2 / 5), 0.25]),
        ([0], [pytest.approx(2 / 5)]),
        ([0], [0.25]),
        ([], []),
    ]


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10_000), st.integers(1, 25), st.integers(1, 30), st.integers(1, 6), st.sampled_from([1, 40, 10**6]))
def test_the_nearest_are_those_of_all_pairs(seed: int, n_features: int, n_positions: int, n: int, block: int) -> None:
    source = np.random.default_rng(seed)
    sets = [set(np.flatnonzero(source.random(n_positions) < source.random()).tolist()) for _ in range(n_features)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(co_occurrence, "BLOCK_ENTRIES", block)
        found = nearest_by_co_occurrence(*joined(sets), n_positions, n)
    for i, own in enumerate(sets):
        pairs = [(-np.float32(len(own & other) / len(own | other)), j) for j, other in enumerate(sets) if j != i and own & other]
        best = sorted(pairs)[:n]
        neighbour, similarity = found.of(i)
        assert neighbour.tolist() == [j for _, j in best] and (-similarity).tolist() == [s for s, _ in best]


def test_all_firing_positions_are_compared_when_they_are_few() -> None:
    assert sampled_positions(np.array([0, 3, 1, 0]), 10).tolist() == [False, True, True, False]


def test_firings_are_bounded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(co_occurrence, "MOST_FIRINGS", 2000)
    assert 800 < sampled_positions(np.full(10_000, 2), 10**9).sum() < 1200  # a thousand positions of two firings


def test_a_share_of_the_positions_keeps_the_pairs_within_the_bound() -> None:
    """100,000 positions with 10 firings each are 1e7 pairs: a bound of 1e6 keeps a tenth of them, in every part of the sample."""
    kept = sampled_positions(np.full(100_000, 10), 1_000_000)
    assert 0.097 < kept.mean() < 0.103
    assert all(0.07 < part.mean() < 0.13 for part in np.split(kept, 20))
    assert (sampled_positions(np.full(50_000, 10), 500_000) == kept[:50_000]).all()  # a position's hash is its own
