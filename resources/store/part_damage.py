"""Whether a partition's file is what its manifest says: size, footer, rows, pages and bytes.

A fault is an error of Arrow or an `OSError` without an error number.
"""

from typing import cast

import pyarrow as pa
import pyarrow.parquet as pq
from fsspec import AbstractFileSystem

from resources.store.manifests import Manifest
from resources.store.whole_files import file_crc32, footer_crc32

READ_TWICE_BYTES = 4 << 20
"""Parts up to this size are compared with the checksum of the whole file before they are read; of larger parts only the pages read are
compared."""


def refuse_other_file(fs: AbstractFileSystem, path: str, manifest: Manifest, whole: bool = True) -> None:
    """Raise OSError unless a part has the size and footer of its manifest; with `whole` all bytes of a small part are compared."""
    size = cast(int, fs.size(path))
    if size != manifest.bytes or footer_crc32(fs, path, size) != manifest.footer_crc32:
        raise OSError(f"{size:,} bytes with another footer than the {manifest.bytes:,} bytes that were written")
    if whole and manifest.file_crc32 is not None and size <= READ_TWICE_BYTES:
        _refuse_other_bytes(file_crc32(fs, path), manifest)


def read_through(fs: AbstractFileSystem, path: str, manifest: Manifest) -> None:
    """Read all of a part, a row group at a time. Raises an error of Arrow or an `OSError` where it is not what was written."""
    if manifest.file_crc32 is not None:
        _refuse_other_bytes(file_crc32(fs, path), manifest)
    with fs.open(path, "rb") as file:
        part = pq.ParquetFile(file, page_checksum_verification=True)
        refuse_other_rows(part.metadata.num_rows, manifest)
        for group in range(part.num_row_groups):
            part.read_row_group(group)


def is_sound(fs: AbstractFileSystem, path: str, manifest: Manifest) -> bool:
    """Whether a partition's file is what its manifest says, bytes and rows."""
    try:
        refuse_other_file(fs, path, manifest, whole=False)
        read_through(fs, path, manifest)
    except (pa.ArrowException, OSError):
        return False
    return True


def fault(fs: AbstractFileSystem, path: str, manifest: Manifest, read_all: bool) -> str | None:
    """The fault of a partition's file, None where there is none. Nothing is withdrawn. Without `read_all` only size and footer are
    compared."""
    file = path.rsplit("/", 1)[-1]
    try:
        if read_all and manifest.file_crc32 is not None:
            _refuse_other_bytes(file_crc32(fs, path), manifest)  # then size, footer and pages are what was written too
        else:
            refuse_other_file(fs, path, manifest, whole=False)
        if read_all and manifest.file_crc32 is None:
            read_through(fs, path, manifest)
    except FileNotFoundError:
        return f"{file} is not there"
    except PermissionError as error:
        return f"{file} cannot be read: {error.strerror}"
    except (pa.ArrowException, OSError) as error:
        return f"{file} is damaged: {first_line(error)}"
    return None


def refuse_other_rows(found: int, manifest: Manifest) -> None:
    """Raise OSError, as for any damage, unless a part has as many rows as its manifest says."""
    if found != manifest.rows:
        raise OSError(f"{found:,} rows, and {manifest.rows:,} in its manifest")


def _refuse_other_bytes(found: int, manifest: Manifest) -> None:
    """Raise OSError unless a part's CRC-32 is the one in its manifest."""
    if found != manifest.file_crc32:
        raise OSError("its bytes are not the bytes that were written")


def first_line(error: Exception) -> str:
    """The first line of an error's message; the name of its class where it has none."""
    return (str(error).splitlines() or [type(error).__name__])[0]
