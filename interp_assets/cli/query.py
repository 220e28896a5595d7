"""`interp query`: a named view or SQL, answered from the lake."""

import re
from typing import TYPE_CHECKING, Annotated

import typer

from interp_assets.cli.errors import fail
from interp_assets.cli.output import OutputFormat, columns_of_terminal, print_frame
from interp_assets.config.nearest import nearest_words
from interp_assets.config.view_names import is_one_word, view_named

if TYPE_CHECKING:
    from interp_assets.installation.home import Home

LISTING = "`interp query views` lists views and tables, each with a line"


def query(
    sql: Annotated[str, typer.Argument(help="a view's name, or SQL in quotes; `views` lists views and tables with a line each")],
    output: Annotated[OutputFormat, typer.Option("--format", help="how to print")] = OutputFormat.table,
    limit: Annotated[int, typer.Option(min=0, help="most rows of a table; 0 for all")] = 40,
    wide: Annotated[bool, typer.Option("--wide", help="print every column, and texts whole, however wide the terminal is")] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="read every file that the answer may come from against its checksums first")
    ] = False,
    unsafe: Annotated[
        bool, typer.Option("--unsafe", help="let the SQL read and write any file, load extensions, and change DuckDB's settings")
    ] = False,
) -> None:
    """Answer a named view or SQL from the complete partitions of the lake; notes name missing rows. Nothing is written."""
    import duckdb

    from interp_assets.installation.home import Home
    from resources.formats.answer_frames import frame_of
    from resources.store.answer_rows import Counted
    from resources.store.duckdb_views import RefusedStatement

    home = Home.from_environment()
    warehouse = home.warehouse
    views = warehouse.views
    if sql == "views":
        _list(warehouse.described())
        return
    view = view_named(sql, views)
    statement = f"SELECT * FROM {view}" if view else sql
    if view is None and is_one_word(sql):
        fail(f"no view is called {sql!r}{_nearest(sql, views)} {LISTING}")
    try:
        most = limit if output is OutputFormat.table and limit > 0 else None
        shortened = view is not None and most is not None
        answer = warehouse.query(f"{statement} LIMIT {limit}" if shortened else statement, verify, unsafe, most)
        total = answer.counted
        if shortened and total.n == limit:
            total = Counted(warehouse.query(f"SELECT count(*) AS n FROM {view}", verify, unsafe).rows["n"][0].as_py())
    except (duckdb.Error, RefusedStatement) as error:
        unknown = re.search(r"Table with name (\S+) does not exist", str(error))
        ours = f"no view is called {unknown[1]!r}{_nearest(unknown[1], views)} " if unknown else ""
        fail(f"{error}\n{ours}{LISTING}")
    print_frame(frame_of(answer.rows), output, limit, wide, total.n, total.is_all)
    for note in [*answer.notes, *_notes_on_emptiness(home, answer.rows.num_rows)]:
        typer.echo(f"note: {note}", err=True)


def _nearest(word: str, views: list[str]) -> str:
    near = nearest_words(word, views)
    return f"; did you mean {' or '.join(map(repr, near))}?" if near else "."


def _list(described: dict[str, str]) -> None:
    """Print each name with the first sentence of its description, on one line of the terminal."""
    longest, columns = max(map(len, described)), columns_of_terminal()
    for name, text in described.items():
        sentence = re.split(r"(?<=[.?!;])\s|:\s", text, maxsplit=1)[0].rstrip(".;")
        line = f"{name:<{longest}}  {sentence}"
        typer.echo(line if columns is None or len(line) <= columns else f"{line[: columns - 1]}…")


def _notes_on_emptiness(home: "Home", n_rows: int) -> list[str]:
    """Where an answer has no rows: what is missing in a home in which nothing is registered, or nothing is made."""
    if n_rows or home.lake.loss is not None:  # which was said when the lake was opened
        return []
    keys = home.registry.keys()
    if not keys:
        return [
            f"no dictionary is registered in the home {home.root} (INTERP_HOME names another one): `interp demo` fills it with small "
            "ones, `interp register` adds your own"
        ]
    if not home.lake.fs.exists(f"{home.lake.root}/explanations"):
        return [
            f"nothing is explained yet in the home {home.root}: interp run {keys[0]} --features firing:10, or interp backfill {keys[0]}"
        ]
    return []
