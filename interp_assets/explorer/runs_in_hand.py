"""What is being made at this moment: the unfinished runs of the home's Dagster, read from its SQLite file without importing Dagster."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

UNFINISHED = ("QUEUED", "NOT_STARTED", "STARTING", "STARTED")
SHOWN = 20
"""Most runs that are shown, the newest first."""


@dataclass(frozen=True)
class RunInHand:
    """One unfinished run: its assets, the partitions that it is about ("" where it has none), and since when it works, in seconds since
    1970 (None while it waits)."""

    run_id: str
    status: str
    assets: tuple[str, ...]
    partitions: str
    started: float | None

    @property
    def dictionary(self) -> str:
        """The dictionary of the first partition."""
        return self.partitions.partition("|")[0].partition(" to ")[0]


def runs_in_hand(dagster: Path) -> tuple[RunInHand, ...]:
    """The unfinished runs of an instance, the newest first; empty for a folder without runs, and where Dagster keeps its runs elsewhere, as
    in Postgres."""
    file = dagster / "history" / "runs.db"
    if not file.is_file():
        return ()
    try:
        with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=0.2)) as connection:
            marks = ", ".join("?" * len(UNFINISHED))
            rows = connection.execute(
                f"SELECT run_id, status, run_body, start_time FROM runs WHERE status IN ({marks}) ORDER BY id DESC LIMIT {SHOWN}",
                UNFINISHED,
            ).fetchall()
    except sqlite3.Error:  # a file in another layout, or one that Dagster is just making
        return ()
    return tuple(RunInHand(run_id, status, *_selection(body), started) for run_id, status, body, started in rows)


def _selection(body: str) -> tuple[tuple[str, ...], str]:
    """(assets, partitions) of a run as Dagster keeps it in JSON; nothing where it is kept in another form."""
    try:
        run = json.loads(body)
        tags = run.get("tags") or {}
        first, last = (str(tags.get(f"dagster/asset_partition_range_{end}", "")) for end in ("start", "end"))
        partitions = str(tags.get("dagster/partition") or (first if first == last else f"{first} to {last}"))
        return tuple(sorted(_assets(run.get("asset_selection")))), partitions
    except (ValueError, AttributeError, TypeError):
        return (), ""


def _assets(selection: object) -> Iterator[str]:
    """Names of the assets in a selection, however Dagster nests it."""
    if isinstance(selection, dict) and isinstance(selection.get("path"), list):
        yield "/".join(map(str, selection["path"]))
    elif isinstance(selection, dict | list):
        for value in selection.values() if isinstance(selection, dict) else selection:
            yield from _assets(value)
