"""Signals that ask a command to end, on every command and at every moment the same as Ctrl-C."""

import signal

ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
DUCKDB_WORDS = "Query interrupted"
"""Message of the `RuntimeError` that DuckDB raises in place of whatever a signal raises in the middle of a query."""


class Interrupted(KeyboardInterrupt):
    """A signal asks the command to end; `exit_status` is 128 and the signal's number, as shells count."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.exit_status = 128 + number


def interrupt_at_ending_signals() -> None:
    """From here on SIGTERM and SIGHUP (a lost connection) raise `Interrupted` in the main thread, as SIGINT raises `KeyboardInterrupt`.

    A signal that this process ignores, as under nohup, stays ignored, and a handler that is there stays.
    """
    for number in ENDING_SIGNALS:
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _raise)


def is_interrupt(error: BaseException) -> bool:
    """Whether an exception says that the process was interrupted, DuckDB's own words for it included."""
    return isinstance(error, KeyboardInterrupt) or (isinstance(error, RuntimeError) and str(error) == DUCKDB_WORDS)


def exit_status_of(interrupt: BaseException) -> int:
    """The exit status of a command that an interrupt ends; the status for SIGINT where its signal is not known."""
    return int(getattr(interrupt, "exit_status", 128 + (_received or signal.SIGINT)))


_received: int | None = None
"""The last signal that raised `Interrupted` here."""


def _raise(number: int, _frame: object) -> None:
    global _received
    _received = number
    raise Interrupted(number)
