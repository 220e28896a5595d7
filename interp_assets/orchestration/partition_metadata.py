"""What a partition's materialisation shows beside its numbers, and how many partitions get it at once."""

from collections.abc import Mapping
from typing import Any

import dagster as dg

from interp_assets.config.keys import RangeKey
from interp_assets.config.records import DictionaryRecord

DATA_VERSION_TAG = "dagster/data_version"
EXPLORER = "http://127.0.0.1:3001"
"""Where `interp explore` answers unless it is told otherwise."""


def add_partition_metadata(context: dg.AssetExecutionContext, by_partition: Mapping[str, Mapping[str, Any]]) -> None:
    """`context.add_asset_metadata` for each of some partitions of the run.

    That method lists all partitions of the run, and looks each up in a database, to see that the one partition is among them: a thousand
    partitions would be a million look-ups. Here all are compared with the run's partitions once.
    """
    step = context.op_execution_context.get_step_execution_context()
    assert set(by_partition) <= set(context.partition_keys), set(by_partition) - set(context.partition_keys)
    accumulator = step._metadata_accumulator
    for partition, metadata in by_partition.items():
        accumulator = accumulator.with_additional_asset_metadata(asset_key=context.asset_key, partition_key=partition, metadata=metadata)
    step._metadata_accumulator = accumulator


def explorer_page(record: DictionaryRecord, key: RangeKey) -> str:
    """The address of a range's features in the explorer, where `interp explore` answers on its usual port."""
    features = record.features_of(key)
    bounds = f"?first={features[0]}&last={features[-1]}" if len(features) else ""
    return f"{EXPLORER}/d/{key.dictionary}{bounds}"
