"""The readable partitions of a table: an index of manifests and parts that is updated in increments, so that no file is opened twice.

A partition is looked at again only when the size, time or inode of its manifest or part has changed, or when a folder has gained or lost an
entry. So a look at 9,760 partitions costs only their stats and the changed partitions. A part that is new to the index is compared with its
checksums, up to READ_BYTES a look; further new parts are compared by size and footer, and counted as not read yet. The index is one file a
table in a folder of the home. It is no record: a lost or damaged index is made again.
"""

import contextlib
import json
import os
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote, unquote

from resources.store.lake import MANIFEST, PART, Lake, LakeError
from resources.store.manifests import BadManifest
from resources.store.whole_files import write_whole

FORMAT = 1
READ_BYTES = 64 << 20
"""Most bytes of new parts that one look reads."""

SETTLED_NS = 2_000_000_000
"""A folder that changed less than this before it was listed is listed again: within a clock tick a change cannot be seen."""

NOT_THERE = (FileNotFoundError, NotADirectoryError)

Stamp = list[Any]
"""Size, time and inode of a file, or on an object store size and tag; empty where there is no file."""


@dataclass
class Part:
    """A partition at its last look. `problem` says why its rows cannot be read; "" where they can. `read_through` says whether the whole
    file was compared with its checksums."""

    folder: str
    manifest_stamp: Stamp
    part_stamp: Stamp
    rows: int = 0
    bytes: int = 0
    footer: int = 0
    version: str = ""
    problem: str = ""
    vouched: bool = False
    read_through: bool = False

    @property
    def values(self) -> dict[str, str]:
        """Values of the partition columns, from the folder's name."""
        return dict(map(_name_and_value, self.folder.split("/")))

    def waits_for(self, budget: int) -> bool:
        """Whether the partition is readable, was not read through yet, and has no more bytes than the budget."""
        return self.vouched and not self.problem and not self.read_through and self.bytes <= budget


@dataclass
class TableIndex:
    """The partitions of one table, by folder below the table's own, with the listings in which they were found."""

    parts: dict[str, Part] = field(default_factory=dict)
    listings: dict[str, list[Any]] = field(default_factory=dict)
    unlisted: dict[str, str] = field(default_factory=dict)
    """Folders that could not be looked into at the last look, with the reason. They are not kept in the file."""

    @property
    def readable(self) -> list[Part]:
        """The readable partitions."""
        return [part for part in self.parts.values() if part.vouched and not part.problem]

    @property
    def missing(self) -> list[Part]:
        """Partitions with a manifest, or with the rest of one, that cannot be read."""
        return [part for part in self.parts.values() if part.problem]

    @property
    def unvouched(self) -> list[Part]:
        """Parts without a manifest: left by a killed run, or withdrawn."""
        return [part for part in self.parts.values() if not part.vouched and not part.problem]

    @property
    def unread(self) -> list[Part]:
        """Readable partitions whose bytes were not compared with their checksums yet."""
        return [part for part in self.readable if not part.read_through]


class LakeIndex:
    """The indexes of a lake's tables, kept in a folder of this machine."""

    def __init__(self, lake: Lake, folder: Path) -> None:
        self.lake, self._folder = lake, folder
        self._tables: dict[str, TableIndex] = {}

    def look(self, table: str, depth: int, verify: bool = False) -> TableIndex:
        """The table's partitions as they are now, `depth` folders below the table's own; with `verify` each part is read through.

        Raises `LakeError` where the table's own folder may not be looked into; of folders below it the index says so.
        """
        known = self._tables.get(table) or self._kept(table)
        new = TableIndex(listings=known.listings)
        budget = READ_BYTES
        changed = False
        for folder, stamps in self._stamps(table, depth, new):
            part = known.parts.get(folder)
            if part is None or verify or [part.manifest_stamp, part.part_stamp] != stamps or part.waits_for(budget):
                part, changed = self._examined(table, folder, stamps, None if verify else budget), True
                budget -= part.bytes if part.read_through else 0
            if stamps[0] or stamps[1]:
                new.parts[folder] = part
        if "" in new.unlisted:
            raise LakeError(
                f"{self.place(table, '')} cannot be looked into: {new.unlisted['']}. Give this user permission to read the lake, or set "
                "INTERP_HOME to another home."
            )
        if changed or new.parts.keys() != known.parts.keys() or new.listings != known.listings:
            self._keep(table, new)
        self._tables[table] = new
        return new

    def path_of(self, table: str, part: Part) -> str:
        """The file of a partition."""
        return f"{self.place(table, part.folder)}/{PART}"

    def place(self, table: str, folder: str) -> str:
        """The folder of a partition; a table without partition columns has its one partition in its own folder, `folder` being ""."""
        return f"{self.lake.root}/{table}/{folder}".rstrip("/")

    def read(self, table: str, part: Part) -> str:
        """The fault of a part, after reading all of it; "" where there is none."""
        return self._examined(table, part.folder, [part.manifest_stamp, part.part_stamp], None).problem

    def note_read(self, table: str, part: Part, problem: str) -> None:
        """Note that a part was read through elsewhere, and its fault."""
        part.read_through, part.problem = True, problem

    def keep(self, table: str) -> None:
        """Write the notes since the last look."""
        self._keep(table, self._tables[table])

    def _examined(self, table: str, folder: str, stamps: list[Stamp], budget: int | None) -> Part:
        """A partition after a new look. Its part is read through where it has no more bytes than the budget (None: always)."""
        part = Part(folder, stamps[0], stamps[1])
        try:
            manifest = self.lake.read_manifest(self.place(table, folder))
        except (BadManifest, LakeError, OSError) as error:
            part.problem = str(error)
            return part
        if manifest is None:
            return part
        part.vouched, part.rows, part.bytes = True, manifest.rows, manifest.bytes
        part.footer, part.version = manifest.footer_crc32, manifest.data_version
        part.read_through = budget is None or manifest.bytes <= budget
        part.problem = self.lake.damage(manifest, part.read_through) or ""
        return part

    def _stamps(self, table: str, depth: int, index: TableIndex) -> Iterator[tuple[str, list[Stamp]]]:
        """(folder, [stamp of its manifest, stamp of its part]) of every partition of a table, in path order."""
        if not self.lake.is_local:
            yield from self._stamps_of_objects(table)
            return
        root = f"{self.lake.root}/{table}"
        listings, index.listings = index.listings, {}
        for folder in _leaves(root, "", depth, listings, index):
            place = self.place(table, folder)
            try:
                stamps = [_stamp(f"{place}/{MANIFEST}"), _stamp(f"{place}/{PART}")]
            except OSError as error:
                index.unlisted[folder] = error.strerror or type(error).__name__
                continue
            yield folder, stamps

    def _stamps_of_objects(self, table: str) -> Iterator[tuple[str, list[Stamp]]]:
        found: dict[str, list[Stamp]] = {}
        root = f"{self.lake.root}/{table}"
        entries = cast(dict[str, dict[str, Any]], self.lake.fs.find(root, detail=True))
        for path, entry in entries.items():
            folder, _, name = path.removeprefix(f"{root}/").rpartition("/")
            if name in (MANIFEST, PART):
                tag = next((str(entry[key]) for key in ("ETag", "etag", "LastModified", "created", "mtime") if entry.get(key)), "")
                found.setdefault(folder, [[], []])[name == PART] = [entry.get("size"), tag]
        yield from sorted(found.items())

    def _file(self, table: str) -> Path:
        return self._folder / f"{quote(table, safe='')}.json"

    def _kept(self, table: str) -> TableIndex:
        """The stored index; an empty index where it is missing, damaged, or of another lake."""
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            check, _, content = self._file(table).read_bytes().partition(b"\n")
            if int(check) == zlib.crc32(content):
                kept = json.loads(content)
                if (kept["format"], kept["lake"]) == (FORMAT, self.lake.url):
                    return TableIndex({row[0]: Part(*row) for row in kept["parts"]}, kept["listings"])
        return TableIndex()

    def _keep(self, table: str, index: TableIndex) -> None:
        """Write an index whole. Where the home may not be written, the index is made again at the next look."""
        rows = [list(vars(part).values()) for part in index.parts.values()]
        kept = {"format": FORMAT, "lake": self.lake.url, "parts": rows, "listings": index.listings}
        content = json.dumps(kept, separators=(",", ":")).encode()
        if self.lake.is_local and not os.path.isdir(self.lake.root):
            return  # a home that was moved away is not begun anew
        with contextlib.suppress(OSError):
            write_whole(self._file(table), b"%d\n%s" % (zlib.crc32(content), content))


@lru_cache(maxsize=1 << 16)
def _name_and_value(step: str) -> tuple[str, str]:
    name, _, value = step.partition("=")
    return name, unquote(value)


def _stamp(path: str) -> Stamp:
    """The stamp of a file, empty where there is none. Raises OSError for a file that may be there and cannot be looked at."""
    try:
        status = os.stat(path)
    except NOT_THERE:
        return []
    return [status.st_size, status.st_mtime_ns, status.st_ino]


def _leaves(root: str, folder: str, depth: int, known: dict[str, list[Any]], index: TableIndex) -> Iterator[str]:
    """Folders `depth` levels below `folder`, in path order. A folder whose time has not changed since it was listed is not listed again."""
    if depth == 0:
        yield folder
        return
    place = f"{root}/{folder}" if folder else root
    try:
        changed = os.stat(place).st_mtime_ns
        listing = known.get(folder)
        if listing is None or listing[0] != changed or listing[1] - changed < SETTLED_NS:
            listed = time.time_ns()
            listing = [changed, listed, sorted(entry.name for entry in os.scandir(place) if entry.is_dir() and "=" in entry.name)]
    except NOT_THERE:
        return
    except OSError as error:
        index.unlisted[folder] = error.strerror or type(error).__name__
        return
    index.listings[folder] = listing
    for name in listing[2]:
        yield from _leaves(root, f"{folder}/{name}" if folder else name, depth - 1, known, index)
