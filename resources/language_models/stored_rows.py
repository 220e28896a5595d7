"""Rows of the reply store and their checksums: a CRC-32 over each row from the moment it came, and a CRC-32 over each part's footer.

Page checksums reveal a damaged page before it is decoded. The footer's checksum, in the part's name, reveals damage to the way to the
pages. The row's own checksum stays with the row through journal, parts and joins, and is compared before a reply is given out. Rows of
stores that were written without checksums are accepted, and get a checksum when they are next written.
"""

import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem

from resources.language_models.interface import Reply
from resources.store.whole_files import footer_crc32

CHECK = "crc32"
SCHEMA = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False, metadata={"unit": "content address: SHA-256 of model and request"}),
        pa.field("backend", pa.dictionary(pa.int32(), pa.string()), nullable=False),
        pa.field("model", pa.dictionary(pa.int32(), pa.string()), nullable=False),
        pa.field("revision", pa.dictionary(pa.int32(), pa.string()), nullable=False),
        pa.field("time", pa.float64(), nullable=False, metadata={"unit": "seconds since 1970, when the reply came"}),
        pa.field("reply", pa.string(), nullable=False, metadata={"unit": "the reply as JSON"}),
        pa.field(CHECK, pa.uint32(), nullable=False, metadata={"unit": "CRC-32 of the other columns of the row"}),
    ]
)
STORED = tuple(name for name in SCHEMA.names if name != CHECK)
"""The columns under the row's checksum."""

UNREADABLE = (pa.ArrowException, OSError, ValueError, OverflowError, KeyError, MemoryError)
"""Exceptions on reading damaged Parquet, besides `DamagedPart`."""


class DamagedPart(ValueError):
    """A part whose content has changed since it was written."""


@dataclass(frozen=True)
class Salvaged:
    """The whole rows of a damaged file, and the number of rows that are not whole (None where it cannot be known)."""

    rows: list[dict[str, Any]]
    n_lost: int | None


def row_check(row: Mapping[str, Any]) -> int:
    """CRC-32 over a row's columns without the checksum's own column."""
    return zlib.crc32("\0".join([*(str(row[name]) for name in STORED if name != "time"), repr(float(row["time"]))]).encode())


def checked_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row with its checksum."""
    return {**row, CHECK: row_check(row)}


def is_whole(row: Mapping[str, Any]) -> bool:
    """Whether a row has all columns, fits its checksum where it has one, and holds a reply."""
    if not row.keys() >= set(STORED) or not all(isinstance(row[name], str) for name in STORED if name != "time"):
        return False
    try:
        if CHECK in row and row[CHECK] != row_check(row):
            return False
        reply_of(row["reply"])
    except (TypeError, ValueError, RecursionError):
        return False
    return True


def reply_of(text: str) -> Reply:
    """The reply in its JSON form, with tuples restored. Fields that `Reply` does not have, from stores of other versions, are left out.

    Raises ValueError or TypeError where the text holds no reply.
    """
    stored = json.loads(text)
    if not isinstance(stored, dict):
        raise ValueError(f"a {type(stored).__name__}, not a reply")
    return Reply(**{field.name: _tuples(stored[field.name]) for field in fields(Reply) if field.name in stored})


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def part_name(stem: str, footer: int) -> str:
    """Name of a part by the CRC-32 of its footer."""
    return f"part-{stem}.{footer:08x}.parquet"


def footer_of(path: Path) -> int:
    """CRC-32 of a part's footer."""
    return footer_crc32(LocalFileSystem(), str(path), path.stat().st_size)


def opened_part(path: Path) -> pq.ParquetFile:
    """A part, with its footer compared with the checksum in its name, if the name has one. Raises `DamagedPart`, or as Arrow does."""
    stated = path.name.split(".")[1:-1]
    if stated and f"{footer_of(path):08x}" != stated[0]:
        raise DamagedPart("its footer is not the footer that was written")
    return pq.ParquetFile(path, page_checksum_verification=True)


def whole_rows(part: pq.ParquetFile, table: pa.Table) -> list[dict[str, Any]]:
    """The rows of a table that was read from `part`, each compared with its checksum. Raises `DamagedPart` where a row does not fit."""
    rows = table.to_pylist()
    if not all(map(is_whole, rows)):
        raise DamagedPart("a row is not the row that was written")
    return rows


def columns_of(part: pq.ParquetFile) -> list[str]:
    """The columns of a row in the part. Raises `DamagedPart` where a column is missing that every row needs."""
    there = part.schema_arrow.names
    if missing := [name for name in STORED if name not in there]:
        raise DamagedPart(f"it has no column {', '.join(missing)}")
    return [name for name in SCHEMA.names if name in there]


def salvaged_from_part(path: Path) -> Salvaged:
    """The whole rows of a damaged part, row group by row group."""
    rows: list[dict[str, Any]] = []
    try:
        part = pq.ParquetFile(path, page_checksum_verification=True)
        total, columns = part.metadata.num_rows, columns_of(part)
    except UNREADABLE:
        return Salvaged([], None)
    with part:
        for group in range(part.num_row_groups):
            try:
                rows += [row for row in part.read_row_group(group, columns=columns).to_pylist() if is_whole(row)]
            except UNREADABLE:
                continue
    return Salvaged(rows, max(total - len(rows), 0))


def rows_of_journal(content: bytes) -> Iterator[tuple[bytes, dict[str, Any] | None]]:
    """(line, row) of every finished line of a journal; the row is None for a line without a whole row.

    A line may hold half a row followed by a whole row: the whole row counts, and the half comes as a line without a row.
    """
    for line in content.splitlines(keepends=True):
        if not line.endswith(b"\n"):
            continue  # cut off by the death of its writer
        row, start = _row(line), 0
        while row is None and (start := line.find(b'{"key": ', start + 1)) > 0:
            row = _row(line[start:])
            if row is not None:
                yield line[:start], None
        yield line, row


def _row(line: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) and is_whole(row) else None
