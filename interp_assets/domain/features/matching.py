"""Matches between the features of two dictionaries: one-to-one matches of largest total cosine, and controls to compare matches with.

arXiv 2410.13928 matches features of adjacent residual layers one to one by the cosine of their decoder rows, and compares the explanations
of matched features. A candidate pair is a feature of either dictionary and one of its nearest features in the other dictionary: nothing is
as large as width × width.
"""

import numpy as np

from interp_assets.domain.features.co_occurrence import Nearest
from interp_assets.domain.features.sparse_matrices import cheapest_full_matching, from_entries


def one_to_one(ours: Nearest, theirs: Nearest) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Matches of largest total cosine, as arrays [matches]: our features (int64, ascending), their partners (int64), cosines (float32).

    `ours` names the nearest of their features for each of our features, `theirs` the nearest of our features for each of their features. A
    match is a pair with a cosine above 0 that `ours` or `theirs` names. No feature stands in two matches. A feature stays unmatched where
    all its candidates are worth more in other matches. The result is the optimum over all such matchings, by the sparse Jonker-Volgenant
    algorithm of scipy. It equals the optimum over all pairs (the Hungarian method) wherever that optimum holds candidate pairs alone. Empty
    when there is no candidate.
    """
    n_ours, n_theirs = len(ours.bounds) - 1, len(theirs.bounds) - 1
    index = np.concatenate([np.repeat(np.arange(n_ours), np.diff(ours.bounds)), theirs.neighbour])
    partner = np.concatenate([ours.neighbour, np.repeat(np.arange(n_theirs), np.diff(theirs.bounds))])
    cosine = np.concatenate([ours.similarity, theirs.similarity])
    _, first = np.unique(index * n_theirs + partner, return_index=True)
    first = first[cosine[first] > 0]
    index, partner, cosine = index[first], partner[first], cosine[first]
    # Each of our features may also stay alone, at the cost of a cosine of 0. So a full matching exists, and the cheapest full matching has
    # the largest total cosine.
    alone = np.arange(n_ours)
    costs = np.concatenate([2 - cosine.astype(np.float64), np.full(n_ours, 2.0)])
    rows, columns = np.concatenate([index, alone]), np.concatenate([partner, n_theirs + alone])
    graph = from_entries(costs, rows, columns, (n_ours, n_theirs + n_ours))
    row, column = cheapest_full_matching(graph) if n_ours else (alone, alone)
    matched = column < n_theirs
    row, column = row[matched].astype(np.int64), column[matched].astype(np.int64)
    # np.unique left the edges in the order of their pairs.
    edge = np.searchsorted(index * n_theirs + partner, row * n_theirs + column)
    return row, column, cosine[edge]


def controls(draws: np.ndarray, matched: np.ndarray, explained: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(a control feature int64, whether there is a control bool) for each match, both [matches].

    A control is a feature of `explained` (distinct, ascending) other than the match's feature in `matched` [matches], drawn uniformly by
    `draws` [matches] in [0, 1). Where `explained` holds no other feature there is no control, and the number means nothing.
    """
    place = np.searchsorted(explained, matched)
    present = np.append(explained, -1)[place] == matched
    others = len(explained) - present
    chosen = np.floor(draws * others).astype(np.int64)
    chosen += present & (chosen >= place)
    there = others > 0
    return np.where(there, np.append(explained, 0)[np.where(there, chosen, -1)], 0).astype(np.int64), there
