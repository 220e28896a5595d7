from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from interp_assets.domain.features.feature_statistics import HISTOGRAM_EDGES, FeatureStatistics, histogram_bin, quantile

ROWS, CONTEXT, WIDTH, VOCABULARY = 12, 10, 5, 6


def sample(seed: int) -> tuple[np.ndarray, np.ndarray, tuple[np.ndarray, ...]]:
    """Dense activations [row, position, feature] (feature 4 is dead), token ids, and the same as sparse arrays in row order."""
    rng = np.random.default_rng(seed)
    dense = np.where(rng.random((ROWS, CONTEXT, WIDTH)) < 0.3, rng.exponential(2, (ROWS, CONTEXT, WIDTH)), 0).astype(np.float32)
    dense[..., 4] = 0
    tokens = rng.integers(0, VOCABULARY, (ROWS, CONTEXT))
    row, position, feature = np.nonzero(dense)
    return dense, tokens, (row, feature * 10, dense[row, position, feature], tokens[row, position])


def gathered(sparse: tuple[np.ndarray, ...], cuts: list[int]) -> pl.DataFrame:
    statistics = FeatureStatistics(np.arange(WIDTH) * 10)
    bounds = [0, *sorted(min(cut, len(sparse[0])) for cut in cuts), len(sparse[0])]
    for low, high in pairwise(bounds):
        statistics.update(*(array[low:high] for array in sparse))
    return statistics.compute(ROWS * CONTEXT, ROWS, n_top_tokens=3)


def test_statistics_equal_those_of_the_dense_array() -> None:
    dense, tokens, sparse = sample(1)
    table = gathered(sparse, [17, 60])
    fires = dense > 0
    assert table["feature"].to_list() == [0, 10, 20, 30, 40]
    assert table["firing_count"].to_list() == fires.sum((0, 1)).tolist()
    assert table["token_density"].to_list() == pytest.approx(fires.mean((0, 1)).tolist())
    assert table["context_count"].to_list() == fires.any(1).sum(0).tolist()
    assert table["context_density"].to_list() == pytest.approx(fires.any(1).mean(0).tolist())
    for f in range(4):
        values = dense[..., f][fires[..., f]].astype(np.float64)
        assert table["mean"][f] == np.float32(values.mean())
        assert table["max"][f] == values.max()
        counts = np.histogram(values, HISTOGRAM_EDGES)[0]
        assert table["histogram"][f].to_list() == counts.tolist()
        mass = np.bincount(tokens.ravel(), dense[..., f].ravel().astype(np.float64), minlength=VOCABULARY)
        top = np.argsort(-mass)[:3]
        assert table["top_tokens"][f].to_list() == top.tolist()
        assert table["top_token_masses"][f].to_list() == pytest.approx(mass[top].tolist())
        assert table["top_token_share"][f] == pytest.approx(mass.max() / mass.sum())


def test_a_dead_feature_has_counts_of_zero_and_nulls() -> None:
    dead = gathered(sample(1)[2], []).row(4, named=True)
    assert (dead["firing_count"], dead["token_density"], dead["top_tokens"], sum(dead["histogram"])) == (0, 0.0, [], 0)
    assert dead["mean"] is dead["max"] is dead["top_token_share"] is None


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 50), st.lists(st.integers(0, 200), max_size=6))
def test_batches_do_not_matter_even_when_cut_within_a_row(seed: int, cuts: list[int]) -> None:
    sparse = sample(seed)[2]
    assert_frame_equal(gathered(sparse, cuts), gathered(sparse, []), check_exact=True)


def test_an_unannounced_feature_and_rows_going_back_are_mistakes() -> None:
    one = np.array([1])
    statistics = FeatureStatistics(np.array([3]))
    with pytest.raises(AssertionError, match="not announced"):
        statistics.update(one, np.array([4]), np.array([1.0]), one)
    statistics.update(one, np.array([3]), np.array([1.0]), one)
    with pytest.raises(AssertionError, match="rows must not decrease"):
        statistics.update(np.array([0]), np.array([3]), np.array([1.0]), one)


def test_edges_are_quarter_doublings_and_values_outside_count_in_the_end_bins() -> None:
    assert HISTOGRAM_EDGES[[0, 4, 48, -1]].tolist() == [2**-12, 2**-11, 1.0, 2**17]
    assert histogram_bin(np.array([1e-9, 1.0, 1.2, 1e9])).tolist() == [0, 48, 49, len(HISTOGRAM_EDGES) - 2]


def test_every_value_is_put_where_a_search_through_the_edges_puts_it() -> None:
    stored = np.arange(1, np.finfo(np.float16).max.view(np.uint16) + 1, dtype=np.uint16).view(np.float16).astype(np.float64)
    beside = [HISTOGRAM_EDGES, np.nextafter(HISTOGRAM_EDGES, 0), np.nextafter(HISTOGRAM_EDGES, np.inf)]
    for values in (stored, *beside):
        expected = np.clip(np.searchsorted(HISTOGRAM_EDGES, values, side="right") - 1, 0, len(HISTOGRAM_EDGES) - 2)
        assert np.array_equal(histogram_bin(values), expected)


@given(st.lists(st.floats(0.001, 1e5), min_size=1, max_size=60), st.floats(0, 1))
def test_quantiles_are_right_to_within_a_bin(values: list[float], q: float) -> None:
    counts = np.bincount(histogram_bin(np.array(values)), minlength=len(HISTOGRAM_EDGES) - 1)
    ordered, place = sorted(values), q * (len(values) - 1)
    found, step = quantile(counts, q), 2**0.25 * (1 + 1e-9)
    assert found is not None
    assert ordered[int(np.floor(place))] / step <= found <= ordered[int(np.ceil(place))] * step


def test_the_quantile_of_nothing_is_none() -> None:
    assert quantile(np.zeros(116, dtype=int), 0.5) is None
