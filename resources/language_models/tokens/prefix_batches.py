"""Groups requests by shared prompt prefixes, and packs the rests of the prompts into batches. Pure: token ids in, indices out."""

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass

MIN_PREFIX_TOKENS = 16


@dataclass(frozen=True)
class PrefixBatch:
    """Requests that run together: their common `prefix` token ids (may be empty), and their `indices`.

    `first_of_prefix` is true for the batch in which the prefix is computed.
    """

    prefix: tuple[int, ...]
    indices: tuple[int, ...]
    first_of_prefix: bool


def common_prefix(sequences: Sequence[Sequence[int]]) -> int:
    """Length of the longest common prefix that leaves every sequence at least one token; 0 for no sequences."""
    if not sequences:
        return 0
    # A prefix of the smallest and the largest sequence is a prefix of all sequences between them.
    low, high = min(map(tuple, sequences)), max(map(tuple, sequences))
    shared = next((i for i, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), min(len(low), len(high)))
    return min(shared, min(len(sequence) for sequence in sequences) - 1)


def prefix_batches(
    prompts: Sequence[Sequence[int]], groups: Sequence[Hashable], batch_tokens: int, own_tokens: Sequence[int] | None = None
) -> Iterator[PrefixBatch]:
    """Every index once, in batches of one group and of similar length; the padded rests of a batch have at most `batch_tokens` tokens.

    The last `own_tokens[i]` tokens of prompt i are never part of a prefix, even where other prompts share them; by default one token each.
    Groups come in order of first appearance, the longest rests of a group first, so that memory is at its peak at the start. A prompt
    longer than `batch_tokens` has its own batch.
    """
    own = own_tokens or [1] * len(prompts)
    members: dict[Hashable, list[int]] = {}
    for index, group in enumerate(groups):
        members.setdefault(group, []).append(index)
    for indices in members.values():
        shared = common_prefix([prompts[i][: len(prompts[i]) - own[i] + 1] for i in indices]) if len(indices) > 1 else 0
        shared = shared if shared >= MIN_PREFIX_TOKENS else 0
        prefix = tuple(prompts[indices[0]][:shared])
        indices.sort(key=lambda i: (-len(prompts[i]), i))
        first = 0
        while first < len(indices):
            size = max(1, batch_tokens // (len(prompts[indices[first]]) - shared))
            yield PrefixBatch(prefix, tuple(indices[first : first + size]), first == 0)
            first += size
