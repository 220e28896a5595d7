"""The file of a partition while it is written."""

from collections.abc import Callable, Mapping

import pyarrow as pa
import pyarrow.parquet as pq

from resources.store.manifests import Manifest
from resources.store.row_groups import opened, row_groups
from resources.store.whole_files import NewFile


class PartitionWriter:
    """The file of a partition while it is written; made by `Lake.writer`."""

    def __init__(
        self,
        commit: Callable[[Manifest, NewFile], None],
        schema_version: int,
        table: str,
        partition: dict[str, str],
        new: NewFile,
        schema: pa.Schema,
        options: Mapping[str, object],
        row_group_rows: int | None,
    ) -> None:
        self._commit, self._schema_version = commit, schema_version
        self._table, self._partition = table, partition
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
            self._schema_version,
            data_version,
            dict(inputs or {}),
            written.footer_crc32,
            written.file_crc32,
        )
        self._commit(manifest, self._new)
        return manifest
