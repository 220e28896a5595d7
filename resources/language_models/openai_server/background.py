"""Runs a coroutine in an event loop and a thread of its own, so that code with or without a running event loop can wait for it."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any


class Background:
    """Work under way. `on_end` is called in its thread when the work ends, by whatever cause."""

    def __init__(self, work: Coroutine[Any, Any, Any], on_end: Callable[[], object] = lambda: None) -> None:
        self._loop = asyncio.new_event_loop()
        self._task = self._loop.create_task(work)
        self._on_end = on_end
        self._thread = threading.Thread(target=self._run, name="background", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(asyncio.wait([self._task]))
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        finally:
            self._loop.close()
            self._on_end()

    def call(self, act: Callable[[], object]) -> None:
        """Call a function in the event loop, unless the work has ended."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(act)

    def cancel(self) -> None:
        """Stop the work, unless it has ended, and wait until it has stopped."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join()

    def result(self) -> Any:
        """The result of the work; None where it was cancelled. Raises the exception of the work; of a group of exceptions, the first."""
        self._thread.join()
        if self._task.cancelled():
            return None
        try:
            return self._task.result()
        except BaseExceptionGroup as group:
            first: BaseException = group
            while isinstance(first, BaseExceptionGroup):
                first = first.exceptions[0]
            raise first from None
