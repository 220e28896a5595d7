"""Shared prefixes and batches, with their arithmetic."""

from hypothesis import given
from hypothesis import strategies as st

from resources.language_models.tokens.prefix_batches import (
    MIN_FORK_TOKENS,
    MIN_PREFIX_TOKENS,
    common_prefix,
    computed_tokens,
    prefix_batches,
)

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


def test_rows_with_a_common_beginning_run_together_and_read_it_once() -> None:
    start = list(range(MIN_PREFIX_TOKENS))
    a, b = [100 + i for i in range(90)], [300 + i for i in range(80)]
    ids = [[*start, *a, 1], [*start, *b, 2, 2], [*start, 9, 9, 9], [*start, *a, 3, 3, 3], [*start, *b, 4], [*start, *a, 5, 5]]
    (batch,) = prefix_batches(ids, "a" * 6, batch_tokens=999, pass_tokens=64)
    # Three rests begin with a, two with b; the last stands alone and keeps a token.
    assert batch.indices == (3, 5, 0, 1, 4, 2) and batch.forks == (90, 90, 90, 80, 80, 2)
    rests = [ids[i][MIN_PREFIX_TOKENS:] for i in batch.indices]
    # Three beginnings padded to 90, then six ends of at most 3 tokens, and a second pass; else six rows of 93.
    assert computed_tokens(rests, batch.forks, 64) == 64 + 3 * 90 + 6 * 3 and computed_tokens(rests, (), 64) == 6 * 93
    (whole,) = prefix_batches(ids, "a" * 6, batch_tokens=999)
    assert whole.indices == (3, 5, 0, 1, 4, 2) and whole.forks == ()


def test_rests_of_other_lengths_run_together_where_their_beginning_is_long() -> None:
    start, a, b = list(range(MIN_PREFIX_TOKENS)), [100] * 90, [300] * 90
    ids = [[*start, *(a if i % 2 else b), *range(i + 1)] for i in range(6)]
    # By length three of both kinds would share a batch; together each kind has a batch of its own, and computes its beginning once.
    found = [(batch.indices, batch.forks) for batch in prefix_batches(ids, "a" * 6, batch_tokens=300, pass_tokens=0)]
    # The rests with a share its 90 tokens and a further 0; the first rest with b keeps its only further token.
    assert found == [((1, 3, 5), (91, 91, 91)), ((0, 2, 4), (90, 90, 90))]


def test_a_beginning_that_saves_less_than_a_further_pass_is_no_fork() -> None:
    start = list(range(MIN_PREFIX_TOKENS + MIN_FORK_TOKENS))
    batches = list(prefix_batches([[*start, 1, 1], [*start, 1, 2, 3], [0] * 30], "aaa", 999, pass_tokens=64))
    assert [batch.forks for batch in batches] == [()]


def test_groups_have_a_common_root_where_all_prompts_do() -> None:
    start = list(range(MIN_PREFIX_TOKENS))
    ids = [
        [*start, *range(50, 80), 1],
        [*start, *range(50, 80), 2],
        [*start, 5, 5],
        [*start, *range(90, 99), 3, 4],
        [*start, *range(90, 99), 6],
    ]
    groups = "aabcc"
    found = [(b.indices, len(b.prefix), b.root) for b in prefix_batches(ids, groups, 999, rooted=True)]
    # Group b has one prompt: the root is its prefix. Groups a and c go on from the root to their own prefixes.
    assert found == [((0, 1), 46, 16), ((2,), 16, 16), ((3, 4), 25, 16)]
    assert [(len(b.prefix), b.root) for b in prefix_batches(ids, groups, 999)] == [(46, 0), (0, 0), (25, 0)]
    assert {b.root for b in prefix_batches([*ids, [0, 0, 0]], "aabccd", 999, rooted=True)} == {0}
    assert {b.root for b in prefix_batches(ids[:2], "aa", 999, rooted=True)} == {0}  # one group has its prefix and needs no root


def test_a_fork_leaves_a_prompts_own_tokens() -> None:
    long = list(range(100))
    ids = [[*long, 1, 2], [*long, 1, 2], [*long, 1, 3]]
    assert [b.forks for b in prefix_batches([*ids, [7] * 50], "aaaa", 999, [1, 1, 1, 1], pass_tokens=0)] == [(101, 101, 101, 49)]
    # The first keeps its last 20 tokens, so that 82 are left to share.
    assert [b.forks for b in prefix_batches([*ids, [7] * 50], "aaaa", 999, [20, 1, 1, 1], pass_tokens=0)] == [(82, 82, 82, 49)]


@given(prompts, st.integers(1, 20), st.randoms(), st.booleans())
def test_every_prompt_is_in_one_batch_within_the_bound(ids: list[list[int]], batch_tokens: int, chance, forked: bool) -> None:
    groups = [chance.choice("ab") for _ in ids]
    batches = list(prefix_batches(ids, groups, batch_tokens, pass_tokens=0 if forked else None))
    assert sorted(index for batch in batches for index in batch.indices) == list(range(len(ids)))
    for batch in batches:
        rests = [len(ids[i]) - len(batch.prefix) for i in batch.indices]
        assert len({groups[i] for i in batch.indices}) == 1
        assert all(tuple(ids[i][: len(batch.prefix)]) == batch.prefix for i in batch.indices)
        assert len(rests) == 1 or max(rests) * len(rests) <= batch_tokens
        assert not batch.forks or all(0 < fork < rest for fork, rest in zip(batch.forks, rests, strict=True))
