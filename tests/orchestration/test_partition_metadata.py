"""Metadata of many partitions at once are what Dagster's own method notes one by one."""

from collections.abc import Callable, Mapping
from typing import Any

import dagster as dg
import pytest

from interp_assets.orchestration.partition_metadata import add_partition_metadata

PARTS = dg.MultiPartitionsDefinition(
    {"dictionary": dg.DynamicPartitionsDefinition(name="d"), "part": dg.StaticPartitionsDefinition(["a", "b"])}
)


def one_by_one(context: dg.AssetExecutionContext, by_partition: Mapping[str, Mapping[str, Any]]) -> None:
    for partition, metadata in by_partition.items():
        context.add_asset_metadata(metadata, partition_key=partition)


def noted(note: Callable[[dg.AssetExecutionContext, Mapping[str, Mapping[str, Any]]], None]) -> dict[str, Any]:
    """The metadata of the materialisation of each partition."""

    @dg.asset(partitions_def=PARTS, backfill_policy=dg.BackfillPolicy.single_run())
    def numbers(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        note(context, {str(key): {"number": place} for place, key in enumerate(context.partition_keys)})
        return dg.MaterializeResult(metadata={"of the run": True})

    tags = {"dagster/asset_partition_range_start": "x|a", "dagster/asset_partition_range_end": "x|b"}
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("d", ["x"])
        result = dg.materialize([numbers], instance=instance, tags=tags)
        return {event.partition or "": dict(event.materialization.metadata) for event in result.get_asset_materialization_events()}


def test_each_partition_has_its_own_metadata() -> None:
    found = noted(add_partition_metadata)
    assert found == noted(one_by_one)
    assert {key: (own["number"].value, own["of the run"].value) for key, own in found.items()} == {"x|a": (0, True), "x|b": (1, True)}


def test_partitions_beside_the_run_are_refused() -> None:
    def beside(context: dg.AssetExecutionContext, by_partition: Mapping[str, Mapping[str, Any]]) -> None:
        add_partition_metadata(context, {**by_partition, "y|a": {"number": 9}})

    with pytest.raises(AssertionError, match=r"y\|a"):
        noted(beside)
