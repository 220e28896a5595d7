"""Dagster's SQLite storage, quickened: what is stored is the same, row for row.

    write_events_quickly()        once in a process, before it opens an instance

Dagster makes an SQLAlchemy engine for each statement, so that it compiles each statement anew. It also has two transactions, each synced to
disk, for each partition of a materialisation. With this module engines are kept, and the events that one step has for its
partitions, or that one run plans, are one transaction a file (Dagster's own batches, `DAGSTER_EVENT_BATCH_SIZE`). A step does not look for
observations of inputs that were never made: a score can read each of thirty methods, and Dagster has a query for each of them that nobody
asked for. Our observations say how far a stage has come, and have no data version. An instance on another storage is as it was.
"""

import functools
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dagster._core.events.log import EventLogEntry
    from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage
    from sqlalchemy.engine import Engine

BATCH_VARIABLE, BATCH_EVENTS = "DAGSTER_EVENT_BATCH_SIZE", 500
KEPT_ENGINES = 32
"""Engines that a module of Dagster keeps. An engine holds no connection; there is one for each file, and a run has a file of its own."""


class KeptEngines:
    """`create_engine` that returns the engine it has made before for an address. The options are the same in all calls of a module."""

    def __init__(self, create_engine: "Callable[..., Engine]") -> None:
        functools.update_wrapper(self, create_engine)
        self._create_engine = create_engine
        self._engines: OrderedDict[str, Engine] = OrderedDict()
        self._lock = threading.Lock()

    def __call__(self, address: str, **options: Any) -> "Engine":
        """The engine for an address."""
        with self._lock:
            if address not in self._engines:
                self._engines[address] = self._create_engine(address, **options)
            self._engines.move_to_end(address)
            if len(self._engines) > KEPT_ENGINES:
                self._engines.popitem(last=False)
            return self._engines[address]


def write_events_quickly() -> None:
    """Let the SQLite storages of this process keep their engines, and its instances write events in batches. A second call does nothing."""
    from dagster._core.storage.event_log.sqlite import sqlite_event_log
    from dagster._core.storage.runs.sqlite import sqlite_run_storage
    from dagster._core.storage.schedules.sqlite import sqlite_schedule_storage

    os.environ.setdefault(BATCH_VARIABLE, str(BATCH_EVENTS))
    for module in (sqlite_event_log, sqlite_run_storage, sqlite_schedule_storage):
        if not isinstance(module.create_engine, KeptEngines):
            module.create_engine = KeptEngines(module.create_engine)  # pyright: ignore[reportAttributeAccessIssue]
    storage = sqlite_event_log.SqliteEventLogStorage
    storage.store_event_batch = store_event_batch  # pyright: ignore[reportAttributeAccessIssue]
    storage.asset_records_have_last_observation = property(lambda _: True)  # pyright: ignore[reportAttributeAccessIssue]


def store_event_batch(storage: "SqliteEventLogStorage", events: "Sequence[EventLogEntry]") -> None:
    """Store events as `SqliteEventLogStorage.store_event` does one by one, in one transaction for the run's file and one for the index.

    Where a transaction fails, Dagster stores the events one by one.
    """
    from dagster._core.events import ASSET_CHECK_EVENTS, ASSET_EVENTS, EVENT_TYPE_TO_PIPELINE_RUN_STATUS

    def is_any_of(event: "EventLogEntry", types: Any) -> bool:
        return event.is_dagster_event and event.dagster_event_type in types

    if len({event.run_id for event in events}) > 1 or any(is_any_of(event, EVENT_TYPE_TO_PIPELINE_RUN_STATUS) for event in events):
        for event in events:
            storage.store_event(event)
        return
    statements = [storage.prepare_insert_event(event) for event in events]
    with storage.run_connection(events[0].run_id) as connection:
        for statement in statements:
            connection.execute(statement)
    of_assets = [place for place, event in enumerate(events) if is_any_of(event, ASSET_EVENTS)]
    of_checks = [place for place, event in enumerate(events) if is_any_of(event, ASSET_CHECK_EVENTS)]
    ids: dict[int, int] = {}
    if of_assets or of_checks:
        with storage.index_transaction() as connection:
            for place in sorted({*of_assets, *of_checks}):
                ids[place] = connection.execute(statements[place]).inserted_primary_key[0]  # pyright: ignore[reportOptionalSubscript]
            storage._store_asset_event_tags(connection, [events[place] for place in of_assets], [ids[place] for place in of_assets])
            for place in _last_of_each(events, of_assets):
                storage._store_asset_event(connection, events[place], ids[place])
    for place in of_checks:
        storage.store_asset_check_event(events[place], ids[place])


def _last_of_each(events: "Sequence[EventLogEntry]", places: Sequence[int]) -> list[int]:
    """The last place of each kind of event of each asset, ascending: the row of an asset has its last event of each kind."""
    last = {(events[place].dagster_event_type, events[place].get_dagster_event().asset_key): place for place in places}
    return sorted(last.values())
