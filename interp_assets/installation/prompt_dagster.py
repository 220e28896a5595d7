"""`dagster dev` whose daemon goes on with a backfill as soon as a run of the backfill has ended, or the backfill is requested.

    python -m interp_assets.installation.prompt_dagster dev -w workspace.yaml -h 127.0.0.1 -p 3000
    python -m interp_assets.installation.prompt_dagster daemon run …            what the first command starts

Dagster's own daemon looks at backfills every 30 seconds. A backfill goes on in stages, and each stage would wait for the next look.
"""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dagster import DagsterInstance

LOOK_SECONDS = 1.0
"""Pause between two looks for news. A look is two small queries of the run storage. Unit: seconds."""
SOON_SECONDS, SOON = 3.0, 3
"""After news the daemon waits at most this long, and this often: an iteration passes over a backfill whose last iteration still works."""
DAEMON = "dagster._daemon"


class WakingEvent:
    """The event on which the daemon of backfills waits between two iterations. A wait also ends, without the event, when there is news:
    a backfill became active, or a run has ended while a backfill is active."""

    def __init__(self, event: threading.Event, instance: "DagsterInstance", look_seconds: float = LOOK_SECONDS) -> None:
        self._event, self._instance, self._look_seconds = event, instance, look_seconds
        self._n_active, self._unfinished = 0, frozenset[str]()
        self._soon = 0
        self._has_news()

    def is_set(self) -> bool:
        """Whether the daemon is to end."""
        return self._event.is_set()

    def wait(self, timeout: float) -> bool:
        """Wait for the event, for news or for `timeout` seconds, and return whether the event is set.

        News is compared with the look before the last iteration. So a run that ends during an iteration is news too.
        """
        if self._soon:
            timeout, self._soon = min(timeout, SOON_SECONDS), self._soon - 1
        deadline = time.monotonic() + timeout
        while not self._event.wait(max(min(self._look_seconds, deadline - time.monotonic()), 0)):
            if self._has_news():
                self._soon = SOON
                return False
            if time.monotonic() >= deadline:
                return False
        return True

    def _has_news(self) -> bool:
        """Whether there is news since the last call. A storage that does not answer has no news."""
        from sqlalchemy.exc import SQLAlchemyError

        try:
            n_active, unfinished = _state(self._instance)
        except SQLAlchemyError:
            return False
        news = n_active > self._n_active or bool(n_active and self._unfinished - unfinished)
        self._n_active, self._unfinished = n_active, unfinished
        return news


def _state(instance: "DagsterInstance") -> tuple[int, frozenset[str]]:
    """(number of active backfills, ids of unfinished runs; no ids without such a backfill)."""
    from dagster import RunsFilter
    from dagster._core.execution.backfill import BULK_ACTION_TERMINAL_STATUSES, BulkActionsFilter, BulkActionStatus
    from dagster._core.storage.dagster_run import NOT_FINISHED_STATUSES

    active = [status for status in BulkActionStatus if status not in BULK_ACTION_TERMINAL_STATUSES]
    n_active = instance.run_storage.get_backfills_count(BulkActionsFilter(statuses=active))
    unfinished = instance.run_storage.get_run_ids(RunsFilter(statuses=list(NOT_FINISHED_STATUSES))) if n_active else ()
    return n_active, frozenset(unfinished)


def run_daemon(arguments: list[str]) -> None:
    """Dagster's daemon with these arguments of its command line; it ends this process."""
    from dagster._daemon.cli import main
    from dagster._daemon.daemon import BackfillDaemon

    from resources.event_log import write_events_quickly

    write_events_quickly()  # the daemon plans runs: an event for each partition
    core_loop = BackfillDaemon.core_loop

    def prompt_core_loop(self: BackfillDaemon, context: Any, shutdown_event: threading.Event) -> Iterator[Any]:
        yield from core_loop(self, context, WakingEvent(shutdown_event, context.instance))  # type: ignore[arg-type]

    BackfillDaemon.core_loop = prompt_core_loop  # type: ignore[method-assign]
    sys.argv = [DAEMON, *arguments]
    main()


def run_dev(arguments: list[str]) -> None:
    """`dagster dev` with these arguments of its command line, and this module's daemon; it ends this process."""
    from dagster._cli import dev, main

    start = dev.open_ipc_subprocess  # pyright: ignore[reportPrivateImportUsage]

    def started(command: list[str], **options: Any) -> subprocess.Popen[bytes]:
        return start(with_prompt_daemon(command), **options)

    dev.open_ipc_subprocess = started  # pyright: ignore[reportPrivateImportUsage]
    sys.argv = ["dagster", "dev", *arguments]
    main()


def with_prompt_daemon(command: list[str]) -> list[str]:
    """A command of `dagster dev` for one of its processes: for the daemon a command that starts it by this module."""
    here = ["interp_assets.installation.prompt_dagster", "daemon"]
    return [word for part in command for word in (here if part == DAEMON else [part])]


if __name__ == "__main__":
    {"dev": run_dev, "daemon": run_daemon}[sys.argv[1]](sys.argv[2:])
