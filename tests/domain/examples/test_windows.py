import numpy as np
import pytest
from growth import fastest
from hypothesis import given, settings
from hypothesis import strategies as st

from interp_assets.domain.examples import windows as module
from interp_assets.domain.examples.windows import cell_windows, centred_windows, descending, descending_by

CONTEXT = 24
FIELDS = ("row", "start", "length", "peak_position", "max_activation")


def arrays(*firings: tuple[int, int, float]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    row, position, value = zip(*firings, strict=True)
    return np.array(row), np.array(position), np.array(value, dtype=float)


firings = st.dictionaries(
    st.tuples(st.integers(0, 3), st.integers(0, CONTEXT - 1)), st.sampled_from([0.5, 1.0, 2.0, 3.0]), min_size=1, max_size=40
).map(lambda found: arrays(*((row, position, value) for (row, position), value in sorted(found.items()))))


def test_the_peak_stands_at_three_quarters() -> None:
    windows = centred_windows(*arrays((2, 12, 5.0)), window_tokens=8, context_tokens=CONTEXT, first_position=1)
    assert (windows.row.tolist(), windows.start.tolist(), windows.length.tolist()) == ([2], [6], [8])  # 12 - 6 = ¾ of 8
    assert (windows.peak_position.tolist(), windows.max_activation.tolist()) == ([12], [5.0])


def test_windows_at_the_ends_of_the_row_are_shifted_not_dropped_and_leave_bos_out() -> None:
    windows = centred_windows(*arrays((0, 2, 1.0), (0, 23, 1.0)), window_tokens=8, context_tokens=CONTEXT, first_position=1)
    assert windows.start.tolist() == [1, 16]


def test_weaker_tokens_near_a_peak_give_no_window_of_their_own() -> None:
    windows = centred_windows(*arrays((0, 10, 1.0), (0, 12, 9.0), (0, 14, 2.0), (1, 13, 1.0)), window_tokens=8, context_tokens=CONTEXT)
    assert list(zip(windows.row.tolist(), windows.peak_position.tolist(), strict=True)) == [(0, 12), (1, 13)]


def test_of_equal_peaks_the_earlier_is_chosen() -> None:
    assert centred_windows(*arrays((0, 12, 3.0), (0, 14, 3.0)), 8, CONTEXT).peak_position.tolist() == [12]


def test_cells_are_fixed_and_the_last_one_is_shorter() -> None:
    windows = cell_windows(*arrays((0, 1, 1.0), (0, 8, 3.0), (0, 9, 2.0), (1, 23, 4.0)), 8, CONTEXT, first_position=1)
    assert windows.row.tolist() == [0, 0, 1]
    assert windows.start.tolist() == [1, 9, 17]
    assert windows.length.tolist() == [8, 8, 7]
    assert windows.peak_position.tolist() == [8, 9, 23]
    assert windows.max_activation.tolist() == [3.0, 2.0, 4.0]


def test_no_activations_no_windows() -> None:
    nothing = np.empty(0, dtype=int), np.empty(0, dtype=int), np.empty(0)
    assert len(centred_windows(*nothing, 8, CONTEXT)) == len(cell_windows(*nothing, 8, CONTEXT)) == 0


@settings(deadline=None, max_examples=60)
@given(firings, st.integers(1, 30), st.integers(0, 1), st.sampled_from([centred_windows, cell_windows]))
def test_windows_contain_their_peak_and_stay_in_their_row(found, window_tokens, first_position, build) -> None:
    row, position, value = found
    windows = build(row, position, value, window_tokens, CONTEXT, first_position)
    activation = {(r, p): v for r, p, v in zip(row.tolist(), position.tolist(), value.tolist(), strict=True)}
    for i in range(len(windows)):
        r, start, length = int(windows.row[i]), int(windows.start[i]), int(windows.length[i])
        assert first_position <= start and start + length <= CONTEXT and 0 < length <= window_tokens
        inside = {p: activation[r, p] for p in range(start, start + length) if (r, p) in activation}
        assert windows.max_activation[i] == max(inside.values())
        assert windows.peak_position[i] == min(p for p, v in inside.items() if v == max(inside.values()))
    assert len(set(zip(windows.row.tolist(), windows.start.tolist(), strict=True))) == len(windows)


@settings(deadline=None, max_examples=60)
@given(firings, st.integers(1, 12))
def test_peaks_are_the_greedy_choice(found, window_tokens) -> None:
    row, position, value = found
    chosen: list[tuple[int, int]] = []
    for i in sorted(range(len(row)), key=lambda i: (-value[i], row[i], position[i])):
        if all(r != row[i] or abs(p - position[i]) >= window_tokens for r, p in chosen):
            chosen.append((int(row[i]), int(position[i])))
    length = min(window_tokens, CONTEXT)
    expected = sorted((r, min(max(p - int(window_tokens * 0.75), 0), CONTEXT - length)) for r, p in chosen)
    windows = centred_windows(row, position, value, window_tokens, CONTEXT)
    assert list(zip(windows.row.tolist(), windows.start.tolist(), strict=True)) == expected


def test_a_dense_feature_is_cut_in_a_fraction_of_a_second() -> None:
    rng = np.random.default_rng(0)
    positions = np.sort(rng.choice(8000 * 256, 100_000, replace=False))
    value = rng.exponential(1.0, len(positions))
    assert len(centred_windows(positions // 256, positions % 256, value, 32, 256)) > 30_000
    assert fastest(lambda: centred_windows(positions // 256, positions % 256, value, 32, 256), 3) < 0.3  # about 30 ms on a quiet core


@settings(deadline=None, max_examples=60)
@given(firings, st.integers(1, 12))
def test_dense_and_sparse_features_are_cut_by_the_same_rule(found, window_tokens) -> None:
    """Pairs of near activations are listed of sparse features only: with none allowed, the same windows."""
    sparse = centred_windows(*found, window_tokens, CONTEXT)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "MOST_PAIRS", 0)
        dense = centred_windows(*found, window_tokens, CONTEXT)
    assert [getattr(dense, name).tolist() for name in FIELDS] == [getattr(sparse, name).tolist() for name in FIELDS]


@given(st.lists(st.sampled_from([0.25, 0.5, 1.0, 65504.0, 6e-8]), max_size=40), st.sampled_from([np.float16, np.float32, np.float64]))
def test_values_are_ordered_from_the_largest_and_equal_ones_by_place(values: list[float], dtype: type) -> None:
    stored = np.array(values, dtype=dtype)
    assert descending(stored).tolist() == sorted(range(len(values)), key=lambda i: (-float(stored[i]), i))
    owner = np.arange(len(values)) % 3
    assert descending_by(owner, stored).tolist() == sorted(range(len(values)), key=lambda i: (owner[i], -float(stored[i]), i))
