"""Files that appear in their place whole or not at all: Parquet files in a store, and small text files.

On a local disk a file is written under a temporary name and then renamed. On an object store an upload is completed: nothing is
copied or renamed, and nobody sees the object before.
"""

import contextlib
import os
import socket
import threading
import zlib
from pathlib import Path
from typing import Any, NamedTuple, Protocol, cast

import pyarrow.parquet as pq
from fsspec import AbstractFileSystem
from fsspec.implementations.local import LocalFileSystem

END_BYTES = 65_536
"""Bytes at a file's end that are read first: most footers are shorter."""


class Written(NamedTuple):
    """Bytes of a file, CRC-32 of its footer, and CRC-32 of the whole file."""

    bytes: int
    footer_crc32: int
    file_crc32: int


class NewFile(Protocol):
    """A new file: write to `file`, then finish and place it. Until it is placed, its place is unchanged."""

    file: Any

    def finish(self, parquet: pq.ParquetWriter) -> "Written":
        """Close the writer of the file, and return the sums of what was written."""
        ...

    def place(self) -> None:
        """Put the file in its place, over an older file."""
        ...

    def discard(self) -> None:
        """Remove all traces of the file. Does nothing once the file is placed."""
        ...


class RenamedFile:
    """A file on a local disk: temporary name, fsync, rename."""

    def __init__(self, fs: AbstractFileSystem, path: str) -> None:
        self._fs, self._path, self._temporary = fs, path, temporary_name(*path.rsplit("/", 1))
        self.file = fs.open(self._temporary, "wb")

    def finish(self, parquet: pq.ParquetWriter) -> Written:
        """See `NewFile`."""
        parquet.close()
        sync(self.file)
        self.file.close()
        size = cast(int, self._fs.size(self._temporary))
        return Written(size, footer_crc32(self._fs, self._temporary, size), file_crc32(self._fs, self._temporary))

    def place(self) -> None:
        """See `NewFile`."""
        self._fs.mv(self._temporary, self._path)

    def discard(self) -> None:
        """See `NewFile`."""
        with contextlib.suppress(OSError):
            self.file.close()
        with contextlib.suppress(OSError):
            self._fs.rm_file(self._temporary)


class Upload:
    """An object of a store such as S3. The store makes the whole object visible when its upload is completed.

    The footer's CRC-32 is of the bytes sent, not of the object found there afterwards: with two writers of one object, the loser's manifest
    does not fit the winner's file.
    """

    def __init__(self, fs: AbstractFileSystem, path: str) -> None:
        self._upload: Any = fs.open(path, "wb", autocommit=False)
        self._open = True
        self.file = _EndKept(self._upload)

    def finish(self, parquet: pq.ParquetWriter) -> Written:
        """See `NewFile`."""
        self.file.keeping = True
        parquet.close()  # writes the footer, in one piece or several
        size, end = self._upload.tell(), bytes(self.file.end)
        self._upload.close()
        return Written(size, zlib.crc32(end[-_footer_bytes(end) :]), self.file.crc32)

    def place(self) -> None:
        """See `NewFile`."""
        self._upload.commit()
        self._open = False

    def discard(self) -> None:
        """See `NewFile`. The store cleans up after killed processes: by a lifecycle rule for incomplete uploads."""
        if self._open:
            self._open = False
            with contextlib.suppress(OSError):
                self._upload.close()
                self._upload.discard()


class _EndKept:
    """A file that passes on all writes, with a CRC-32 over all bytes, and keeps in `end` the bytes that were written while `keeping`."""

    def __init__(self, file: Any) -> None:
        self._file, self.end, self.keeping, self.crc32 = file, bytearray(), False, 0

    def write(self, data: Any) -> int:
        self.crc32 = zlib.crc32(data, self.crc32)
        if self.keeping:
            self.end += data
        return self._file.write(data)

    def flush(self) -> None:
        self._file.flush()

    def tell(self) -> int:
        return self._file.tell()

    @property
    def closed(self) -> bool:
        return self._file.closed


def footer_crc32(fs: AbstractFileSystem, path: str, size: int) -> int:
    """CRC-32 of the footer, with its length and magic, of a Parquet file of `size` bytes."""
    with _opened(fs, path) as file:
        file.seek(max(size - END_BYTES, 0))
        end = file.read()
        footer = _footer_bytes(end)
        if footer > len(end):
            file.seek(max(size - footer, 0))
            end = file.read()
    return zlib.crc32(end[-footer:])


def _opened(fs: AbstractFileSystem, path: str) -> Any:
    """The file to read. A file on a local disk is opened without the file system's own bookkeeping, which takes longer than reading the
    file."""
    return open(path, "rb") if isinstance(fs, LocalFileSystem) else fs.open(path, "rb")


def file_crc32(fs: AbstractFileSystem, path: str) -> int:
    """CRC-32 of a whole file, read a piece at a time."""
    crc = 0
    with _opened(fs, path) as file:
        while piece := file.read(1 << 20):
            crc = zlib.crc32(piece, crc)
    return crc


def _footer_bytes(end: bytes) -> int:
    return int.from_bytes(end[-8:-4], "little") + 8


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a small file, text in UTF-8, under a temporary name, sync it and rename it to `path`; makes the folder where it is missing.

    Two processes may write the same path: the last rename stays, and no reader sees half a file. Raises OSError, and then leaves nothing.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(temporary_name(str(path.parent), path.name))
    try:
        with temporary.open("wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            sync(file)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def temporary_name(folder: str, name: str) -> str:
    """Path of the temporary file for `name`: no glob of the warehouse or of readers matches it."""
    return f"{folder}/{temporary_prefix()}{name}.{os.getpid()}.{threading.get_ident()}.tmp"


def temporary_prefix() -> str:
    """The beginning of the temporary names of this machine."""
    return f".{socket.gethostname()}-"


def sync(file: Any) -> None:
    """Flush a local file to disk."""
    file.flush()
    with contextlib.suppress(AttributeError, OSError):
        os.fsync(file.fileno())
