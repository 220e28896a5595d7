"""Faults of Dagster's settings and database are messages with a next step, and no traceback."""

import errno
import os
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import duckdb
import pytest
import typer
from sqlalchemy.exc import OperationalError

from interp_assets.cli.errors import errors_as_messages
from interp_assets.config.base import UserError
from interp_assets.installation.dagster_files import ROOM
from interp_assets.installation.dagster_findings import dagster_findings
from interp_assets.installation.home import Home
from interp_assets.installation.instance import opened_instance
from interp_assets.installation.server import prepare_instance
from interp_assets.installation.unfinished_runs import home_instance


@pytest.mark.parametrize(
    "content", ["run_retries: {enabled: [\n", "nonsense: 1\n", "[1]\n", "storage: {postgres: {postgres_url: 'x'}, sqlite: {}}\n"]
)
def test_settings_that_do_not_work_are_named_with_their_file(content: str, tmp_path: Path) -> None:
    home = Home(tmp_path, str(tmp_path / "lake"))
    home.dagster.mkdir()
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


def marked(home: Home) -> list[tuple[str, str]]:
    return list(dagster_findings(home))


def test_the_doctor_asks_dagsters_storage_and_writes_nothing_before_there_is_one(tmp_path: Path) -> None:
    home = Home(tmp_path, str(tmp_path / "lake"))
    assert marked(home)[0][0] == "ok" and not home.dagster.exists()
    home.dagster.mkdir()
    assert "the next command" in marked(home)[0][1]
    (home.dagster / "dagster.yaml").write_text("run_retries: {enabled: true}\n")
    assert marked(home) == [("ok", f"{home.dagster / 'dagster.yaml'}: no runs yet")] and len(list(home.dagster.iterdir())) == 1
    (home.dagster / "dagster.yaml").unlink()
    prepare_instance(home)
    ((mark, told),) = marked(home)
    assert mark == "ok" and "0 runs; SqliteRunStorage, WatchedRunLauncher, QueuedRunCoordinator" in told


BROKEN = {
    "damaged YAML": ("run_retries: {enabled: [\n", "dagster.yaml do not work: "),
    "an unknown key": ("nonsense: 1\n", 'unexpected config entry "nonsense"'),
    "a class that is not there": ("run_launcher: {module: resources.run_launcher, class: Nope}\n", "Nope"),
    "a storage that is not there": (
        "storage: {postgres: {postgres_url: 'postgresql://nobody@127.0.0.1:9/none'}}\n", "dagster.yaml do not work: "
    ),
    "a folder that cannot be made": ("storage: {sqlite: {base_dir: /proc/nowhere}}\n", "/proc/nowhere"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_the_doctor_names_settings_that_do_not_work(name: str, tmp_path: Path) -> None:
    content, told = BROKEN[name]
    home = Home(tmp_path, str(tmp_path / "lake"))
    home.dagster.mkdir()
    (home.dagster / "dagster.yaml").write_text(content)
    ((mark, text),) = marked(home)
    assert mark == "FAIL" and told in text, text


def test_the_doctor_does_not_wait_for_a_storage_that_never_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("interp_assets.installation.dagster_findings.ANSWER_SECONDS", 0.05)
    monkeypatch.setattr("interp_assets.installation.dagster_findings._answer", lambda home: time.sleep(1))
    (tmp_path / "dagster").mkdir()
    (tmp_path / "dagster" / "dagster.yaml").write_text("")
    ((mark, text),) = marked(Home(tmp_path, str(tmp_path / "lake")))
    assert mark == "FAIL" and "does not answer within 0.05 s" in text


def test_the_doctor_names_a_damaged_database_and_another_owner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = Home(tmp_path, str(tmp_path / "lake"))
    home.dagster.mkdir()
    (home.dagster / "runs.db").write_bytes(b"no database" * 100)
    ((mark, text),) = marked(home)
    assert mark == "FAIL" and f"{home.dagster / 'runs.db'} is damaged" in text
    (home.dagster / "runs.db").unlink()
    (home.dagster / "dagster.yaml").write_text("")
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).suffix != ".yaml")
    ((mark, text),) = marked(home)
    assert mark == "FAIL" and "dagster.yaml belongs to" in text and "change its owner or mode" in text


def test_a_full_disk_is_no_fault_of_the_settings_and_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = Home(tmp_path, str(tmp_path / "lake"))
    home.dagster.mkdir()
    (home.dagster / "dagster.yaml").write_text("")

    def full(folder: str) -> None:
        raise OperationalError("CREATE TABLE runs", {}, sqlite3.OperationalError(said))

    monkeypatch.setattr("dagster.DagsterInstance.from_config", full)
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=4096))
    for said in ("database or disk is full", "disk I/O error"):
        with pytest.raises(UserError, match=rf"no room left for Dagster's database in {home.dagster} \({said}\): make room there"):
            opened_instance(home)
    monkeypatch.setattr("interp_assets.installation.dagster_findings.unwritable", lambda folder: os.strerror(errno.ENOSPC))
    (home.dagster / "runs.db").write_bytes(b"no database" * 100)
    assert marked(home) == [("FAIL", f"{home.dagster} cannot be written: No space left on device. {ROOM}")]


def test_duckdb_on_a_full_disk_is_one_message(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(typer.Exit), errors_as_messages():
        raise duckdb.IOException('IO Error: Could not write file "/home/w.duckdb": No space left on device\nand more')
    assert capsys.readouterr().err == f'error: IO Error: Could not write file "/home/w.duckdb": No space left on device; {ROOM}\n'


LIMITED = """
import resource, signal, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)
from interp_assets.cli import main
sys.argv = ["interp", *sys.argv[2:]]
main.main()
"""


@pytest.mark.parametrize("limit", [1_024, 40_960, 200_000])
def test_a_limit_on_files_is_named_and_is_no_damage(tmp_path: Path, limit: int) -> None:
    """Dagster's databases cannot grow under `ulimit -f 1`: they are neither damaged nor to be moved away."""
    home = Home(tmp_path / "home", str(tmp_path / "home" / "lake"))
    home.registry.write(home.registry.parse("{key: m/00/n, hook: h, kind: topk_neurons, k: 4, width: 64}", "mine"))
    with home_instance(home):
        pass
    command = [sys.executable, "-c", LIMITED, str(limit), "forget", "m/00/n", "--yes"]
    told = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "INTERP_HOME": str(home.root)}, check=False)
    assert told.returncode == 1 and "Traceback" not in told.stderr and "damaged" not in told.stderr, told.stderr
    assert f"a file may have at most {limit:,} bytes here: raise the limit (`ulimit -f unlimited`)" in told.stderr


def test_duckdb_under_a_limit_on_files_is_one_message(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(typer.Exit), errors_as_messages():
        raise duckdb.IOException('IO Error: Could not write file "/home/w.duckdb": File too large')
    assert "this disk takes no file so large" in capsys.readouterr().err
    with pytest.raises(typer.Exit), errors_as_messages():
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT), "/home/x")
    assert "/home/x: Disk quota exceeded; this user's share of the disk is used up: make room" in capsys.readouterr().err
