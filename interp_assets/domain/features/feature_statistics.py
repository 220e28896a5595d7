"""Exact statistics of features over a token sample, gathered batch by batch: counts, densities, histogram, top tokens."""

from collections.abc import Sequence

import numpy as np
import polars as pl

from interp_assets.domain.features.sparse_matrices import from_entries, no_entries

# Edges of the activation histogram [117]: 2^(k/4) from 2^-12 to 2^17. Bin i is [edge i, edge i+1); values outside the edges count in the
# first or the last bin.
HISTOGRAM_EDGES = 2.0 ** (np.arange(-12 * 4, 17 * 4 + 1) / 4)
N_BINS = len(HISTOGRAM_EDGES) - 1
QUARTERS, FIRST_EXPONENT = np.frexp(HISTOGRAM_EDGES[1:4])[0], np.frexp(HISTOGRAM_EDGES[0])[1]
"""Mantissas, as of `np.frexp`, at which the second, third and fourth bin of a doubling begin, and the exponent of the first doubling."""
N_TOKENS = np.iinfo(np.int32).max
"""More than the size of any vocabulary; the empty columns of a sparse matrix cost nothing."""


class FeatureStatistics:
    """Running statistics of `features` (sorted, distinct).

    The result does not depend on how the activations were cut into batches: values are stored as float16, and sums of float16 are exact in
    float64.

    Memory: 500 bytes a feature for the histogram, three times as many during an update, and 12 bytes for each distinct pair of a feature
    and a token on which it fired.
    """

    def __init__(self, features: np.ndarray) -> None:
        self.features = np.asarray(features, dtype=np.int64)
        assert (np.diff(self.features) > 0).all(), "features must be sorted and distinct"
        n = len(self.features)
        self._firing_count = np.zeros(n, dtype=np.int64)
        self._context_count = np.zeros(n, dtype=np.int64)
        self._last_row = np.full(n, -1, dtype=np.int64)
        self._sum = np.zeros(n, dtype=np.float64)
        self._max = np.zeros(n, dtype=np.float64)
        self._histogram = np.zeros(n * N_BINS, dtype=np.int32)
        self._masses = no_entries((n, N_TOKENS))  # summed activation of each feature on each token
        self._pending: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []  # (value, place of the feature, token id)
        self._pending_length = 0

    def update(self, row: np.ndarray, feature: np.ndarray, value: np.ndarray, token_id: np.ndarray) -> None:
        """Take in activations: four arrays [n], any order within the batch, all values > 0, every feature one of `features`.

        No row may be smaller than a row of an earlier batch. The activations of one row may be spread over several batches.
        """
        if len(row) == 0:
            return
        index = self._index_of(np.asarray(feature, dtype=np.int64))
        value = np.asarray(value, dtype=np.float64)
        self._firing_count += np.bincount(index, minlength=len(self.features))
        np.add.at(self._sum, index, value)
        np.maximum.at(self._max, index, value)
        self._histogram += np.bincount(index * N_BINS + histogram_bin(value), minlength=len(self._histogram))
        self._count_contexts(index, np.asarray(row, dtype=np.int64))
        self._pending.append((value, index.astype(np.int32), np.asarray(token_id, dtype=np.int32)))
        self._pending_length += len(value)
        if self._pending_length > max(self._masses.nnz, 1_000_000):
            self._merge_pending()

    @property
    def firing_counts(self) -> np.ndarray:
        """int64 [features]: activations taken in so far."""
        return self._firing_count

    def compute(self, n_tokens: int, n_contexts: int, n_top_tokens: int = 10) -> pl.DataFrame:
        """One row per feature over a sample of `n_contexts` rows; `n_tokens` counts the tokens of the rows whose activations are kept.

        Columns: feature · firing_count · token_density (share of tokens) · context_count · context_density (share of rows) · mean and max
        of the activations (null for a dead feature) · histogram (counts [116] over HISTOGRAM_EDGES) · top_tokens and top_token_masses (ids
        and summed activations, largest mass first, of equals the smaller id first) · top_token_share (share of the first token in all mass;
        null for a dead feature).
        """
        self._merge_pending()
        index, tokens, masses = self._top_tokens(n_top_tokens)
        tops = pl.DataFrame({"index": index, "token": pl.Series(tokens, dtype=pl.UInt32), "mass": pl.Series(masses, dtype=pl.Float32)})
        alive = pl.col("firing_count") > 0
        return (
            pl.DataFrame(
                {
                    "feature": pl.Series(self.features, dtype=pl.UInt32),
                    "firing_count": self._firing_count,
                    "token_density": self._firing_count / n_tokens,
                    "context_count": self._context_count,
                    "context_density": self._context_count / n_contexts,
                    "mean": self._sum / np.maximum(self._firing_count, 1),
                    "max": self._max,
                    "histogram": pl.Series(self._histogram.reshape(-1, N_BINS)).cast(pl.List(pl.UInt32)),
                    "_sum": self._sum,
                    "_index": np.arange(len(self.features)),
                }
            )
            .join(
                tops.group_by("index", maintain_order=True).agg(top_tokens=pl.col("token"), top_token_masses=pl.col("mass")),
                left_on="_index",
                right_on="index",
                how="left",
                maintain_order="left",
            )
            .with_columns(
                pl.when(alive).then("mean").cast(pl.Float32),
                pl.when(alive).then("max").cast(pl.Float32),
                pl.col("top_tokens", "top_token_masses").fill_null([]),
                top_token_share=pl.when(alive).then(pl.col("top_token_masses").list.first() / pl.col("_sum")).cast(pl.Float32),
            )
            .drop("_sum", "_index")
        )

    def _index_of(self, feature: np.ndarray) -> np.ndarray:
        """Place of each feature among `features`, by a table over the span of their numbers."""
        first, last = int(self.features[0]), int(self.features[-1])
        inside = (feature >= first) & (feature <= last)
        place = np.full(last - first + 1, -1, dtype=np.int64)
        place[self.features - first] = np.arange(len(self.features))
        index = np.where(inside, place[np.clip(feature - first, 0, last - first)], -1)
        assert (index >= 0).all(), f"features not announced: {np.unique(feature[index < 0])[:5]}"
        return index

    def _count_contexts(self, index: np.ndarray, row: np.ndarray) -> None:
        """Count each row once for each feature: distinct rows of this batch, but for the row in which the feature was last seen."""
        stays = index[1:] == index[:-1]
        if not ((index[1:] > index[:-1]) | (stays & (row[1:] >= row[:-1]))).all():
            order = np.lexsort((row, index))
            index, row = index[order], row[order]
        new = np.concatenate([[True], (index[1:] != index[:-1]) | (row[1:] != row[:-1])])
        index, row = index[new], row[new]
        assert (row >= self._last_row[index]).all(), "rows must not decrease from batch to batch"
        self._context_count += np.bincount(index[row != self._last_row[index]], minlength=len(self.features))
        np.maximum.at(self._last_row, index, row)

    def _merge_pending(self) -> None:
        """Add the pending activations to the masses."""
        if self._pending:
            value, index, token = (np.concatenate(arrays) for arrays in zip(*self._pending, strict=True))
            self._masses = self._masses + from_entries(value, index, token, (len(self.features), N_TOKENS))
        self._pending, self._pending_length = [], 0

    def _top_tokens(self, n_top: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(place of the feature, token id, mass) of every feature's heaviest tokens, features ascending, heaviest token first."""
        per_feature = np.diff(self._masses.indptr)
        index = np.repeat(np.arange(len(per_feature)), per_feature)
        order = np.lexsort((-self._masses.data.astype(np.float32), index))  # of equals the smaller id stays first: ids ascend
        top = order[np.arange(len(index)) - self._masses.indptr[index] < n_top]
        return index[top], self._masses.indices[top], self._masses.data[top]


def histogram_bin(values: np.ndarray) -> np.ndarray:
    """Bin, int64 [n], of each value; values are > 0 and finite."""
    # Four bins a doubling: the exponent gives the doubling, three comparisons give the quarter. A search takes six times as long.
    mantissa, exponent = np.frexp(values)
    quarter = sum((mantissa >= edge).astype(np.int64) for edge in QUARTERS)
    return np.clip(4 * (exponent - FIRST_EXPONENT) + quarter, 0, N_BINS - 1)


def quantile(histogram: Sequence[int] | np.ndarray, q: float) -> float | None:
    """The q-quantile (0 to 1) of the activations counted in a histogram, geometric within its bin; None for a dead feature.

    Within the range of the edges the result is right to within one bin, a factor of 2^(1/4).
    """
    assert 0 <= q <= 1, q
    cumulative = np.cumsum(np.asarray(histogram, dtype=np.int64))
    total = int(cumulative[-1])
    if total == 0:
        return None
    place = q * (total - 1) + 0.5
    bin_ = int(np.searchsorted(cumulative, place))
    before = int(cumulative[bin_ - 1]) if bin_ else 0
    inside = (place - before) / (int(cumulative[bin_]) - before)
    return float(HISTOGRAM_EDGES[bin_] * (HISTOGRAM_EDGES[bin_ + 1] / HISTOGRAM_EDGES[bin_]) ** inside)
