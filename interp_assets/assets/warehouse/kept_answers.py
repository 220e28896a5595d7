"""Rows of views, kept for SQL: of every unit of a view (a dictionary, a layer, a series) its rows, with the state that they were made of.

A view that joins and ranks a million features takes a minute; its rows are few, or are read in a moment. The rows of a unit stand for
exactly one state of the partitions and records that they come from. As soon as the state is another, the unit's rows are worked out anew
for every question, until they are kept again. Replaced files stay for an hour, for readers with an open warehouse.
"""

import contextlib
import json
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import duckdb

from resources.store.duckdb_views import file_list, quoted
from resources.store.table_copies import stamp_of, sweep
from resources.store.whole_files import write_whole

FORMAT = 1
UNIT = "kept_unit"
"""The column that names a row's unit."""

FILE_ROWS = 200_000
"""Rows of a file up to which its rows are put together with the rows of other files."""


@dataclass(frozen=True)
class KeptFile:
    """A file of rows: its stamp when it was written, the state of each of its units, and its rows."""

    file: str
    stamp: list[int]
    units: dict[str, str]
    rows: int


@dataclass(frozen=True)
class Kept:
    """What is kept of a view and can be read: files, each with the units of which it has rows that may be read."""

    files: list[tuple[str, list[str], bool]] = field(default_factory=list)
    """(path, units, whether it has rows of other units too)."""

    @property
    def units(self) -> set[str]:
        """The units whose rows can be read."""
        return {unit for _, units, _ in self.files for unit in units}

    def select(self) -> str:
        """SELECT of the rows."""
        whole = [path for path, _, others in self.files if not others]
        reads = [f"SELECT * EXCLUDE ({UNIT}) FROM read_parquet({file_list(whole)})"] if whole else []
        for path, units, others in self.files:
            if others:
                wanted = ", ".join(map(quoted, units))
                reads.append(f"SELECT * EXCLUDE ({UNIT}) FROM read_parquet({file_list([path])}) WHERE {UNIT} IN ({wanted})")
        return " UNION ALL BY NAME ".join(reads)


class KeptAnswers:
    """The kept rows of the views of one lake, in a folder of the home: a folder and a list of files a view."""

    def __init__(self, lake_url: str, folder: Path) -> None:
        self.folder, self._lake_url = folder, lake_url
        self._read: dict[str, tuple[list[int], list[KeptFile]]] = {}

    def kept(self, view: str, states: Mapping[str, str]) -> Kept:
        """The kept rows of these units, as far as their states are the present ones."""
        found, seen = Kept(), set()
        for one in self._list(view):
            units = [unit for unit, state in one.units.items() if states.get(unit) == state and unit not in seen]
            if units and stamp_of(self._place(view, one)) == one.stamp:
                seen.update(units)
                found.files.append((str(self._place(view, one)), units, len(units) < len(one.units)))
        return found

    def write(self, view: str, connection: duckdb.DuckDBPyConnection, select: str, unit: str, states: Mapping[str, str]) -> None:
        """Keep the rows of a SELECT, all rows of the units in `states`; `unit` is the SQL of a row's unit."""
        file = self._written(view, connection, f"SELECT *, ({unit})::VARCHAR AS {UNIT} FROM ({select})", dict(states))
        self._keep(view, [*self._list(view), file])

    def tidy(self, view: str, connection: duckdb.DuckDBPyConnection, states: Mapping[str, str]) -> None:
        """Leave out units whose state is not the present one, put the rows of small files together, and remove files that were replaced an
        hour ago. A file with many rows stays as it is while half of its units are present."""
        live: list[tuple[KeptFile, list[str]]] = []
        seen: set[str] = set()
        for one in reversed(self._list(view)):
            units = [unit for unit, state in one.units.items() if states.get(unit) == state and unit not in seen]
            seen.update(units)
            if units:
                live.append((one, units))
        small = [(one, units) for one, units in live if one.rows < FILE_ROWS or len(units) < len(one.units) / 2]
        files = [one for one, _ in live]
        if len(small) > 1 or any(len(units) < len(one.units) for one, units in small):
            reads = [
                f"SELECT * FROM read_parquet({file_list([str(self._place(view, one))])}) WHERE {UNIT} IN ({', '.join(map(quoted, units))})"
                for one, units in small
            ]
            together = {unit: one.units[unit] for one, units in small for unit in units}
            select = f"SELECT * FROM ({' UNION ALL BY NAME '.join(reads)}) ORDER BY {UNIT}"
            files = [one for one, _ in live if one not in [other for other, _ in small]]
            files.append(self._written(view, connection, select, together))
        if files != self._list(view):
            self._keep(view, files)
        sweep((self.folder / view).glob("*.*"), {self._place(view, one) for one in files} | {self.folder / view / "files.json"})

    def forget(self, view: str, unit: str | None) -> None:
        """Remove every file that may have rows of a unit of a view, whatever other rows it has; without a unit all files of the view."""
        if not (self.folder / view).is_dir():
            return
        files = [one for one in self._list(view) if unit is not None and unit not in one.units]
        self._keep(view, files)
        held = {self._place(view, one) for one in files}
        for place in (self.folder / view).glob("*.parquet"):
            if place not in held:
                place.unlink(missing_ok=True)

    def _written(self, view: str, connection: duckdb.DuckDBPyConnection, select: str, units: dict[str, str]) -> KeptFile:
        file = f"{uuid.uuid4().hex}.parquet"
        place = self.folder / view / file
        place.parent.mkdir(parents=True, exist_ok=True)
        temporary = place.with_suffix(".tmp")
        try:
            options = "FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 16384"
            ((rows,),) = connection.execute(f"COPY ({select}) TO {quoted(str(temporary))} ({options})").fetchall()
            temporary.replace(place)
        finally:
            temporary.unlink(missing_ok=True)
        return KeptFile(file, stamp_of(place), units, rows)

    def _place(self, view: str, one: KeptFile) -> Path:
        return self.folder / view / one.file

    def _list(self, view: str) -> list[KeptFile]:
        """The files of a view; none where the list is missing or damaged."""
        path = self.folder / view / "files.json"
        stamp = stamp_of(path)
        if view not in self._read or self._read[view][0] != stamp:
            files: list[KeptFile] = []
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                found = json.loads(path.read_bytes())
                if (found["format"], found["lake"]) == (FORMAT, self._lake_url):
                    files = [KeptFile(**one) for one in found["files"]]
            self._read[view] = stamp, files
        return self._read[view][1]

    def _keep(self, view: str, files: Iterable[KeptFile]) -> None:
        content = {"format": FORMAT, "lake": self._lake_url, "files": [vars(one) for one in files]}
        write_whole(self.folder / view / "files.json", json.dumps(content, separators=(",", ":")))
