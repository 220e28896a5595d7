"""Partitions that a thread of its own writes: the same files and reports, whole or as they were, and nothing left running."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Queue

import dagster as dg
import pyarrow as pa
import pytest

from interp_assets.config.keys import FEATURE_RANGE_KEYS, RangeKey, lake_partition
from interp_assets.config.records import DictionaryRecord
from interp_assets.config.registry import DictionaryRegistry
from interp_assets.config.settings import PlatformSettings
from interp_assets.orchestration import write_behind
from interp_assets.orchestration.partition_tables import PartitionTables
from interp_assets.orchestration.partitions import DICTIONARIES, DICTIONARY_BY_RANGE
from interp_assets.orchestration.range_partition import PartitionReport, RangePartition
from interp_assets.orchestration.range_run import RangeRun
from interp_assets.orchestration.stage import RangeStage
from interp_assets.orchestration.write_behind import Part, Write, written_behind
from interp_assets.tables import ACTIVATIONS, FEATURE_STATISTICS, SCHEMA_VERSION
from resources.store.lake import Lake

OWN, BESIDE = FEATURE_STATISTICS, ACTIVATIONS
STAGE = RangeStage(OWN, "1", (), lambda stages, platform: stages.seed)
RECORD = DictionaryRecord(key="m/00/a", hook="h", kind="topk_neurons", width=16, k=1)
KEYS = [RangeKey(RECORD.key, name) for name in FEATURE_RANGE_KEYS[:4]]

Making = Callable[[RangePartition], Iterator[Part]]


def rows(first: int, n: int) -> pa.Table:
    content = {"dictionary": RECORD.key, "feature": 0, "value": 1.0}
    found = [{name: content.get(name, first + i) for name in BESIDE.schema.names} for i in range(n)]
    return pa.Table.from_pylist(found, schema=BESIDE.schema)


def parts(partition: RangePartition) -> Iterator[Part]:
    """Nine parts of two rows; of the stage's own table none."""
    for i in range(9):
        yield BESIDE, rows(100 * KEYS.index(partition.key) + 2 * i, 2)
    yield OWN, OWN.schema.empty_table()


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"), SCHEMA_VERSION)


@pytest.fixture
def made(tmp_path: Path, lake: Lake) -> Callable[[Making, int], tuple[dict[str, int], list[str]]]:
    """Runs a stage whose rows a function makes: the outcomes that it reported by range, and what it logged."""
    registry = DictionaryRegistry(tmp_path / "dictionaries")
    registry.write(RECORD)

    def run(making: Making, n_threads: int) -> tuple[dict[str, int], list[str]]:
        reported: dict[str, int] = {}

        @dg.asset(partitions_def=DICTIONARY_BY_RANGE, backfill_policy=dg.BackfillPolicy.single_run())
        def made(context: dg.AssetExecutionContext) -> None:
            work = RangeRun(context, lake, registry, PlatformSettings(), STAGE)
            with written_behind(work, n_threads) as write:
                write_all(work, write, making)
            reported.update({key.feature_range: report.outcomes["ok"] for key, report in work.reports.items()})

        instance = dg.DagsterInstance.ephemeral()
        instance.add_dynamic_partitions(DICTIONARIES.name or "", [RECORD.key])
        ends = {"start": KEYS[0], "end": KEYS[-1]}
        tags = {f"dagster/asset_partition_range_{name}": str(key) for name, key in ends.items()}
        result = dg.materialize([made], instance=instance, tags=tags)
        return reported, [entry.user_message for entry in instance.all_logs(result.run_id)]

    return run


def write_all(work: RangeRun, write: Write, making: Making) -> None:
    for n, partition in enumerate(work.to_do()):
        report = PartitionReport()
        write(partition, [BESIDE, OWN], making(partition), report)
        report.outcomes["ok"] = n  # the report may be completed afterwards


def positions(lake: Lake, key: RangeKey) -> list[int]:
    return lake.read(BESIDE.name, lake_partition(key)).column("position").to_pylist()


def is_made(lake: Lake, key: RangeKey) -> bool:
    return lake.manifest(OWN.name, lake_partition(key)) is not None


@pytest.mark.parametrize("n_threads", [1, 2])
def test_partitions_are_written_in_order_and_reported_on(lake: Lake, made: Callable, n_threads: int) -> None:
    reported, logged = made(parts, n_threads)
    assert [positions(lake, key) for key in KEYS] == [list(range(100 * n, 100 * n + 18)) for n in range(4)]
    assert reported == {key.feature_range: n for n, key in enumerate(KEYS)}
    assert [line.split(":")[0] for line in logged if line.startswith(RECORD.key)] == [str(key) for key in KEYS]


def test_rows_are_made_while_the_partition_before_is_put_in_place(lake: Lake, made: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    place, next_is_begun = PartitionTables.place, threading.Event()

    def patient(tables: PartitionTables, report: PartitionReport) -> int | None:
        assert next_is_begun.wait(10)
        return place(tables, report)

    def making(partition: RangePartition) -> Iterator[Part]:
        if partition.key == KEYS[1]:
            next_is_begun.set()
        yield from parts(partition)

    monkeypatch.setattr(PartitionTables, "place", patient)
    made(making, 2)
    assert all(is_made(lake, key) for key in KEYS)


@pytest.mark.parametrize("n_threads", [1, 2])
def test_a_partition_whose_rows_fail_stays_as_it_was(lake: Lake, made: Callable, n_threads: int) -> None:
    def making(partition: RangePartition) -> Iterator[Part]:
        for n, part in enumerate(parts(partition)):
            if partition.key == KEYS[1] and n == 5:
                raise TimeoutError("no rows")
            yield part

    with pytest.raises(TimeoutError, match="no rows"):
        made(making, n_threads)
    assert [is_made(lake, key) for key in KEYS] == [True, False, False, False]
    assert not list(Path(lake.path(BESIDE.name, lake_partition(KEYS[1]))).iterdir())
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("writer")]


@pytest.mark.parametrize("n_parts", [1, 30])
def test_an_error_of_writing_is_raised(lake: Lake, made: Callable, n_parts: int) -> None:
    """Whether the error comes while further parts are handed over, or after the last."""

    def making(partition: RangePartition) -> Iterator[Part]:
        for _ in range(n_parts):
            yield BESIDE, pa.table({"no such column": [1]})

    with pytest.raises(ValueError, match="no such column"):
        made(making, 2)
    assert not any(is_made(lake, key) for key in KEYS)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("writer")]


def test_an_interrupt_while_an_interrupt_is_answered_leaves_no_thread(lake: Lake, made: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread is never told that its partition is given up: each hand-over is interrupted."""

    class Interrupting(Queue):
        def put(self, *_: object, **__: object) -> None:
            raise KeyboardInterrupt

    monkeypatch.setattr(write_behind, "Queue", Interrupting)
    ended = threading.Event()

    def run() -> None:
        with contextlib.suppress(BaseException):
            made(parts, 2)
        ended.set()

    threading.Thread(target=run, daemon=True).start()
    assert ended.wait(30) and not any(is_made(lake, key) for key in KEYS)
