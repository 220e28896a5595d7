"""The lake: Parquet partitions that are there whole or not at all, each vouched for by a manifest."""

import contextlib
import json
import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from urllib.parse import quote

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

PART = "part-0.parquet"
MANIFEST = "manifest.json"


class LakeError(RuntimeError):
    """The store is of another version, or a partition that should be there is not."""


@dataclass(frozen=True)
class Manifest:
    """What vouches for a partition: written last, so a partition without one is not complete.

    `data_version` names the content: a hash over the code's version, the settings and the versions of the inputs. No clock times
    are kept, so that identical runs leave identical bytes.
    """

    table: str
    partition: dict[str, str]
    rows: int
    bytes: int
    schema_version: int
    data_version: str
    inputs: dict[str, str]


class Lake:
    """Tables under one root, a local folder or any fsspec URL such as `s3://bucket/lake`."""

    def __init__(self, root: str, schema_version: int) -> None:
        """Open or create the lake. Raises `LakeError` when it was written under another schema version."""
        self.fs, self.root = fsspec.core.url_to_fs(str(root))
        self.schema_version = schema_version
        marker = f"{self.root}/lake.json"
        if self.fs.exists(marker):
            found = json.loads(self.fs.cat_file(marker))["schema_version"]
            if found != schema_version:
                raise LakeError(
                    f"the lake at {self.root} has schema version {found}, this code reads and writes version {schema_version}. "
                    "Use the release that wrote it, or point INTERP_HOME at a new folder and materialise again."
                )
        else:
            self.fs.makedirs(self.root, exist_ok=True)
            self._put(marker, json.dumps({"schema_version": schema_version}).encode())

    def path(self, table: str, partition: Mapping[str, str]) -> str:
        """Folder of a partition: hive style, values percent-encoded."""
        return "/".join([self.root, table, *(f"{name}={quote(value, safe='')}" for name, value in partition.items())])

    def manifest(self, table: str, partition: Mapping[str, str]) -> Manifest | None:
        """Manifest of a partition, None when the partition is not complete. Raises `LakeError` on another schema version."""
        try:
            content = json.loads(self.fs.cat_file(f"{self.path(table, partition)}/{MANIFEST}"))
        except FileNotFoundError:
            return None
        if content["schema_version"] != self.schema_version:
            raise LakeError(
                f"{table} {dict(partition)} was written under schema version {content['schema_version']}, this code reads "
                f"{self.schema_version}: materialise the partition again"
            )
        return Manifest(**content)

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
        """Manifest of the partition just replaced: the old manifest goes first, the new one comes last.

        `batches` may be a generator; each of its tables becomes at least one row group, so memory stays at one batch.
        """
        folder = self.path(table, partition)
        self.fs.makedirs(folder, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            self.fs.rm_file(f"{folder}/{MANIFEST}")
        temporary = f"{folder}/.{PART}.{os.getpid()}.{threading.get_ident()}.tmp"
        rows = 0
        options = {"compression": "zstd", **(writer_options or {})}
        with self.fs.open(temporary, "wb") as file:
            with pq.ParquetWriter(file, schema, **options) as writer:
                for batch in (batches,) if isinstance(batches, pa.Table) else batches:
                    writer.write_table(batch.cast(schema), row_group_size=row_group_rows)
                    rows += batch.num_rows
            _sync(file)
        self.fs.mv(temporary, f"{folder}/{PART}")
        size = self.fs.size(f"{folder}/{PART}")
        manifest = Manifest(table, dict(partition), rows, size, self.schema_version, data_version, dict(inputs or {}))
        self._put(f"{folder}/{MANIFEST}", json.dumps(asdict(manifest), indent=1, sort_keys=True).encode())
        return manifest

    def read(self, table: str, partition: Mapping[str, str], columns: Sequence[str] | None = None, filters: object = None) -> pa.Table:
        """Rows of a complete partition. Raises `LakeError` naming the partition when it is not there."""
        self.require(table, partition)
        path = f"{self.path(table, partition)}/{PART}"
        return pq.read_table(path, filesystem=self.fs, columns=columns, filters=filters, partitioning=None)

    def batches(
        self, table: str, partition: Mapping[str, str], columns: Sequence[str] | None = None, batch_rows: int = 1 << 20
    ) -> Iterator[pa.RecordBatch]:
        """Rows of a complete partition in order, at most `batch_rows` at a time. Raises `LakeError` when it is not there."""
        self.require(table, partition)
        with self.fs.open(f"{self.path(table, partition)}/{PART}", "rb") as file, pq.ParquetFile(file) as parquet:
            yield from parquet.iter_batches(batch_rows, columns=None if columns is None else list(columns))

    def require(self, table: str, partition: Mapping[str, str]) -> Manifest:
        """Manifest of a partition that must be there; raises `LakeError` naming it otherwise."""
        manifest = self.manifest(table, partition)
        if manifest is None:
            described = ", ".join(f"{name} {value}" for name, value in partition.items())
            raise LakeError(f"the lake has no complete {table} for {described}: materialise the asset that writes {table} there first")
        return manifest

    def manifests(self, table: str) -> Iterator[Manifest]:
        """Manifests of all complete partitions of a table, in path order."""
        for path in sorted(self.fs.glob(f"{self.root}/{table}/**/{MANIFEST}")):
            yield Manifest(**json.loads(self.fs.cat_file(path)))

    def incomplete(self) -> list[str]:
        """Folders that hold a part without a manifest: left by a killed run, rewritten by the next one."""
        parts = {path.rsplit("/", 1)[0] for path in self.fs.glob(f"{self.root}/**/{PART}")}
        return sorted(parts - {path.rsplit("/", 1)[0] for path in self.fs.glob(f"{self.root}/**/{MANIFEST}")})

    def _put(self, path: str, content: bytes) -> None:
        temporary = f"{path}.{os.getpid()}.{threading.get_ident()}.tmp"
        with self.fs.open(temporary, "wb") as file:
            file.write(content)
            _sync(file)
        self.fs.mv(temporary, path)


def _sync(file: object) -> None:
    """Flush to disk where the file system is local; object stores make an object visible only when it is complete."""
    file.flush()  # type: ignore[attr-defined]
    with contextlib.suppress(AttributeError, OSError):
        os.fsync(file.fileno())  # type: ignore[attr-defined]
