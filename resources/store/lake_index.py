"""The readable partitions of a table: an index of manifests and parts that is updated in increments, so that no file is opened twice.

A partition is looked at again only when the size, time or inode of its manifest or part has changed, or when a folder has gained or lost an
entry. So a whole look at 9,760 partitions costs only their stats and the changed partitions. Every commit and every withdrawal gives the
folders above its partition the present time. So between whole looks, a look at a large table goes down only where a folder's time has
changed: commits are seen at once, and files that something else than this project changed are seen by the next whole look, after
`trusted_seconds`. A part that is new to the index is compared with its checksums, up to READ_BYTES a look; further new parts are compared
by size and footer, and counted as not read yet. The index is one file a table in a folder of the home. It is no record: a lost or damaged
index is made again.
"""

import contextlib
import json
import os
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

from resources.store.lake import MANIFEST, PART, Lake, LakeError
from resources.store.lake_version import is_marked
from resources.store.manifests import BadManifest
from resources.store.table_index import Group, GroupSums, Part, Stamp, TableIndex
from resources.store.whole_files import write_whole

FORMAT = 3
EXAMINED_SECONDS, KEPT_SECONDS_A_PART = 5e-4, 2e-6
"""What it takes to examine a partition, and to write what is known of it: an index is written where the next process gains by it."""

READ_BYTES = 64 << 20
"""Most bytes of new parts that one look reads."""

MOST_READ_LATER = 256
"""Most parts that one look reads through which an earlier look compared by size and footer: they take a question a tenth of a second."""

SETTLED_NS = 2_000_000_000
"""A folder that changed less than this before it was listed is listed again: within a clock tick a change cannot be seen."""

NOT_THERE = (FileNotFoundError, NotADirectoryError)


class LakeIndex:
    """The indexes of a lake's tables, kept in a folder of this machine."""

    def __init__(self, lake: Lake, folder: Path) -> None:
        self.lake, self._folder = lake, folder
        self._tables: dict[str, TableIndex] = {}

    def look(self, table: str, depth: int, verify: bool = False) -> TableIndex:
        """The table's partitions as they are now, `depth` folders below the table's own; with `verify` each part is read through.

        Returns the index of the last look itself where nothing has changed. Raises `LakeError` where the table's own folder may not be
        looked into; of folders below it the index says so.
        """
        known = self._tables.get(table) or self._kept(table)
        trusted = self.lake.is_local and not verify and abs(time.time() - known.whole_look) < known.trusted_seconds
        new = TableIndex(whole_look=known.whole_look if trusted else time.time())
        budget, examined, read_later = READ_BYTES, 0, 0
        for folder, stamps in self._stamps(table, depth, known, new, trusted):
            part = known.groups[parent].parts.get(folder) if (parent := folder.rpartition("/")[0]) in known.groups else None
            waits = part is not None and read_later < MOST_READ_LATER and part.waits_for(budget)
            if part is None or verify or waits or [part.manifest_stamp, part.part_stamp] != stamps:
                read_later += waits
                part = self._examined(table, folder, stamps, None if verify else budget)
                examined += 1
                budget -= part.bytes if part.read_through else 0
            if stamps[0] or stamps[1]:
                new.groups.setdefault(parent, Group()).parts[folder] = part
        if "" in new.unlisted:
            raise LakeError(
                f"{self.place(table, '')} cannot be looked into: {new.unlisted['']}. Give this user permission to read the lake, or set "
                "INTERP_HOME to another home."
            )
        if known.n_parts and not new.groups and self._lake_holds_nothing():
            new.lost = known.n_parts
            return new  # and what is known stays known: the disk may come back
        return self._noted(table, known, new, examined)

    def _lake_holds_nothing(self) -> bool:
        """Whether the whole lake is not there, such as on a disk that is not mounted: a lake with anything in it has a marker."""
        return self.lake.is_local and not is_marked(self.lake.files)

    def _noted(self, table: str, known: TableIndex, new: TableIndex, examined: int) -> TableIndex:
        """The index after a look, in memory and, where it is worth its writing, on disk: `known` where nothing has changed."""
        for folder, group in new.groups.items():  # what was summed up of a group stays with it
            before = known.groups.get(folder)
            if before is not None and before is not group and before.parts == group.parts:
                new.groups[folder] = before
        same = not examined and new.groups.keys() == known.groups.keys() and all(new.groups[one] is known.groups[one] for one in new.groups)
        moved = examined + len(known.listings.keys() ^ new.listings.keys()) + abs(known.n_parts - new.n_parts)
        moved += sum(known.listings.get(one) != listing for one, listing in new.listings.items())
        whole = new.whole_look != known.whole_look and new.trusted_seconds > 0  # its stats take longer than writing the index
        if moved and (whole or moved * EXAMINED_SECONDS >= new.n_parts * KEPT_SECONDS_A_PART):
            self._keep(table, new)
        elif same and whole:
            self._note_whole_look(table)
        if same:
            known.listings, known.unlisted, known.whole_look = new.listings, new.unlisted, new.whole_look
            new = known
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
        self._tables[table].forget_sums(part.folder)

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

    def _stamps(self, table: str, depth: int, known: TableIndex, new: TableIndex, trusted: bool) -> Iterator[tuple[str, list[Stamp]]]:
        """(folder, [stamp of its manifest, stamp of its part]) of partitions of a table, in path order. What is known of folders that have
        not changed is put into `new` where that is `trusted`."""
        if not self.lake.is_local:
            yield from self._stamps_of_objects(table)
            return
        root = f"{self.lake.root}/{table}"
        for folder in _leaves(root, "", depth, known, new, trusted):
            place = f"{root}/{folder}" if folder else root
            try:
                stamps = [_stamp(f"{place}/{MANIFEST}"), _stamp(f"{place}/{PART}")]
            except OSError as error:
                new.unlisted[folder] = error.strerror or type(error).__name__
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
                head, _, lines = content.partition(b"\n")
                kept = json.loads(head)
                if (kept["format"], kept["lake"]) == (FORMAT, self.lake.url):
                    index, at = TableIndex(listings=kept["listings"], whole_look=kept["whole_look"]), 0
                    for folder, length, sums in kept["groups"]:
                        index.groups[folder] = Group(None, lines[at : at + length], GroupSums(*sums))
                        at += length
                    with contextlib.suppress(OSError):
                        index.whole_look = max(index.whole_look, self._file(table).with_suffix(".looked").stat().st_mtime)
                    return index
        return TableIndex()

    def _keep(self, table: str, index: TableIndex) -> None:
        """Write an index whole. Where the home may not be written, the index is made again at the next look."""
        groups = [[folder, len(group.line), list(vars(group.sums).values())] for folder, group in index.groups.items()]
        kept = {"format": FORMAT, "lake": self.lake.url, "whole_look": index.whole_look, "groups": groups, "listings": index.listings}
        head = json.dumps(kept, separators=(",", ":")).encode()
        content = b"".join([head, b"\n", *(group.line for group in index.groups.values())])
        if self._lake_holds_nothing():
            return  # a home that was moved away is not begun anew
        with contextlib.suppress(OSError):
            write_whole(self._file(table), b"%d\n%s" % (zlib.crc32(content), content))

    def _note_whole_look(self, table: str) -> None:
        """Note that a whole look has found the partitions as the stored index has them."""
        with contextlib.suppress(OSError):
            self._file(table).with_suffix(".looked").touch()


def _stamp(path: str) -> Stamp:
    """The stamp of a file, empty where there is none. Raises OSError for a file that may be there and cannot be looked at."""
    try:
        status = os.stat(path)
    except NOT_THERE:
        return []
    return [status.st_size, status.st_mtime_ns, status.st_ino]


def _leaves(root: str, folder: str, depth: int, known: TableIndex, new: TableIndex, trusted: bool) -> Iterator[str]:
    """Folders `depth` levels below `folder`, in path order. A folder whose time has not changed since it was listed is not listed again;
    with `trusted`, what is known of it is put into `new`, and nothing below it is visited."""
    if depth == 0:
        yield folder
        return
    place = f"{root}/{folder}" if folder else root
    try:
        changed = os.stat(place).st_mtime_ns
        listing = known.listings.get(folder)
        settled = listing is not None and listing[0] == changed and listing[1] - changed >= SETTLED_NS
        if settled and trusted and not known.unlisted:
            _carry(folder, known, new)
            return
        if listing is None or not settled:
            listed = time.time_ns()
            names = sorted(entry.name for entry in os.scandir(place) if entry.is_dir() and "=" in entry.name)
            listing = [changed, listed, "/".join(names)]
    except NOT_THERE:
        return
    except OSError as error:
        new.unlisted[folder] = error.strerror or type(error).__name__
        return
    new.listings[folder] = listing
    for name in _names(listing):
        yield from _leaves(root, f"{folder}/{name}" if folder else name, depth - 1, known, new, trusted)


def _carry(folder: str, known: TableIndex, new: TableIndex) -> None:
    """Put the partitions and listings that are known at and below a folder into `new`."""
    if not folder:
        new.groups, new.listings = dict(known.groups), dict(known.listings)
        return
    waiting = [folder]
    while waiting:
        at = waiting.pop()
        if at in known.groups:
            new.groups[at] = known.groups[at]
        if at in known.listings:
            new.listings[at] = known.listings[at]
            waiting.extend(f"{at}/{name}" for name in reversed(_names(known.listings[at])))


def _names(listing: list[Any]) -> list[str]:
    """The folders of a listing, which has them as one text: a stored index has many, and few are asked for."""
    return listing[2].split("/") if listing[2] else []
