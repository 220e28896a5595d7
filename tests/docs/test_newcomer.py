"""A newcomer finds the one file or folder of every table, command and view: the rules of "Where is it?" in docs/architecture.md."""

import ast
import re
from pathlib import Path
from typing import Any

import pytest
import typer
from documentation import ROOT, page, rows_behind

from interp_assets.assets.warehouse.views import view_files
from interp_assets.cli.main import app
from interp_assets.tables import TABLES, Table

PACKAGE = ROOT / "interp_assets"


def commands(group: Any, before: tuple[str, ...] = ()) -> list[str]:
    """The commands of the command line, as they are typed."""
    below = getattr(group, "commands", None)
    if below is None:
        return [" ".join(before)]
    return [name for word, command in below.items() for name in commands(command, (*before, word))]


def places_of_commands() -> dict[str, list[Path]]:
    """Where the page says that a command's work is done."""
    places: dict[str, list[Path]] = {}
    for command, place in rows_behind(page("architecture"), "commands"):
        shown, target = place.strip("[]()").split("](")
        path = (ROOT / "docs" / target).resolve()
        assert str(path.relative_to(ROOT)).removeprefix("interp_assets/") == shown.strip("`").rstrip("/")
        places.setdefault(command.strip("`"), []).append(path)
    return places


def places_of(table: Table) -> list[Path]:
    """The files that make a table."""
    writers = table.written_by.split(", ")
    if len(writers) > 1:
        return [PACKAGE / "asking" / f"{table.name}.py"]
    if writers[0].startswith("interp "):
        return places_of_commands()[writers[0].removeprefix("interp ")]
    return [PACKAGE / "assets" / writers[0].partition("/")[0] / "asset.py"]


def imported(file: Path) -> list[Path]:
    """The modules of the platform that a file imports, declarations of tables aside."""
    nodes = [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.ImportFrom) and node.module]
    paths = [ROOT / f"{str(node.module).replace('.', '/')}.py" for node in nodes]
    return [path for path in paths if path.exists() and path.parent.name != "tables"]


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_a_table_is_made_in_one_file(table: Table) -> None:
    places = places_of(table)
    assert len(places) == 1 and places[0].is_file(), places
    folder = sorted(places[0].parent.glob("*.py")) if places[0].name == "asset.py" else places
    written_with = [*folder, *(path for file in folder for path in imported(file))]
    named = [path for path in written_with if re.search(rf"\b{table.name.upper()}\b", path.read_text())]
    assert named, f"{places[0]} and what it imports know nothing of {table.name}"


@pytest.mark.parametrize("command", commands(typer.main.get_command(app)))
def test_a_command_has_one_place(command: str) -> None:
    places = places_of_commands().get(command, [])
    assert len(places) == 1 and places[0].exists(), places


def test_the_page_names_no_command_that_is_not_there() -> None:
    assert sorted(places_of_commands()) == sorted(commands(typer.main.get_command(app)))


@pytest.mark.parametrize("view", view_files())
def test_a_view_has_one_file(view: str) -> None:
    assert len([path for path in (PACKAGE / "assets" / "warehouse" / "sql").rglob("*.sql") if path.stem.partition("_")[2] == view]) == 1
