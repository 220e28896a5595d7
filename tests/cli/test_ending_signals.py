"""Every command ends at SIGTERM and SIGHUP as at Ctrl-C: with a message, and what is open is closed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

COMMAND = """
import signal, sys, time
if "ignored" in sys.argv:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
from interp_assets.cli import main
@main.app.command()
def wait() -> None:
    try:
        print("ready", flush=True)
        time.sleep(60)
    finally:
        print("closed", flush=True)
sys.argv = ["interp", "wait"]
main.main()
"""

QUESTION = """
import sys
from interp_assets.assets.warehouse.duckdb_file import Warehouse
from interp_assets.cli import main
ask = Warehouse.query
def query(*arguments):
    print("asked", flush=True)
    return ask(*arguments)
Warehouse.query = query
sys.argv = ["interp", "query", sys.argv[1]]
main.main()
"""

NOTEBOOK = """
import os, signal, sys, threading
import interp_assets as ia
lab = ia.open(sys.argv[1])
threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    lab.sql(sys.argv[2])
except KeyboardInterrupt as interrupt:
    print(type(interrupt).__name__)
"""


def started(*arguments: str) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    return process


LONG = "SELECT count(*) FROM range(1000000000000) t(i) WHERE i % 7 = 3"


@pytest.mark.parametrize(("number", "after"), [(signal.SIGINT, 0.5), (signal.SIGTERM, 0.0), (signal.SIGTERM, 0.1)])
def test_a_long_question_ends_as_with_an_interrupt(number: signal.Signals, after: float, tmp_path: Path) -> None:
    """DuckDB drops what a signal raises in the middle of a query, or has an error of its own for it."""
    process = subprocess.Popen(
        [sys.executable, "-c", QUESTION, LONG],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "INTERP_HOME": str(tmp_path / "home")},
    )  # fmt: skip
    assert process.stdout is not None and process.stdout.readline() == "asked\n"
    time.sleep(after)  # the answer would take minutes
    process.send_signal(number)
    output, error = process.communicate(timeout=60)
    assert output == "" and error == "interrupted; what is finished is kept, and the same command continues\n"
    assert process.returncode == 128 + number


def test_an_interrupted_question_of_a_notebook_is_an_interrupt(tmp_path: Path) -> None:
    process = subprocess.run([sys.executable, "-c", NOTEBOOK, str(tmp_path), LONG], capture_output=True, text=True, timeout=60)
    assert process.stdout == "KeyboardInterrupt\n", process.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_command_ends_as_with_an_interrupt(number: signal.Signals) -> None:
    process = started()
    process.send_signal(number)
    output, error = process.communicate(timeout=60)
    assert output == "closed\n" and error == "interrupted; what is finished is kept, and the same command continues\n"
    assert process.returncode == 128 + number


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    process = started("ignored")
    process.send_signal(signal.SIGHUP)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.5)
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=60)[0] == "closed\n" and process.returncode == 128 + signal.SIGTERM
