"""Passages: what of a sample is text, and windows that lie in it and cut no word."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from interp_assets.domain.examples.capping import blocked_positions
from interp_assets.domain.examples.negatives import are_silent
from interp_assets.domain.examples.passages import Passages, SampleText
from interp_assets.domain.examples.silent_windows import SilentWindows, TextUnits
from interp_assets.domain.examples.windows import Places, WindowShape

CONTEXT = 16


def test_passages_are_runs_of_text_of_one_document() -> None:
    """Row 0: BOS, a document of three tokens, EOS, one begins at 5; row 1 goes on with it, and a further one begins at 3 without EOS."""
    is_text = np.ones((2, 8), dtype=bool)
    is_text[:, 0] = is_text[0, 4] = False
    passages = Passages.of(is_text, [(1, 5), (1, 3)])
    assert passages.row.tolist() == [0, 0, 1, 1]
    assert passages.start.tolist() == [1, 5, 1, 3]
    assert passages.length.tolist() == [3, 3, 2, 5]
    assert (passages.is_text(2) == is_text).all()
    assert passages.holding(np.array([0, 1, 3, 4, 5, 8, 9, 15])).tolist() == [-1, 0, 0, -1, 1, -1, 2, 3]


def every_silent_window(positions: np.ndarray, n_rows: int, shape: WindowShape) -> Places:
    """The silent window of each number of a feature that fires at these positions."""
    silent = SilentWindows.of(TextUnits(shape, n_rows), np.zeros(len(positions), dtype=np.int64), positions)
    return silent.at([0], [np.arange(silent.totals[0])], [np.random.default_rng(0)])


samples = st.tuples(
    st.lists(st.booleans(), min_size=3 * CONTEXT, max_size=3 * CONTEXT),
    st.lists(st.booleans(), min_size=3 * CONTEXT, max_size=3 * CONTEXT),
    st.lists(st.booleans(), min_size=3 * CONTEXT, max_size=3 * CONTEXT),
    st.integers(2, 10),
    st.sampled_from(["centred", "cells"]),
)


@given(samples)
def test_windows_lie_in_one_passage_and_silent_ones_are_all_there_are(found: tuple) -> None:
    """Whatever is text, wherever words go on and the feature fires: every window is inside a passage, holds its peak, and is silent or not
    as it should be; a firing place of text is in a window's reach."""
    is_text, goes_on, fires, window_tokens, builder = found
    passages = Passages.of(np.array(is_text).reshape(3, CONTEXT), [(), (), ()])
    words = np.array(goes_on) & np.array(is_text)
    words[passages.begin] = False
    shape = WindowShape(builder, window_tokens, CONTEXT, 0, SampleText(passages, words))
    places = np.flatnonzero(np.array(fires) & np.array(is_text))
    windows = shape.windows(np.flatnonzero(fires) // CONTEXT, np.flatnonzero(fires) % CONTEXT, 1.0 + np.arange(sum(fires)))
    begin = windows.row * CONTEXT + windows.start
    assert (passages.holding(begin) == passages.holding(begin + windows.length - 1)).all() and (passages.holding(begin) >= 0).all()
    peak = windows.row * CONTEXT + windows.peak_position
    assert ((begin <= peak) & (peak < begin + windows.length)).all() and np.isin(peak, places).all()
    assert (len(windows) > 0) == (len(places) > 0)
    there = every_silent_window(places, 3, shape)
    assert are_silent(there, places, CONTEXT).all()
    first = there.row * CONTEXT + there.start
    assert (passages.holding(first) == passages.holding(first + there.length - 1)).all() and (there.length > 0).all()
    quiet = sum(not np.isin(np.arange(b, e), places).any() for b, e in zip(passages.begin, passages.end, strict=True))
    assert (len(there) > 0) >= (quiet > 0)


@given(samples, st.lists(st.booleans(), min_size=3, max_size=3))
def test_no_silent_window_lies_in_a_context_that_is_not_kept(found: tuple, kept: list[bool]) -> None:
    is_text, _, _, window_tokens, builder = found
    passages = Passages.of(np.array(is_text).reshape(3, CONTEXT), [(), (), ()])
    shape = WindowShape(builder, window_tokens, CONTEXT, 0, SampleText(passages))
    blocked = blocked_positions(np.array(kept), shape)
    assert np.array(kept)[every_silent_window(blocked[shape.usable(blocked)], 3, shape).row].all()


def test_a_cut_word_is_left_out_up_to_a_limit_and_never_the_peak() -> None:
    """A row of 40 tokens; words go on at 1 to 3, at 20, and at 30 to 39 (ten tokens more than the limit of eight lets go)."""
    passages = Passages(np.array([0]), np.array([0]), np.array([40]), 40)
    goes_on = np.zeros(40, dtype=bool)
    goes_on[[1, 2, 3, 20, *range(30, 40)]] = True
    text = SampleText(passages, goes_on)
    begin, length = np.array([2, 2, 4, 0]), np.array([18, 18, 35, 20])
    assert [part.tolist() for part in text.trimmed(begin, length)] == [[4, 4, 4, 0], [15, 15, 35, 19]]
    assert [part.tolist() for part in text.trimmed(begin, length, np.array([2, 19, 5, 3]))] == [[2, 4, 4, 0], [17, 16, 35, 19]]
    assert [part.tolist() for part in text.is_cut(np.array([2, 4]), np.array([2, 35]))] == [[True, False], [False, True]]


def test_a_silent_window_has_as_many_numbers_as_ways_lead_to_it() -> None:
    """One passage of 4 tokens and one of 12, windows of 8. A token of the short one always gives the whole of it: 4 numbers.

    A token of the long one stands at place 1 to 7 of its window, so 84 ways lead to the windows at 1 to 5. The first is come to by tokens
    0 to 7, with at least as many places before them: 8 + 7 + … + 2 = 35 ways, the last by 7 + … + 1 = 28, each of the others by 7.
    """
    passages = Passages(np.array([0, 1]), np.array([2, 1]), np.array([4, 12]), CONTEXT)
    places = every_silent_window(np.empty(0, dtype=np.int64), 2, WindowShape("centred", 8, CONTEXT, 0, SampleText(passages)))
    assert places.row.tolist() == [0] * 4 + [1] * 12
    assert places.start.tolist() == [2] * 4 + [1] * (35 // 7) + [2, 3, 4] + [5] * (28 // 7)
    assert places.length.tolist() == [4] * 4 + [8] * 12


def test_windows_around_random_tokens_are_drawn_as_silent_windows_are() -> None:
    """Every token of two passages once at each place: as many windows begin at each position as the silent windows' numbers say."""
    passages = Passages(np.array([0, 1]), np.array([2, 1]), np.array([4, 12]), CONTEXT)
    shape = WindowShape("centred", 8, CONTEXT, 0, SampleText(passages))
    row, position = np.repeat([0, 1], [4, 12]), np.concatenate([np.arange(2, 6), np.arange(1, 13)])
    placed = shape.placed(np.repeat(row, 4000), np.repeat(position, 4000), np.random.default_rng(0))
    expected = every_silent_window(np.empty(0, dtype=np.int64), 2, shape)
    counts = [np.bincount(places.row * 8 + places.start, minlength=16) / len(places) for places in (placed, expected)]
    assert counts[0] == pytest.approx(counts[1], abs=0.005)
