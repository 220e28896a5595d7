"""The lake: Parquet partitions, each whole or absent, each with a manifest, on a local disk or an object store.

Every page has a checksum, and the manifest has a checksum of the file's footer. So a damaged file is never taken for data: reading it
withdraws its manifest and says so, and the next run makes the partition again.
"""

import contextlib
import errno
import fcntl
import json
import logging
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import IO, cast
from urllib.parse import quote

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
from fsspec import AbstractFileSystem
from fsspec.implementations.local import LocalFileSystem

from resources.store.manifests import BadManifest, Manifest, manifest_bytes, parsed_manifest
from resources.store.row_groups import opened, row_groups
from resources.store.whole_files import NewFile, RenamedFile, Upload, file_crc32, footer_crc32, sync, temporary_name, temporary_prefix

__all__ = ["MANIFEST", "PART", "CorruptPartition", "Lake", "LakeError", "Manifest", "PartitionWriter"]

log = logging.getLogger(__name__)

PART = "part-0.parquet"
MANIFEST = "manifest.json"
WITHDRAWN = "manifest.withdrawn.json"
MARKER = "lake.json"
READ_TWICE_BYTES = 4 << 20
"""Parts up to this size are compared with the checksum of the whole file before they are read; of larger parts only the pages read are
compared."""

ELSEWHERE = (PermissionError, TimeoutError, ConnectionError)
URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*(://|::)")


class LakeError(RuntimeError):
    """The store has another version, a required partition is missing, or there is no room for a partition."""


class CorruptPartition(LakeError):
    """A partition whose file was changed or damaged after it was written. Its manifest has been withdrawn, so that it counts as missing."""


class ReplacedMeanwhile(LakeError):
    """A partition that another run has replaced while it was read."""


class Lake:
    """Tables under one root, a local folder or any fsspec URL such as `s3://bucket/lake`."""

    def __init__(self, root: str, schema_version: int) -> None:
        """Open the lake; what is not there yet is made at the first write. Raises `LakeError` when it was written under another schema
        version."""
        self.fs, self.root = _opened(root)
        self.is_local = isinstance(self.fs, LocalFileSystem)
        self.schema_version = schema_version
        with self._reached():
            if self.is_local and os.path.exists(self.root):
                os.scandir(self.root).close()  # raises for a file, and for a folder that may not be listed
            if not self.is_local and not self.fs.exists(bucket := self.root.split("/", 1)[0]):
                raise FileNotFoundError(f"there is no bucket {bucket}")
            found = self._marked_version()
        if found != schema_version:
            raise LakeError(
                f"the lake at {self.url} has schema version {found}, this code reads and writes version {schema_version}. "
                "Use the release that wrote it, or point INTERP_HOME at a new folder and materialise again."
            )

    @property
    def url(self) -> str:
        """The address of the lake: a folder, or a URL such as `s3://bucket/lake`."""
        return self.root if self.is_local else self.fs.unstrip_protocol(self.root)

    def _marked_version(self) -> int:
        """Schema version that the lake was written under; the version of this code for a lake that does not exist yet.

        A marker that is lost or damaged is written again where the manifests have this version. Raises `LakeError` where they have another.
        """
        marker = self._marker
        problem = "is lost"
        if self.fs.exists(marker):
            try:
                version = json.loads(self.fs.cat_file(marker))["schema_version"]
                if type(version) is int:
                    return version
                problem = f"names the schema version {version!r}"
            except (ValueError, KeyError, TypeError, RecursionError):
                problem = "is empty or damaged"
        version = self._version_of_manifests()
        if version is not None:
            if version != self.schema_version:
                raise LakeError(
                    f"{marker} {problem}, and the lake's manifests are of schema version {version}; this code reads and writes version "
                    f"{self.schema_version}. Use the release that wrote it, or point INTERP_HOME at a new folder and materialise again."
                )
            log.warning(f"{marker} {problem}: it is written again, for schema version {version}, which the lake's manifests are of")
            self._put(marker, json.dumps({"schema_version": version}).encode())
        return self.schema_version

    @property
    def _marker(self) -> str:
        return f"{self.root}/{MARKER}"

    def _mark(self) -> None:
        """Create the lake under this code's schema version, unless it exists."""
        if not self.fs.exists(self._marker):
            if self.is_local:
                self.fs.makedirs(self.root, exist_ok=True)
            self._put(self._marker, json.dumps({"schema_version": self.schema_version}).encode())

    def _version_of_manifests(self) -> int | None:
        """Schema version of the first manifest with a version; None without such a manifest."""
        for folder, _, files in (os.walk if self.is_local else self.fs.walk)(self.root):
            if MANIFEST in files:
                with contextlib.suppress(ValueError, KeyError, TypeError, OSError):
                    version = json.loads(self.fs.cat_file(f"{folder}/{MANIFEST}"))["schema_version"]
                    if type(version) is int:
                        return version
        return None

    @contextlib.contextmanager
    def _reached(self) -> Iterator[None]:
        """A block with the first access to an object store: without bucket, credentials or answer, `LakeError` says what to check."""
        try:
            yield
        except LakeError:
            raise
        except Exception as error:
            if self.is_local:
                reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
                raise LakeError(
                    f"the lake at {self.url} cannot be opened ({reason}). Name a folder that you may write in INTERP_HOME or INTERP_LAKE."
                ) from error
            raise LakeError(
                f"the lake at {self.url} cannot be reached ({type(error).__name__}: {error}). Does the bucket exist, and are the "
                "store's credentials and endpoint set (for S3: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or a role, AWS_ENDPOINT_URL)?"
            ) from error

    def path(self, table: str, partition: Mapping[str, str]) -> str:
        """Folder of a partition: hive style, values percent-encoded."""
        return f"{self.root}/{self.relative_path(table, partition)}"

    @staticmethod
    def relative_path(table: str, partition: Mapping[str, str]) -> str:
        """Folder of a partition below the lake: it stays the same when the lake moves."""
        return "/".join([table, *(f"{name}={quote(value, safe='')}" for name, value in partition.items())])

    def manifest(self, table: str, partition: Mapping[str, str]) -> Manifest | None:
        """Manifest of a partition; None when the partition is not complete. A damaged manifest, or a manifest of another schema version,
        counts as missing, and its path is logged."""
        return self.manifest_in(self.path(table, partition))

    def manifest_in(self, folder: str) -> Manifest | None:
        """Manifest of the partition in a folder; None when the partition is not complete, as in `manifest`."""
        try:
            return self.read_manifest(folder)
        except BadManifest as error:
            log.warning(f"{error}. {_counts_as_missing(folder, self.root)}")
            return None

    def read_manifest(self, folder: str) -> Manifest | None:
        """Manifest of the partition in a folder; None where there is none. Raises `BadManifest` naming a file that is no valid manifest."""
        path = f"{folder}/{MANIFEST}"
        try:
            manifest = parsed_manifest(self._content(path), self.schema_version)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except IsADirectoryError:
            raise BadManifest(f"{path} vouches for nothing: it is a folder") from None
        except PermissionError as error:
            raise LakeError(f"{path} cannot be read ({error.strerror}). Give this user the right to read the lake.") from error
        except BadManifest as error:
            raise BadManifest(f"{path} vouches for nothing: {error}") from None
        if self.path(manifest.table, manifest.partition) != folder:
            raise BadManifest(f"{path} vouches for nothing: it is the manifest of {_described(manifest.table, manifest.partition)}")
        return manifest

    def _content(self, path: str) -> bytes:
        """A small file's content; on a local disk without the file system's own bookkeeping, which takes longer than reading it."""
        if not self.is_local:
            return cast(bytes, self.fs.cat_file(path))
        with open(path, "rb") as file:
            return file.read()

    def is_current(self, table: str, partition: Mapping[str, str], data_version: str) -> bool:
        """Whether the partition is complete and of this data version, so that a rerun can skip it."""
        manifest = self.manifest(table, partition)
        return manifest is not None and manifest.data_version == data_version

    def write(
        self,
        table: str,
        partition: Mapping[str, str],
        schema: pa.Schema,
        batches: pa.Table | Iterable[pa.Table],
        data_version: str,
        inputs: Mapping[str, str] | None = None,
        writer_options: Mapping[str, object] | None = None,
        row_group_rows: int | None = None,
    ) -> Manifest:
        """Replace a partition, and return its manifest. The old partition stays until the new file is whole; of two writers the last wins.

        `batches` may be a generator; each of its tables becomes at least one row group, so memory stays at one batch. Raises `LakeError`
        when the disk is full.
        """
        tables: Iterable[pa.Table] = (batches,) if isinstance(batches, pa.Table) else batches
        with self.writer(table, partition, schema, writer_options, row_group_rows) as writer:
            for batch in tables:
                writer.add(batch)
            return writer.commit(data_version, inputs)

    @contextlib.contextmanager
    def writer(
        self,
        table: str,
        partition: Mapping[str, str],
        schema: pa.Schema,
        writer_options: Mapping[str, object] | None = None,
        row_group_rows: int | None = None,
    ) -> Iterator["PartitionWriter"]:
        """A new partition: add rows and commit it; without a commit the old partition stays. See `write`."""
        folder = self.path(table, partition)
        with self._room(table, partition):
            self._mark()
            if self.is_local:
                self.fs.makedirs(folder, exist_ok=True)
            new: NewFile = (RenamedFile if self.is_local else Upload)(self.fs, f"{folder}/{PART}")
            options = {"compression": "zstd", "write_page_checksum": True, **(writer_options or {})}
            try:
                with PartitionWriter(self, table, dict(partition), new, schema, options, row_group_rows) as writer:
                    yield writer
            finally:
                new.discard()

    @contextlib.contextmanager
    def _room(self, table: str, partition: Mapping[str, str]) -> Iterator[None]:
        """A block that writes a partition: a full disk, or a lake that may not be written, is a `LakeError` that says what to do."""
        try:
            yield
        except OSError as error:
            if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
                raise LakeError(
                    f"{_described(table, partition)} cannot be written under {self.url} ({error.strerror}). Give this user the right to "
                    "write there, or move the lake with INTERP_LAKE."
                ) from error
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise LakeError(
                f"no room left while writing {_described(table, partition)} under {self.url} ({error.strerror}). What was complete "
                "stays. Make room, or move the lake with INTERP_LAKE, and run again: only what is missing is made."
            ) from error

    def _commit(self, manifest: Manifest, new: NewFile) -> None:
        """Put a finished file in the partition's place, then write its manifest: the manifest is the commit."""
        folder = self.path(manifest.table, manifest.partition)
        with self._only_writer(folder):
            self._sweep(folder)
            with contextlib.suppress(FileNotFoundError):
                self.fs.rm_file(f"{folder}/{MANIFEST}")
            new.place()
            self._put(f"{folder}/{MANIFEST}", manifest_bytes(manifest))
            self.mark_changed(folder)

    def read(self, table: str, partition: Mapping[str, str], columns: Sequence[str] | None = None, filters: object = None) -> pa.Table:
        """Rows of a complete partition, of one writer alone where another run replaces it meanwhile. Raises `LakeError` naming the
        partition when it is not there, `CorruptPartition` when it is damaged."""
        try:
            return self._rows(table, partition, columns, filters)
        except ReplacedMeanwhile:
            with self._no_commit(self.path(table, partition)):
                return self._rows(table, partition, columns, filters)

    def _rows(self, table: str, partition: Mapping[str, str], columns: Sequence[str] | None, filters: object) -> pa.Table:
        path = f"{self.path(table, partition)}/{PART}"
        manifest = self.require(table, partition)
        with self._withdrawn_if_damaged(manifest, path):
            rows = pq.read_table(
                path, filesystem=self.fs, columns=columns, filters=filters, partitioning=None, page_checksum_verification=True
            )
            if filters is None:
                _refuse_other_rows(rows.num_rows, manifest)
            return rows

    def discard(self, table: str, partition: Mapping[str, str]) -> None:
        """Remove a partition's manifest, so that the partition counts as missing until it is written again. Nothing happens without a
        manifest."""
        folder = self.path(table, partition)
        with contextlib.suppress(FileNotFoundError):
            self.fs.rm_file(f"{folder}/{MANIFEST}")
            self.mark_changed(folder)

    def mark_changed(self, folder: str) -> None:
        """Give the folders above a partition the present time, the lowest first: so a look at a table's own folder tells whether any of its
        partitions was written or withdrawn since, and the next folders tell which. An object store has no folders."""
        while self.is_local and (folder := os.path.dirname(folder)).startswith(f"{self.root}/"):
            with contextlib.suppress(OSError):  # gone, or of another user: then a whole look finds the change
                os.utime(folder)

    def remove(self, table: str, partition: Mapping[str, str]) -> None:
        """Remove a partition from the store: first its manifest, so that a killed process leaves no half of it to read, then its files and
        the folders that are empty then. Nothing happens where the partition is not there."""
        folder = self.path(table, partition)
        self.discard(table, partition)
        for name in (WITHDRAWN, PART):
            with contextlib.suppress(FileNotFoundError):
                self.fs.rm_file(f"{folder}/{name}")
        while self.is_local and folder != self.root:
            try:
                os.rmdir(folder)
            except OSError:
                break
            folder = os.path.dirname(folder)
        self.mark_changed(self.path(table, partition))

    def verify(self, manifest: Manifest) -> None:
        """Read all of a partition, a row group at a time. Raises `CorruptPartition` when it is damaged."""
        path = f"{self.path(manifest.table, manifest.partition)}/{PART}"
        with self._withdrawn_if_damaged(manifest, path):
            self._read_through(path, manifest)

    def damage(self, manifest: Manifest, read_all: bool) -> str | None:
        """The fault of a partition's file, None where there is none. Nothing is withdrawn. Without `read_all` only size and footer are
        compared."""
        path = f"{self.path(manifest.table, manifest.partition)}/{PART}"
        try:
            if read_all and manifest.file_crc32 is not None:
                _refuse_other_bytes(file_crc32(self.fs, path), manifest)  # then size, footer and pages are what was written too
            else:
                self._refuse_other_file(path, manifest, whole=False)
            if read_all and manifest.file_crc32 is None:
                self._read_through(path, manifest)
        except FileNotFoundError:
            return f"{PART} is not there"
        except PermissionError as error:
            return f"{PART} cannot be read: {error.strerror}"
        except (pa.ArrowException, OSError) as error:
            return f"{PART} is damaged: {_first_line(error)}"
        return None

    def _read_through(self, path: str, manifest: Manifest) -> None:
        if manifest.file_crc32 is not None:
            _refuse_other_bytes(file_crc32(self.fs, path), manifest)
        with self.fs.open(path, "rb") as file:
            part = pq.ParquetFile(file, page_checksum_verification=True)
            _refuse_other_rows(part.metadata.num_rows, manifest)
            for group in range(part.num_row_groups):
                part.read_row_group(group)

    def batches(
        self, table: str, partition: Mapping[str, str], columns: Sequence[str] | None = None, batch_rows: int = 1 << 20
    ) -> Iterator[pa.RecordBatch]:
        """Rows of a complete partition in order, at most `batch_rows` at a time. Raises as `read` does."""
        path, manifest = f"{self.path(table, partition)}/{PART}", self.require(table, partition)
        with self._withdrawn_if_damaged(manifest, path), self.fs.open(path, "rb") as file:
            # Buffered beforehand, the columns of the whole file would be in memory. From an object store that saves a request a column.
            parquet = pq.ParquetFile(file, page_checksum_verification=True, pre_buffer=not self.is_local)
            _refuse_other_rows(parquet.metadata.num_rows, manifest)
            yield from parquet.iter_batches(batch_rows, columns=None if columns is None else list(columns))

    def require(self, table: str, partition: Mapping[str, str]) -> Manifest:
        """Manifest of a required partition; of the new one where a writer is just replacing it. Raises `LakeError` naming a partition that
        is missing."""
        folder = self.path(table, partition)
        try:
            manifest = self.read_manifest(folder)
            if manifest is None:
                with self._no_commit(folder):
                    manifest = self.read_manifest(folder)
        except BadManifest as error:
            raise LakeError(f"{error}. {_counts_as_missing(folder, self.root)}") from None
        if manifest is None:
            raise LakeError(
                f"the lake has no complete {_described(table, partition)}: materialise the asset that writes {table} there first"
            )
        return manifest

    def manifests(self, table: str) -> Iterator[Manifest]:
        """Manifests of all complete partitions of a table, in path order; a manifest that another run removes meanwhile is left out."""
        return self.manifests_under(f"{self.root}/{table}")

    def manifests_under(self, folder: str) -> Iterator[Manifest]:
        """Manifests of all complete partitions at or under a folder, in path order, as in `manifests`."""
        return (manifest for _, manifest in self._complete(folder))

    def holds_rows(self, table: str, partition: Mapping[str, str]) -> bool:
        """Whether there is anything to read under the first columns of a partition: a complete partition with rows, or files of a killed
        run."""
        left = set(self._folders_with(PART, self.path(table, partition)))
        for folder, manifest in self._complete(self.path(table, partition)) if left else ():
            if manifest.rows:
                return True
            left.discard(folder)
        return bool(left)

    def incomplete(self) -> list[str]:
        """Folders with a part but without a manifest: left by a killed run, rewritten by the next run."""
        return sorted(set(self._folders_with(PART, self.root)) - set(self._folders_with(MANIFEST, self.root)))

    def _complete(self, folder: str) -> Iterator[tuple[str, Manifest]]:
        """Folder and manifest of the complete partitions under a folder, in path order."""
        for path in self._folders_with(MANIFEST, folder):
            manifest = self.manifest_in(path)
            if manifest is not None:
                yield path, manifest

    def _folders_with(self, file: str, folder: str) -> list[str]:
        """Folders that hold a file of this name, at or under `folder`, in path order."""
        if self.is_local:
            return sorted(place for place, _, files in os.walk(folder) if file in files)
        return sorted(path.rsplit("/", 1)[0] for path in self.fs.find(folder) if path.rsplit("/", 1)[1] == file)

    def _is_sound(self, path: str, manifest: Manifest) -> bool:
        """Whether a partition's file is what its manifest says, bytes and rows."""
        try:
            self._refuse_other_file(path, manifest, whole=False)
            self._read_through(path, manifest)
        except (pa.ArrowException, OSError):
            return False
        return True

    @contextlib.contextmanager
    def _withdrawn_if_damaged(self, manifest: Manifest, path: str) -> Iterator[None]:
        """A block that reads a partition's file: where file and manifest do not fit, the manifest is withdrawn. Raises
        `CorruptPartition`."""
        try:
            self._refuse_other_file(path, manifest)
            yield
        except (pa.ArrowException, OSError) as error:
            # Arrow's own errors have no error number. Errors of the operating system or the network have a number or their own class, and
            # say nothing of the file.
            if isinstance(error, OSError) and (error.errno not in (None, errno.ENOENT) or isinstance(error, ELSEWHERE)):
                raise
            where = self.path(manifest.table, manifest.partition)
            with self._no_commit(where):
                now = self.manifest(manifest.table, manifest.partition)
                if now is not None and self._is_sound(path, now):
                    raise ReplacedMeanwhile(
                        f"{_described(manifest.table, manifest.partition)} was replaced by another run while it was read: run this again"
                    ) from error
                if now == manifest:
                    self.fs.mv(f"{where}/{MANIFEST}", f"{where}/{WITHDRAWN}")
                    self.mark_changed(where)
            raise CorruptPartition(
                f"{_described(manifest.table, manifest.partition)} is damaged ({_first_line(error)}): {path} is not what was "
                f"written. It counts as missing from now on: materialise the asset that writes {manifest.table} there again, then this one."
            ) from error

    def _refuse_other_file(self, path: str, manifest: Manifest, whole: bool = True) -> None:
        """Raise OSError unless a part has the size and footer of its manifest; with `whole` all bytes of a small part are compared."""
        size = cast(int, self.fs.size(path))
        if size != manifest.bytes or footer_crc32(self.fs, path, size) != manifest.footer_crc32:
            raise OSError(f"{size:,} bytes with another footer than the {manifest.bytes:,} bytes that were written")
        if whole and manifest.file_crc32 is not None and size <= READ_TWICE_BYTES:
            _refuse_other_bytes(file_crc32(self.fs, path), manifest)

    @contextlib.contextmanager
    def _only_writer(self, folder: str) -> Iterator[None]:
        """Keep other writers of a partition out while file and manifest change. An object store cannot do this: there the run queue keeps
        two runs from writing one partition."""
        if not self.is_local:
            yield
            return
        handle = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    @contextlib.contextmanager
    def _no_commit(self, folder: str) -> Iterator[None]:
        """Wait until no writer is between a partition's old manifest and its new one, and keep writers so meanwhile; nothing where the
        partition is not there, its file system knows no locks, or it is on an object store."""
        with contextlib.ExitStack() as held:
            if self.is_local:
                with contextlib.suppress(OSError):
                    handle = os.open(folder, os.O_RDONLY)
                    held.callback(os.close, handle)
                    fcntl.flock(handle, fcntl.LOCK_SH)
            yield

    def _sweep(self, folder: str) -> None:
        """Remove temporary files of dead processes of this machine from a partition's folder, and the manifest of a damaged file."""
        for name in os.listdir(folder) if self.is_local else ():
            if name.startswith(temporary_prefix()) and not os.path.exists(f"/proc/{name.rsplit('.', 3)[1]}"):
                self.fs.rm_file(f"{folder}/{name}")
        with contextlib.suppress(FileNotFoundError):
            self.fs.rm_file(f"{folder}/{WITHDRAWN}")

    def _put(self, path: str, content: bytes) -> None:
        """Write a small file, whole or not at all."""
        if not self.is_local:
            self.fs.pipe_file(path, content)
            return
        temporary = temporary_name(*path.rsplit("/", 1))
        with cast(IO[bytes], self.fs.open(temporary, "wb")) as file:
            file.write(content)
            sync(file)
        self.fs.mv(temporary, path)


class PartitionWriter:
    """The file of a partition while it is written; made by `Lake.writer`."""

    def __init__(
        self,
        lake: Lake,
        table: str,
        partition: dict[str, str],
        new: NewFile,
        schema: pa.Schema,
        options: Mapping[str, object],
        row_group_rows: int | None,
    ) -> None:
        self._lake, self._table, self._partition = lake, table, partition
        self._new, self._schema, self._options, self._row_group_rows = new, schema, options, row_group_rows
        self._parquet: pq.ParquetWriter | None = None
        self._rows = 0

    def __enter__(self) -> "PartitionWriter":
        return self

    def __exit__(self, *_: object) -> None:
        if self._parquet is not None:
            self._parquet.close()

    def add(self, batch: pa.Table) -> None:
        """Append rows as at least one row group; cast to the table's schema. Lists of texts may come dictionary-encoded."""
        parquet = self._opened(batch.schema)
        for rows in row_groups(batch.cast(parquet.schema), self._row_group_rows):
            parquet.write_table(rows, row_group_size=self._row_group_rows)
        self._rows += batch.num_rows

    def _opened(self, schema: pa.Schema) -> pq.ParquetWriter:
        """The file, opened for rows of this schema where they are its first."""
        self._parquet = self._parquet or opened(self._new.file, self._schema, schema, self._options)
        return self._parquet

    def commit(self, data_version: str, inputs: Mapping[str, str] | None = None) -> Manifest:
        """Replace the partition by the added rows, and return its manifest. Nothing can be added afterwards."""
        written = self._new.finish(self._opened(self._schema))
        manifest = Manifest(
            self._table,
            self._partition,
            self._rows,
            written.bytes,
            self._lake.schema_version,
            data_version,
            dict(inputs or {}),
            written.footer_crc32,
            written.file_crc32,
        )
        self._lake._commit(manifest, self._new)
        return manifest


def _opened(root: str) -> tuple[AbstractFileSystem, str]:
    """The file system of `root`, and the path in it. Raises `LakeError` for an unknown protocol, and for a protocol whose package is
    missing.

    A name that does not begin like a URL is a folder, whatever characters it has: fsspec reads `::` as a chain of URLs.
    """
    if not URL.match(str(root)):
        if "\\" in str(root) and set(str(root)) & set("*?["):
            raise LakeError(f"the lake's folder {root} has a backslash and one of * ? [ in its path, which DuckDB cannot read. Rename it.")
        return LocalFileSystem(), os.path.abspath(os.path.expanduser(str(root)))
    try:
        # Other hosts write too, so listings are not cached.
        return fsspec.core.url_to_fs(str(root), use_listings_cache=False)
    except (ImportError, ValueError) as error:
        raise LakeError(
            f"the lake's address {root} cannot be opened: {error}. For s3:// install the extra: "
            'pip install "interp-assets[deploy]"; a local folder needs nothing'
        ) from error


def _described(table: str, partition: Mapping[str, str]) -> str:
    return f"{table} for " + ", ".join(f"{name} {value}" for name, value in partition.items())


def _counts_as_missing(folder: str, root: str) -> str:
    table = folder.removeprefix(f"{root}/").split("/")[0]
    return f"The partition counts as missing: materialise the asset that writes {table} there again, which replaces it"


def _refuse_other_rows(found: int, manifest: Manifest) -> None:
    """Raise OSError, as for any damage, unless a part has as many rows as its manifest says."""
    if found != manifest.rows:
        raise OSError(f"{found:,} rows, and {manifest.rows:,} in its manifest")


def _refuse_other_bytes(found: int, manifest: Manifest) -> None:
    """Raise OSError unless a part's CRC-32 is the one in its manifest."""
    if found != manifest.file_crc32:
        raise OSError("its bytes are not the bytes that were written")


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
