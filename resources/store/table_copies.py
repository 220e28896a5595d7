"""Copies of small partitions for SQL: one sorted Parquet file for each table and dictionary, updated in increments.

A query over a million features would open thousands of parts; with copies it opens one file a dictionary. A copy stands for exactly the
parts that it was made of. As soon as a part has another version, is gone or is new, the parts themselves are read until the copy is made
again. Making a copy compares its parts with their checksums. Replaced copies stay for KEPT_SECONDS, for readers with an open warehouse.
"""

import contextlib
import json
import time
import uuid
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq

from resources.store.lake_index import LakeIndex
from resources.store.later_columns import with_later_columns
from resources.store.table_index import Part, TableIndex
from resources.store.whole_files import write_whole

COPIED_COLUMN = "dictionary"
LEAST_PARTS = 2
LARGEST_PART_BYTES = 8 << 20
"""Mean size of a table's parts above which no copy is made: opening such parts is a small part of a query's cost."""

LARGEST_COPY_BYTES = 256 << 20
ROW_GROUP_ROWS = 122_880
"""DuckDB's own size of a row group."""

HEADLINE_GROUP_ROWS = 16_384
KEPT_SECONDS = 3_600.0
KEEP_LIST_SECONDS = 5.0
"""Seconds after which copies that were made are listed, while more are being made."""


@dataclass(frozen=True)
class Copy:
    """One copy: its file, with the file's stamp when it was written, a digest of the parts that it was made of, and its columns."""

    file: str
    stamp: list[int]
    made_of: str
    columns: list[str]


@dataclass(frozen=True)
class Sources:
    """The files that a table is read from: copies, and parts without a copy."""

    copies: list[str]
    parts: list[str]


class TableCopies:
    """The copies of a lake's tables in a folder of the home."""

    def __init__(self, index: LakeIndex, folder: Path) -> None:
        self._index, self._folder = index, folder
        self._read: dict[str, tuple[list[int], dict[str, Copy]]] = {}

    def sources(self, table: str, found: TableIndex, schema: pa.Schema, dictionaries: Collection[str] | None = None) -> Sources:
        """The files with the rows of the readable partitions, of these dictionaries alone where they are given."""
        copies, sources = self._kept(table), Sources([], [])
        names = sorted(found.by_dictionary if dictionaries is None else found.by_dictionary.keys() & set(dictionaries))
        for name in names:
            if self._is_current(table, copies.get(name), found.digests[name], schema):
                sources.copies.append(str(self._place(table, copies[name])))
            else:
                sources.parts.extend(self._index.path_of(table, part) for part in found.by_dictionary[name])
        return sources

    def path_of(self, table: str, part: Part) -> str:
        """The file of a partition."""
        return self._index.path_of(table, part)

    def _is_current(self, table: str, copy: Copy | None, digest: str, schema: pa.Schema) -> bool:
        return (
            copy is not None
            and copy.made_of == digest
            and copy.columns == schema.names
            and stamp_of(self._place(table, copy)) == copy.stamp
        )

    def update(self, table: str, found: TableIndex, schema: pa.Schema) -> int:
        """Make the copies again of dictionaries with small parts that have changed, and return their number. Damaged parts are noted."""
        copies, made, kept_at = dict(self._kept(table)), 0, time.monotonic()
        groups = {name: parts for name, parts in found.by_dictionary.items() if name and _worth_a_copy(parts)}
        digests = found.digests
        for dictionary, parts in groups.items():
            if self._is_current(table, copies.get(dictionary), digests[dictionary], schema):
                continue
            new = self._made(table, dictionary, parts, digests[dictionary], schema)
            if new is not None:
                copies[dictionary] = new
                made += 1
                if time.monotonic() - kept_at > KEEP_LIST_SECONDS:
                    self._keep(table, copies)
                    kept_at = time.monotonic()
        if made or copies.keys() - groups.keys():
            self._keep(table, {name: copy for name, copy in copies.items() if name in groups})
        held = {self._place(table, copy) for copy in self._kept(table).values()}
        sweep((self._folder / table).glob(f"{COPIED_COLUMN}=*/*"), held)
        return made

    def verify(self, tables: Iterable[str]) -> None:
        """Read the copies of these tables whole. A damaged copy is forgotten, and its parts are read instead."""
        for table in tables:
            copies = self._kept(table)
            sound = {name: copy for name, copy in copies.items() if _reads_through(self._place(table, copy))}
            if sound.keys() != copies.keys():
                self._keep(table, sound)

    def _made(self, table: str, dictionary: str, parts: list[Part], digest: str, schema: pa.Schema) -> Copy | None:
        """A copy of these parts; None where a part cannot be read. Damaged parts are noted."""
        read: list[pa.Table] = []
        for part in parts:
            path = self._index.path_of(table, part)
            try:
                if not part.read_through and (problem := self._index.read(table, part)):
                    raise OSError(problem)
                rows = pq.read_table(path, filesystem=self._index.lake.fs, partitioning=None, page_checksum_verification=True)
                if rows.num_rows != part.rows:
                    raise OSError(f"{rows.num_rows:,} rows, and {part.rows:,} in its manifest")
                read.append(with_later_columns(rows, schema).cast(schema))
                self._index.note_read(table, part, "")
            except FileNotFoundError:
                return None  # replaced at this moment: the next look sees the new file
            except (pa.ArrowException, OSError, ValueError) as error:
                self._index.note_read(table, part, (str(error).splitlines() or [type(error).__name__])[0])
        if any(part.problem for part in parts) or not read:
            return None
        rows = pa.concat_tables(read).unify_dictionaries()
        folder = f"{COPIED_COLUMN}={quote(dictionary, safe='')}"
        file = f"{folder}/{uuid.uuid4().hex}.parquet"
        place = self._folder / table / file
        place.parent.mkdir(parents=True, exist_ok=True)
        temporary = place.with_suffix(".tmp")
        try:
            with pq.ParquetWriter(temporary, schema, compression="zstd", write_page_checksum=True) as writer:
                for some, group_rows in _sorted(rows):
                    writer.write_table(some, row_group_size=group_rows)
            temporary.replace(place)
        finally:
            temporary.unlink(missing_ok=True)
        return Copy(file, stamp_of(place), digest, schema.names)

    def _place(self, table: str, copy: Copy) -> Path:
        return self._folder / table / copy.file

    def _list(self, table: str) -> Path:
        return self._folder / table / "copies.json"

    def _kept(self, table: str) -> dict[str, Copy]:
        """The copies by dictionary; empty where the list is missing or damaged."""
        stamp = stamp_of(self._list(table))
        if table not in self._read or self._read[table][0] != stamp:
            copies: dict[str, Copy] = {}
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                kept = json.loads(self._list(table).read_bytes())
                if kept["lake"] == self._index.lake.url:
                    copies = {name: Copy(**one) for name, one in kept["copies"].items()}
            self._read[table] = stamp, copies
        return self._read[table][1]

    def _keep(self, table: str, copies: dict[str, Copy]) -> None:
        content = {"lake": self._index.lake.url, "copies": {name: vars(copy) for name, copy in copies.items()}}
        write_whole(self._list(table), json.dumps(content, separators=(",", ":")))


def sweep(places: Iterable[Path], held: Collection[Path]) -> None:
    """Remove the files among `places` that are not `held` and were replaced an hour ago. A file that was just replaced gets a mark with the
    present time beside it."""
    for place in places:
        if place in held or place.with_suffix(".parquet") in held:
            continue
        with contextlib.suppress(OSError):
            replaced = place.with_suffix(".replaced")
            if place.suffix == ".parquet" and not replaced.exists():
                replaced.touch()
            elif place.suffix != ".parquet" and time.time() - place.stat().st_mtime > KEPT_SECONDS:
                place.with_suffix(".parquet").unlink(missing_ok=True)
                place.unlink()


def _sorted(rows: pa.Table) -> Iterator[tuple[pa.Table, int]]:
    """The rows of a copy by feature, with the rows of a row group.

    Headline scores come first and in small groups: a question about the best scores passes over most groups by their largest values.
    """
    import pyarrow.compute as pc

    if "feature" in rows.column_names:
        rows = rows.sort_by("feature")
    if "headline" in rows.column_names:
        yield rows.filter(rows["headline"]), HEADLINE_GROUP_ROWS
        rows = rows.filter(pc.invert(rows["headline"]))
    yield rows, ROW_GROUP_ROWS


def _worth_a_copy(parts: list[Part]) -> bool:
    total = sum(part.bytes for part in parts)
    return len(parts) >= LEAST_PARTS and total <= min(LARGEST_COPY_BYTES, LARGEST_PART_BYTES * len(parts))


def stamp_of(place: Path) -> list[int]:
    """Size, time and inode of a file; empty where there is none."""
    try:
        status = place.stat()
    except OSError:
        return []
    return [status.st_size, status.st_mtime_ns, status.st_ino]


def _reads_through(place: Path) -> bool:
    try:
        with pq.ParquetFile(place, page_checksum_verification=True) as part:
            for group in range(part.num_row_groups):
                part.read_row_group(group)
    except (pa.ArrowException, OSError):
        return False
    return True
