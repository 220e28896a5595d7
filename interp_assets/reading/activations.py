"""Reads the activation store: the features of a range in order, or a few features from anywhere in a dictionary."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import pairwise

import numpy as np
import pyarrow as pa

from interp_assets.config.keys import FEATURE_RANGE_KEYS, RangeKey, lake_partition, range_holding
from interp_assets.config.records import DictionaryRecord
from interp_assets.tables import ACTIVATIONS, FEATURE_STATISTICS
from resources.store.lake import Lake

COLUMNS = ["feature", "position", "value"]

FeatureActivations = tuple[np.ndarray, np.ndarray]
"""Positions uint32 and values float16 of one feature, both [n], ascending by position."""


def activations_in_order(
    lake: Lake, key: RangeKey, features: Sequence[int] | np.ndarray, narrowed: bool = False
) -> Iterator[tuple[int, FeatureActivations]]:
    """Each of `features` (ascending) with its activations; empty arrays for a dead feature. Other features of the range are passed over.

    The range is read once, in batches: memory holds a batch and one feature. With `narrowed`, `features` are a few features of the range,
    and only the row groups with these features are read.
    """
    batches: Iterable[pa.RecordBatch]
    if narrowed:
        wanted = [("feature", "in", [int(feature) for feature in features])]
        batches = lake.read(ACTIVATIONS.name, lake_partition(key), COLUMNS, wanted).to_batches()
    else:
        batches = lake.batches(ACTIVATIONS.name, lake_partition(key), COLUMNS)
    waiting = iter(int(feature) for feature in features)
    current = next(waiting, None)
    held: list[FeatureActivations] = []
    for batch in batches:
        feature, position, value = (batch.column(name).to_numpy(zero_copy_only=False) for name in COLUMNS)
        starts = np.flatnonzero(np.diff(feature, prepend=np.uint32(0), append=np.uint32(0)).astype(bool))
        for first, end in pairwise(np.unique([0, *starts.tolist(), len(feature)])):
            while current is not None and current < feature[first]:
                yield current, _joined(held)
                current, held = next(waiting, None), []
            if current is None:
                return
            if current > feature[first]:
                continue
            held.append((position[first:end], value[first:end]))
    while current is not None:
        yield current, _joined(held)
        current, held = next(waiting, None), []


def activations_of(lake: Lake, record: DictionaryRecord, features: Sequence[int]) -> dict[int, FeatureActivations]:
    """Activations of some selected features, from any range; only the row groups with these features are read."""
    selected = record.selected_features
    by_range: dict[int, list[int]] = defaultdict(list)
    for feature, place in zip(wanted := sorted(set(features)), np.searchsorted(selected, wanted).tolist(), strict=True):
        by_range[range_holding(place, len(selected))].append(feature)
    found: dict[int, FeatureActivations] = {}
    for index, members in by_range.items():
        partition = lake_partition(RangeKey(record.key, FEATURE_RANGE_KEYS[index]))
        rows = lake.read(ACTIVATIONS.name, partition, columns=COLUMNS, filters=[("feature", "in", members)])
        feature, position, value = (rows.column(name).to_numpy() for name in COLUMNS)
        for member in members:
            part = slice(*np.searchsorted(feature, [member, member + 1]))
            found[member] = position[part], value[part]
    return found


def read_kept_shares(lake: Lake, key: RangeKey) -> dict[int, float]:
    """For each feature of a range the share of the contexts that keep its activations: 1.0 unless its activations were capped."""
    counted = lake.read(FEATURE_STATISTICS.name, lake_partition(key), ["feature", "kept_contexts_share"])
    return dict(zip(*(counted.column(name).to_pylist() for name in ("feature", "kept_contexts_share")), strict=True))


def silence_levels(lake: Lake, record: DictionaryRecord, features: Collection[int], silent_share: float) -> dict[int, float]:
    """For each feature `silent_share` times its largest stored activation: weaker activations count as silence. 0.0 for a dead feature."""
    found = activations_of(lake, record, sorted(features))
    return {feature: silent_share * float(values.max(initial=0)) for feature, (_, values) in found.items()}


def _joined(parts: list[FeatureActivations]) -> FeatureActivations:
    if len(parts) == 1:
        return parts[0]
    empty = np.empty(0, dtype=np.uint32), np.empty(0, dtype=np.float16)
    return np.concatenate([empty[0], *(p for p, _ in parts)]), np.concatenate([empty[1], *(v for _, v in parts)])
