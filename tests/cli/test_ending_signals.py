"""Every command ends at SIGTERM and SIGHUP as at Ctrl-C: with a message, and what is open is closed."""

import signal
import subprocess
import sys

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


def started(*arguments: str) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    return process


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
