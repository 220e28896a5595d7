"""A bound on the time that code of others may take in this thread, such as a chat template that loops for ever."""

import ctypes
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_LOCK = threading.Lock()
_DEADLINES: dict[int, float] = {}
_WATCHERS: list[threading.Thread] = []


class TookTooLong(Exception):
    """The block was ended at its deadline."""


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """A block of Python code that is ended with `TookTooLong` once it has run for so many seconds. Blocks of one thread do not nest.

    The exception comes between two steps of the interpreter: one long call into compiled code is ended only after it.
    """
    thread = threading.get_ident()
    with _LOCK:
        _DEADLINES[thread] = time.monotonic() + seconds
        if not _WATCHERS or not _WATCHERS[-1].is_alive():  # none yet, or none in this process since it was forked
            _WATCHERS[:] = [threading.Thread(target=_watch, name="deadlines", daemon=True)]
            _WATCHERS[0].start()
    try:
        yield
    finally:
        with suppress(TookTooLong), _LOCK:
            if _DEADLINES.pop(thread, None) is None:
                _raise_in(thread, None)  # the deadline passed as the block ended: nothing is left to end


def _watch() -> None:
    while True:
        time.sleep(0.5)
        with _LOCK:
            now = time.monotonic()
            for thread in [thread for thread, deadline in _DEADLINES.items() if now > deadline]:
                del _DEADLINES[thread]
                _raise_in(thread, TookTooLong)


def _raise_in(thread: int, exception: type[BaseException] | None) -> None:
    """Let a thread raise the exception at its next step; None takes back an exception that it has not raised yet."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(exception) if exception else None)
