"""Which feature of another dictionary is which of ours: one-to-one matches of largest total cosine, and controls to read them against.

As in arXiv 2410.13928, where features of adjacent residual layers are matched by the cosine of their decoder rows, one to one, and the
explanations of the matched are compared. Candidates are each feature's nearest on either side: nothing is as large as width × width.
"""

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import min_weight_full_bipartite_matching

from interp_assets.domain.features.co_occurrence import Nearest


def one_to_one(ours: Nearest, theirs: Nearest) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Matches of largest total cosine, as arrays [matches]: our features (int64, ascending), their partners (int64), cosines (float32).

    `ours` names for each of our features the nearest of theirs, `theirs` for each of theirs the nearest of ours. A match is a pair that
    either names, with a cosine above 0, and no feature stands in two; one whose candidates all do better elsewhere stays alone. The
    optimum over all such matchings (the sparse Jonker-Volgenant algorithm of scipy), which is the Hungarian method's over all pairs
    wherever that uses candidates alone. Empty when there is no candidate.
    """
    n_ours, n_theirs = len(ours.bounds) - 1, len(theirs.bounds) - 1
    index = np.concatenate([np.repeat(np.arange(n_ours), np.diff(ours.bounds)), theirs.neighbour])
    partner = np.concatenate([ours.neighbour, np.repeat(np.arange(n_theirs), np.diff(theirs.bounds))])
    cosine = np.concatenate([ours.similarity, theirs.similarity])
    _, first = np.unique(index * n_theirs + partner, return_index=True)
    first = first[cosine[first] > 0]
    index, partner, cosine = index[first], partner[first], cosine[first]
    # Each of ours may also stay alone, for the cost of a cosine of 0: so a full matching exists, and the cheapest has the largest total.
    alone = np.arange(n_ours)
    costs = np.concatenate([2 - cosine.astype(np.float64), np.full(n_ours, 2.0)])
    graph = sparse.csr_matrix(
        (costs, (np.concatenate([index, alone]), np.concatenate([partner, n_theirs + alone]))), shape=(n_ours, n_theirs + n_ours)
    )
    row, column = min_weight_full_bipartite_matching(graph) if n_ours else (alone, alone)
    matched = column < n_theirs
    row, column = row[matched].astype(np.int64), column[matched].astype(np.int64)
    # Edges are in the order of their pair, as np.unique left them.
    edge = np.searchsorted(index * n_theirs + partner, row * n_theirs + column)
    return row, column, cosine[edge]


def controls(draws: np.ndarray, matched: np.ndarray, explained: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each match another feature than `matched` [matches], uniformly from `explained` (distinct, ascending): int64, and bool whether
    there is one; both [matches].

    `draws` in [0, 1) decide. Where `explained` holds no other feature the number means nothing.
    """
    place = np.searchsorted(explained, matched)
    present = np.append(explained, -1)[place] == matched
    others = len(explained) - present
    chosen = np.floor(draws * others).astype(np.int64)
    chosen += present & (chosen >= place)
    there = others > 0
    return np.where(there, np.append(explained, 0)[np.where(there, chosen, -1)], 0).astype(np.int64), there
