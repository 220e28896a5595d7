"""Which neighbours are read for hard negatives."""

import numpy as np
import pytest

from interp_assets.domain.examples.sampling import ExampleSettings
from interp_assets.domain.examples.windows import WindowShape
from interp_assets.measuring import hard_negatives
from interp_assets.measuring.hard_negatives import HardNegatives


def test_no_further_neighbour_is_read_than_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two neighbours are wanted. Feature 0's nearest fire; of feature 1's nearest two one is dead; all of feature 2's are."""
    near = {0: [10, 11, 12, 13], 1: [20, 10, 21, 22], 2: list(range(30, 50))}
    firing, read = {10: 7, 11: 9, 12: 5, 21: 3, 22: 4, 38: 6}, list[list[int]]()

    def activations_of(lake: object, record: object, features: list[int]) -> dict[int, tuple[np.ndarray, np.ndarray]]:
        read.append(features)
        empty = np.empty(0, np.uint32), np.empty(0, np.float16)
        return {n: (np.array([firing[n]], np.uint32), np.ones(1, np.float16)) if n in firing else empty for n in features}

    monkeypatch.setattr(hard_negatives, "read_neighbours", lambda lake, key, features: {feature: near[feature] for feature in features})
    monkeypatch.setattr(hard_negatives, "activations_of", activations_of)
    source = HardNegatives.__new__(HardNegatives)
    source.lake = source.record = type("Nothing", (), {"key": "d"})()  # type: ignore[assignment]
    source.settings, source.shape, source._windows = ExampleSettings(n_neighbours=2), WindowShape("centred", 4, 64), {}
    found = source._neighbour_windows([0, 1, 2])
    assert {feature: [int(one.peak_position[0]) for one in own] for feature, own in found.items()} == {0: [7, 9], 1: [7, 3], 2: []}
    assert read[0] == [10, 11, 20, 30, 31] and read[1] == [21, 32, 33]
    assert sorted(n for some in read for n in some) == [10, 11, 20, 21, *range(30, 38)], "four times as many as wanted at most"
    assert source._neighbour_windows([0])[0] == found[0] and len(read) == 4, "read once"
