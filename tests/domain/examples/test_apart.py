"""No two windows of a feature share a token: spans by hand and at random, and whole draws of features that are hardly ever silent."""

from itertools import pairwise

import numpy as np
import pytest
from real_text import CONTEXT, SETTINGS, examples_of

from interp_assets.domain.examples.apart import Spans, first_apart, near_pairs
from interp_assets.domain.examples.peak_places import _are_apart
from interp_assets.domain.examples.sampling import ExampleSettings


def spans(*pairs: tuple[int, int]) -> Spans:
    return Spans(*(np.array([pair[side] for pair in pairs], dtype=np.int64) for side in (0, 1)))


def test_the_first_of_overlapping_spans_is_kept_and_spans_may_touch() -> None:
    assert first_apart(spans((4, 8), (0, 5), (0, 4), (8, 12), (11, 12)), spans()).tolist() == [True, False, True, True, False]
    assert first_apart(spans((4, 8), (10, 12)), spans((0, 4), (11, 30), (7, 8))).tolist() == [False, False]
    assert first_apart(spans(), spans((0, 4))).tolist() == []


def test_spans_of_other_features_never_touch() -> None:
    found = Spans.of(np.array([0, 1, 1]), np.array([90, 0, 5]), np.array([10, 6, 6]), 100)
    assert first_apart(found, Spans.of(0, np.array([0]), np.array([10]), 100)).tolist() == [True, True, False]


@pytest.mark.parametrize("seed", range(5))
def test_as_one_by_one(seed: int) -> None:
    rng = np.random.default_rng(seed)
    begin, taken = rng.integers(0, 400, 60), rng.integers(0, 400, 4)
    found, known = Spans(begin, begin + rng.integers(1, 12, 60)), Spans(taken, taken + 9)
    kept: list[tuple[int, int]] = []
    expected = []
    for first, end in zip(found.begin.tolist(), found.end.tolist(), strict=True):
        held = zip(known.begin.tolist(), known.end.tolist(), strict=True)
        expected.append(all(end <= a or b <= first for a, b in (*held, *kept)))
        kept += [(first, end)] if expected[-1] else []
    assert first_apart(found, known).tolist() == expected


@pytest.mark.parametrize("seed", range(5))
def test_new_places_are_compared_with_the_places_near_them_alone(seed: int) -> None:
    """Windows of at most 8 tokens, each with its peak inside; a third of them is moved."""
    rng = np.random.default_rng(seed)
    peak = rng.integers(20, 300, 40)
    now, tried = ((peak - rng.integers(0, 4, 40), peak + rng.integers(1, 5, 40)) for _ in range(2))
    which = np.sort(rng.permutation(40)[:14])
    pairs = near_pairs(peak, 16)
    assert set(zip(*(side.tolist() for side in pairs), strict=True)) == {
        (i, j) for i in range(40) for j in range(40) if i != j and abs(int(peak[i]) - int(peak[j])) < 16
    }
    others = [[(now[0][j], now[1][j]) for j in range(40) if j != i] + [(tried[0][j], tried[1][j]) for j in which if j != i] for i in which]
    expected = [all(tried[1][i] <= a or b <= tried[0][i] for a, b in near) for i, near in zip(which, others, strict=True)]
    found = _are_apart(Spans(tried[0][which], tried[1][which]), which, Spans(*now), pairs)
    assert found.tolist() == expected and 0 < sum(expected) < len(expected)


@pytest.mark.parametrize("builder", ["centred", "cells"])
@pytest.mark.parametrize(("kind", "n_peaks"), [("random", 160), ("token", 1500), ("neighbour", 1500), ("similar", 400), ("random", 6000)])
def test_windows_of_all_roles_and_kinds_are_apart(kind: str, n_peaks: int, builder: str) -> None:
    """Before, half of the silent windows of a feature that fires on one token of eight overlapped another: a reader of likeness alone told
    silent windows from activating windows in 73 of 100 pairs. Activating windows at the ends of documents may touch others."""
    asked = ExampleSettings(**{**SETTINGS.__dict__, "non_activating": kind, "builder": builder, "n_validation": 9})
    overlapping = n_windows = 0
    for seed in range(3):
        found = sorted(examples_of(seed, asked, n_peaks), key=lambda e: (e.row, e.start))
        where = [(e.row * CONTEXT + e.start, e.row * CONTEXT + e.start + len(e.token_ids), e.kind) for e in found]
        near = [(a, b) for a, b in pairwise(where) if b[0] < a[1]]
        assert all(a[2] == b[2] == "activating" for a, b in near)
        overlapping, n_windows = overlapping + len(near), n_windows + len(where)
    assert n_windows > 200 and overlapping <= 0.02 * n_windows
