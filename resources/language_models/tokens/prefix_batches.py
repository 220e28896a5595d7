"""Groups requests by shared prompt prefixes, and packs the rests of the prompts into batches. Pure: token ids in, indices out."""

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

MIN_PREFIX_TOKENS = 16
MIN_FORK_TOKENS = 8

Tokens = Sequence[int]


@dataclass(frozen=True)
class PrefixBatch:
    """Requests that run together: their common `prefix` token ids (may be empty), and their `indices`.

    `first_of_prefix` is true for the batch in which the prefix is computed. All prefixes have their first `root` tokens in common.
    `forks[row]` is the number of tokens after the prefix that are
    computed once for all rows that begin with them; empty where every row is computed from the prefix on.
    """

    prefix: tuple[int, ...]
    indices: tuple[int, ...]
    first_of_prefix: bool
    root: int = 0
    forks: tuple[int, ...] = ()


def common_prefix(sequences: Sequence[Tokens]) -> int:
    """Length of the longest common prefix that leaves every sequence at least one token; 0 for no sequences."""
    if not sequences:
        return 0
    # A prefix of the smallest and the largest sequence is a prefix of all sequences between them.
    low, high = min(map(tuple, sequences)), max(map(tuple, sequences))
    shared = next((i for i, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), min(len(low), len(high)))
    return min(shared, min(len(sequence) for sequence in sequences) - 1)


def prefix_batches(
    prompts: Sequence[Tokens],
    groups: Sequence[Hashable],
    batch_tokens: int,
    own_tokens: Sequence[int] | None = None,
    pass_tokens: int | None = None,
    rooted: bool = False,
) -> Iterator[PrefixBatch]:
    """Every index once, in batches of one group; the padded rests of a batch have at most `batch_tokens` tokens.

    The last `own_tokens[i]` tokens of prompt i are never part of a prefix, even where other prompts share them; by default one token each.
    Groups come in order of first appearance. Rests of similar length run together, the longest first, so that memory is at its peak at the
    start. With `pass_tokens`, the tokens that take as long as a further forward pass, batches have forks where forks leave less to compute,
    and rests with a common beginning run together where that leaves less than similar lengths do. If `rooted`, the prefixes have a root
    where all prompts have one. A prompt longer than `batch_tokens` has its own batch.
    """
    own = own_tokens or [1] * len(prompts)
    members: dict[Hashable, list[int]] = {}
    for index, group in enumerate(groups):
        members.setdefault(group, []).append(index)
    shareable = [prompt[: len(prompt) - kept + 1] for prompt, kept in zip(prompts, own, strict=True)]
    root = _worth(common_prefix(shareable)) if rooted and len(members) > 1 else 0
    for indices in members.values():
        shared = max(root, _worth(common_prefix([shareable[i] for i in indices])) if len(indices) > 1 else 0)
        rests = {i: tuple(prompts[i][shared:]) for i in indices}
        by_length = sorted(indices, key=lambda i: (-len(rests[i]), i))
        packed = _packed(by_length, rests, own, batch_tokens, pass_tokens)
        if pass_tokens is not None and len(packed) > 1:
            together = _packed(_beginnings_together(rests, own), rests, own, batch_tokens, pass_tokens)
            plans = [
                (sum(computed_tokens([rests[i] for i in rows], forks, pass_tokens) for rows, forks in plan), plan)
                for plan in (packed, together)
            ]
            _, packed = min(plans, key=lambda plan: plan[0])
        for number, (rows, forks) in enumerate(packed):
            yield PrefixBatch(tuple(prompts[indices[0]][:shared]), tuple(rows), number == 0, root, forks)


def _worth(shared: int) -> int:
    return shared if shared >= MIN_PREFIX_TOKENS else 0


def computed_tokens(rests: Sequence[Tokens], forks: Sequence[int], pass_tokens: int) -> int:
    """Tokens that a batch computes beyond its prefix, padding too; a further forward pass counts as `pass_tokens`."""
    if not forks:
        return len(rests) * max(map(len, rests))
    beginnings = {tuple(rest[:fork]) for rest, fork in zip(rests, forks, strict=True)}
    ends = [len(rest) - fork for rest, fork in zip(rests, forks, strict=True)]
    return pass_tokens + len(beginnings) * max(forks) + len(rests) * max(ends)


Rows = tuple[list[int], tuple[int, ...]]


def _packed(
    order: Sequence[int], rests: dict[int, tuple[int, ...]], own: Sequence[int], batch_tokens: int, pass_tokens: int | None
) -> list[Rows]:
    """The indices in this order in batches, each with its forks."""
    batches: list[list[int]] = []
    longest = 0
    for i in order:
        longest = max(longest, len(rests[i]))
        if not batches or (len(batches[-1]) + 1) * longest > batch_tokens:
            batches.append([])
            longest = len(rests[i])
        batches[-1].append(i)
    if pass_tokens is None:
        return [(rows, ()) for rows in batches]
    return [(rows, _forks([rests[i] for i in rows], [own[i] for i in rows], pass_tokens)) for rows in batches]


def _forks(rests: Sequence[tuple[int, ...]], own: Sequence[int], pass_tokens: int) -> tuple[int, ...]:
    """For each row the tokens at its beginning that are computed once for all rows with the same beginning; empty where that saves nothing.

    A row that shares its beginning with no other row has a fork too, at the place of most other forks.
    """
    clusters = [(rows, length) for rows, length in _clusters(rests, own) if len(rows) > 1]
    if not clusters:
        return ()
    usual = sorted(length for rows, length in clusters for _ in rows)[sum(len(rows) for rows, _ in clusters) // 2]
    forks = [min(usual, len(rest) - kept) for rest, kept in zip(rests, own, strict=True)]
    for rows, length in clusters:
        for row in rows:
            forks[row] = length
    if min(forks) < 1 or computed_tokens(rests, forks, pass_tokens) >= computed_tokens(rests, (), pass_tokens):
        return ()
    return tuple(forks)


def _beginnings_together(rests: dict[int, tuple[int, ...]], own: Sequence[int]) -> list[int]:
    """The indices, those with a common beginning side by side; the cluster with the longest rest first."""
    indices = list(rests)
    clusters = [[indices[row] for row in rows] for rows, _ in _clusters(list(rests.values()), [own[i] for i in indices])]
    longest = {rows[0]: max(len(rests[i]) for i in rows) for rows in clusters}
    return [i for rows in sorted(clusters, key=lambda rows: (-longest[rows[0]], rows[0])) for i in rows]


def _clusters(rests: Sequence[tuple[int, ...]], own: Sequence[int]) -> list[tuple[list[int], int]]:
    """Rows with a common beginning, and its length; a row that shares its beginning with no other row stands alone, with 0.

    Of rows in sorted order two neighbours are of one cluster if they share at least MIN_FORK_TOKENS, and half of what either of them shares
    with its other neighbour. So a cluster of long beginnings takes in no row that shares only a little of them.
    """
    order = sorted(range(len(rests)), key=rests.__getitem__)
    shared = [0, *(_shared(rests[a], rests[b], own[a], own[b]) for a, b in pairwise(order)), 0]
    clusters: list[tuple[list[int], int]] = []
    for place, row in enumerate(order):
        before, here, after = shared[max(place - 1, 0)], shared[place], shared[place + 1]
        if here >= MIN_FORK_TOKENS and 2 * here >= max(before, after):
            rows, length = clusters[-1]
            clusters[-1] = ([*rows, row], min(length, here) if len(rows) > 1 else here)
        else:
            clusters.append(([row], 0))
    return clusters


def _shared(one: tuple[int, ...], other: tuple[int, ...], own_one: int, own_other: int) -> int:
    """Number of tokens that two rests begin with together, without the last tokens of each that are its own."""
    most = min(len(one) - own_one, len(other) - own_other)
    return next((i for i, (a, b) in enumerate(zip(one[:most], other[:most], strict=True)) if a != b), most)
