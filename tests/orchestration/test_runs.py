"""Writing a partition: many small parts are gathered, in order, and what failed does not count as complete."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from interp_assets.config.keys import RangeKey, lake_partition
from interp_assets.config.records import DictionaryRecord
from interp_assets.config.registry import DictionaryRegistry
from interp_assets.config.settings import PlatformSettings
from interp_assets.orchestration.partition_tables import PartitionTables
from interp_assets.orchestration.partitions import DICTIONARIES, DICTIONARY_BY_RANGE
from interp_assets.orchestration.range_partition import PartitionReport
from interp_assets.orchestration.range_run import RangeRun
from interp_assets.orchestration.stage import RangeStage
from interp_assets.tables import ACTIVATIONS, SCHEMA_VERSION, VOCABULARY_PROJECTIONS
from resources.store.lake import Lake

KEY = RangeKey("fake/00/neurons", "00of16")
RECORD = DictionaryRecord(key=KEY.dictionary, hook="blocks.0.mlp.hook_post", kind="neurons", width=80)
OWN, BESIDE = VOCABULARY_PROJECTIONS, ACTIVATIONS
STAGE = RangeStage(OWN, "1", (), lambda stages, platform: True)


def row(n: int) -> pa.Table:
    """One row of the table beside the stage's own."""
    content = {"dictionary": KEY.dictionary, "feature": 0, "position": n, "value": 1.0}
    return pa.Table.from_pylist([{name: content[name] for name in BESIDE.schema.names}], schema=BESIDE.schema)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"), SCHEMA_VERSION)


@pytest.fixture
def written(tmp_path: Path, lake: Lake) -> Callable[[Callable[[PartitionTables], None]], list[str]]:
    """Runs a stage of one partition whose writing is a function; gives what it logged."""
    registry = DictionaryRegistry(tmp_path / "dictionaries")
    registry.write(RECORD)

    def run(write: Callable[[PartitionTables], None]) -> list[str]:
        @dg.asset(partitions_def=DICTIONARY_BY_RANGE)
        def made(context: dg.AssetExecutionContext) -> None:
            work = RangeRun(context, lake, registry, PlatformSettings(), STAGE)
            for partition in work.to_do():
                with work.writing(partition, (BESIDE, OWN)) as tables:
                    write(tables)

        instance = dg.DagsterInstance.ephemeral()
        instance.add_dynamic_partitions(DICTIONARIES.name or "", [KEY.dictionary])
        result = dg.materialize([made], partition_key=str(KEY), instance=instance)
        return [entry.user_message for entry in instance.all_logs(result.run_id)]

    return run


def parts(lake: Lake, name: str) -> pq.ParquetFile:
    return pq.ParquetFile(f"{lake.path(name, lake_partition(KEY))}/part-0.parquet")


def test_many_small_parts_become_few_row_groups_in_order(
    lake: Lake, written: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PartitionTables, "BUFFERED_ROWS", 100)
    monkeypatch.setattr(PartitionTables, "WAITING_PARTS", 7)

    def write(tables: PartitionTables) -> None:
        for n in range(250):
            tables.add(BESIDE, row(n))
            if n % 50 == 0:
                tables.add(OWN, OWN.schema.empty_table())
        tables.commit(PartitionReport())

    written(write)
    found = parts(lake, BESIDE.name)
    assert [found.metadata.row_group(i).num_rows for i in range(found.num_row_groups)] == [100, 100, 50]
    assert found.read().column("position").to_pylist() == list(range(250))
    assert parts(lake, OWN.name).metadata.num_rows == 0


def test_a_part_of_several_row_groups_is_written_as_it_comes(lake: Lake, written: Callable[..., list[str]]) -> None:
    groups = OWN.row_group_rows or 0
    n = PartitionTables.LARGE_ROW_GROUPS * groups + 5
    one = {"dictionary": KEY.dictionary, "feature_range": KEY.feature_range, "feature": 0, "outcome": "no_decoder"}
    large = pa.Table.from_pylist([{**dict.fromkeys(OWN.schema.names), **one}] * n, schema=OWN.schema)

    def write(tables: PartitionTables) -> None:
        for part in (large.slice(0, 2), large, large.slice(0, 3)):
            tables.add(OWN, part)
        tables.commit(PartitionReport())

    written(write)
    found = parts(lake, OWN.name)
    counts = [found.metadata.row_group(i).num_rows for i in range(found.num_row_groups)]
    assert groups and counts == [*[groups] * PartitionTables.LARGE_ROW_GROUPS, 7, 3]


def test_parts_that_wait_are_few_tables(written: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    """A table of one row takes kilobytes: 50 of them joined at every eighth never hold more than 8."""
    monkeypatch.setattr(PartitionTables, "WAITING_PARTS", 7)
    joined: list[int] = []
    together = pa.concat_tables
    monkeypatch.setattr(pa, "concat_tables", lambda tables: joined.append(len(tables)) or together(tables))

    def write(tables: PartitionTables) -> None:
        for n in range(50):
            tables.add(BESIDE, row(n))
        tables.commit(PartitionReport())

    written(write)
    assert max(joined) == 8 and len(joined) >= 50 // 8


@pytest.mark.parametrize(
    ("outcomes", "complete", "told"),
    [
        ({"ok": 3}, True, ""), ({"ok": 3, "model_error": 2}, False, "2 questions ended in model_error"),
        ({"failed": 1}, False, "1 outcomes are 'failed'"),
    ],
)  # fmt: skip
def test_a_partition_with_errors_does_not_count_as_complete(
    lake: Lake, written: Callable[..., list[str]], outcomes: dict[str, int], complete: bool, told: str
) -> None:
    counted = PartitionReport(Counter(outcomes))
    said = written(lambda tables: tables.commit(counted))
    assert told in " ".join(said) and f"{KEY}: 0 rows, {outcomes}" in said
    version = STAGE.data_version(PlatformSettings().stage_settings({}), PlatformSettings(), {})
    assert lake.require(OWN.name, lake_partition(KEY)).data_version == (version if complete else f"{version}-incomplete")
    assert lake.is_current(OWN.name, lake_partition(KEY), version) == complete
