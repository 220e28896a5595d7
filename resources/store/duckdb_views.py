"""The warehouse: DuckDB views over the complete partitions of the lake, and the questions of SQL files. Never the system of record.

A view reads a list of files, never a pattern, so withdrawn, half-written or missing files are not read. The list is made with the view.
"""

import contextlib
import os
import re
import signal
import tempfile
import threading
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from functools import lru_cache
from pathlib import Path
from threading import Lock
from types import FrameType
from typing import TypeVar

import duckdb
import pyarrow as pa

from resources.store.lake import Lake
from resources.store.later_columns import has_later_columns
from resources.store.narrowing import counted_rows, partition_values
from resources.store.table_copies import Sources

Answer = TypeVar("Answer")

CATALOGUE = re.compile(r"\b(information_schema|duckdb_\w+|pg_\w+|sqlite_master|show|describe)\b", re.IGNORECASE)
"""Matches words of a question about the catalogue, which may concern any view."""

HARDENED: dict[str, str | bool | int | float | list[str]] = {
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "allow_community_extensions": False,
    "allow_persistent_secrets": False,
    "python_enable_replacements": False,
}


TYPES = {
    "string": "VARCHAR", "bool": "BOOLEAN", "int8": "TINYINT", "int16": "SMALLINT", "int32": "INTEGER", "int64": "BIGINT",
    "uint8": "UTINYINT", "uint16": "USMALLINT", "uint32": "UINTEGER", "uint64": "UBIGINT", "halffloat": "FLOAT", "float": "FLOAT",
    "double": "DOUBLE",
}  # fmt: skip
KEPT_CONNECTIONS = 8

PIVOTED = frozenset({"PIVOT", "PIVOT_WIDER", "PIVOT_LONGER", "UNPIVOT", "FROM", "SELECT", "#"})
"""Words by which a question with a pivot begins; # stands for brackets."""


class RefusedStatement(ValueError):
    """SQL that would do more than read the warehouse."""


def named_in(sql: str, tables: Iterable[str], views: Mapping[str, Path], closed: Collection[str] = ()) -> tuple[list[str], list[str]]:
    """(tables, views) that a query may read, in creation order: names that occur in the query, and in the views that it reads.

    `views` has the SQL file of each view. A name in a text or comment counts too: a needless view costs only its making. A question about
    the catalogue counts as naming all views. Of `closed` views, nothing that they read is included.
    """
    tables = list(tables)
    if CATALOGUE.search(sql):
        return tables, list(views)
    words, needed = [_words(sql)], set()
    while words:
        named = words.pop()
        for name in [name for name in (*tables, *views) if name in named and name not in needed]:
            needed.add(name)
            if name in views and name not in closed:
                words.append(words_of(views[name]))
    return [name for name in tables if name in needed], [name for name in views if name in needed]


@lru_cache(maxsize=256)
def words_of(file: Path) -> frozenset[str]:
    """The words of a view's SQL; the file is read once."""
    return _words(file.read_text())


def _words(sql: str) -> frozenset[str]:
    return frozenset(re.findall(r"\w+", sql.lower()))


def build_warehouse(path: Path, lake: Lake, statements: Iterable[str], dictionaries: pa.Table) -> None:
    """Write a fresh warehouse, the table `dictionaries` and what the statements create, to a temporary file, and rename it over `path`.

    Readers of the old file keep the old file until they close it. A lake on an object store is read through its own file system, so that
    DuckDB needs no extension.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=".warehouse-", suffix=".duckdb", dir=path.parent)
    os.close(handle)
    os.unlink(temporary)
    try:
        with reading(lake, duckdb.connect(temporary)) as connection:
            connection.execute("SET threads = 1")
            add_dictionaries(connection, dictionaries, temporary=False)
            for statement in statements:
                connection.execute(statement)
        # What a killed writer of the old file left unwritten is of the old file: no reader could open the new file beside it.
        Path(f"{path}.wal").unlink(missing_ok=True)
        os.replace(temporary, path)
    finally:
        Path(temporary).unlink(missing_ok=True)


def open_warehouse(path: Path, lake: Lake) -> duckdb.DuckDBPyConnection:
    """A read-only connection; any number of readers may be connected."""
    return reading(lake, duckdb.connect(str(path), read_only=True))


def interruptibly(connection: duckdb.DuckDBPyConnection, ask: Callable[[], Answer]) -> Answer:
    """What `ask` returns, which asks the connection. What a signal raises in the main thread ends the question.

    DuckDB drops an exception that a signal raises in the middle of a question, or raises its own error in place of it. So another thread
    asks, while the main thread waits. DuckDB takes SIGINT for itself where Python's own handler is set.
    """
    if threading.current_thread() is not threading.main_thread():
        return ask()
    python_handles = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if python_handles:
        signal.signal(signal.SIGINT, _interrupt)
    try:
        with ThreadPoolExecutor(1) as thread:
            answer = thread.submit(ask)
            try:
                return answer.result()
            except KeyboardInterrupt:
                while not answer.done():  # the thread may not have asked yet
                    connection.interrupt()
                    wait([answer], 0.05)
                raise
    finally:
        if python_handles:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


class QueryDatabase:
    """A database in memory that lasts, for questions: each is asked by a connection with temporary views of its own.

    Without `unsafe` the database reads only files of the lake and of the folders in `places`, loads no extension, and its settings are
    locked. Starting a database takes longer than most questions, and so does making views over many files: a connection is kept for the
    next question that needs the same views.
    """

    def __init__(self, lake: Lake, places: Iterable[Path], unsafe: bool = False) -> None:
        self._instance = reading(lake, duckdb.connect(":memory:", config={} if unsafe else HARDENED))
        # Partitions are replaced in place: no footer and no bytes of a file are kept from one question to the next.
        self._instance.execute("SET parquet_metadata_cache = false; SET enable_external_file_cache = false")
        hide_progress(self._instance)
        if not unsafe:
            allowed = [lake.url, *map(str, places), *_linked_tables(lake)]
            self._instance.execute("SET allowed_directories = ?", [sorted({*allowed, *map(_literal, allowed)})])
            self._instance.execute("SET temp_directory = ''")
            self._instance.execute("SET enable_external_access = false")
            self._instance.execute("SET lock_configuration = true")
        self._idle: dict[Hashable, tuple[duckdb.DuckDBPyConnection, pa.Table | None]] = {}
        self._lock = Lock()

    @contextlib.contextmanager
    def connection(self, statements: Sequence[str], dictionaries: pa.Table | None) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection in which these statements were executed, after the table `dictionaries` was made where one is given. The table must
        be the same object for the same content."""
        views = (*statements, id(dictionaries))
        with self._lock:
            connection, _ = self._idle.pop(views, (None, None))
        if connection is None:
            connection = self._instance.cursor()
            if dictionaries is not None:
                add_dictionaries(connection, dictionaries, temporary=True)
            for statement in statements:
                connection.execute(statement)
        yield connection  # after an error it is dropped, with whatever is wrong with it
        with self._lock:
            self._idle[views] = connection, dictionaries  # the table is held, so that no other table has its id
            while len(self._idle) > KEPT_CONNECTIONS:
                self._idle.pop(next(iter(self._idle)))[0].close()

    def partition_values(self, sql: str, columns: Collection[str]) -> tuple[str, dict[str, set[str]]] | None:
        """See `narrowing`."""
        return partition_values(self._instance.cursor(), sql, columns)

    def counted_rows(self, sql: str, columns: Collection[str]) -> tuple[str, dict[str, set[str]], str] | None:
        """See `narrowing`."""
        return counted_rows(self._instance.cursor(), sql, columns)


def hide_progress(connection: duckdb.DuckDBPyConnection) -> None:
    """Turn off DuckDB's progress bar. In Jupyter without ipywidgets there is none, and DuckDB refuses to turn it off."""
    with contextlib.suppress(duckdb.InvalidInputException):
        connection.execute("SET enable_progress_bar = false")


def _linked_tables(lake: Lake) -> list[str]:
    """The real folders of the lake and of its tables that are links, such as to another disk."""
    if not lake.is_local or not os.path.isdir(lake.root):
        return []
    with os.scandir(lake.root) as entries:
        return [os.path.realpath(lake.root), *(os.path.realpath(entry.path) for entry in entries if entry.is_symlink())]


def link_out_of(lake: Lake, error: duckdb.PermissionException) -> str | None:
    """What to do about a partition that is a link to a place outside of the lake, which a question may not read; None for other errors."""
    named = re.search(r'Cannot access file "(.+?)"', str(error))
    if named is None or not lake.is_local or not os.path.exists(named[1]):
        return None
    real, allowed = os.path.realpath(named[1]), _linked_tables(lake)
    if not os.path.abspath(named[1]).startswith(os.path.abspath(lake.root)) or any(real.startswith(f"{place}/") for place in allowed):
        return None
    return (
        f"{named[1]} is a link to {real}, outside of the lake, and a question reads the lake alone. Make the folder of the whole table a "
        "link, or the lake itself, or read it with --unsafe"
    )


def refuse_writing(sql: str) -> None:
    """Raise `RefusedStatement` for SQL that is not a single question: DuckDB may write files wherever it may read files."""
    if not _is_unicode(sql):
        raise RefusedStatement(f"{sql[:60]!a} holds bytes that are not UTF-8. Write it in UTF-8")
    statements = duckdb.extract_statements(sql)
    if len(statements) != 1:
        raise RefusedStatement(f"there are {len(statements)} statements; give one question at a time")
    kind = statements[0].type
    if kind == duckdb.StatementType.EXPLAIN:
        inner = re.sub(r"^\s*EXPLAIN\s+(ANALYZE\s+)?(\([^)]*\)\s*)?", "", sql, flags=re.IGNORECASE)
        if inner != sql:
            return refuse_writing(inner)
    begins = _first_word(sql) if kind == duckdb.StatementType.MULTI else ""
    if kind != duckdb.StatementType.SELECT and begins not in PIVOTED:
        raise RefusedStatement(
            f"{begins or kind.name} is no question, and `interp query` is read-only. With --unsafe DuckDB does whatever it can"
        )
    return None


def _is_unicode(text: str) -> bool:
    """Whether a text has no halves of characters, which stand for bytes of a command line that are no UTF-8."""
    return not any("\ud800" <= letter <= "\udfff" for letter in text)


def _first_word(sql: str) -> str:
    """The word in capitals by which a statement begins, # for brackets; behind a WITH clause, the word after the clause.

    A pivot in the clause makes a statement of several out of every statement, also out of a DELETE.
    """
    plain = re.sub(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|\$(\w*)\$.*?\$\1\$", " x ", _without_comments(sql), flags=re.DOTALL)
    while (outer := re.sub(r"\([^()]*\)", " # ", plain)) != plain:
        plain = outer
    words = re.findall(r"\w+|[^\w\s]", plain.upper())
    if words[:1] != ["WITH"]:
        return words[0] if words else ""
    after = (word for word, before in zip(words[1:], words, strict=False) if before == "#")
    return next((word for word in after if word not in (",", "AS", "USING")), "")


def _without_comments(sql: str) -> str:
    """The SQL with a blank for each comment that is not within a text or name."""
    text_or_comment = r"('(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|\$(\w*)\$.*?\$\2\$)|--[^\n]*|/\*.*?\*/"
    return re.sub(text_or_comment, lambda found: found[1] or " ", sql, flags=re.DOTALL)


def add_dictionaries(connection: duckdb.DuckDBPyConnection, dictionaries: pa.Table, temporary: bool) -> None:
    """Make the table `dictionaries` of these rows."""
    connection.register("dictionaries_arrow", dictionaries)
    connection.execute(f"CREATE {'TEMP ' * temporary}TABLE dictionaries AS SELECT * FROM dictionaries_arrow")
    connection.unregister("dictionaries_arrow")


def reading(lake: Lake, connection: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyConnection:
    """The connection, with access to the lake's file system where the lake is not on a local disk."""
    if not lake.is_local:
        connection.register_filesystem(lake.fs)
    return connection


def table_select(lake: Lake, schema: pa.Schema, sources: Sources) -> str:
    """SELECT of a table over its sources; typed and empty where there are none. A later column is null in parts that lack it."""
    parts = sources.parts if lake.is_local else list(map(lake.fs.unstrip_protocol, sources.parts))
    later = has_later_columns(schema) and bool(parts)
    reads = [_read(files, by_name) for files, by_name in ((sources.copies, False), (parts, later)) if files]
    if later or not reads:
        columns = ", ".join(f'NULL::{duckdb_type(field.type)} AS "{field.name}"' for field in schema)
        reads.insert(0, f"SELECT {columns} WHERE false")
    return " UNION ALL BY NAME ".join(reads)


def duckdb_type(kind: pa.DataType) -> str:
    """The type that DuckDB gives to a column of a Parquet file."""
    if pa.types.is_dictionary(kind):
        return duckdb_type(kind.value_type)
    if pa.types.is_list(kind):
        return f"{duckdb_type(kind.value_type)}[]"
    if pa.types.is_struct(kind):
        fields = ", ".join(f'"{one.name}" {duckdb_type(one.type)}' for one in kind)
        return f"STRUCT({fields})"
    return TYPES[str(kind)]


def quoted(text: str) -> str:
    """A text as a literal of SQL."""
    return "'" + text.replace("'", "''") + "'"


def file_list(files: Iterable[str]) -> str:
    """Files as a list of SQL, each read under its own name alone."""
    return f"[{', '.join(quoted(_literal(file)) for file in files)}]"


def _read(files: list[str], by_name: bool) -> str:
    """SELECT over files, `by_name` where they may differ in columns: DuckDB then opens every file before it answers.

    The names of their folders give the values of partition columns, by which DuckDB skips files. This is off where a folder above the table
    would be read as such a value.
    """
    folders = files[0].split("/")[:-1]
    while folders and "=" in folders[-1]:
        folders.pop()
    hive = "false" if any("=" in folder for folder in folders) else "true"
    named = ", union_by_name = true" * by_name
    return f"SELECT * FROM read_parquet({file_list(files)}, hive_partitioning = {hive}, hive_types_autocast = false{named})"


def _literal(path: str) -> str:
    """A path as a pattern that matches this path alone."""
    return re.sub(r"[*?\[]", lambda mark: f"[{mark.group()}]", path)
