"""All partitions of one dictionary in the lake, over all tables: their folders, their removal, and their copy under another name."""

import contextlib
import os
from collections.abc import Iterator, Mapping
from typing import Any, cast
from urllib.parse import quote

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from resources.store.lake import MANIFEST, PART, Lake, Manifest

COLUMN = "dictionary"


def folders_of(lake: Lake, dictionary: str) -> list[str]:
    """The folders `dictionary=<key>` of the lake that hold any file, whole or left by a killed run; sorted. Partitions are at them or below
    them."""
    name = f"{COLUMN}={quote(dictionary, safe='')}"
    found = set()
    if lake.is_local:
        for place, below, _ in os.walk(lake.root):
            if name in below:
                below.remove(name)
                if any(files for _, _, files in os.walk(f"{place}/{name}")):
                    found.add(f"{place}/{name}")
    else:
        mark = f"/{name}/"
        found = {path[: path.index(mark) + len(mark) - 1] for path in lake.fs.find(lake.root) if mark in path}
    return sorted(found)


def manifests_of(lake: Lake, dictionary: str) -> list[Manifest]:
    """The manifests of all complete partitions of a dictionary, in path order."""
    return [manifest for folder in folders_of(lake, dictionary) for manifest in lake.manifests_under(folder)]


def bytes_in(lake: Lake, folder: str) -> int:
    """Bytes of all files under a folder."""
    if not lake.is_local:
        entries = cast(dict[str, dict[str, Any]], lake.fs.find(folder, detail=True))
        return sum(int(one["size"]) for one in entries.values())
    sizes = 0
    for place, _, files in os.walk(folder):
        for name in files:
            with contextlib.suppress(FileNotFoundError):
                sizes += os.path.getsize(f"{place}/{name}")
    return sizes


def remove_folder(lake: Lake, folder: str) -> None:
    """Remove a folder of partitions: all manifests first, so that what a killed removal leaves counts as missing."""
    for path in lake.fs.find(folder):
        if path.rsplit("/", 1)[1] == MANIFEST:
            lake.fs.rm_file(path)
    lake.mark_changed(folder)
    with contextlib.suppress(FileNotFoundError):
        lake.fs.rm(folder, recursive=True)
    lake.mark_changed(folder)


def copy_partition(
    lake: Lake, manifest: Manifest, partition: Mapping[str, str], values: Mapping[str, Mapping[str, str]], options: Mapping[str, Any]
) -> None:
    """Write the rows of a complete partition to `partition` of the same table, under the same data version and the same inputs.

    `values[column]` has the new value of each text of a column that changes. A copy that is complete under that data version is kept.
    Memory holds one row group. Raises `CorruptPartition` for a damaged source.
    """
    if dict(partition) != manifest.partition and lake.is_current(manifest.table, partition, manifest.data_version):
        return
    lake.verify(manifest)
    path = f"{lake.path(manifest.table, manifest.partition)}/{PART}"
    with lake.fs.open(path, "rb") as file:
        source = pq.ParquetFile(file, page_checksum_verification=True)
        with lake.writer(manifest.table, partition, source.schema_arrow, options) as writer:
            for rows in _row_groups(source):
                writer.add(_changed(rows, values))
            writer.commit(manifest.data_version, manifest.inputs)


def _row_groups(source: pq.ParquetFile) -> Iterator[pa.Table]:
    for number in range(source.num_row_groups):
        yield source.read_row_group(number)


def _changed(rows: pa.Table, values: Mapping[str, Mapping[str, str]]) -> pa.Table:
    for name, changes in values.items():
        if name not in rows.column_names:
            continue
        place, type_ = rows.schema.get_field_index(name), rows.schema.field(name).type
        column = rows.column(name).cast(pa.string())
        for old, new in changes.items():
            column = pc.if_else(pc.equal(column, old), new, column)
        if pa.types.is_dictionary(type_):
            column = column.dictionary_encode().cast(type_)
        rows = rows.set_column(place, rows.schema.field(name), column)
    return rows
