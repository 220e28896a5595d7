"""Runs a program for as long as the process that asked for it lives: `python lifeline.py SECONDS PROGRAM ARGUMENTS`.

Standard input is a pipe. Only the asking process holds its other end, so the pipe closes when that process ends, by whatever cause: also by
SIGKILL or a lack of memory. Then all processes of our group are interrupted, and killed where they take more than SECONDS. Needs only
Python.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

HEARD = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main(end_seconds: float, command: list[str]) -> int:
    """Exit status of the program, as shells count it."""
    for number in HEARD:  # a handler, since a program inherits ignored signals
        signal.signal(number, lambda _number, _frame: None)
    program = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    threading.Thread(target=_end_with_the_pipe, args=(end_seconds,), daemon=True).start()
    status = program.wait()
    return status if status >= 0 else 128 - status


def _end_with_the_pipe(end_seconds: float) -> None:
    while os.read(0, 1):
        pass
    group = os.getpgrp()
    os.killpg(group, signal.SIGINT)
    deadline = time.monotonic() + end_seconds
    while time.monotonic() < deadline and _others_live(group):
        time.sleep(0.1)
    os.killpg(group, signal.SIGKILL)  # and ourselves


def _others_live(group: int) -> bool:
    """Whether another process of the group runs; True where there is no /proc to tell."""
    if not Path("/proc/self/stat").exists():
        return True
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, its_group, *_ = stat.read_text(errors="replace").rpartition(")")[2].split()
        except (OSError, ValueError):
            continue
        if int(its_group) == group and state != "Z" and stat.parent.name != str(os.getpid()):
            return True
    return False


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), sys.argv[2:]))
