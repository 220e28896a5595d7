"""One Dagster a home: claimed by one process, used by others, free again when its process dies; and files that Dagster cannot use."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from interp_assets.installation import one_dagster
from interp_assets.installation.dagster_files import damaged_databases, unusable_home
from interp_assets.installation.home import Home
from interp_assets.installation.one_dagster import AlreadyClaimed, Claim, claim_on, claimed, using, wait_for_users
from interp_assets.installation.server import ServerError, running_server

HOLDER = """
import sys, time
from pathlib import Path
from interp_assets.installation.one_dagster import claimed, using
with {"claimed": lambda: claimed(Path(sys.argv[1]), "http://127.0.0.1:1"), "using": lambda: using(Path(sys.argv[1]))}[sys.argv[2]]():
    print("held", flush=True)
    time.sleep(600)
"""


def holder(folder: Path, what: str) -> subprocess.Popen[str]:
    """A process that holds a claim or uses a Dagster."""
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(folder), what], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    return process


def test_a_claim_is_one_processes_and_ends_with_it_however_it_ends(tmp_path: Path) -> None:
    assert claim_on(tmp_path) is None
    other = holder(tmp_path, "claimed")
    assert claim_on(tmp_path) == Claim("http://127.0.0.1:1", other.pid)
    with (
        pytest.raises(AlreadyClaimed, match=f"http://127.0.0.1:1, started by process {other.pid}"),
        claimed(tmp_path, "http://127.0.0.1:2"),
    ):
        pass
    other.send_signal(signal.SIGKILL)
    other.wait()
    assert (tmp_path / one_dagster.ADDRESS).exists()  # the stale file is in nobody's way
    assert claim_on(tmp_path) is None
    with claimed(tmp_path, "http://127.0.0.1:2"):
        assert claim_on(tmp_path) == Claim("http://127.0.0.1:2", os.getpid())
    assert claim_on(tmp_path) is None


@pytest.mark.parametrize("content", ["", "{", "[]", '{"url": 1}', "\xff"])
def test_a_damaged_address_is_not_told(tmp_path: Path, content: str) -> None:
    with claimed(tmp_path, "http://127.0.0.1:2"):
        (tmp_path / one_dagster.ADDRESS).write_text(content, encoding="latin-1")
        assert claim_on(tmp_path) == Claim("", 0)


def test_a_dagster_outlives_its_users(tmp_path: Path) -> None:
    said: list[str] = []
    wait_for_users(tmp_path, said.append)
    assert said == []
    user = holder(tmp_path, "using")
    started = time.monotonic()
    killer = subprocess.Popen([sys.executable, "-c", f"import os, time; time.sleep(0.5); os.kill({user.pid}, 9)"])
    wait_for_users(tmp_path, said.append, pause=0.05)
    assert time.monotonic() - started > 0.3 and len(said) == 1 and "another command" in said[0]
    killer.wait()
    user.wait()
    with using(tmp_path), using(tmp_path):  # several at once
        pass


def test_a_second_command_does_not_start_a_second_dagster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("interp_assets.installation.server.START_SECONDS", 2)
    monkeypatch.setattr("interp_assets.installation.server.SLOW_SECONDS", 0.1)
    home = Home(tmp_path, str(tmp_path / "lake"))
    other = holder(home.dagster, "claimed")
    try:
        said: list[str] = []
        silent = rf"does not answer at http://127.0.0.1:1 \(process {other.pid}\); end that command"
        with pytest.raises(ServerError, match=silent), running_server(home, say=said.append):
            pass
        assert "it is used" in said[0] and [line for line in said if "Waiting for up to 2 s" in line] == said[1:2]
    finally:
        other.kill()
        other.wait()


def database(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE t (a)")
        connection.executemany("INSERT INTO t VALUES (?)", [("x" * 500,) for _ in range(100)])
    return path


@pytest.mark.parametrize("damage", ["header", "page", "cut"])
def test_a_damaged_database_is_named_with_the_cure(tmp_path: Path, damage: str) -> None:
    path = database(tmp_path / "history" / "runs.db")
    database(tmp_path / "schedules" / "schedules.db")
    assert damaged_databases(tmp_path) == {} and unusable_home(tmp_path) is None
    content = bytearray(path.read_bytes())
    if damage == "header":
        content[:16] = b"not a database.."
    elif damage == "page":
        content[8192:12288] = b"\xff" * 4096
    else:
        del content[len(content) // 2 :]
    path.write_bytes(content)
    assert list(damaged_databases(tmp_path)) == [path]
    why = unusable_home(tmp_path) or ""
    assert str(path) in why and f"Move {tmp_path} away" in why and "Results are not in it" in why


def test_a_database_in_use_is_not_damaged(tmp_path: Path) -> None:
    path = database(tmp_path / "runs.db")
    with sqlite3.connect(path) as connection:
        connection.execute("INSERT INTO t VALUES (1)")
        assert damaged_databases(tmp_path) == {}


def test_a_home_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "cannot be written" in (unusable_home(tmp_path / "file" / "dagster") or "")
