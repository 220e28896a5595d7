"""Which features fire on the same tokens: the Jaccard index |A ∩ B| / |A ∪ B| of their token positions, as delphi measures it.

A sparse join: the counts of common positions of a block of features with all features are one product of sparse matrices, features ×
positions times positions × features. Nothing is as large as width × width: memory holds the activations that are compared, and one block.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from interp_assets.domain.features.sparse_matrices import from_rows

MOST_FIRINGS = 80_000_000
"""Most firings that are compared, whatever the bound on pairs: about 40 bytes of memory a firing at the peak."""

BLOCK_ENTRIES = 4_000_000
"""Most counts that one block of features may have: about 40 bytes of memory a count while the block is worked on."""


@dataclass(frozen=True)
class Nearest:
    """The nearest features of each of n features, end to end: `bounds[i]` to `bounds[i + 1]` are the neighbours of feature i, nearest
    first.

    `neighbour` int64 are indices of features, `similarity` float32.
    """

    bounds: np.ndarray
    neighbour: np.ndarray
    similarity: np.ndarray

    def of(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Neighbours and similarities of one feature; empty when it has no neighbours."""
        part = slice(self.bounds[index], self.bounds[index + 1])
        return self.neighbour[part], self.similarity[part]


def sampled_positions(firings: np.ndarray, max_pairs: int) -> np.ndarray:
    """bool [n_tokens]: the positions to compare features on, for about `max_pairs` pairs and MOST_FIRINGS firings at most.

    `firings` [n_tokens] counts the features that fire on each position. Where Σ firings² and Σ firings are within the bounds, all positions
    on which a feature fires are taken. Else a share of these positions is taken, by a fixed hash of the position: a uniform sample, which
    does not depend on the order of reading. The Jaccard index is then an estimate on this sample.
    """
    share = min(
        max_pairs / max(float(np.square(firings, dtype=np.float64).sum()), 1), MOST_FIRINGS / max(int(firings.sum(dtype=np.int64)), 1)
    )
    firing = firings > 0
    if share >= 1:
        return firing
    with np.errstate(over="ignore"):
        mixed = (np.arange(len(firings), dtype=np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed ^= mixed >> np.uint64(31)
    return firing & (mixed < np.uint64(int(share * 2**64)))


def nearest_by_co_occurrence(positions: np.ndarray, bounds: np.ndarray, n_positions: int, n_nearest: int) -> Nearest:
    """For each feature at most `n_nearest` features with the largest Jaccard index, largest first; of equals the smaller index first.

    `positions` int32 are the positions of all features, end to end, ascending and distinct within a feature: `bounds[i]` to `bounds[i + 1]`
    are the positions of feature i, each below `n_positions`. Features that never fire together are not neighbours, so a feature may have
    fewer than `n_nearest`.
    """
    n_features = len(bounds) - 1
    ones = np.ones(len(positions), dtype=np.int32)
    by_feature = from_rows(ones, positions, bounds, (n_features, n_positions))
    by_position = by_feature.transpose().tocsr()
    size = np.diff(bounds)
    work = np.minimum(_sums(np.diff(by_position.indptr)[positions], bounds), n_features)
    found: list[tuple[np.ndarray, np.ndarray]] = []
    for first, end in _blocks(work):
        counts = by_feature[first:end] @ by_position
        union = np.repeat(size[first:end], np.diff(counts.indptr)) + size[counts.indices] - counts.data
        similarity = np.divide(counts.data, union, dtype=np.float32)
        for i in range(end - first):
            part = slice(counts.indptr[i], counts.indptr[i + 1])
            found.append(_largest(counts.indices[part], similarity[part], first + i, n_nearest))
    lengths = [len(neighbour) for neighbour, _ in found]
    return Nearest(
        np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]),
        np.concatenate([np.empty(0, dtype=np.int64), *(neighbour for neighbour, _ in found)]),
        np.concatenate([np.empty(0, dtype=np.float32), *(similarity for _, similarity in found)]),
    )


def _sums(values: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """Sum of `values` between each two bounds."""
    cumulative = np.concatenate([[0], np.cumsum(values, dtype=np.int64)])
    return cumulative[bounds[1:]] - cumulative[bounds[:-1]]


def _blocks(work: np.ndarray) -> Iterator[tuple[int, int]]:
    """Runs [first, end) of features whose summed `work` is at most BLOCK_ENTRIES; a run has at least one feature."""
    ends = np.cumsum(work)
    first = 0
    while first < len(work):
        done = ends[first - 1] if first else 0
        end = max(int(np.searchsorted(ends, done + BLOCK_ENTRIES, side="right")), first + 1)
        yield first, end
        first = end


def _largest(index: np.ndarray, similarity: np.ndarray, own: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    """The n largest similarities with their indices, largest first, without the feature itself; of equals the smaller index first."""
    others = index != own
    index, similarity = index[others], similarity[others]
    if len(index) > n:
        least = np.partition(similarity, len(similarity) - n)[len(similarity) - n]
        kept = similarity >= least
        index, similarity = index[kept], similarity[kept]
    order = np.lexsort((index, -similarity))[:n]
    return index[order].astype(np.int64), similarity[order]
