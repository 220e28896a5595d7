"""Hashes of runs of tokens: equal for equal texts wherever they stand, and the same whether read off or read token by token."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from interp_assets.domain.examples import text_hashes
from interp_assets.domain.examples.text_hashes import HashedTokens, HashSet, first_of_equal, hashes_of_runs, in_sorted

numbers = st.lists(st.integers(0, 6), max_size=30).map(lambda found: np.array(found, dtype=np.uint64))


def test_hashes_tell_sequences_apart_by_order_and_length() -> None:
    rows = np.array([[1, 2, 3, 1, 2, 3, 0, 0], [2, 1, 3, 0, 0, 0, 0, 0]])
    begin, length = np.array([0, 3, 8, 0, 11, 11]), np.array([3, 3, 3, 2, 3, 4])
    hashes = HashedTokens.of(rows).of_runs(begin, length)
    assert hashes[0] == hashes[1]
    assert len(set(hashes.tolist())) == 5


@given(st.integers(0, 1000), st.integers(2, 40), st.integers(1, 5))
def test_runs_have_equal_hashes_exactly_where_their_tokens_are_equal(seed: int, context: int, vocabulary: int) -> None:
    rng = np.random.default_rng(seed)
    rows = rng.integers(0, vocabulary, (6, context))
    begin = rng.integers(0, rows.size, 40)
    length = rng.integers(1, np.minimum(rows.size - begin, 12) + 1)
    hashes = HashedTokens.of(rows).of_runs(begin, length).tolist()
    texts = [tuple(rows.ravel()[b : b + n].tolist()) for b, n in zip(begin, length, strict=True)]
    assert len(set(hashes)) == len(set(texts)) == len(set(zip(hashes, texts, strict=True)))
    assert hashes_of_runs(rows, begin, length).tolist() == hashes


def test_a_sample_of_several_chunks_is_hashed_as_one() -> None:
    """A run of 6 tokens over the bound between two chunks, and the same tokens inside a chunk."""
    rows = np.random.default_rng(0).integers(0, 50_000, (3, 1 << 16)).astype(np.int32)
    rows[1, 100:106] = rows.ravel()[(1 << 16) - 3 : (1 << 16) + 3]
    begin = np.array([(1 << 16) - 3, (1 << 16) + 100, (2 << 16) - 3, 7])
    found = HashedTokens.of(rows).of_runs(begin, np.full(4, 6))
    assert found[0] == found[1] and len(set(found.tolist())) == 3
    assert found.tolist() == hashes_of_runs(rows, begin, np.full(4, 6)).tolist()


def test_no_runs_no_hashes() -> None:
    nothing = np.empty(0, dtype=np.int64)
    assert len(HashedTokens.of(np.zeros((0, 4), dtype=np.int32)).of_runs(nothing, nothing)) == 0
    assert len(hashes_of_runs(np.zeros((1, 4), dtype=np.int32), nothing, nothing)) == 0
    assert text_hashes._powers(3, 3).tolist() == [1, 3, 9]


@given(numbers, numbers)
def test_membership_and_first_occurrences(values: np.ndarray, others: np.ndarray) -> None:
    assert in_sorted(values, np.sort(others)).tolist() == [value in others.tolist() for value in values.tolist()]
    first = [value not in values[:i].tolist() for i, value in enumerate(values.tolist())]
    assert first_of_equal(values).tolist() == HashSet.of(values).is_first.tolist() == first


@given(st.integers(0, 1000), st.integers(0, 300), st.integers(0, 40), st.integers(0, 63))
def test_a_set_of_hashes_holds_its_hashes_alone(seed: int, n: int, n_repeated: int, n_equal_bits: int) -> None:
    """Also where hashes repeat, and where many have their upper bits in common."""
    rng = np.random.default_rng(seed)
    hashes = rng.integers(0, 1 << 64, n, dtype=np.uint64) >> np.uint64(n_equal_bits)
    hashes = rng.permutation(np.concatenate([hashes, hashes[:n_repeated]]))
    asked = np.concatenate([hashes[::3], rng.integers(0, 1 << 64, 50, dtype=np.uint64) >> np.uint64(n_equal_bits)])
    found, members = HashSet.of(hashes), hashes.tolist()
    assert found.holds(asked).tolist() == [value in set(members) for value in asked.tolist()]
    assert found.is_first.tolist() == [value not in members[:i] for i, value in enumerate(members)]
