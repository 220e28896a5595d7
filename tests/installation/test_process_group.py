"""A started program, and all that it has started, ends with the block: at its end, at an error, and at a signal."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from interp_assets.installation.interrupts import Interrupted
from interp_assets.installation.process_group import started_group

PROGRAM = """
import os, signal, subprocess, sys, time
below = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
if "stubborn" in sys.argv:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
print(os.getpid(), below.pid, flush=True)
try:
    time.sleep(600)
except KeyboardInterrupt:
    sys.exit(0)
"""
COMMAND = """
import os, signal, sys, time
from interp_assets.installation.interrupts import Interrupted
from interp_assets.installation.process_group import started_group
program, log, ignored, *arguments = sys.argv[1:]
if ignored:
    signal.signal(int(ignored), signal.SIG_IGN)
try:
    with started_group([sys.executable, "-c", program, *arguments], os.environ, open(log, "wb"), end_seconds=30):
        time.sleep(600)
except Interrupted as interrupted:
    sys.exit(interrupted.exit_status)
"""


def eventually(holds: Callable[[], bool], seconds: float = 15) -> None:
    """Fails unless it holds before the time is over."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it does not come to hold"
        time.sleep(0.02)


def lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def started(log: Path) -> list[int]:
    """Process ids of the program and of the process below it, as soon as both run."""
    eventually(lambda: log.exists() and log.read_text().endswith("\n"))
    return [int(pid) for pid in log.read_text().split()]


def command(log: Path, ignored: int | None = None, *arguments: str) -> subprocess.Popen[bytes]:
    """A command that starts the program and waits, with one signal ignored as nohup does."""
    return subprocess.Popen([sys.executable, "-c", COMMAND, PROGRAM, str(log), "" if ignored is None else str(int(ignored)), *arguments])


def test_all_has_ended_after_the_block_and_after_an_error_in_it(tmp_path: Path) -> None:
    for error in (None, ValueError):
        log = tmp_path / f"{error}"
        try:
            with log.open("wb") as output, started_group([sys.executable, "-c", PROGRAM], os.environ, output):
                pids = started(log)
                assert all(lives(pid) for pid in pids)
                if error:
                    raise error
        except ValueError:
            pass
        assert not any(lives(pid) for pid in pids)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_all_and_the_status_says_which(tmp_path: Path, number: signal.Signals) -> None:
    process = command(tmp_path / "log")
    pids = started(tmp_path / "log")
    process.send_signal(number)
    assert process.wait(20) == 128 + number
    assert not any(lives(pid) for pid in pids)


def test_what_ends_at_no_interrupt_is_killed(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("wb") as output, started_group([sys.executable, "-c", PROGRAM, "stubborn"], os.environ, output, end_seconds=0.5):
        pids = started(log)
    assert not any(lives(pid) for pid in pids)


def test_a_second_signal_does_not_wait(tmp_path: Path) -> None:
    process = command(tmp_path / "log", None, "stubborn")
    pids = started(tmp_path / "log")
    process.send_signal(signal.SIGTERM)
    eventually(lambda: not lives(pids[1]))  # the interrupt has been passed on
    time.sleep(0.2)
    assert process.poll() is None and lives(pids[0])
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 128 + signal.SIGTERM
    assert not lives(pids[0])


def test_an_ignored_signal_stays_ignored_and_the_program_hears_interrupts_all_the_same(tmp_path: Path) -> None:
    for ignored in (signal.SIGHUP, signal.SIGINT):
        log = tmp_path / ignored.name
        process = command(log, ignored)
        pids = started(log)
        process.send_signal(ignored)
        time.sleep(0.3)
        assert process.poll() is None and all(lives(pid) for pid in pids)
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 128 + signal.SIGTERM
        assert not any(lives(pid) for pid in pids)


def test_a_signal_while_the_program_starts_is_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal before `Popen` has returned is raised as soon as there is something to end."""
    begun, popen = [], subprocess.Popen

    def start(*arguments: Any, **options: Any) -> subprocess.Popen[bytes]:
        process = popen(*arguments, **options)
        begun.append(process)
        os.kill(os.getpid(), signal.SIGTERM)
        return process

    monkeypatch.setattr("interp_assets.installation.process_group.subprocess.Popen", start)
    with pytest.raises(Interrupted, match="SIGTERM"), started_group([sys.executable, "-c", PROGRAM], os.environ, None):
        raise AssertionError("the block ran")
    assert begun[0].poll() is not None


def test_all_ends_where_the_command_itself_is_killed(tmp_path: Path) -> None:
    for stubborn in ((), ("stubborn",)):
        log = tmp_path / f"log{len(stubborn)}"
        process = subprocess.Popen(
            [sys.executable, "-c", COMMAND.replace("end_seconds=30", "end_seconds=1"), PROGRAM, str(log), "", *stubborn]
        )
        pids = started(log)
        process.kill()
        process.wait()
        eventually(lambda: not any(lives(pid) for pid in pids))  # noqa: B023


def test_the_programs_own_end_and_status_are_seen(tmp_path: Path) -> None:
    with started_group([sys.executable, "-c", "import sys; sys.exit(7)"], os.environ) as process:
        assert process.wait(20) == 7
    with started_group([sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"], os.environ) as process:
        assert process.wait(20) == 128 + signal.SIGKILL
