"""No signal that asks a command to end is lost, whatever drops the exception that its handler raised."""

import contextlib
import os
import signal
import sys
import threading
import time
import weakref
from collections.abc import Iterable, Iterator
from functools import partial

REPEAT_SECONDS = 0.1
"""How often a signal without effect is sent again. Unit: seconds."""
KEPT_SECONDS = 60.0
"""How long an interrupt that a program keeps, and does not handle, counts as under way. Unit: seconds."""
HANDLER_SECONDS = 2.0
"""Longest wait for the handler of a signal that was sent again, before it is sent once more. Unit: seconds."""


class SignalWatch:
    """Sends an ending signal to the main thread again until the command ends by it.

    Python drops what a handler raises inside `__del__`, a callback of a weak reference or of the garbage collector. So do libraries that
    catch everything, and libraries that put a handler of their own in place and forget what it heard. The interpreter writes the number of
    each signal into a pipe, whatever the handler is, and a thread reads it. While an interrupt is under way nothing is sent, so clean-up
    takes as long as it takes. After the answer nothing is sent either.
    """

    def __init__(self, numbers: Iterable[int]) -> None:
        self.number: int | None = None
        """The first signal that asked to end."""
        self.answered = False
        """Whether the command ends."""
        self._numbers, self._main = frozenset(numbers), threading.main_thread().ident or 0
        self._sent_at, self._raised_at = -HANDLER_SECONDS, 0.0  # the second is 0 where no handler of ours has heard a signal
        self._alive: dict[int, weakref.ref[BaseException]] = {}

    def start(self) -> None:
        """Watch from here on. Call it in the main thread; a process that is forked off watches nothing."""
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        os.register_at_fork(after_in_child=partial(signal.set_wakeup_fd, -1))
        threading.Thread(target=self._run, args=(reading,), name="signals", daemon=True).start()

    def raised(self, number: int, interrupt: BaseException) -> None:
        """An interrupt that the handler of a signal is about to raise: it is under way for as long as something keeps it."""
        self.number = self.number or number
        self._raised_at = time.monotonic()
        # A callback in C: a signal in a callback in Python would raise there.
        self._alive[id(interrupt)] = weakref.ref(interrupt, partial(self._alive.pop, id(interrupt)))

    def takes_repeat(self) -> bool:
        """Whether the signal that a handler hears is one that was sent again. Only a handler with `hears_repeats` hears them."""
        repeats = self._sent_at > time.monotonic() - HANDLER_SECONDS
        self._sent_at = -HANDLER_SECONDS
        return repeats

    def is_under_way(self) -> bool:
        """Whether an interrupt is being raised or handled in the main thread, or kept by a program that raises it later."""
        if self._alive and time.monotonic() - self._raised_at < KEPT_SECONDS:
            return True
        handled = sys._current_exceptions().get(self._main)
        error = handled[1] if isinstance(handled, tuple) else handled
        return any(isinstance(one, SystemExit) or is_interruption(one) for one in causes(error))

    def _run(self, reading: int) -> None:
        while not self.answered:
            numbers = [number for number in os.read(reading, 512) if number in self._numbers]
            if numbers:
                self.number = self.number or numbers[0]
                self._repeat(numbers[0])

    def _repeat(self, number: int) -> None:
        told = None
        while not self.answered:
            time.sleep(REPEAT_SECONDS)
            if self.answered or time.monotonic() - self._sent_at < HANDLER_SECONDS or self.is_under_way():
                continue
            handler = signal.getsignal(number)
            if getattr(handler, "hears_repeats", False):
                self._sent_at = time.monotonic()
            elif callable(handler) and handler is not told and self._raised_at:
                told = handler  # of a library, which has not heard the signal: a handler of ours has
            else:
                continue
            with contextlib.suppress(ProcessLookupError):
                signal.pthread_kill(self._main, number)


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """An exception and all exceptions that it came from."""
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        one = waiting.pop()
        if one is None or id(one) in seen:
            continue
        yield one
        seen.add(id(one))
        waiting += [one.__cause__, one.__context__]


def is_interruption(error: BaseException) -> bool:
    """Whether an exception is an interrupt, or Dagster's own for one."""
    return isinstance(error, KeyboardInterrupt) or type(error).__name__ == "DagsterExecutionInterruptedError"
