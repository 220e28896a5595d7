"""The platform's warehouse: the tables and dictionaries that the DuckDB file and `interp query` show, and notes on what they cannot
show."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import duckdb
import pyarrow as pa

from interp_assets.assets.warehouse.keeping import keep_answers
from interp_assets.assets.warehouse.kept_answers import KeptAnswers
from interp_assets.assets.warehouse.question import Question, State
from interp_assets.assets.warehouse.record_rows import RecordRows, RecordTable
from interp_assets.assets.warehouse.units import DICTIONARIES
from interp_assets.assets.warehouse.views import answered_by, view_files
from interp_assets.config.moves import Moves
from interp_assets.config.registry import DictionaryRegistry
from interp_assets.tables import TABLES, Table
from resources.store.answer_rows import Counted, answer_rows
from resources.store.duckdb_views import (
    QueryDatabase,
    build_warehouse,
    interruptibly,
    link_out_of,
    named_in,
    open_warehouse,
    refuse_writing,
)
from resources.store.lake import Lake
from resources.store.lake_index import LakeIndex
from resources.store.table_copies import Sources, TableCopies
from resources.store.table_index import TableIndex

__all__ = ["DICTIONARIES", "Answer", "Warehouse", "notes_on"]

NAMED = 3
"""Most partitions of a table that a note names; further partitions are counted."""

TRIES = 4
"""How often a question is answered whose files change while they are read."""
SLOW_PARTS = 200
"""Number of parts above which a note says how to read them faster."""


@dataclass(frozen=True)
class Answer:
    """Rows, notes on missing or unverified rows, and the number of rows with those that were not asked for."""

    rows: pa.Table
    notes: list[str]
    counted: Counted


@dataclass(frozen=True)
class Warehouse:
    """The DuckDB file of one lake and registry, with an index of the lake and copies of small partitions beside it."""

    path: Path
    lake: Lake
    registry: DictionaryRegistry
    moves: Moves | None = None

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

    @cached_property
    def answers(self) -> KeptAnswers:
        """Kept rows of views."""
        return KeptAnswers(self.lake.url, self.path.parent / "warehouse" / "answers")

    @cached_property
    def _records(self) -> RecordTable:
        return RecordTable(self.registry, self.path.parent / "estimates")

    @cached_property
    def _database(self) -> QueryDatabase:
        return QueryDatabase(self.lake, [self.copies_folder, self.answers.folder])

    def build(self) -> list[str]:
        """Rebuild the file over the partitions that are complete now, and return the names of its views."""
        state = self._state([table.name for table in TABLES], self._records.read())
        question = Question(state)
        build_warehouse(self.path, self.lake, question.statements(temporary=False), state.records.table)
        return [name for name in self.views if name != DICTIONARIES]

    def copy(self) -> int:
        """Make the copies again for tables whose partitions have changed, and the kept rows of views over them; return the number of new
        copies."""
        made = 0
        for table in TABLES:
            if "dictionary" in table.partition_columns:
                made += self.copies.update(table.name, self.look(table), table.schema)
                self.index.keep(table.name)
        keep_answers(lambda: self._state([table.name for table in TABLES], self._records.read()))
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

    def query(self, sql: str, verify: bool = False, unsafe: bool = False, most: int | None = None) -> Answer:
        """The answer to SQL over the partitions that are complete at this moment. With `verify`, every byte that may be read is checked
        first. With `most` the answer has its first rows alone, at most so many.

        Without `unsafe` nothing is written, and only files of the lake are read. Raises `duckdb.Error` for SQL that cannot be answered, and
        `RefusedStatement` for SQL that would do more than read.
        """
        if not unsafe:
            refuse_writing(sql)
        for left in reversed(range(TRIES)):
            try:
                return self._answer(sql, verify or left < TRIES - 1, unsafe, most)
            except duckdb.PermissionException as error:
                if (linked := link_out_of(self.lake, error)) is None:
                    raise
                raise duckdb.PermissionException(linked) from None
            except duckdb.Error as error:
                # A file that was readable at its last look is not, or it was replaced while it was read, for which DuckDB has no kind of
                # error: every file is looked at again and read whole, and the answer leaves out what cannot be read.
                if not left or not (isinstance(error, duckdb.IOException) or type(error) is duckdb.Error):
                    raise
        raise AssertionError(TRIES)

    def _answer(self, sql: str, verify: bool, unsafe: bool, most: int | None) -> Answer:
        """The answer of `query`, over one look at the lake."""
        tables, _ = named_in(sql, [*self._schemas, DICTIONARIES], view_files())
        # Reading many records takes longer than most questions.
        state = self._state(tables, self._records.read() if DICTIONARIES in tables else None, verify)
        database = QueryDatabase(self.lake, [], unsafe=True) if unsafe else self._database
        question = Question.of(sql, state, database)
        rows, counted = question.counted(database), Counted(1)
        if rows is None:
            with database.connection(question.statements(), state.records.table if DICTIONARIES in tables else None) as connection:
                rows, counted = interruptibly(connection, partial(answer_rows, connection, sql, most))
        notes = []
        if broken := state.records.broken:
            notes.append(
                f"dictionaries: {len(broken):,} records cannot be read and are not in this answer: {_named(list(broken.values()))}"
            )
        for name, found in state.found.items():
            notes += notes_on(name, found, question.sources.get(name, Sources([], [])), self.index, verify)
        return Answer(rows, notes, counted)

    def _state(self, tables: Iterable[str], records: RecordRows | None, verify: bool = False) -> State:
        """What these tables hold at this moment."""
        read = [table for table in TABLES if table.name in tables]
        found, hidden = dict[str, TableIndex](), None
        while hidden != (now := self._hidden()):  # otherwise a dictionary came or went between two looks
            hidden = now
            found = {table.name: self._look(table, verify).without(hidden) for table in read}
        if verify:
            self.copies.verify(found)
        return State(self.lake, found, records or RecordRows({}, pa.table({}), {}), self.copies, None if verify else self.answers)

    @property
    def _schemas(self) -> dict[str, pa.Schema]:
        return {table.name: table.schema for table in TABLES}

    def look(self, table: Table) -> TableIndex:
        """The table's partitions as they are now, without dictionaries that are being renamed or removed."""
        return self._look(table).without(self._hidden())

    def _look(self, table: Table, verify: bool = False) -> TableIndex:
        return self.index.look(table.name, len(table.partition_columns), verify)

    def _hidden(self) -> dict[str, str]:
        return {} if self.moves is None else self.moves.hidden()


def notes_on(table: str, found: TableIndex, sources: Sources, index: LakeIndex, verified: bool) -> Iterable[str]:
    """Notes on the partitions that an answer from a table leaves out, each with a remedy; empty where the table is complete and sound."""
    if found.lost:
        yield (
            f"{table}: the lake {index.lake.root} holds nothing, and held {found.lost:,} partitions of {table} at the last look: mount its "
            "disk, or correct INTERP_LAKE. If it was removed on purpose, interp backfill makes it anew"
        )
    total = f"{found.n_parts:,} partitions"
    if missing := found.missing:
        problems = [part.problem if part.problem.startswith("/") else f"{index.path_of(table, part)}: {part.problem}" for part in missing]
        yield (
            f"{table}: {len(missing):,} of {total} cannot be read and are not in this answer: {_named(problems)}. "
            f"Materialise the asset that writes {table} there again: interp backfill"
        )
    for reason in found.hidden.values():
        yield f"{table}: {reason}"
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
    if (unread := found.n_unread) and not verified:
        yield f"{table}: {unread:,} of {total} were compared with their manifests by size and footer alone; --verify reads them whole"
    if len(sources.parts) > SLOW_PARTS:
        yield (
            f"{table}: {len(sources.parts):,} files are read one by one; the asset warehouse keeps copies that answer faster: "
            "dg launch --assets warehouse"
        )


def _named(items: list[str]) -> str:
    more = f" and {len(items) - NAMED:,} more" if len(items) > NAMED else ""
    return "; ".join(items[:NAMED]) + more
