"""The platform's warehouse: the tables and dictionaries that the DuckDB file and `interp query` show, and notes on what they cannot
show."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import duckdb
import polars as pl
import pyarrow as pa

from interp_assets.asking.estimates import ESTIMATE, read_estimates
from interp_assets.assets.warehouse.views import answered_by, view_files
from interp_assets.config.registry import DictionaryRegistry
from interp_assets.tables import TABLES, Table
from resources.store.duckdb_views import build_warehouse, named_in, open_warehouse, query_connection, refuse_writing
from resources.store.lake import Lake
from resources.store.lake_index import LakeIndex, TableIndex
from resources.store.narrowing import partition_values
from resources.store.table_copies import Sources, TableCopies

DICTIONARIES = "dictionaries"
"""The table of records, beside the lake's tables."""

DICTIONARIES_SCHEMA = pa.schema(
    [
        pa.field("dictionary", pa.string()),
        pa.field("model", pa.string()),
        pa.field("layer", pa.string()),
        pa.field("name", pa.string()),
        pa.field("kind", pa.string()),
        pa.field("control", pa.string()),
        pa.field("hook", pa.string()),
        pa.field("source", pa.string()),
        pa.field("width", pa.int64()),
        pa.field("n_selected", pa.int64()),
        pa.field("n_tokens", pa.int64()),
        pa.field("series", pa.string()),
        pa.field("step", pa.int64()),
        pa.field("cost_estimates", pa.list_(ESTIMATE)),
    ]
)
NAMED = 3
"""Most partitions of a table that a note names; further partitions are counted."""

FEW_PARTS = 64
"""Number of parts below which DuckDB chooses among them faster than the SQL is read for conditions."""

SLOW_PARTS = 200
"""Number of parts above which a note says how to read them faster."""


@dataclass(frozen=True)
class Answer:
    """Rows, and notes on missing or unverified rows."""

    rows: pa.Table
    notes: list[str]


@dataclass(frozen=True)
class Warehouse:
    """The DuckDB file of one lake and registry, with an index of the lake and copies of small partitions beside it."""

    path: Path
    lake: Lake
    registry: DictionaryRegistry

    @cached_property
    def index(self) -> LakeIndex:
        """An index of the readable partitions of the lake."""
        return LakeIndex(self.lake, self.path.parent / "warehouse" / "index")

    @property
    def copies_folder(self) -> Path:
        """Folder of the copies of small partitions."""
        return self.path.parent / "warehouse" / "copies"

    @cached_property
    def copies(self) -> TableCopies:
        """Copies of small partitions, one copy a table and dictionary."""
        return TableCopies(self.index, self.copies_folder)

    def build(self) -> list[str]:
        """Rebuild the file over the partitions that are complete now, and return the names of its views."""
        found = {table.name: self._look(table) for table in TABLES}
        return build_warehouse(self.path, self.lake, self._schemas, self._sources(found), self._dictionaries(), view_files())

    def copy(self) -> int:
        """Make the copies again for tables whose partitions have changed, and return the number of new copies."""
        made = 0
        for table in TABLES:
            if "dictionary" in table.partition_columns:
                made += self.copies.update(table.name, self._look(table).readable, table.schema)
                self.index.keep(table.name)
        return made

    def open(self) -> duckdb.DuckDBPyConnection:
        """A read-only connection to the file as it was last built."""
        return open_warehouse(self.path, self.lake)

    @property
    def views(self) -> list[str]:
        """Names of the tables and views."""
        return [DICTIONARIES, *self._schemas, *view_files()]

    def described(self) -> dict[str, str]:
        """What every view answers, and what a row of every table is, by name; views first."""
        views = {name: answered_by(file) for name, file in view_files().items()}
        return {**views, DICTIONARIES: "one registered dictionary", **{table.name: table.grain for table in TABLES}}

    def query(self, sql: str, verify: bool = False, unsafe: bool = False) -> Answer:
        """The answer to SQL over the partitions that are complete at this moment. With `verify`, every byte that may be read is checked
        first.

        Without `unsafe` nothing is written, and only files of the lake are read. Raises `duckdb.Error` for SQL that cannot be answered, and
        `RefusedStatement` for SQL that would do more than read.
        """
        if not unsafe:
            refuse_writing(sql)
        try:
            return self._answer(sql, verify, unsafe)
        except duckdb.IOException:
            # A file that was readable at its last look is not: every file is read now, and the answer leaves out what cannot be read.
            if verify:
                raise
            return self._answer(sql, True, unsafe)

    def _answer(self, sql: str, verify: bool, unsafe: bool) -> Answer:
        """The answer of `query`, over one look at the lake."""
        tables, views = named_in(sql, [*self._schemas, DICTIONARIES], files := view_files())
        found = {table.name: self._look(table, verify) for table in TABLES if table.name in tables}
        if verify:
            self.copies.verify(found)
        dictionaries = self._dictionaries() if DICTIONARIES in tables else None  # reading many records takes longer than most questions
        sources: dict[str, Sources] = {}

        def narrowed(connection: duckdb.DuckDBPyConnection) -> dict[str, Sources]:
            sources.update(self._narrowed(connection, sql, found, self._sources(found)))
            return sources

        with query_connection(
            self.lake, self.copies_folder, self._schemas, narrowed, {name: files[name] for name in views}, dictionaries, unsafe
        ) as connection:
            rows = connection.sql(sql)
            answer = rows.to_arrow_table() if rows is not None else pa.table({})
        broken = self.registry.read_all()[1] if dictionaries is not None else {}
        notes = [
            f"dictionaries: {len(broken):,} records cannot be read and are not in this answer: {_named(list(broken.values()))}"
        ] * bool(broken)
        return Answer(
            answer, [*notes, *(note for name in found for note in notes_on(name, found[name], sources[name], self.index, verify))]
        )

    @property
    def _schemas(self) -> dict[str, pa.Schema]:
        return {table.name: table.schema for table in TABLES}

    def _look(self, table: Table, verify: bool = False) -> TableIndex:
        return self.index.look(table.name, len(table.partition_columns), verify)

    def _sources(self, found: Mapping[str, TableIndex]) -> dict[str, Sources]:
        return {name: self.copies.sources(name, index.readable) for name, index in found.items()}

    def _narrowed(
        self, connection: duckdb.DuckDBPyConnection, sql: str, found: Mapping[str, TableIndex], sources: dict[str, Sources]
    ) -> dict[str, Sources]:
        """The sources, of which a question about some partitions of one table reads only the files that can hold its rows."""
        columns = {table.name: table.partition_columns for table in TABLES}
        if len(found) != 1 or sum(len(one.parts) for one in sources.values()) < FEW_PARTS:
            return sources
        asked = partition_values(connection, sql, columns[next(iter(found))])
        if asked is None or asked[0] not in found:
            return sources
        table, values = asked
        parts = [part for part in found[table].readable if all(part.values.get(name) in one for name, one in values.items())]
        wanted = {self.index.path_of(table, part) for part in parts}
        return {table: Sources(sources[table].copies, [path for path in sources[table].parts if path in wanted])}

    def _dictionaries(self) -> pa.Table:
        rows = []
        for key, record in self.registry.read_all()[0].items():
            model, layer, name = key.split("/")
            rows.append(
                {
                    "dictionary": key, "model": model, "layer": layer, "name": name, "kind": record.kind,
                    "control": record.control, "hook": record.hook,
                    "source": record.source, "width": record.width, "n_selected": record.n_selected,
                    "n_tokens": record.token_sample.n_tokens,
                    "series": record.checkpoint and record.checkpoint.series,
                    "step": record.checkpoint and record.checkpoint.step,
                    "cost_estimates": [asdict(one) for one in read_estimates(self.path.parent / "estimates", key)],
                }
            )  # fmt: skip
        # `pa.Table.from_pylist` would import pandas where it is installed.
        return pl.DataFrame(rows, pl.Schema(DICTIONARIES_SCHEMA)).to_arrow().cast(DICTIONARIES_SCHEMA)


def notes_on(table: str, found: TableIndex, sources: Sources, index: LakeIndex, verified: bool) -> Iterable[str]:
    """Notes on the partitions that an answer from a table leaves out, each with a remedy; empty where the table is complete and sound."""
    total = f"{len(found.parts):,} partitions"
    if missing := found.missing:
        problems = [part.problem if part.problem.startswith("/") else f"{index.path_of(table, part)}: {part.problem}" for part in missing]
        yield (
            f"{table}: {len(missing):,} of {total} cannot be read and are not in this answer: {_named(problems)}. "
            f"Materialise the asset that writes {table} there again: interp backfill"
        )
    if unlisted := found.unlisted:
        problems = [f"{index.place(table, folder)}: {reason}" for folder, reason in unlisted.items()]
        yield (
            f"{table}: {len(unlisted):,} folders cannot be looked into, and their partitions are not in this answer: {_named(problems)}. "
            "Give this user permission to read them, or check the disk"
        )
    if unvouched := found.unvouched:
        yield (
            f"{table}: {len(unvouched):,} of {total} are there, but no manifest vouches for them, and are not in this answer: "
            f"{_named([index.path_of(table, part) for part in unvouched])}. They were left by a killed run or withdrawn as damaged; "
            "interp backfill makes them again"
        )
    if (unread := found.unread) and not verified:
        yield f"{table}: {len(unread):,} of {total} were compared with their manifests by size and footer alone; --verify reads them whole"
    if len(sources.parts) > SLOW_PARTS:
        yield (
            f"{table}: {len(sources.parts):,} files are read one by one; the asset warehouse keeps copies that answer faster: "
            "dg launch --assets warehouse"
        )


def _named(items: list[str]) -> str:
    more = f" and {len(items) - NAMED:,} more" if len(items) > NAMED else ""
    return "; ".join(items[:NAMED]) + more
