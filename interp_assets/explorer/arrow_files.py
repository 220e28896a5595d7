"""Arrow tables in files with a checksum: what the explorer has prepared, and may make again at any time.

A table is read into memory and not mapped: a mapped file that somebody cuts short would end the whole process.
"""

import contextlib
import zlib
from pathlib import Path
from typing import Any

import pyarrow as pa

from resources.store.whole_files import sync, temporary_name

CHECK_BYTES = 4
"""Bytes at the end of a file that hold the CRC-32 of all bytes before them."""


def kept_table(place: Path) -> pa.Table | None:
    """The table in a file; None where there is none or it is damaged."""
    with contextlib.suppress(OSError, pa.ArrowException):
        content = place.read_bytes()
        if zlib.crc32(memoryview(content)[:-CHECK_BYTES]) == int.from_bytes(content[-CHECK_BYTES:], "little"):
            return pa.ipc.open_file(pa.py_buffer(content).slice(0, len(content) - CHECK_BYTES)).read_all()
    return None


def keep_table(place: Path, table: pa.Table) -> None:
    """Write a table whole, and remove earlier files of its name: names end in `-<state>.<suffix>`. Raises OSError where the folder may not
    be written, and where the home two folders above it is not there."""
    require_home(place.parent)
    place.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(temporary_name(str(place.parent), place.name))
    try:
        with temporary.open("wb") as file:
            summed = _Summed(file)
            with pa.ipc.new_file(pa.PythonFile(summed, "w"), table.schema) as writer:
                writer.write_table(table.combine_chunks())
            file.write(summed.crc32.to_bytes(CHECK_BYTES, "little"))
            sync(file)
        temporary.replace(place)
    finally:
        temporary.unlink(missing_ok=True)
    for earlier in place.parent.glob(f"{place.stem.rpartition('-')[0]}-*{place.suffix}"):
        if earlier != place:
            earlier.unlink(missing_ok=True)


def require_home(folder: Path) -> None:
    """Raise FileNotFoundError where the home of a folder `warehouse/columns` is not there: a home that was moved away is not begun
    anew."""
    if not folder.parent.parent.is_dir():
        raise FileNotFoundError(f"the home {folder.parent.parent} is not there")


class _Summed:
    """A file to write to, with a CRC-32 over all that was written."""

    def __init__(self, file: Any) -> None:
        self._file, self.crc32, self.closed = file, 0, False

    def write(self, data: Any) -> int:
        self.crc32 = zlib.crc32(data, self.crc32)
        return self._file.write(data)

    def tell(self) -> int:
        return self._file.tell()

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        self.closed = True
