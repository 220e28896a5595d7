"""The warehouse: a DuckDB file of views over the lake's Parquet and of the questions in `sql/`. Never the system of record."""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from resources.store.lake import Lake

SQL_FOLDER = Path(__file__).resolve().parents[2] / "interp_assets" / "assets" / "warehouse" / "sql"


def view_files(folder: Path = SQL_FOLDER) -> dict[str, Path]:
    """The SQL file of each view by view name, in the order in which they can be created (`NN_name.sql`)."""
    return {path.stem.split("_", 1)[1]: path for path in sorted(folder.glob("[0-9][0-9]_*.sql"))}


def build_warehouse(path: Path, lake: Lake, schemas: Mapping[str, pa.Schema], dictionaries: pa.Table) -> list[str]:
    """Names of the views, after writing a fresh warehouse to a temporary file and renaming it over `path`.

    Every table of `schemas` becomes a view over its Parquet files (typed and empty when none is there yet), `dictionaries` a small
    table, and every file of `sql/` a view. Readers of the old file keep it until they close it. A lake on an object store is read through
    its own file system, so that DuckDB needs no extension.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=".warehouse-", suffix=".duckdb", dir=path.parent)
    os.close(handle)
    os.unlink(temporary)
    try:
        with _reading(lake, duckdb.connect(temporary)) as connection:
            connection.execute("SET threads = 1")
            connection.register("dictionaries_arrow", dictionaries)
            connection.execute("CREATE TABLE dictionaries AS SELECT * FROM dictionaries_arrow")
            connection.unregister("dictionaries_arrow")
            for name, schema in schemas.items():
                connection.execute(f"CREATE VIEW {name} AS {_select(connection, lake.url, name, schema)}")
            for name, file in view_files().items():
                connection.execute(f"CREATE VIEW {name} AS {file.read_text()}")
        os.replace(temporary, path)
    finally:
        Path(temporary).unlink(missing_ok=True)
    return [*schemas, *view_files()]


def open_warehouse(path: Path, lake: Lake) -> duckdb.DuckDBPyConnection:
    """A read-only connection; any number of readers may hold one."""
    return _reading(lake, duckdb.connect(str(path), read_only=True))


def _reading(lake: Lake, connection: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyConnection:
    """The connection, able to read the lake where that is not on a local disk."""
    if not lake.is_local:
        connection.register_filesystem(lake.fs)
    return connection


def _select(connection: duckdb.DuckDBPyConnection, lake_url: str, name: str, schema: pa.Schema) -> str:
    """SELECT over a table's Parquet files, or over nothing with the table's types while there is no file."""
    pattern = f"{lake_url}/{name}/**/part-0.parquet".replace("'", "''")
    if connection.execute("SELECT count(*) FROM glob(?)", [pattern]).fetchall() != [(0,)]:
        return f"SELECT * FROM read_parquet('{pattern}', hive_partitioning = false)"
    with tempfile.NamedTemporaryFile(suffix=".parquet") as empty:
        pq.write_table(pa.Table.from_batches([], schema), empty.name)  # `empty_table` would import pandas
        connection.execute(f"CREATE TABLE _empty_{name} AS SELECT * FROM read_parquet('{empty.name}')")
    return f"SELECT * FROM _empty_{name}"
