"""Signals that ask a command to end, on every command and at every moment the same as Ctrl-C."""

import signal

ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


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


def _raise(number: int, _frame: object) -> None:
    raise Interrupted(number)
