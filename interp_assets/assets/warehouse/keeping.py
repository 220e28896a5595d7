"""Keeps the rows of views: works out those units whose partitions or records have changed, some dictionaries at a time."""

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence

import duckdb

from interp_assets.assets.warehouse.question import Question, State
from interp_assets.assets.warehouse.units import members_of, states_of, tables_of
from interp_assets.assets.warehouse.views import KEPT_BY, UNITS
from resources.store.duckdb_views import add_dictionaries, hide_progress, reading

CHUNK_ROWS = 3_000_000
"""Rows of tables that are read at once, unless one unit has more."""

MEMORY = "2GB"
"""What DuckDB may hold in memory; it sorts on disk beyond."""


def keep_answers(state_now: Callable[[], State]) -> None:
    """Keep the rows of every view that can be kept, of units that have changed. `state_now` looks at the lake: units that change while they
    are worked out are left for the next time."""
    state = state_now()
    assert state.answers is not None
    with tempfile.TemporaryDirectory() as folder, reading(state.lake, duckdb.connect(":memory:")) as connection:
        connection.execute(f"SET memory_limit = '{MEMORY}'; SET temp_directory = '{folder}'")
        hide_progress(connection)
        add_dictionaries(connection, state.records.table, temporary=True)
        for view in KEPT_BY:
            units = members_of(view, state.found, state.records.rows)
            states = states_of(view, units, state.found, state.records.rows)
            present = state.answers.kept(view, states).units
            for chunk in _chunks(view, state, {unit: members for unit, members in units.items() if unit not in present}):
                _keep(view, connection, state, {unit: units[unit] for unit in chunk}, states)
        now = state_now()
        for view in KEPT_BY:
            units = members_of(view, now.found, now.records.rows)
            state.answers.tidy(view, connection, states_of(view, units, now.found, now.records.rows))


def _keep(
    view: str, connection: duckdb.DuckDBPyConnection, state: State, units: Mapping[str, Sequence[str]], states: Mapping[str, str]
) -> None:
    """Keep the rows of some units. A unit about which the view cannot answer is not kept: the question itself shall say why."""
    assert state.answers is not None
    select = Question(state).anew(view, [name for members in units.values() for name in members])
    try:
        state.answers.write(view, connection, select, UNITS[KEPT_BY[view]], {unit: states[unit] for unit in units})
    except duckdb.Error:
        for unit in units if len(units) > 1 else ():
            _keep(view, connection, state, {unit: units[unit]}, states)


def _chunks(view: str, state: State, units: Mapping[str, Sequence[str]]) -> Iterator[list[str]]:
    """The units, so many at a time that about CHUNK_ROWS rows are read."""
    tables = tables_of(view, state.found)
    chunk, rows = [], 0
    for unit, members in units.items():
        more = sum(part.rows for table in tables for name in members for part in state.found[table].by_dictionary.get(name, ()))
        if chunk and rows + more > CHUNK_ROWS:
            yield chunk
            chunk, rows = [], 0
        chunk.append(unit)
        rows += more
    if chunk:
        yield chunk
