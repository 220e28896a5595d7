"""Shared prefixes and batches, with their arithmetic."""

from hypothesis import given
from hypothesis import strategies as st

from resources.language_models.tokens.prefix_batches import MIN_PREFIX_TOKENS, common_prefix, prefix_batches

prompts = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=12), min_size=1, max_size=12)


def test_a_common_prefix_leaves_every_sequence_a_token() -> None:
    assert common_prefix([]) == 0
    assert common_prefix([[1, 2, 3], [1, 2, 4], [1, 2, 3, 5]]) == 2
    assert common_prefix([[1, 2], [1, 2, 3]]) == 1
    assert common_prefix([[1, 2], [1, 2]]) == 1


@given(prompts)
def test_a_common_prefix_is_common_and_longest(sequences: list[list[int]]) -> None:
    length = common_prefix(sequences)
    assert all(sequence[:length] == sequences[0][:length] for sequence in sequences)
    assert length < min(map(len, sequences))
    longer = length + 1
    assert longer == min(map(len, sequences)) or any(sequence[:longer] != sequences[0][:longer] for sequence in sequences)


def test_batches_of_two_groups() -> None:
    start = list(range(MIN_PREFIX_TOKENS))
    ids = [[*start, 1, 1], [*start, 2, 2, 2, 2], [7], [*start, 3]]
    batches = list(prefix_batches(ids, ["a", "a", "b", "a"], batch_tokens=8))
    # Group a shares 16 tokens and leaves 2, 4 and 1: two rows of at most 4 fit in 8 tokens, the longest first.
    assert [(b.prefix, b.indices, b.first_of_prefix) for b in batches] == [
        (tuple(start), (1, 0), True), (tuple(start), (3,), False), ((), (2,), True),
    ]  # fmt: skip


def test_a_prompts_own_tokens_are_no_part_of_a_prefix() -> None:
    start = list(range(MIN_PREFIX_TOKENS + 3))
    ids = [[*start, 1, 1], [*start, 1, 2], [*start, 1, 3, 4]]
    # All share 20 tokens; the third keeps its last 5, so that 17 are left to share.
    assert {len(b.prefix) for b in prefix_batches(ids, "aaa", 99)} == {20}
    assert {len(b.prefix) for b in prefix_batches(ids, "aaa", 99, [1, 2, 5])} == {17}
    assert {len(b.prefix) for b in prefix_batches(ids, "aaa", 99, [1, 2, 7])} == {0}  # 15 are too few to be worth it


@given(prompts, st.integers(1, 20), st.randoms())
def test_every_prompt_is_in_one_batch_within_the_bound(ids: list[list[int]], batch_tokens: int, chance) -> None:
    groups = [chance.choice("ab") for _ in ids]
    batches = list(prefix_batches(ids, groups, batch_tokens))
    assert sorted(index for batch in batches for index in batch.indices) == list(range(len(ids)))
    for batch in batches:
        rests = [len(ids[i]) - len(batch.prefix) for i in batch.indices]
        assert len({groups[i] for i in batch.indices}) == 1
        assert all(tuple(ids[i][: len(batch.prefix)]) == batch.prefix for i in batch.indices)
        assert len(rests) == 1 or max(rests) * len(rests) <= batch_tokens
