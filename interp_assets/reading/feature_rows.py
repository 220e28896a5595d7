"""Reads all rows of one feature from any partition: the row groups that hold the feature, and nothing else of the file.

The footers of the files read last are kept in memory, with the features that bound each row group. So a feature costs one read a file,
whatever the size of the dictionary. A part is compared with its checksums as `Lake` does it: a damaged part is left out, and `left_out`
names it.
"""

import os
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from interp_assets.tables import Table
from resources.store.lake import MANIFEST, PART, Lake, LakeError
from resources.store.later_columns import with_later_columns
from resources.store.manifests import BadManifest
from resources.store.part_damage import READ_TWICE_BYTES

KEPT_FOOTERS = 1024
REMOTE_SECONDS = 10.0
"""On an object store, how long a partition is taken to be as it was, without asking for its stamps again."""


@dataclass(frozen=True)
class _Part:
    """A vouched part as it was looked at: `lowest` and `highest` are the features that bound each row group."""

    stamps: tuple[Any, ...]
    looked: float
    footer: pq.FileMetaData
    lowest: np.ndarray
    highest: np.ndarray


class FeatureRows:
    """One feature's rows of the tables of a lake; for any number of threads. Who asks for one feature after another keeps the
    `kept_groups` row groups that were read last in memory, whole."""

    def __init__(self, lake: Lake, kept: int = KEPT_FOOTERS, kept_groups: int = 0) -> None:
        self.lake, self._kept_most, self._kept_groups_most = lake, kept, kept_groups
        self._kept_groups: OrderedDict[tuple[Any, ...], pa.Table] = OrderedDict()
        self._kept: OrderedDict[str, _Part | None] = OrderedDict()
        self._damaged: dict[str, tuple[tuple[Any, ...], str]] = {}
        self._lock = threading.Lock()

    def of(
        self, table: Table, partition: Mapping[str, str], feature: int, columns: Sequence[str] | None = None, key: str = "feature"
    ) -> list[dict[str, Any]]:
        """The rows as dicts, in the order of the file; none where the partition is not complete. `key` is the column with the feature."""
        found = self._found(table, partition, feature, columns, key)
        return [] if found is None else found.to_pylist()

    def table(
        self, table: Table, partition: Mapping[str, str], feature: int, columns: Sequence[str] | None = None, key: str = "feature"
    ) -> pa.Table:
        """The rows as an Arrow table, without the columns that name the partition's folders; empty where the partition is not complete."""
        found = self._found(table, partition, feature, columns, key)
        return pa.schema([table.schema.field(name) for name in _wanted(table, columns, key)]).empty_table() if found is None else found

    def _found(self, table: Table, partition: Mapping[str, str], feature: int, columns: Sequence[str] | None, key: str) -> pa.Table | None:
        """The rows of a feature; None where there are none. A page asks a hundred tables, of which most were never made."""
        path = self.lake.path(table.name, partition)
        for _ in range(3):  # a part that is replaced meanwhile is looked at again
            part = self._part(path, key)
            groups = [] if part is None else np.flatnonzero((part.lowest <= feature) & (feature <= part.highest)).tolist()
            if part is None or not groups:
                return None
            wanted = _wanted(table, columns, key)
            read = self._read_or_kept(path, part, groups, list(dict.fromkeys([key, *wanted])))
            if read is not None:
                return with_later_columns(read.filter(pc.equal(read[key], feature)), table.schema).select(wanted)
            self._forget(path)
        return None

    def is_complete(self, table: Table, partition: Mapping[str, str]) -> bool:
        """Whether a manifest vouches for the partition."""
        return self._part(self.lake.path(table.name, partition), "feature") is not None

    def left_out(self, key: str | None = None) -> dict[str, str]:
        """The partitions that were found damaged and have not changed since, by path below the lake, each with the reason: of one
        dictionary, without a key of all."""
        with self._lock:
            found = dict(self._damaged)
        there = {folder: why for folder, (stamps, why) in found.items() if not self.lake.is_local or _stamps(folder) == stamps}
        mark = "" if key is None else f"/dictionary={quote(key, safe='')}"
        root = f"{self.lake.root}/"
        return {
            f"{folder.removeprefix(root)}/{PART}": why.replace(root, "")
            for folder, why in there.items()
            if f"{mark}/" in f"{folder}/" or "/dictionary=" not in folder
        }

    def _read_or_kept(self, folder: str, part: _Part, groups: list[int], columns: list[str]) -> pa.Table | None:
        """Row groups of a part, out of memory where they were read before."""
        if not self._kept_groups_most:
            return self._read(folder, part, groups, columns)
        place = (folder, part.stamps, *groups)
        with self._lock:
            found = self._kept_groups.get(place)
        if found is None:
            found = self._read(folder, part, groups, None)
        if found is None:
            return None
        with self._lock:
            self._kept_groups[place] = found
            self._kept_groups.move_to_end(place)
            while len(self._kept_groups) > self._kept_groups_most:
                self._kept_groups.popitem(last=False)
        return found.select([name for name in columns if name in found.column_names])

    def _read(self, folder: str, part: _Part, groups: list[int], columns: list[str] | None) -> pa.Table | None:
        """Row groups of a part, all columns without `columns`; None where the part is not the file that was looked at, or is damaged."""
        path = f"{folder}/{PART}"
        try:
            if self.lake.is_local:
                with pa.OSFile(path) as source:  # not mapped: a mapped file that is cut short ends the process
                    if _stamps(folder) != part.stamps:
                        return None
                    file = pq.ParquetFile(source, metadata=part.footer, page_checksum_verification=True)
                    return file.read_row_groups(groups, columns, use_threads=False)
            with self.lake.fs.open(path, "rb", cache_type="none") as source:
                file = pq.ParquetFile(source, metadata=part.footer, pre_buffer=True, page_checksum_verification=True)
                return file.read_row_groups(groups, columns, use_threads=False)
        except (OSError, pa.ArrowException) as error:
            if not self.lake.is_local or _stamps(folder) == part.stamps:
                self._note(folder, part.stamps, f"{PART} is damaged: {(str(error).splitlines() or [type(error).__name__])[0]}")
            return None

    def _note(self, folder: str, stamps: tuple[Any, ...], why: str | None) -> None:
        """Remember why a partition cannot be read; None: it can."""
        with self._lock:
            if why is None:
                self._damaged.pop(folder, None)
            else:
                self._damaged[folder] = (stamps, why)

    def _part(self, folder: str, key: str) -> _Part | None:
        """The vouched part in a folder; None where there is none."""
        with self._lock:
            known = self._kept.get(folder)
        now = time.monotonic()
        if self.lake.is_local:
            stamps: tuple[Any, ...] = _stamps(folder)
            if not stamps:  # most tables of most dictionaries were never made
                return None
            if known is not None and known.stamps == stamps:
                return known
        elif known is not None and now - known.looked < REMOTE_SECONDS:
            return known
        else:
            stamps = ()
        part = self._looked_at(folder, stamps, now, key)
        with self._lock:
            if part is None:
                self._kept.pop(folder, None)
            else:
                self._kept[folder] = part
                self._kept.move_to_end(folder)
            while len(self._kept) > self._kept_most:
                self._kept.popitem(last=False)
        return part

    def _looked_at(self, folder: str, stamps: tuple[Any, ...], now: float, key: str) -> _Part | None:
        path = f"{folder}/{PART}"
        try:
            manifest = self.lake.read_manifest(folder)
            if manifest is None:
                self._note(folder, stamps, None)
                return None
            damage = self.lake.damage(manifest, read_all=self.lake.is_local and manifest.bytes <= READ_TWICE_BYTES)
            self._note(folder, stamps, damage)
            if damage:
                return None
            with self.lake.fs.open(path, "rb") as file:
                footer = pq.read_metadata(file)
        except (BadManifest, LakeError, OSError, pa.ArrowException) as error:
            self._note(folder, stamps, str(error))
            return None
        place = footer.schema.names.index(key) if key in footer.schema.names else None
        bounds = [_bounds(footer, group, place) for group in range(footer.num_row_groups)]
        lowest, highest = (np.array([pair[side] for pair in bounds], dtype=np.int64) for side in (0, 1))
        return _Part(stamps, now, footer, lowest, highest)

    def _forget(self, folder: str) -> None:
        with self._lock:
            self._kept.pop(folder, None)


def _wanted(table: Table, columns: Sequence[str] | None, key: str) -> list[str]:
    """Names of the columns that are read: of those asked for, or of all, the columns that lie in the files."""
    return [
        name
        for name in columns or table.schema.names
        if name in table.schema.names and (name not in table.partition_columns or name == key)
    ]


def _bounds(footer: pq.FileMetaData, group: int, place: int | None) -> tuple[int, int]:
    """Smallest and largest feature of a row group; all features where the file does not say."""
    if place is not None:
        statistics = footer.row_group(group).column(place).statistics
        if statistics is not None and statistics.has_min_max:
            return statistics.min, statistics.max
    return 0, np.iinfo(np.int64).max


def _stamps(folder: str) -> tuple[Any, ...]:
    """What changes when a partition is replaced: size, time and inode of manifest and part, None for a file that is missing."""
    found: list[tuple[int, int, int] | None] = []
    for name in (MANIFEST, PART):
        try:
            status = os.stat(f"{folder}/{name}")
        except OSError:
            found.append(None)
        else:
            found.append((status.st_size, status.st_mtime_ns, status.st_ino))
    return tuple(found)
