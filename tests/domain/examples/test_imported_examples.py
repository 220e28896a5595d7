"""Examples out of given windows: cut at the peak, distinct as tokens, strata by bin, and disjoint by construction."""

import math
from collections import Counter
from dataclasses import replace

import pytest
from domain_toys import digest
from hypothesis import given
from hypothesis import strategies as st

from interp_assets.domain.examples.imported_examples import ImportedWindow, columns_of, imported_examples
from interp_assets.domain.examples.sampling import ROLES, ExampleSettings
from interp_assets.domain.examples.token_numbers import TokenNumbers

SETTINGS = ExampleSettings(window_tokens=4, n_shown=4, n_held_out=6, n_non_activating=3, min_activating=2, n_shown_non_activating=0)


def window(row: int, activations: list[float], bin_top: float | None = 1.0, tokens: list[int] | None = None) -> ImportedWindow:
    return ImportedWindow(row, tuple(tokens or range(100 * row, 100 * row + len(activations))), tuple(activations), bin_top)


def many(n: int, n_silent: int = 3) -> list[ImportedWindow]:
    firing = [window(row, [0.0, 1.0 + row, 0.0], float(row % 3)) for row in range(n)]
    return firing + [window(n + i, [0.0] * 6, None) for i in range(n_silent)]


def test_windows_are_cut_around_their_peak() -> None:
    long = [window(row, [0.0] * peak + [2.0 + row] + [0.0] * (9 - peak)) for row, peak in enumerate((0, 3, 5, 9))]
    built = imported_examples(long, replace(SETTINGS, n_shown=4, n_held_out=0), 0, 7)
    # three quarters of four tokens before the peak, shifted at both ends
    assert sorted((e.row, e.start) for e in built.examples) == [(0, 0), (1, 0), (2, 2), (3, 6)]
    assert all(len(e.token_ids) == 4 and max(e.activations) == 2.0 + e.row for e in built.examples)
    assert next(e for e in built.examples if e.row == 2).token_ids == (202, 203, 204, 205)
    assert built.examples[0].example_id == f"7/{built.examples[0].row}/{built.examples[0].start}"


def test_peaks_of_held_out_windows_stand_at_every_place_but_the_first() -> None:
    long = [window(row, [0.0] * 9 + [2.0 + row] + [0.0] * 9) for row in range(60)]
    built = imported_examples(long, replace(SETTINGS, n_shown=0, n_held_out=60), 0, 7)
    places = [9 - e.start for e in built.examples if e.kind == "activating"]
    assert set(places) == {1, 2, 3} and all(places.count(place) > 10 for place in (1, 2, 3))


def test_short_windows_stay_whole() -> None:
    built = imported_examples(many(4), SETTINGS, 0, 7)
    assert all(e.token_ids == tuple(range(100 * e.row, 100 * e.row + 3)) for e in built.examples if e.kind == "activating")


def test_strata_are_bins_with_the_top_first() -> None:
    given_ = [window(i, [1.0 + i], top) for i, top in enumerate([2.0, math.inf, 5.0, 2.0, math.inf])]
    built = imported_examples(given_, SETTINGS, 0, 7)
    assert {e.row: e.stratum for e in built.examples} == {0: 2, 1: 0, 2: 1, 3: 2, 4: 0}
    assert {e.sampling for e in built.examples} == {"imported"}


def test_without_bins_strata_have_equal_counts() -> None:
    built = imported_examples([window(i, [1.0 + i], None) for i in range(10)], replace(SETTINGS, n_strata=5), 0, 7)
    assert {e.row: e.stratum for e in built.examples} == {i: (9 - i) // 2 for i in range(10)}


def test_of_equal_texts_only_the_strongest_is_kept() -> None:
    same = [window(i, [0.0, value], 1.0, [1, 2]) for i, value in enumerate((1.0, 3.0, 2.0))]
    built = imported_examples([*same, window(9, [5.0, 0.0], 1.0, [3, 4])], SETTINGS, 0, 7)
    assert built.n_windows == 2 and sorted(e.row for e in built.examples) == [1, 9]


@pytest.mark.parametrize(
    ("windows", "outcome", "n_windows"),
    [
        ([], "dead", 0),
        ([window(0, [0.0, 0.0])], "dead", 0),
        ([window(0, [1.0])], "too_few_windows", 1),
        (many(10, 3), "ok", 10),
        (many(10, 2), "too_few_silent_windows", 10),
        (many(10, 0), "too_few_silent_windows", 10),
    ],
)
def test_every_end_has_a_name(windows: list[ImportedWindow], outcome: str, n_windows: int) -> None:
    built = imported_examples(windows, SETTINGS, 0, 7)
    assert (built.outcome, built.n_windows) == (outcome, n_windows)
    assert bool(built.examples) == (outcome in ("ok", "too_few_silent_windows"))


def test_silent_windows_are_cut_and_differ_from_what_fires() -> None:
    silent_twin = window(99, [0.0] * 3, None, [0, 1, 2])  # the tokens of the first firing window
    built = imported_examples([*many(6, 3), silent_twin], SETTINGS, 0, 7)
    silent = [e for e in built.examples if e.kind == "non_activating"]
    assert len(silent) == 3 and 99 not in {e.row for e in silent}
    assert all(e.role == "held_out" and e.stratum is None and len(e.token_ids) == 4 and not any(e.activations) for e in silent)


@pytest.mark.parametrize(("n_silent", "expected"), [(9, [2, 4, 3]), (12, [2, 4, 3]), (5, [1, 2, 2]), (0, [0, 0, 0])])
def test_three_roles_get_windows_in_proportion(n_silent: int, expected: list[int]) -> None:
    """28 windows for 4 : 4 : 6 leave room; silent ones for 2 : 4 : 3: five are 1, then of the four left 4/7 rounded down, then the rest."""
    asked = replace(SETTINGS, n_validation=4, n_shown_non_activating=2)
    built = imported_examples(many(28, n_silent), asked, 0, 7)
    drawn = Counter((e.role, e.kind) for e in built.examples)
    assert [drawn[role, "activating"] for role in ROLES] == [4, 4, 6]
    assert [drawn[role, "non_activating"] for role in ROLES] == expected
    assert built.outcome == ("ok" if sum(expected) == 9 else "too_few_silent_windows")
    columns = columns_of(built)
    assert columns.labels("top") == [(e.role, e.kind, "imported") for e in built.examples]
    assert len({e.token_ids for e in built.examples}) == len(built.examples)


def test_two_roles_alone_give_the_same_windows() -> None:
    """Pinned: with nothing for validation or contrast, a seed's windows stay as they are."""
    assert digest(imported_examples(many(40, 9), SETTINGS, 3, 7)) == "8c096430c43d848e"


@given(st.integers(2, 40), st.integers(0, 20), st.integers(0, 1000), st.integers(1, 5), st.integers(0, 4))
def test_no_two_roles_share_tokens(n: int, n_silent: int, seed: int, vocabulary: int, n_more: int) -> None:
    def tokens(row: int) -> list[int]:
        return [(row * place) % vocabulary for place in range(6)]

    def activations(row: int) -> list[float]:
        return [float(1 + (row * 7 + place) % 5) if (row + place) % 3 == 0 else 0.0 for place in range(6)]

    windows = [window(row, activations(row), float(row % 4), tokens(row)) for row in range(n)]
    windows += [window(n + i, [0.0] * 6, None, tokens(i)) for i in range(n_silent)]
    asked = replace(SETTINGS, n_validation=n_more, n_shown_non_activating=n_more)
    built = imported_examples(windows, asked, seed, 3)
    assert len({e.token_ids for e in built.examples}) == len(built.examples)
    assert built == imported_examples(windows, asked, seed, 3)


def test_texts_without_an_id_get_a_number_each() -> None:
    numbers = TokenNumbers()
    assert numbers.numbered([5, -1, -1, -1], [" the", "Zü", "rich", "Zü"]) == (5, -2, -3, -2)
    assert numbers.numbered([-1], ["rich"]) == (-3,)
    assert numbers.texts == {5: " the", -2: "Zü", -3: "rich"}
