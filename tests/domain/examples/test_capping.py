"""The rule that keeps a share of a dense feature's contexts."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from interp_assets.domain.examples.capping import blocked_positions, context_draws, kept_contexts, kept_share
from interp_assets.domain.examples.windows import WindowShape


def test_draws_are_those_of_splitmix64() -> None:
    # The reference generator seeded with 0 gives 0xE220A8397B1DCDAF first: here the innermost of three nested steps.
    def step(value: int) -> int:
        value = (value + 0x9E3779B97F4A7C15) % 2**64
        value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        value = (value ^ value >> 27) * 0x94D049BB133111EB % 2**64
        return value ^ value >> 31

    assert step(0) == 0xE220A8397B1DCDAF
    expected = [(step(step(step(3) ^ 5) ^ row) >> 11) / 2**53 for row in (0, 1, 7)]
    assert context_draws(3, 5, np.array([0, 1, 7])).tolist() == expected


def test_draws_are_uniform_and_differ_between_features() -> None:
    one, other = context_draws(0, 1, np.arange(100_000)), context_draws(0, 2, np.arange(100_000))
    assert abs(one.mean() - 0.5) < 0.005 and abs(np.corrcoef(one, other)[0, 1]) < 0.02


@given(st.lists(st.integers(0, 9), min_size=1, max_size=60), st.integers(1, 100), st.integers(-5, 5), st.integers(0, 2**20))
def test_as_many_whole_contexts_are_kept_as_the_cap_allows(counts: list[int], cap: int, seed: int, feature: int) -> None:
    array = np.array(counts)
    share = kept_share(seed, feature, array, cap)
    kept = kept_contexts(seed, feature, share, len(array))
    assert array[kept].sum() <= cap or array.sum() <= cap
    if array.sum() <= cap:
        assert share == 1.0 and kept.all()
    else:
        draws = context_draws(seed, feature, np.arange(len(array)))
        dropped = np.flatnonzero(~kept & (array > 0))
        next_one = dropped[np.argmin(draws[dropped])]
        assert array[kept].sum() + array[next_one] > cap


@given(st.lists(st.booleans(), min_size=1, max_size=6), st.integers(1, 12), st.integers(2, 12), st.integers(0, 1))
def test_every_window_of_a_dropped_context_holds_a_blocked_position_and_no_kept_one_does(
    kept: list[bool], window_tokens: int, context_tokens: int, first: int
) -> None:
    shape = WindowShape("cells", window_tokens, context_tokens, first)
    blocked = set(blocked_positions(np.array(kept), shape).tolist())
    for row, is_kept in enumerate(kept):
        cells = [(start, min(window_tokens, context_tokens - start)) for start in range(first, context_tokens, window_tokens)]
        sliding = [(start, shape.full_length) for start in range(first, context_tokens - shape.full_length + 1)]
        for start, length in cells + sliding:
            inside = {row * context_tokens + place for place in range(start, start + length)} & blocked
            assert not inside if is_kept else inside
