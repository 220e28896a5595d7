"""Signals that ask a command to end, on every command and at every moment the same as Ctrl-C."""

import os
import signal
import sys
from importlib.machinery import ExtensionFileLoader
from types import FrameType
from typing import Any

from interp_assets.installation.signal_watch import SignalWatch, causes, is_interruption

ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
DUCKDB_WORDS = "Query interrupted"
"""Message of the `RuntimeError` that DuckDB raises in place of whatever a signal raises in the middle of a query."""
INTERRUPTED = "interrupted; what is finished is kept, and the same command continues"


class Interrupted(KeyboardInterrupt):
    """A signal asks the command to end; `exit_status` is 128 and the signal's number, as shells count."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.exit_status = 128 + number


_watch: SignalWatch | None = None


def interrupt_at_ending_signals() -> None:
    """From here on SIGINT, SIGTERM and SIGHUP (a lost connection) raise `Interrupted` in the main thread, again and again until
    `answer_signals`: see `SignalWatch`.

    A signal that this process ignores, as under nohup, stays ignored, and a handler that is there stays.
    """
    global _watch
    if _watch is not None:
        return
    handler = _Raises()
    heard = [one for one in ENDING_SIGNALS if signal.getsignal(one) in (signal.SIG_DFL, signal.default_int_handler)]
    _watch = SignalWatch(heard)
    for number in heard:
        signal.signal(number, handler)
    _watch.start()
    sys.excepthook, sys.unraisablehook = _end_or_say, _say_unraisable


def interrupt(number: int) -> Interrupted:
    """The exception that a handler of a signal raises."""
    made = Interrupted(number)
    if _watch is not None:
        _watch.raised(number, made)
    return made


def takes_repeat() -> bool:
    """Whether the signal that a handler hears is one that was sent again. The handler has an attribute `hears_repeats`, and asks first."""
    return _watch is not None and _watch.takes_repeat()


def is_under_way() -> bool:
    """Whether an interrupt is being raised or handled in the main thread."""
    return _watch is not None and _watch.is_under_way()


def answer_signals() -> None:
    """The command ends here: no signal is sent again, and a further signal ends the process at once."""
    if _watch is not None:
        _watch.answered = True


def unanswered_signal() -> int | None:
    """The number of a signal that asked the command to end, and by which it has not begun to end; None where there is none."""
    return None if _watch is None or _watch.answered else _watch.number


def is_interrupt(error: BaseException) -> bool:
    """Whether an exception says that the process was interrupted: an interrupt, an exception that came from one, or DuckDB's own words."""
    return any(map(is_interruption, causes(error))) or (isinstance(error, RuntimeError) and str(error) == DUCKDB_WORDS)


def exit_status_of(interrupt: BaseException) -> int:
    """The exit status of a command that an interrupt ends; the status for SIGINT where its signal is not known."""
    known = None if _watch is None else _watch.number
    return int(getattr(interrupt, "exit_status", 128 + (known or signal.SIGINT)))


def _loads_an_extension(frame: FrameType | None) -> bool:
    """Whether an extension module is being loaded: DuckDB's calls Python meanwhile, and aborts the process where that raises."""
    while frame is not None:
        if frame.f_code.co_name in ("create_module", "exec_module") and isinstance(frame.f_locals.get("self"), ExtensionFileLoader):
            return True
        frame = frame.f_back
    return False


class _Raises:
    """Handler of the ending signals in a command."""

    hears_repeats = True

    def __call__(self, number: int, frame: FrameType | None) -> None:
        repeats = takes_repeat()
        if _watch is not None and _watch.answered and not repeats:
            os._exit(128 + number)
        if _watch is not None and _loads_an_extension(frame):
            return  # the signal is sent again
        if not (repeats and (_watch is None or _watch.answered or _watch.is_under_way())):
            raise interrupt(number)


def _end_or_say(kind: type[BaseException], error: BaseException, trace: Any) -> None:
    """Hook of exceptions that nothing catches: an interrupt outside of all commands ends the process as in a command."""
    if not isinstance(error, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    answer_signals()
    print(INTERRUPTED, file=sys.stderr, flush=True)
    os._exit(exit_status_of(error))


def _say_unraisable(unraisable: Any) -> None:
    """Hook of exceptions that Python drops: an interrupt comes again, so nothing is said of it."""
    if not isinstance(unraisable.exc_value, Interrupted):
        sys.__unraisablehook__(unraisable)
