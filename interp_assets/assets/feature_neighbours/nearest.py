"""Nearest features of every selected feature of a dictionary by co-occurrence: the share of tokens on which both features fire."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from interp_assets.config.keys import FEATURE_RANGE_KEYS
from interp_assets.config.records import DictionaryRecord
from interp_assets.domain.features.co_occurrence import Nearest, nearest_by_co_occurrence, sampled_positions
from interp_assets.tables import ACTIVATIONS
from resources.store.lake import Lake

if TYPE_CHECKING:
    pass


@dataclass(frozen=True)
class CoOccurrence:
    """Nearest features by co-occurrence, as indices of the selected features. `firings` counts, of the `n_positions` compared, the
    positions on which each feature fires."""

    nearest: Nearest
    firings: np.ndarray
    n_positions: int


def nearest_in_store(lake: Lake, record: DictionaryRecord, n_tokens: int, n_nearest: int, max_pairs: int) -> CoOccurrence:
    """Nearest features by co-occurrence in the activation store.

    Indices count the selected features of the record: the store holds no other features. The store is read twice, in batches: first to
    count the features that fire on each position, then to keep the activations on the compared positions.
    """
    firings = np.zeros(n_tokens, dtype=np.int32)
    for batch in _batches(lake, record.key, ["position"]):
        np.add.at(firings, batch["position"], 1)
    kept = sampled_positions(firings, max_pairs)
    number = np.cumsum(kept, dtype=np.int32) - 1
    positions = np.empty(int(firings[kept].sum(dtype=np.int64)), dtype=np.int32)
    del firings
    selected = record.selected_features
    sizes = np.zeros(len(selected), dtype=np.int64)
    filled = 0
    for batch in _batches(lake, record.key, ["feature", "position"]):
        compared = kept[batch["position"]]
        part = number[batch["position"][compared]]
        positions[filled : filled + len(part)] = part
        filled += len(part)
        sizes += np.bincount(np.searchsorted(selected, batch["feature"][compared]), minlength=len(selected))
    bounds = np.concatenate([[0], np.cumsum(sizes)])
    n_positions = int(kept.sum())
    del kept, number
    return CoOccurrence(nearest_by_co_occurrence(positions, bounds, n_positions, n_nearest), sizes, n_positions)


def _batches(lake: Lake, dictionary: str, columns: list[str]) -> Iterator[dict[str, np.ndarray]]:
    """Arrays of the store's `columns`, a batch at a time, sorted by feature and then by position."""
    for feature_range in FEATURE_RANGE_KEYS:
        for batch in lake.batches(ACTIVATIONS.name, {"dictionary": dictionary, "feature_range": feature_range}, columns):
            yield {name: batch.column(name).to_numpy() for name in columns}
