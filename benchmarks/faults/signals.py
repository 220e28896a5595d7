"""Attacks by signals that ask a command to end: at every moment of its start, and where Python or a library drops the interrupt."""

import signal
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "cli"))

from test_dropped_interrupts import DROPPED, ended

from benchmarks.faults.attacks import HANG, PATIENCE, RIGHT, WRONG, Result, attack
from benchmarks.faults.processes import all_ended, environment

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def dropped(folder: Path, quick: bool, place: str, number: signal.Signals) -> Result:
    """Python or a library drops the interrupt: the command ends with the signal's status all the same."""
    try:
        done = ended(DROPPED[place], number)
    except subprocess.TimeoutExpired:
        return Result(HANG, "the command goes on")
    sound = done.returncode == 128 + number and "Traceback" not in done.stderr
    return Result(RIGHT) if sound else Result(WRONG, f"status {done.returncode}: {done.stderr[-150:]}")


for number in SIGNALS:
    for place in DROPPED:
        if number != signal.SIGHUP or "server" not in place:  # of which uvicorn has no handler
            attack(f"{number.name} that is dropped by {place}", place=place, number=number)(dropped)


def command_ended_by(folder: Path, quick: bool, number: signal.Signals, after: float, arguments: tuple[str, ...]) -> Result:
    """A real command at a moment of its start."""
    command = [sys.executable, "-c", "from interp_assets.cli.start import main; main()", *arguments]
    process = subprocess.Popen(command, env=environment(folder), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    time.sleep(after)
    process.send_signal(number)
    try:
        said = process.communicate(timeout=20 * PATIENCE)[1]
    except subprocess.TimeoutExpired:
        process.kill()
        return Result(HANG, "the command goes on")
    if process.returncode not in (128 + number, -number) or ("Traceback" in said and after > 0.5):
        return Result(WRONG, f"status {process.returncode}: {said[-150:]}")
    return all_ended(folder, 6 * PATIENCE)


LONG = "SELECT count(*) FROM range(1000000000000) t(i) WHERE i % 7 = 3"
for number in SIGNALS:
    for after in (0.0, 0.1, 0.3, 0.6, 1.0, 1.5, 2.5):
        for words in (("query", LONG), ("explore", "--port", "0")):
            name = f"{number.name} to interp {words[0]} {after} s after its start"
            attack(name, number=number, after=after, arguments=words)(command_ended_by)
