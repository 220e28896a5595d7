"""A question and the files that answer it: tables over copies and parts, and views over kept rows, with the rest worked out anew.

SELECT * FROM leaderboard     kept rows of 60 dictionaries, and the view's SQL over the files of one that has changed since
"""

import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import pyarrow as pa

from interp_assets.assets.warehouse.kept_answers import Kept, KeptAnswers
from interp_assets.assets.warehouse.record_rows import RecordRows
from interp_assets.assets.warehouse.units import DICTIONARIES, members_of, states_of
from interp_assets.assets.warehouse.views import KEPT_BY, order_of, view_files, view_sql
from interp_assets.tables import TABLES
from resources.store.duckdb_views import QueryDatabase, named_in, table_select
from resources.store.lake import Lake
from resources.store.table_copies import Sources, TableCopies
from resources.store.table_index import Part, TableIndex

TABLE = {table.name: table for table in TABLES}
FEW_PARTS = 64
"""Number of partitions below which DuckDB chooses among them faster than the SQL is read for conditions."""

Values = Mapping[str, Collection[str]]
"""Values of partition columns, by column: only rows of such partitions are asked for."""


@dataclass(frozen=True)
class State:
    """What the tables of a question hold at one moment. `answers` is None where all is to be worked out anew."""

    lake: Lake
    found: Mapping[str, TableIndex]
    records: RecordRows
    copies: TableCopies
    answers: KeptAnswers | None

    def parts(self, table: str, values: Values) -> list[Part]:
        """The readable partitions of a table that have these values."""
        index = self.found[table]
        if "dictionary" in values:
            parts = [part for name in values["dictionary"] for part in index.by_dictionary.get(name, ())]
        else:
            parts = index.readable
        return [part for part in parts if all(part.values.get(name) in wanted for name, wanted in values.items())]

    def n_rows(self, table: str, values: Values) -> int:
        """Rows of the partitions of a table that have these values, by their manifests."""
        return sum(part.rows for part in self.parts(table, values)) if values else self.found[table].rows


@dataclass
class Question:
    """SQL over the tables and views that it names; without SQL, over all of them. The answer comes from the partitions that have the values
    in `asked` alone, which are conditions on the one table or view that the SQL names. `sources` has the files that were named for each
    table."""

    state: State
    sql: str | None = None
    asked: Values = field(default_factory=dict)
    sources: dict[str, Sources] = field(default_factory=dict)

    @classmethod
    def of(cls, sql: str, state: State, database: QueryDatabase) -> "Question":
        """The question of SQL, with the conditions that the SQL puts on partitions."""
        question = cls(state, sql)
        if sum(index.n_parts for index in state.found.values()) >= FEW_PARTS and (name := question._only_name):
            found = database.partition_values(sql, _columns(name))
            if found is not None and found[0] == name:
                question.asked = found[1]
        return question

    def counted(self, database: QueryDatabase) -> pa.Table | None:
        """The answer to SQL that counts the rows of a table, out of the manifests; None for other SQL."""
        name = self._only_name
        if self.sql is None or name not in TABLE or "count" not in self.sql.lower():
            return None
        found = database.counted_rows(self.sql, _columns(name))
        if found is None or found[0] != name:
            return None
        # Made of its bytes: `pa.array` and `pa.scalar` import pandas where it is installed, which takes half a second.
        number = pa.py_buffer(self.state.n_rows(name, found[1]).to_bytes(8, sys.byteorder, signed=True))
        return pa.Table.from_arrays([pa.Array.from_buffers(pa.int64(), 1, [None, number])], names=[found[2]])

    def statements(self, temporary: bool = True) -> list[str]:
        """SQL that makes the tables and views of the question, but for the table of records."""
        create = "CREATE TEMP VIEW" if temporary else "CREATE VIEW"
        tables, views = self._named(self._kept)
        made = [f"{create} {name} AS {self._table(name, self._dictionaries)}" for name in tables if name in TABLE]
        for name in views:
            made.append(f"{create} {name} AS {self._over_kept(name) if name in self._kept else view_sql(view_files()[name])}")
        return made

    @cached_property
    def _only_name(self) -> str:
        """The one table or view that the SQL names; "" where there are none or several."""
        tables, views = self._named(view_files())
        return [*tables, *views][0] if len(tables) + len(views) == 1 else ""

    def _named(self, closed: Collection[str]) -> tuple[list[str], list[str]]:
        """(tables, views) that are to be made, without what only `closed` views read."""
        if self.sql is None:
            return [*TABLE, DICTIONARIES], list(view_files())
        return named_in(self.sql, [*TABLE, DICTIONARIES], view_files(), closed)

    @cached_property
    def _units(self) -> dict[str, dict[str, list[str]]]:
        """The dictionaries of each unit that is asked for, by view: of all views that the question reads and whose rows can be kept."""
        units = {}
        for view in self._named(())[1]:
            if view in KEPT_BY:
                units[view] = members_of(view, self.state.found, self.state.records.rows)
                if view == self._only_name and "dictionary" in self.asked:
                    wanted = set(self.asked["dictionary"])
                    units[view] = {unit: members for unit, members in units[view].items() if wanted.intersection(members)}
        return units

    @cached_property
    def _kept(self) -> dict[str, Kept]:
        """The rows that are kept in their present state, by view; only views of which there are any."""
        kept: dict[str, Kept] = {}
        if self.state.answers is not None:
            for view, members in self._units.items():
                states = states_of(view, members, self.state.found, self.state.records.rows)
                if (one := self.state.answers.kept(view, states)).files:
                    kept[view] = one
        return kept

    @property
    def _dictionaries(self) -> set[str] | None:
        """The dictionaries whose partitions are read; None for all."""
        if "dictionary" not in self.asked:
            return None
        if (name := self._only_name) in TABLE:
            return set(self.asked["dictionary"])
        return {member for members in self._units[name].values() for member in members}

    def _over_kept(self, view: str) -> str:
        """SELECT of a view over its kept rows; rows of units that have changed since are worked out anew."""
        kept = self._kept[view]
        select = kept.select()
        if changed := [name for unit, members in self._units[view].items() if unit not in kept.units for name in members]:
            select += f" UNION ALL BY NAME SELECT * FROM ({self.anew(view, set(changed))})"
        return f"SELECT * FROM ({select}) ORDER BY {order_of(view_files()[view])}"

    def anew(self, view: str, dictionaries: Collection[str]) -> str:
        """SELECT of a view over the files of these dictionaries alone."""
        files = view_files()
        tables, views = named_in(f"FROM {view}", TABLE, files)
        named = [f"{name} AS NOT MATERIALIZED ({self._table(name, dictionaries)})" for name in tables]
        named += [f"{name} AS ({view_sql(files[name])})" for name in views if name != view]
        return f"WITH {', '.join(named)} SELECT * FROM ({view_sql(files[view])})"

    def _table(self, table: str, dictionaries: Collection[str] | None) -> str:
        """SELECT of a table, over the files of these dictionaries alone where they are given."""
        index = self.state.found[table]
        sources = self.state.copies.sources(table, index, TABLE[table].schema, dictionaries)
        if self.asked and table == self._only_name and sources.parts:
            wanted = {self.state.copies.path_of(table, part) for part in self.state.parts(table, self.asked)}
            sources = Sources(sources.copies, [path for path in sources.parts if path in wanted])
        if len(sources.parts) >= len(self.sources.get(table, sources).parts):
            self.sources[table] = sources
        return table_select(self.state.lake, TABLE[table].schema, sources)


def _columns(name: str) -> tuple[str, ...]:
    """Columns of a table or view whose values choose partitions."""
    if name in TABLE:
        return TABLE[name].partition_columns
    return ("dictionary",) if KEPT_BY.get(name) in ("dictionary", "layer", "series") else ()
