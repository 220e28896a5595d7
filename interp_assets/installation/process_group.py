"""A program in its own process group: a signal, an error or the end of the work ends the program and all processes that it has started."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

from interp_assets.installation.interrupts import ENDING_SIGNALS, interrupt, is_under_way, takes_repeat

LIFELINE = Path(__file__).with_name("lifeline.py")
END_SECONDS = 20
"""Longest time for the processes of a group to end by themselves before they are killed. Unit: seconds."""


@contextlib.contextmanager
def started_group(
    command: Sequence[str], environment: Mapping[str, str], log: IO[bytes] | None = None, end_seconds: float = END_SECONDS
) -> Iterator[subprocess.Popen[bytes]]:
    """The started program, in our working folder. It prints to `log`, or to our output.

    However the block is left, the program and all that it has started have ended after it: they are interrupted, and killed where they
    take more than `end_seconds`. They end so too where this process is killed: see lifeline.py. SIGINT, SIGTERM and SIGHUP raise
    `Interrupted` in the block; one that comes while the group ends kills the group at once.
    """
    with _ending_signals() as signals:
        lifeline = [sys.executable, "-I", "-S", str(LIFELINE), str(end_seconds), *command]
        process = subprocess.Popen(lifeline, env=environment, stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True)
        try:
            signals.raise_from_now_on()
            yield process
        finally:
            try:
                signals.only_count()
            finally:
                _end(process, signals, end_seconds)
                with contextlib.suppress(OSError):
                    process.stdin.close()  # type: ignore[union-attr]


class _Signals:
    """Handler of the ending signals. It counts them and, once it is told so, raises `Interrupted` at the first, and again where that was
    dropped."""

    hears_repeats = True

    def __init__(self) -> None:
        self.count, self._first, self._raises, self._may_raise = 0, 0, False, False

    def __call__(self, number: int, _frame: object) -> None:
        if takes_repeat():
            if self._may_raise and not is_under_way():
                raise interrupt(number)
            return
        self.count += 1
        self._first = self._first or number
        if self._raises:
            self._raises = False
            raise interrupt(number)

    def raise_from_now_on(self) -> None:
        """Raise at the next signal, and for one that has come already."""
        self._raises = self._may_raise = True
        if self.count:
            self._raises = False
            raise interrupt(self._first)

    def only_count(self) -> None:
        """Raise no more."""
        self._raises = self._may_raise = False


@contextlib.contextmanager
def _ending_signals() -> Iterator[_Signals]:
    """A handler of the ending signals for as long as the block runs. Outside the main thread no handler can be set: there it gets no
    signals.

    A signal that this process ignores, as under nohup, stays without effect, but gets a handler too. A program that we start inherits
    ignored signals, but no handlers: without the handler, Dagster would ignore an interrupt.
    """
    signals = _Signals()
    if threading.current_thread() is not threading.main_thread():
        yield signals
        return
    before = {number: signal.getsignal(number) for number in ENDING_SIGNALS}
    for number, handler in before.items():
        signal.signal(number, (lambda _number, _frame: None) if handler is signal.SIG_IGN else signals)
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def _end(process: subprocess.Popen[bytes], signals: _Signals, end_seconds: float) -> None:
    """Interrupt every process of the group that `process` leads; after `end_seconds`, or at a signal, kill the processes that are left."""
    heard = signals.count
    for number in (signal.SIGINT, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        deadline = time.monotonic() + end_seconds
        while process.poll() is None or _lives(process.pid):
            if time.monotonic() > deadline or (number == signal.SIGINT and signals.count > heard):
                break
            time.sleep(0.05)
        else:
            return


def _lives(group: int) -> bool:
    """Whether a process of this group still runs. A process that has ended but was not waited for does not count."""
    import psutil

    for process in psutil.process_iter():
        with contextlib.suppress(ProcessLookupError, PermissionError, psutil.Error):
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                return True
    return False
