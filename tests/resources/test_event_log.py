"""A batch of events leaves the rows that its events leave one by one, and engines are made once a file."""

import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.events.log import EventLogEntry
from dagster._core.storage.event_log.sqlite import sqlite_event_log
from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage
from dagster._core.storage.runs.sqlite import sqlite_run_storage
from dagster._core.storage.schedules.sqlite import sqlite_schedule_storage

from resources.event_log import BATCH_VARIABLE, KeptEngines, write_events_quickly

COLOURS = dg.StaticPartitionsDefinition(["red", "green", "blue"])


@pytest.fixture
def untouched(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Dagster's storages as they were, also after the test."""
    for module in (sqlite_event_log, sqlite_run_storage, sqlite_schedule_storage):
        made = getattr(module.create_engine, "__wrapped__", module.create_engine)
        monkeypatch.setattr(module, "create_engine", made)
    monkeypatch.setattr(SqliteEventLogStorage, "store_event_batch", SqliteEventLogStorage.__mro__[1].store_event_batch)
    looks = "asset_records_have_last_observation"
    monkeypatch.setattr(SqliteEventLogStorage, looks, getattr(SqliteEventLogStorage.__mro__[1], looks))
    monkeypatch.delenv(BATCH_VARIABLE, raising=False)
    yield
    os.environ.pop(BATCH_VARIABLE, None)


@dg.asset(
    partitions_def=COLOURS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    check_specs=[dg.AssetCheckSpec("bright", asset="colours")],
)
def colours(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
    for number, key in enumerate(context.partition_keys):
        context.add_asset_metadata({"number": number}, partition_key=key)
    context.log_event(dg.AssetObservation("colours", partition="red", metadata={"seen": 1}))
    check = dg.AssetCheckResult(check_name="bright", passed=True)
    return dg.MaterializeResult(data_version=dg.DataVersion("v1"), check_results=[check])


def run(folder: Path) -> dg.DagsterInstance:
    """An instance in `folder` with one run of the asset over all partitions."""
    folder.mkdir()
    (folder / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    instance = dg.DagsterInstance.from_config(str(folder))
    tags = {"dagster/asset_partition_range_start": "red", "dagster/asset_partition_range_end": "blue"}
    assert dg.materialize([colours], instance=instance, tags=tags).success
    return instance


def rows(folder: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every database in `folder`, by table; without the times of the rows, and sorted by what is left."""
    found: dict[str, list[tuple[Any, ...]]] = {}
    for path in sorted(folder.rglob("*.db")):
        with sqlite3.connect(path) as connection:
            connection.row_factory = sqlite3.Row
            for (table,) in connection.execute(
                "SELECT name FROM sqlite_master WHERE type = 'table' AND name != 'secondary_indexes'"
            ).fetchall():
                held = [dict(row) for row in connection.execute(f"SELECT * FROM {table}")]
                kept = [tuple(v for name, v in row.items() if not name.endswith("timestamp") or name == "event_timestamp") for row in held]
                found[f"{path.relative_to(folder)} {table}"] = kept
    return found


def stored(folder: Path, store: Callable[[SqliteEventLogStorage], None]) -> dict[str, list[tuple[Any, ...]]]:
    """The rows of an event log after `store`."""
    folder.mkdir()
    storage = SqliteEventLogStorage(str(folder))
    store(storage)
    return rows(folder)


def one_after_another(events: list[EventLogEntry]) -> Callable[[SqliteEventLogStorage], None]:
    """Stores events as Dagster does."""

    def store(storage: SqliteEventLogStorage) -> None:
        for event in events:
            storage.store_event(event)

    return store


def test_a_batch_leaves_the_rows_of_its_events(untouched: None, tmp_path: Path) -> None:
    with run(tmp_path / "first") as instance:
        events = [entry for entry in instance.all_logs(instance.get_run_ids()[0]) if not entry.get_dagster_event().is_job_event]
    events = [event for event in events if event.get_dagster_event().event_type_value != "ASSET_CHECK_EVALUATION"]  # never in a batch
    kinds = {event.get_dagster_event().event_type_value for event in events}
    assert {"ASSET_MATERIALIZATION", "ASSET_OBSERVATION", "ASSET_MATERIALIZATION_PLANNED", "ASSET_CHECK_EVALUATION_PLANNED"} <= kinds
    of_two_runs = [*events, *(event._replace(run_id="other") for event in events)]
    one_by_one = stored(tmp_path / "one by one", one_after_another(events))
    two_runs = stored(tmp_path / "two runs", one_after_another(of_two_runs))
    write_events_quickly()
    assert stored(tmp_path / "batch", lambda storage: storage.store_event_batch(events)) == one_by_one
    assert stored(tmp_path / "batch of two", lambda storage: storage.store_event_batch(of_two_runs)) == two_runs
    held = {name.split()[-1]: len(content) for name, content in one_by_one.items() if name.startswith("index")}
    assert held["asset_keys"] == 1 and held["asset_event_tags"] >= 3 and held["asset_check_executions"] >= 1


def test_events_of_steps_are_batches_and_engines_are_kept(untouched: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_events_quickly()
    write_events_quickly()  # once is enough
    made: list[str] = []
    for module in (sqlite_event_log, sqlite_run_storage):
        kept: Any = module.create_engine
        assert isinstance(kept, KeptEngines) and not isinstance(kept._create_engine, KeptEngines)
        make = kept._create_engine
        monkeypatch.setattr(kept, "_create_engine", lambda address, make=make, **options: made.append(address) or make(address, **options))
    sizes: list[int] = []
    store = SqliteEventLogStorage.store_event_batch
    monkeypatch.setattr(SqliteEventLogStorage, "store_event_batch", lambda log, events: sizes.append(len(events)) or store(log, events))
    with run(tmp_path / "home") as instance:
        assert instance.get_materialized_partitions(dg.AssetKey("colours")) == {"red", "green", "blue"}
        latest = instance.get_latest_materialization_event(dg.AssetKey("colours"))
        assert latest is not None and latest.asset_materialization is not None
        place = COLOURS.get_partition_keys().index(latest.asset_materialization.partition or "")
        assert latest.asset_materialization.metadata["number"].value == place
    assert len(made) == len(set(made)) <= 4, made
    assert sizes and max(sizes) >= 3


def test_a_step_asks_nothing_about_inputs_that_were_never_made(untouched: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    fetch = SqliteEventLogStorage.fetch_observations
    monkeypatch.setattr(
        SqliteEventLogStorage, "fetch_observations", lambda *given, **named: asked.append(str(given[1])) or fetch(*given, **named)
    )

    @dg.asset(code_version="1", deps=["colours", *(f"never_{number}" for number in range(3))])
    def mixture() -> None: ...

    def tags(folder: Path) -> dict[str, str]:
        """The tags of the mixture's materialisation, which say what it was made from."""
        with run(folder) as instance:
            assert dg.materialize([mixture], instance=instance).success
            event = instance.get_latest_materialization_event(dg.AssetKey("mixture"))
        assert event is not None and event.asset_materialization is not None
        return {name: tag for name, tag in (event.asset_materialization.tags or {}).items() if "event_pointer" not in name}

    as_by_dagster = tags(tmp_path / "by Dagster")
    assert len(asked) == 3
    write_events_quickly()
    assert tags(tmp_path / "quickly") == as_by_dagster
    assert len(asked) == 3


def test_engines_beyond_the_kept_ones_are_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resources.event_log.KEPT_ENGINES", 2)
    made: list[str] = []

    def create_engine(address: str, **_: object) -> Any:
        made.append(address)
        return object()

    kept = KeptEngines(create_engine)
    engines = [kept(address) for address in ("a", "b", "a", "c", "a", "b")]
    assert made == ["a", "b", "c", "b"] and engines[0] is engines[2] is engines[4]
