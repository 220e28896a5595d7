"""Windows on which neighbouring features fire and a feature is silent.

Several features are drawn for together, in a few operations on long arrays: first windows of the nearest neighbour of each, then of the
second nearest of each, and so on. `owner` [n] is the place of a window's feature among the features. Each feature has its own generator.
"""

from collections.abc import Sequence

import numpy as np

from interp_assets.domain.examples.negatives import CANDIDATES_PER_WINDOW, no_position_in
from interp_assets.domain.examples.peak_places import PeakPlaces
from interp_assets.domain.examples.role_draws import in_16_bits, places_among_equals
from interp_assets.domain.examples.windows import Places, Windows, WindowShape, descending_by


def neighbour_places(
    neighbours: Sequence[Sequence[Windows]],
    positions: Sequence[np.ndarray],
    count: int,
    shape: WindowShape,
    rngs: Sequence[np.random.Generator],
) -> list[Places]:
    """For each feature windows of its neighbours, the nearest first, on which the feature is silent; no neighbours: no places.

    `positions` are each feature's activations, int64, ascending: row · context + position in the row. A neighbour's peak stands at a random
    place, as the feature's own peaks do. All neighbours give equally many windows, spread over the quantiles of their own strength, the
    strongest quantile first. Where a neighbour has too few windows, other neighbours give more.
    """
    most, n_features = CANDIDATES_PER_WINDOW * count, len(neighbours)
    active = _Active(neighbours, positions, shape)
    n_strata = np.array([max(count // max(len(own), 1), 1) for own in neighbours], dtype=np.int64)
    offered: list[Places] = []
    owners: list[np.ndarray] = [np.empty(0, dtype=np.int64)]
    for nearness in range(max(map(len, neighbours), default=0)):
        some = [i for i, own in enumerate(neighbours) if len(own) > nearness]
        windows = [neighbours[i][nearness] for i in some]
        owner = np.repeat(np.array(some, dtype=np.int64), [len(own) for own in windows])
        row, peak, strength = (
            np.concatenate([getattr(own, name) for own in windows]) for name in ("row", "peak_position", "max_activation")
        )
        places = shape.placed(row, peak, PeakPlaces(owner, rngs))
        silent = np.flatnonzero(active.are_silent(places, owner))
        order = silent[spread_over_quantiles(owner[silent], strength[silent], n_strata, rngs)]
        order = order[places_among_equals(owner[order]) < most]
        offered.append(places.take(order))
        owners.append(owner[order])
    owner, turns = np.concatenate(owners), np.concatenate([owners[0], *map(places_among_equals, owners[1:])])
    by_turn = np.argsort(in_16_bits(owner * (int(turns.max(initial=0)) + 1) + turns), kind="stable")
    by_turn = by_turn[places_among_equals(owner[by_turn]) < most]
    found = Places.joined(offered).take(by_turn)
    ends: list[int] = np.cumsum(np.bincount(owner[by_turn], minlength=n_features)).tolist()
    firsts: list[int] = [0, *ends][:-1]
    return [found.take(np.arange(first, end)) for first, end in zip(firsts, ends, strict=True)]


def spread_over_quantiles(owner: np.ndarray, strength: np.ndarray, n_strata: np.ndarray, rngs: Sequence[np.random.Generator]) -> np.ndarray:
    """All indices, feature by feature, in rounds: a round takes one random index from each of a feature's equal-count strata of `strength`,
    strongest first. `owner` is ascending; `n_strata` int64 [features]."""
    by_strength = descending_by(owner, strength)
    n = np.bincount(owner, minlength=len(n_strata))
    firsts, place = (np.cumsum(n) - n).tolist(), places_among_equals(owner)
    stratum = place * n_strata[owner] // n[owner]
    permuted = [rng.permutation(size) + first for rng, size, first in zip(rngs, n.tolist(), firsts, strict=True)]
    shuffled = np.empty(len(owner), dtype=np.int64)
    shuffled[np.concatenate([shuffled[:0], *permuted])] = np.arange(len(owner))
    cell = owner * (int(stratum.max(initial=0)) + 1) + stratum
    shuffled = shuffled[np.argsort(in_16_bits(cell[shuffled]), kind="stable")]
    turn = places_among_equals(cell)
    return by_strength[shuffled[np.argsort(in_16_bits(owner * (int(turn.max(initial=0)) + 1) + turn), kind="stable")]]


class _Active:
    """Where several features fire. The places of a feature are moved on by a stride for each feature before it."""

    def __init__(self, neighbours: Sequence[Sequence[Windows]], positions: Sequence[np.ndarray], shape: WindowShape) -> None:
        self._context = shape.context_tokens
        last_row = max((int(windows.row[-1]) for own in neighbours for windows in own if len(windows)), default=0)
        self._stride = max([(last_row + 1) * self._context, *(int(own[-1]) for own in positions if len(own))]) + 1
        moved = [own + i * self._stride for i, own in enumerate(positions)]
        self._positions = np.concatenate([np.empty(0, dtype=np.int64), *moved])

    def are_silent(self, places: Places, owner: np.ndarray) -> np.ndarray:
        """Bool [places]: whether the feature fires on no token of a place."""
        begin = places.row * self._context + places.start + owner * self._stride
        return no_position_in(self._positions, begin, begin + places.length)
