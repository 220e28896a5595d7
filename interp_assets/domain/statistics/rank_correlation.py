"""Correlations of two measurements of the same items, with bootstrap replicates that resample clusters of items.

Every correlation takes `weights` [replicates, items]: how often each item was drawn. A replicate is then exact, as if each item had been
listed as often as it was drawn, and no such list is made. A single replicate of ones gives the value itself. NaN marks an undefined
correlation: fewer than two items drawn, or a constant measurement.
"""

from collections.abc import Callable, Iterator

import numpy as np

from interp_assets.domain.statistics.metrics import UNDEFINED, Estimate, estimate

BLOCK_NUMBERS = 4_000_000
"""Most numbers in one array of a block of replicates; bounds the memory."""

LEAST_FEATURES = 10
"""Fewest rated features for a correlation: with fewer its interval would span nearly everything, and bootstraps of so few mislead."""

LARGEST_UNDEFINED_SHARE = 0.05
"""Largest share of undefined replicates with which an interval is given: beyond it, the defined replicates alone would make the
interval."""

Correlation = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


def cluster_draws(clusters: np.ndarray, n_bootstrap: int, rng: np.random.Generator) -> np.ndarray:
    """uint16 [n_bootstrap, items]: how often each item is drawn when n of the n clusters are drawn with replacement.

    `clusters` [items] names the cluster of each item (any values); items of one cluster are drawn together. [n_bootstrap, 0] without items.
    """
    _, number = np.unique(clusters, return_inverse=True)
    n_clusters = int(number.max()) + 1 if len(number) else 0
    if n_clusters == 0:
        return np.zeros((n_bootstrap, 0), dtype=np.uint16)
    drawn = rng.multinomial(n_clusters, np.full(n_clusters, 1 / n_clusters), size=n_bootstrap).astype(np.uint16)
    return drawn[:, number]


def replicates(correlation: Correlation, x: np.ndarray, y: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """The correlation of x and y, both [items], in each replicate of `draws` [replicates, items]; float64 [replicates]."""
    return np.concatenate([np.empty(0), *(correlation(x, y, block) for block in weight_blocks(draws))])


def weight_blocks(draws: np.ndarray) -> Iterator[np.ndarray]:
    """`draws` [replicates, items] as float64, some replicates at a time."""
    rows = max(1, BLOCK_NUMBERS // max(draws.shape[1], 1))
    for first in range(0, len(draws), rows):
        yield draws[first : first + rows].astype(np.float64)


def value_of(correlation: Correlation, x: np.ndarray, y: np.ndarray) -> float:
    """The correlation of the items as they are; NaN where undefined."""
    return float(correlation(x, y, np.ones((1, len(x))))[0])


def interval(value: float, found: np.ndarray) -> Estimate:
    """The value with the 95 % percentile interval of its replicates; undefined where the value is NaN.

    There is no interval without replicates, or where more than LARGEST_UNDEFINED_SHARE of the replicates are undefined.
    """
    if np.isnan(value):
        return UNDEFINED
    if len(found) == 0 or np.isnan(found).mean() > LARGEST_UNDEFINED_SHARE:
        return Estimate(value, None, None)
    return estimate(value, found)


def pearson_weighted(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Pearson's r of x and y in each replicate, float64 [replicates].

    x and y are [items], or [replicates, items] where every replicate has its own values (ranks).
    """
    n = weights.sum(axis=1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        x = x - (weights * x).sum(axis=1, keepdims=True) / n
        y = y - (weights * y).sum(axis=1, keepdims=True) / n
        spread = (weights * x * x).sum(axis=1) * (weights * y * y).sum(axis=1)
        spread[_constant(x, weights) | _constant(y, weights)] = np.nan
        return np.clip((weights * x * y).sum(axis=1) / np.sqrt(spread), -1.0, 1.0)


def spearman_weighted(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Spearman's ρ of x and y, both [items], in each replicate: Pearson's r of the ranks, ties sharing their mean rank."""
    return pearson_weighted(weighted_ranks(x, weights), weighted_ranks(y, weights), weights)


def spearman_matrices(columns: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """Spearman's ρ of every two of `columns` [columns, items] in each replicate, float64 [replicates, columns, columns].

    Equal to `spearman_weighted` of each pair; each column is ranked once.
    """
    n_columns, n_items = columns.shape
    found = np.empty((len(draws), n_columns, n_columns))
    rows = max(1, BLOCK_NUMBERS // max(n_columns * n_items, 1))
    for first in range(0, len(draws), rows):
        weights = draws[first : first + rows].astype(np.float64)
        scaled = np.empty((len(weights), n_columns, n_items))
        for number, values in enumerate(columns):
            ranks = weighted_ranks(values, weights)
            with np.errstate(divide="ignore", invalid="ignore"):
                ranks -= ((weights * ranks).sum(axis=1) / weights.sum(axis=1))[:, None]
                spread = np.sqrt((weights * ranks * ranks).sum(axis=1))
                spread[_constant(ranks, weights)] = np.nan
                scaled[:, number] = ranks * np.sqrt(weights) / spread[:, None]
        found[first : first + rows] = np.clip(scaled @ scaled.transpose(0, 2, 1), -1.0, 1.0)
    return found


def kendall_weighted(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Kendall's τ-b of x and y, both [items], in each replicate.

    (concordant - discordant) / √((pairs - pairs tied in x) · (pairs - pairs tied in y)). An item drawn twice is tied with itself. The pairs
    are counted for a block of items at a time, at most BLOCK_NUMBERS pairs in a block.
    """
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    rows = max(1, BLOCK_NUMBERS // max(len(x), 1))
    agreement = np.zeros(len(weights))
    for first in range(0, len(x), rows):
        part = slice(first, first + rows)
        signs = np.sign(x[part, None] - x) * np.sign(y[part, None] - y)
        agreement += ((weights @ signs.T) * weights[:, part]).sum(axis=1)
    untied = _ordered_pairs_apart(x, weights) * _ordered_pairs_apart(y, weights)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.clip(np.where(untied > 0, agreement / np.sqrt(untied), np.nan), -1.0, 1.0)


def partial_spearman(groups: np.ndarray) -> Correlation:
    """Spearman's ρ with the group held constant; `groups` [items] names the group (dictionary or layer; any values) of each item.

    Pearson's r of the ranks less the mean rank of their group. This is the partial correlation given an indicator of each group.
    """
    _, number = np.unique(groups, return_inverse=True)

    def correlation(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> np.ndarray:
        ranks = [weighted_ranks(values, weights) for values in (x, y)]
        for group in range(int(number.max()) + 1 if len(number) else 0):
            here = number == group
            own = weights[:, here]
            with np.errstate(divide="ignore", invalid="ignore"):
                for rank in ranks:
                    rank[:, here] -= np.nan_to_num((own * rank[:, here]).sum(axis=1) / own.sum(axis=1))[:, None]
        return pearson_weighted(ranks[0], ranks[1], weights)

    return correlation


def weighted_ranks(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mean ranks from 1 of `values` [items] in each replicate, float64 [replicates, items]; the rank of an item not drawn means nothing."""
    order = np.argsort(values, kind="stable")
    last, level = _levels(np.asarray(values)[order])
    below_or_tied = np.cumsum(weights[:, order], axis=1)[:, last]
    tied = np.diff(below_or_tied, axis=1, prepend=0.0)
    ranks = np.empty(weights.shape)
    ranks[:, order] = (below_or_tied - (tied - 1) / 2)[:, level]
    return ranks


def _levels(ascending: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(the last place of each distinct value, the number of the distinct value at each place) of sorted values."""
    ends = np.append(ascending[1:] != ascending[:-1], True)[: len(ascending)]
    return np.flatnonzero(ends), np.cumsum(ends) - ends


def _ordered_pairs_apart(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Ordered pairs of draws whose values differ, in each replicate."""
    order = np.argsort(values, kind="stable")
    last, _ = _levels(values[order])
    tied = np.diff(np.cumsum(weights[:, order], axis=1)[:, last], axis=1, prepend=0.0)
    return weights.sum(axis=1) ** 2 - (tied**2).sum(axis=1)


def _constant(centred: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """bool [replicates]: whether fewer than two items were drawn, or all drawn items are alike to within rounding."""
    largest = np.abs(centred).max(axis=1, initial=0.0) if centred.ndim == 2 else np.abs(centred).max(initial=0.0)
    drawn = np.where(weights > 0, np.abs(centred), 0.0).max(axis=1, initial=0.0)
    return (drawn <= 1e-12 * np.maximum(largest, 1e-300)) | (weights.sum(axis=1) < 2)
