"""Answers of the warehouse's views, made once for each state of the tables that a view reads: in one thread, and kept in the home.

A view over a large lake takes longer than a reader waits. The reader is shown the earlier answer until the next one is ready.
"""

import contextlib
import hashlib
import json
import time
from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Lock

import duckdb
import pyarrow as pa

from interp_assets.assets.warehouse.duckdb_file import DICTIONARIES, Warehouse
from interp_assets.assets.warehouse.views import view_files
from interp_assets.explorer.arrow_files import keep_table, kept_table
from interp_assets.explorer.columns import LOOK_SECONDS, PATIENCE_SECONDS, READING_SHARE
from interp_assets.explorer.left_out import left_out
from interp_assets.explorer.readiness import held_or_awaited
from interp_assets.tables import TABLES
from resources.store.duckdb_views import named_in

FORMAT = "1"
KEPT_ANSWERS = 64


@dataclass(frozen=True)
class ViewAnswer:
    """The rows of a question in one state of the lake, or why there are none. `left_out` has the partitions that could not be read, each
    with the reason."""

    state: str
    read_at: float
    rows: pa.Table
    problem: str | None = None
    took: float = 0.0
    """Seconds."""
    left_out: dict[str, str] = field(default_factory=dict)


class ViewAnswers:
    """Answers questions to the warehouse for any number of threads; `folder` keeps them for the next start."""

    def __init__(self, warehouse: Warehouse, folder: Path) -> None:
        self._warehouse, self._folder = replace(warehouse), folder  # an index of its own, for the one thread that asks
        self._held: OrderedDict[str, ViewAnswer] = OrderedDict()
        self._looked: dict[str, float] = {}
        self._asking: dict[str, Future[ViewAnswer]] = {}
        self._lock = Lock()
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="views")

    def answer(self, sql: str, patience: float = PATIENCE_SECONDS) -> ViewAnswer:
        """The newest answer that is ready. Raises `NotReadYet` where a question is asked for the first time and takes long."""
        with self._lock:
            held, future = self._held.get(sql), self._asking.get(sql)
            if future is None and time.monotonic() - self._looked.get(sql, -LOOK_SECONDS) >= LOOK_SECONDS:
                self._looked[sql] = time.monotonic()
                future = self._asking[sql] = self._worker.submit(self._asked, sql)
                future.add_done_callback(lambda _: self._asking.pop(sql, None))
        return held_or_awaited(held, future, sql, patience)

    def close(self) -> None:
        """End the asking thread."""
        self._worker.shutdown(wait=False, cancel_futures=True)

    def left_out(self) -> dict[str, str]:
        """The partitions that the answers leave out, each with the reason."""
        with self._lock:
            held = list(self._held.values())
        return {path: why for answer in held for path, why in answer.left_out.items()}

    def state(self, sql: str) -> tuple[str, dict[str, str]]:
        """A name for the content of all partitions and records that a question may read, and for the question itself; and the partitions
        that cannot be read."""
        names = [table.name for table in TABLES]
        tables, views = named_in(sql, [*names, DICTIONARIES], files := view_files())
        digest = hashlib.sha256(f"{FORMAT}\n{self._warehouse.lake.url}\n{sql}\n".encode())
        for name in views:
            digest.update(files[name].read_bytes())
        read = [table for table in TABLES if table.name in tables]
        missing = left_out(self._warehouse, read)
        for table in read:
            for part in self._warehouse.look(table).readable:
                digest.update(f"{table.name} {part.folder} {part.version} {part.footer} {part.bytes}\n".encode())
        digest.update(json.dumps(sorted(missing)).encode())
        if DICTIONARIES in tables:
            digest.update(repr(sorted(self._warehouse.registry.read_all()[0].items())).encode())
        return digest.hexdigest()[:32], missing

    def _asked(self, sql: str) -> ViewAnswer:
        held = self._held.get(sql)
        if held is not None and time.time() - held.read_at < held.took / READING_SHARE:
            return held
        state, missing = self.state(sql)
        if held is not None and held.state == state:
            return held
        place = self._folder / f"view_{hashlib.sha256(sql.encode()).hexdigest()[:16]}-{state}.arrow"
        rows, problem, started = kept_table(place), None, time.monotonic()
        if rows is None:
            try:
                rows = self._warehouse.query(sql).rows
            except duckdb.Error as error:
                rows, problem = pa.table({}), str(error)
            else:
                with contextlib.suppress(OSError):  # a home that may not be written keeps nothing
                    keep_table(place, rows)
        answer = ViewAnswer(state, time.time(), rows, problem, time.monotonic() - started, missing)
        with self._lock:
            self._held[sql] = answer
            self._held.move_to_end(sql)
            while len(self._held) > KEPT_ANSWERS:
                self._held.popitem(last=False)
        return answer
