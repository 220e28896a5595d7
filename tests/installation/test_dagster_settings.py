"""Faults of Dagster's settings and database are messages with a next step, and no traceback."""

import sqlite3
from pathlib import Path

import pytest
import typer
from sqlalchemy.exc import OperationalError

from interp_assets.cli.errors import errors_as_messages
from interp_assets.config.base import UserError
from interp_assets.installation.home import Home
from interp_assets.installation.instance import opened_instance
from interp_assets.installation.server import prepare_instance


@pytest.mark.parametrize(
    "content", ["run_retries: {enabled: [\n", "nonsense: 1\n", "[1]\n", "storage: {postgres: {postgres_url: 'x'}, sqlite: {}}\n"]
)
def test_settings_that_do_not_work_are_named_with_their_file(content: str, tmp_path: Path) -> None:
    home = Home(tmp_path, str(tmp_path / "lake"))
    prepare_instance(home)
    opened_instance(home).dispose()
    (home.dagster / "dagster.yaml").write_text(content)
    with pytest.raises(UserError, match=r"dagster\.yaml do not work: .*move it away"):
        opened_instance(home)


@pytest.mark.parametrize(
    ("said", "told"),
    [("database is locked", "held by another program"), ("database or disk is full", "no room left"), ("no such table", "interp doctor")],
)
def test_a_database_that_cannot_answer_is_one_message(said: str, told: str, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(typer.Exit), errors_as_messages():
        raise OperationalError("SELECT 1", {}, sqlite3.OperationalError(said))
    assert told in capsys.readouterr().err
    with pytest.raises(ZeroDivisionError), errors_as_messages():
        raise ZeroDivisionError
