"""Watchers of the stages that run in this process: `interp run` shows their progress in the terminal, while Dagster keeps the log."""

import contextlib
from collections.abc import Iterator
from typing import Protocol

from resources.progress import Progress

ASKED_SECONDS = 0.5
"""Pause between two reports of progress on questions while somebody watches. Unit: seconds."""


class Watcher(Protocol):
    """Is told what stages do."""

    def begun(self, asset: str, run_id: str) -> None:
        """A stage of a run begins."""
        ...

    def progressed(self, asset: str, what: str, progress: Progress) -> None:
        """A stage has come so far with `what`, such as "questions"."""
        ...


_watchers: list[Watcher] = []


def watchers() -> tuple[Watcher, ...]:
    """The watchers of this process; empty in the runs that a daemon starts."""
    return tuple(_watchers)


@contextlib.contextmanager
def watched_by(watcher: Watcher) -> Iterator[None]:
    """A block whose stages tell the watcher what they do."""
    _watchers.append(watcher)
    try:
        yield
    finally:
        _watchers.remove(watcher)
