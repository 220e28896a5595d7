"""The warehouse: DuckDB views over the complete partitions of the lake, and the questions of SQL files. Never the system of record.

A view reads a list of files, never a pattern, so withdrawn, half-written or missing files are not read. The list is made with the view.
"""

import os
import re
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from resources.store.lake import Lake
from resources.store.later_columns import has_later_columns
from resources.store.table_copies import Sources

CATALOGUE = re.compile(r"\b(information_schema|duckdb_\w+|pg_\w+|sqlite_master|show|describe)\b", re.IGNORECASE)
"""Matches words of a question about the catalogue, which may concern any view."""

HARDENED: dict[str, str | bool | int | float | list[str]] = {
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "allow_community_extensions": False,
    "allow_persistent_secrets": False,
    "python_enable_replacements": False,
}


class RefusedStatement(ValueError):
    """SQL that would do more than read the warehouse."""


def named_in(sql: str, tables: Iterable[str], views: Mapping[str, Path]) -> tuple[list[str], list[str]]:
    """(tables, views) that a query may read, in creation order: names that occur in the query, and in the views that it reads.

    `views` has the SQL file of each view. A name in a text or comment counts too: a needless view costs only its making. A question about
    the catalogue counts as naming all views.
    """
    tables = list(tables)
    if CATALOGUE.search(sql):
        return tables, list(views)
    texts, needed = [sql], set()
    while texts:
        words = set(re.findall(r"\w+", texts.pop().lower()))
        for name in [name for name in (*tables, *views) if name in words and name not in needed]:
            needed.add(name)
            if name in views:
                texts.append(views[name].read_text())
    return [name for name in tables if name in needed], [name for name in views if name in needed]


def build_warehouse(
    path: Path,
    lake: Lake,
    schemas: Mapping[str, pa.Schema],
    sources: Mapping[str, Sources],
    dictionaries: pa.Table,
    views: Mapping[str, Path],
) -> list[str]:
    """Write a fresh warehouse to a temporary file, rename it over `path`, and return the names of the views.

    Every table of `schemas` becomes a view over its sources (typed and empty when there are none), `dictionaries` a small table, and every
    SQL file of `views` a view. Readers of the old file keep the old file until they close it. A lake on an object store is read through its
    own file system, so that DuckDB needs no extension.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=".warehouse-", suffix=".duckdb", dir=path.parent)
    os.close(handle)
    os.unlink(temporary)
    try:
        with _reading(lake, duckdb.connect(temporary)) as connection:
            connection.execute("SET threads = 1")
            _add_dictionaries(connection, dictionaries)
            for name, schema in schemas.items():
                _add_table(connection, lake, name, schema, sources[name])
            for name, file in views.items():
                connection.execute(f"CREATE VIEW {name} AS {file.read_text()}")
        os.replace(temporary, path)
    finally:
        Path(temporary).unlink(missing_ok=True)
    return [*schemas, *views]


def open_warehouse(path: Path, lake: Lake) -> duckdb.DuckDBPyConnection:
    """A read-only connection; any number of readers may be connected."""
    return _reading(lake, duckdb.connect(str(path), read_only=True))


def query_connection(
    lake: Lake,
    copies: Path,
    schemas: Mapping[str, pa.Schema],
    sources: Callable[[duckdb.DuckDBPyConnection], Mapping[str, Sources]],
    views: Mapping[str, Path],
    dictionaries: pa.Table | None,
    unsafe: bool,
) -> duckdb.DuckDBPyConnection:
    """A connection in memory for one query, with only these tables and views; `dictionaries` is None where the query does not read it.

    `sources` gives the files of each table; it is called with the connection, before there are tables.
    Without `unsafe` it reads only files of the lake and of its copies, loads no extension, and its settings are locked.
    """
    connection = _reading(lake, duckdb.connect(":memory:", config={} if unsafe else HARDENED))
    if dictionaries is not None:
        _add_dictionaries(connection, dictionaries)
    if not unsafe:
        places = [lake.url, str(copies)]
        connection.execute("SET allowed_directories = ?", [sorted({*places, *map(_literal, places)})])
        connection.execute("SET temp_directory = ''")
    for name, files in sources(connection).items():
        _add_table(connection, lake, name, schemas[name], files)
    for name, file in views.items():
        connection.execute(f"CREATE VIEW {name} AS {file.read_text()}")
    if not unsafe:
        connection.execute("SET enable_external_access = false")
        connection.execute("SET lock_configuration = true")
    return connection


def refuse_writing(sql: str) -> None:
    """Raise `RefusedStatement` for SQL that is not a single question: DuckDB may write files wherever it may read files."""
    statements = duckdb.extract_statements(sql)
    if len(statements) != 1:
        raise RefusedStatement(f"there are {len(statements)} statements; give one question at a time")
    kind = statements[0].type
    if kind == duckdb.StatementType.EXPLAIN:
        inner = re.sub(r"^\s*EXPLAIN\s+(ANALYZE\s+)?(\([^)]*\)\s*)?", "", sql, flags=re.IGNORECASE)
        if inner != sql:
            return refuse_writing(inner)
    pivot = kind == duckdb.StatementType.MULTI and re.match(r"\s*(PIVOT|UNPIVOT|FROM|WITH|SELECT)\b", sql, re.IGNORECASE)
    if kind != duckdb.StatementType.SELECT and not pivot:
        raise RefusedStatement(f"{kind.name} is no question, and `interp query` is read-only. With --unsafe DuckDB does whatever it can")
    return None


def _add_dictionaries(connection: duckdb.DuckDBPyConnection, dictionaries: pa.Table) -> None:
    connection.register("dictionaries_arrow", dictionaries)
    connection.execute("CREATE TABLE dictionaries AS SELECT * FROM dictionaries_arrow")
    connection.unregister("dictionaries_arrow")


def _reading(lake: Lake, connection: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyConnection:
    """The connection, with access to the lake's file system where the lake is not on a local disk."""
    if not lake.is_local:
        connection.register_filesystem(lake.fs)
    return connection


def _add_table(connection: duckdb.DuckDBPyConnection, lake: Lake, name: str, schema: pa.Schema, sources: Sources) -> None:
    """The view of a table over its sources; typed and empty where there are none. A later column is null in files that lack it."""
    parts = sources.parts if lake.is_local else list(map(lake.fs.unstrip_protocol, sources.parts))
    later = has_later_columns(schema)
    reads = [_read(files, later) for files in (sources.copies, parts) if files]
    if later or not reads:
        with tempfile.NamedTemporaryFile(suffix=".parquet") as empty:
            pq.write_table(pa.Table.from_batches([], schema), empty.name)  # `empty_table` would import pandas
            connection.execute(f"CREATE TABLE _empty_{name} AS SELECT * FROM read_parquet('{_quoted(empty.name)}')")
        reads = [f"SELECT * FROM _empty_{name}", *reads]
    connection.execute(f"CREATE VIEW {name} AS {' UNION ALL BY NAME '.join(reads)}")


def _read(files: list[str], by_name: bool) -> str:
    """SELECT over files, `by_name` where they may differ in columns: DuckDB then opens every file before it answers.

    The names of their folders give the values of partition columns, by which DuckDB skips files. This is off where a folder above the table
    would be read as such a value.
    """
    folders = files[0].split("/")[:-1]
    while folders and "=" in folders[-1]:
        folders.pop()
    hive = "false" if any("=" in folder for folder in folders) else "true"
    listed = ", ".join(f"'{_quoted(_literal(file))}'" for file in files)
    named = ", union_by_name = true" * by_name
    return f"SELECT * FROM read_parquet([{listed}], hive_partitioning = {hive}, hive_types_autocast = false{named})"


def _literal(path: str) -> str:
    """A path as a pattern that matches this path alone."""
    return re.sub(r"[*?\[]", lambda mark: f"[{mark.group()}]", path)


def _quoted(text: str) -> str:
    return text.replace("'", "''")
