"""Windows of neighbouring features on which a feature is silent, drawn for several features together."""

import numpy as np
import pytest

from interp_assets.domain.examples.negatives import CANDIDATES_PER_WINDOW, no_position_in
from interp_assets.domain.examples.neighbour_windows import neighbour_places, spread_over_quantiles
from interp_assets.domain.examples.windows import Builder, Places, Windows, WindowShape

CELLS = WindowShape("cells", 4, 16)
ROWS, CONTEXT = 40, 64


def windows(*found: tuple[int, int, float]) -> Windows:
    """Windows of four tokens at (row, start), their peak at the start, with these strengths."""
    row, start, strength = (np.array([one[i] for one in found]) for i in range(3))
    return Windows(row, start, np.full(len(row), 4), start, strength)


def triples(places: Places) -> list[tuple[int, int, int]]:
    return list(zip(places.row.tolist(), places.start.tolist(), places.length.tolist(), strict=True))


def test_neighbours_take_turns_the_nearest_first() -> None:
    """The nearest has one silent window, the second two: the third place falls to what is left."""
    nearest = windows((0, 0, 5.0), (0, 8, 1.0))
    second = windows((1, 0, 3.0), (1, 4, 2.0))
    (found,) = neighbour_places([[nearest, second]], [np.array([9])], 2, CELLS, [np.random.default_rng(0)])
    assert triples(found)[:2] == [(0, 0, 4), (1, 0, 4)] or triples(found)[:2] == [(0, 0, 4), (1, 4, 4)]
    assert sorted(triples(found)) == [(0, 0, 4), (1, 0, 4), (1, 4, 4)]  # (0, 8) holds the activation at 9
    assert [len(own) for own in neighbour_places([[]], [np.array([9])], 2, CELLS, [np.random.default_rng(0)])] == [0]
    assert neighbour_places([], [], 2, CELLS, []) == []


def test_a_neighbours_windows_are_spread_over_its_strength() -> None:
    """Eight strengths in four strata of two: the first round takes one of each stratum, strongest stratum first."""
    strength = np.array([1.0, 8, 2, 7, 3, 6, 4, 5])
    order = spread_over_quantiles(np.zeros(8, dtype=np.int64), strength, np.array([4]), [np.random.default_rng(0)])
    strata = [{1, 3}, {5, 7}, {6, 4}, {2, 0}]
    assert all(order[i] in strata[i % 4] for i in range(8)) and sorted(order) == list(range(8))


def of_one(neighbours: list[Windows], positions: np.ndarray, count: int, shape: WindowShape, rng: np.random.Generator) -> Places:
    """The places of one feature, one neighbour after another, by sorting on all keys at once."""
    offered, turns = [], []
    for own in neighbours:
        places = shape.placed(own.row, own.peak_position, rng)
        begin = places.row * shape.context_tokens + places.start
        silent = [not ((positions >= b) & (positions < b + n)).any() for b, n in zip(begin, places.length, strict=True)]
        strength, places = own.max_activation[silent], places.take(np.flatnonzero(silent))
        by_strength = np.argsort(-strength, kind="stable")
        stratum = np.arange(len(strength)) * max(count // len(neighbours), 1) // max(len(strength), 1)
        shuffled = np.lexsort((rng.permutation(len(strength)), stratum))
        turn = np.arange(len(strength)) - np.searchsorted(stratum, stratum)
        order = by_strength[shuffled[np.lexsort((stratum, turn))]][: CANDIDATES_PER_WINDOW * count]
        offered.append(places.take(order))
        turns.append(np.arange(len(order)))
    by_turn = np.argsort(np.concatenate([np.empty(0, int), *turns]), kind="stable")
    return Places.joined(offered).take(by_turn[: CANDIDATES_PER_WINDOW * count])


@pytest.mark.parametrize("builder", ["centred", "cells"])
@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_features_drawn_together_have_the_places_of_each_alone(builder: Builder, dtype: type) -> None:
    """Features with 0 to 3 neighbours, neighbours with no window, features that fire nowhere and nearly everywhere."""
    shape, source = WindowShape(builder, 16, CONTEXT, 1), np.random.default_rng(5)
    neighbours: list[list[Windows]] = []
    for n in (2, 0, 3, 1, 3):
        cut = []
        for _ in range(n):
            place = np.sort(source.choice(ROWS * CONTEXT, source.integers(0, 300), replace=False))
            place = place[place % CONTEXT > 0]
            cut.append(shape.windows(place // CONTEXT, place % CONTEXT, np.round(source.exponential(1, len(place)), 1).astype(dtype) + 1))
        neighbours.append(cut)
    positions = [np.sort(source.choice(ROWS * CONTEXT, n, replace=False)) for n in (50, 10, 0, 2000, 100)]
    for count in (3, 40):
        rngs = [np.random.default_rng(i) for i in range(5)]
        found = neighbour_places(neighbours, positions, count, shape, rngs)
        expected = [of_one(*one, count, shape, np.random.default_rng(i)) for i, one in enumerate(zip(neighbours, positions, strict=True))]
        assert [triples(places) for places in found] == [triples(places) for places in expected]
    assert len(found[0]) and not len(found[1])


def test_positions_at_the_ends_of_a_span_are_told_apart() -> None:
    begin, end = np.array([0, 3, 4, 5, 8]), np.array([3, 4, 5, 8, 9])
    assert no_position_in(np.array([3, 4]), begin, end).tolist() == [True, False, False, True, True]
    assert no_position_in(np.array([], dtype=int), begin, end).all()
