"""What a page needs made and a reader should not wait for: made in one thread beside the pages, and made again when its state changes."""

import time
from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock
from typing import Any, TypeVar

from interp_assets.explorer.columns import PATIENCE_SECONDS, READING_SHARE
from interp_assets.explorer.readiness import held_or_awaited

T = TypeVar("T")


class Background:
    """Makes things by key in one thread, for any number of readers."""

    def __init__(self) -> None:
        self._made: dict[Hashable, tuple[Hashable, Any]] = {}
        self._making: dict[Hashable, Future[Any]] = {}
        self._rests_until: dict[Hashable, float] = {}
        self._lock = Lock()
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="background")

    def newest(self, key: Hashable, state: Hashable, make: Callable[[], T], patience: float = PATIENCE_SECONDS) -> T:
        """What `make` gave for the state, or for an earlier state while it is being made for this one. Raises `NotReadYet` where it is made
        for the first time and that takes longer than `patience` seconds, and what `make` raises then."""
        with self._lock:
            held, future = self._made.get(key), self._making.get(key)
            stale = held is None or held[0] != state
            if stale and future is None and time.monotonic() >= self._rests_until.get(key, 0.0):
                future = self._making[key] = self._worker.submit(self._make, key, state, make)
        return held_or_awaited(None if held is None else held[1], future, key, patience)

    def close(self) -> None:
        """End the thread."""
        self._worker.shutdown(wait=False, cancel_futures=True)

    def _make(self, key: Hashable, state: Hashable, make: Callable[[], Any]) -> Any:
        started = time.monotonic()
        try:
            made = make()
            with self._lock:
                self._made[key] = (state, made)
                self._rests_until[key] = time.monotonic() + (time.monotonic() - started) / READING_SHARE
            return made
        finally:
            with self._lock:
                self._making.pop(key, None)
