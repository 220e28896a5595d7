"""The lake: Parquet partitions, each whole or absent, each with a manifest, on a local disk or an object store.

Every page has a checksum, and the manifest has a checksum of the file's footer. So a damaged file is never taken for data: reading it
withdraws its manifest and says so, and the next run makes the partition again.
"""

import contextlib
import errno
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq
from fsspec import AbstractFileSystem

from resources.store import part_damage
from resources.store.lake_errors import CorruptPartition, LakeError, ReplacedMeanwhile
from resources.store.lake_files import MANIFEST, PART, WITHDRAWN, LakeFiles
from resources.store.lake_memory import LakeMemory
from resources.store.lake_version import is_marked, mark, refuse_other_version
from resources.store.manifests import BadManifest, Manifest, manifest_bytes, parsed_manifest
from resources.store.part_damage import first_line, refuse_other_rows
from resources.store.partition_writer import PartitionWriter
from resources.store.whole_files import NewFile

__all__ = ["MANIFEST", "PART", "CorruptPartition", "Lake", "LakeError", "Manifest", "PartitionWriter"]

log = logging.getLogger(__name__)

ELSEWHERE = (PermissionError, TimeoutError, ConnectionError)


class Lake:
    """Tables under one root, a local folder or any fsspec URL such as `s3://bucket/lake`."""

    def __init__(self, root: str, schema_version: int, memory: LakeMemory | None = None) -> None:
        """Open the lake; what is not there yet is made at the first write. Raises `LakeError` when it was written under another schema
        version.

        A lake with anything in it is remembered in `memory`. In place of a remembered lake that is away, such as on a disk that is not
        mounted, no new lake is begun until the memory is forgotten.
        """
        self.files = LakeFiles(root)
        self.root, self.is_local = self.files.root, self.files.is_local
        self.schema_version, self._memory = schema_version, memory
        with self.files.reached():
            self.files.check()
            refuse_other_version(self.files, schema_version)

    @property
    def loss(self) -> str | None:
        """What to say where this lake holds nothing, and the memory has it or another lake; None otherwise."""
        return self._memory and self._memory.loss(self.files)

    def begin_anew(self) -> None:
        """Let a new lake begin here, whatever is remembered."""
        if self._memory is not None:
            self._memory.forget()

    @property
    def fs(self) -> AbstractFileSystem:
        """The file system that the lake is on."""
        return self.files.fs

    @property
    def url(self) -> str:
        """The address of the lake: a folder, or a URL such as `s3://bucket/lake`."""
        return self.files.url

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
            manifest = parsed_manifest(self.files.content(path), self.schema_version)
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
    ) -> Iterator[PartitionWriter]:
        """A new partition: add rows and commit it; without a commit the old partition stays. See `write`."""
        folder = self.path(table, partition)
        with self.files.room(_described(table, partition)):
            self._begin()
            new = self.files.new_part(folder)
            options = {"write_page_checksum": True, **(writer_options or {})}
            try:
                with PartitionWriter(
                    self._commit, self.schema_version, table, dict(partition), new, schema, options, row_group_rows
                ) as writer:
                    yield writer
            finally:
                new.discard()

    def _begin(self) -> None:
        """Make the lake where it holds nothing. Raises `LakeError` where a lake that is remembered is away."""
        if is_marked(self.files):
            return
        if (loss := self.loss) is not None:
            raise LakeError(loss)
        mark(self.files, self.schema_version)
        if self._memory is not None:
            self._memory.remember(self.url)

    def _commit(self, manifest: Manifest, new: NewFile) -> None:
        """Put a finished file in the partition's place, then write its manifest: the manifest is the commit."""
        folder = self.path(manifest.table, manifest.partition)
        with self.files.only_writer(folder):
            self.files.sweep(folder)
            with contextlib.suppress(FileNotFoundError):
                self.fs.rm_file(f"{folder}/{MANIFEST}")
            new.place()
            self.files.put(f"{folder}/{MANIFEST}", manifest_bytes(manifest))
            self.mark_changed(folder)

    def read(self, table: str, partition: Mapping[str, str], columns: Sequence[str] | None = None, filters: object = None) -> pa.Table:
        """Rows of a complete partition, of one writer alone where another run replaces it meanwhile. Raises `LakeError` naming the
        partition when it is not there, `CorruptPartition` when it is damaged."""
        try:
            return self._rows(table, partition, columns, filters)
        except ReplacedMeanwhile:
            with self.files.no_commit(self.path(table, partition)):
                return self._rows(table, partition, columns, filters)

    def _rows(self, table: str, partition: Mapping[str, str], columns: Sequence[str] | None, filters: object) -> pa.Table:
        path = f"{self.path(table, partition)}/{PART}"
        manifest = self.require(table, partition)
        with self._withdrawn_if_damaged(manifest, path):
            rows = pq.read_table(
                path, filesystem=self.fs, columns=columns, filters=filters, partitioning=None, page_checksum_verification=True
            )
            if filters is None:
                refuse_other_rows(rows.num_rows, manifest)
            return rows

    def discard(self, table: str, partition: Mapping[str, str]) -> None:
        """Remove a partition's manifest, so that the partition counts as missing until it is written again. Nothing happens without a
        manifest."""
        folder = self.path(table, partition)
        with contextlib.suppress(FileNotFoundError):
            self.fs.rm_file(f"{folder}/{MANIFEST}")
            self.mark_changed(folder)

    def mark_changed(self, folder: str) -> None:
        """Give the folders above a partition the present time, so that a look at a table's own folder tells of the change."""
        self.files.mark_changed(folder)

    def remove(self, table: str, partition: Mapping[str, str]) -> None:
        """Remove a partition from the store: first its manifest, so that a killed process leaves no half of it to read, then its files and
        the folders that are empty then. Nothing happens where the partition is not there."""
        folder = self.path(table, partition)
        self.discard(table, partition)
        for name in (WITHDRAWN, PART):
            with contextlib.suppress(FileNotFoundError):
                self.fs.rm_file(f"{folder}/{name}")
        self.files.remove_empty_folders(folder)
        self.mark_changed(self.path(table, partition))

    def verify(self, manifest: Manifest) -> None:
        """Read all of a partition, a row group at a time. Raises `CorruptPartition` when it is damaged."""
        path = f"{self.path(manifest.table, manifest.partition)}/{PART}"
        with self._withdrawn_if_damaged(manifest, path):
            part_damage.read_through(self.fs, path, manifest)

    def damage(self, manifest: Manifest, read_all: bool) -> str | None:
        """The fault of a partition's file, None where there is none. Nothing is withdrawn. Without `read_all` only size and footer are
        compared."""
        path = f"{self.path(manifest.table, manifest.partition)}/{PART}"
        return part_damage.fault(self.fs, path, manifest, read_all)

    def batches(
        self, table: str, partition: Mapping[str, str], columns: Sequence[str] | None = None, batch_rows: int = 1 << 20
    ) -> Iterator[pa.RecordBatch]:
        """Rows of a complete partition in order, at most `batch_rows` at a time. Raises as `read` does."""
        path, manifest = f"{self.path(table, partition)}/{PART}", self.require(table, partition)
        with self._withdrawn_if_damaged(manifest, path), self.fs.open(path, "rb") as file:
            # Buffered beforehand, the columns of the whole file would be in memory. From an object store that saves a request a column.
            parquet = pq.ParquetFile(file, page_checksum_verification=True, pre_buffer=not self.is_local)
            refuse_other_rows(parquet.metadata.num_rows, manifest)
            yield from parquet.iter_batches(batch_rows, columns=None if columns is None else list(columns))

    def require(self, table: str, partition: Mapping[str, str]) -> Manifest:
        """Manifest of a required partition; of the new one where a writer is just replacing it. Raises `LakeError` naming a partition that
        is missing."""
        folder = self.path(table, partition)
        try:
            manifest = self.read_manifest(folder)
            if manifest is None:
                with self.files.no_commit(folder):
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
        left = set(self.files.folders_with(PART, self.path(table, partition)))
        for folder, manifest in self._complete(self.path(table, partition)) if left else ():
            if manifest.rows:
                return True
            left.discard(folder)
        return bool(left)

    def incomplete(self) -> list[str]:
        """Folders with a part but without a manifest: left by a killed run, rewritten by the next run."""
        return sorted(set(self.files.folders_with(PART, self.root)) - set(self.files.folders_with(MANIFEST, self.root)))

    def _complete(self, folder: str) -> Iterator[tuple[str, Manifest]]:
        """Folder and manifest of the complete partitions under a folder, in path order."""
        for path in self.files.folders_with(MANIFEST, folder):
            manifest = self.manifest_in(path)
            if manifest is not None:
                yield path, manifest

    @contextlib.contextmanager
    def _withdrawn_if_damaged(self, manifest: Manifest, path: str) -> Iterator[None]:
        """A block that reads a partition's file: where file and manifest do not fit, the manifest is withdrawn. Raises
        `CorruptPartition`."""
        try:
            part_damage.refuse_other_file(self.fs, path, manifest)
            yield
        except (pa.ArrowException, OSError) as error:
            # Arrow's own errors have no error number. Errors of the operating system or the network have a number or their own class, and
            # say nothing of the file.
            if isinstance(error, OSError) and (error.errno not in (None, errno.ENOENT) or isinstance(error, ELSEWHERE)):
                raise
            where = self.path(manifest.table, manifest.partition)
            with self.files.no_commit(where):
                now = self.manifest(manifest.table, manifest.partition)
                if now is not None and part_damage.is_sound(self.fs, path, now):
                    raise ReplacedMeanwhile(
                        f"{_described(manifest.table, manifest.partition)} was replaced by another run while it was read: run this again"
                    ) from error
                if now == manifest:
                    self.fs.mv(f"{where}/{MANIFEST}", f"{where}/{WITHDRAWN}")
                    self.mark_changed(where)
            raise CorruptPartition(
                f"{_described(manifest.table, manifest.partition)} is damaged ({first_line(error)}): {path} is not what was "
                f"written. It counts as missing from now on: materialise the asset that writes {manifest.table} there again, then this one."
            ) from error


def _described(table: str, partition: Mapping[str, str]) -> str:
    return f"{table} for " + ", ".join(f"{name} {value}" for name, value in partition.items())


def _counts_as_missing(folder: str, root: str) -> str:
    table = folder.removeprefix(f"{root}/").split("/")[0]
    return f"The partition counts as missing: materialise the asset that writes {table} there again, which replaces it"
