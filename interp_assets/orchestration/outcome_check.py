"""The check that no feature disappears: every feature of a run has rows where the settings ask for rows."""

from collections.abc import Callable, Mapping, Sequence

import dagster as dg
import numpy as np

from interp_assets.config.keys import lake_partition
from interp_assets.config.settings import StageSettings
from interp_assets.orchestration.range_partition import RangePartition
from interp_assets.orchestration.range_run import RangeRun
from interp_assets.tables import Table

NAME = "every_feature_has_an_outcome"
Asked = Callable[[StageSettings], bool]


def outcome_check_spec(asset: str | Sequence[str]) -> dg.AssetCheckSpec:
    """The blocking check of an asset."""
    return dg.AssetCheckSpec(NAME, asset=dg.AssetKey(asset), blocking=True)


def outcome_check(run: RangeRun, tables: Mapping[Table, Asked]) -> dg.AssetCheckResult:
    """The result of the check over all partitions of a run.

    Where the settings ask for rows of one of `tables`, all features of the partition must have rows in it; elsewhere no feature may have
    any. A partition that is made for some features may hold others too. The metadata of the check names the partitions that break this
    rule.
    """

    def is_whole(partition: RangePartition, table: Table, asked: Asked) -> bool:
        columns = {**run.stage.extra, **lake_partition(partition.key)}
        if not asked(partition.settings) and run.lake.manifest(table.name, columns) is None:
            return True
        found = run.lake.read(table.name, columns, columns=["feature"]).column(0).to_numpy()
        expected = partition.record.features_of(partition.key) if asked(partition.settings) else np.empty(0, dtype=np.uint32)
        return bool(np.isin(expected, found).all()) if partition.narrowed else np.array_equal(np.unique(found), expected)

    incomplete = [
        str(partition.key) for partition in run.partitions if not all(is_whole(partition, table, asked) for table, asked in tables.items())
    ]
    return dg.AssetCheckResult(check_name=NAME, passed=not incomplete, metadata={"incomplete_ranges": incomplete})
