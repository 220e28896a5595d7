"""The daemon of backfills is woken by news, and by nothing else before its time is over."""

import inspect
import threading
import time
import uuid
from collections.abc import Iterator

import dagster as dg
import pytest
from dagster._cli import dev
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill
from dagster._core.test_utils import create_run_for_test
from dagster._daemon.daemon import BackfillDaemon
from sqlalchemy.exc import OperationalError

from interp_assets.installation.prompt_dagster import DAEMON, SOON, WakingEvent, with_prompt_daemon

LONG = 20.0
"""A wait that nothing but news ends in half of its time. Unit: seconds."""


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def backfill(instance: dg.DagsterInstance) -> PartitionBackfill:
    """A requested backfill, stored."""
    requested = PartitionBackfill(str(uuid.uuid4())[:8], BulkActionStatus.REQUESTED, False, {}, time.time(), partition_names=[])
    instance.add_backfill(requested)
    return requested


def waited(event: WakingEvent, seconds: float = LONG) -> float:
    """Seconds of a wait that does not find the event set."""
    started = time.monotonic()
    assert not event.wait(seconds)
    return time.monotonic() - started


def test_a_requested_backfill_and_the_end_of_its_run_wake_the_daemon(instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("interp_assets.installation.prompt_dagster.SOON_SECONDS", LONG)
    event = WakingEvent(threading.Event(), instance, 0.01)
    backfill(instance)
    assert waited(event) < LONG / 2
    run = create_run_for_test(instance, status=dg.DagsterRunStatus.STARTED)
    assert waited(event, 0.15) >= 0.15
    instance.report_run_failed(run)
    assert waited(event) < LONG / 2


def test_a_run_that_ends_while_the_daemon_works_is_news(instance: dg.DagsterInstance) -> None:
    run = create_run_for_test(instance, status=dg.DagsterRunStatus.STARTED)
    backfill(instance)
    event = WakingEvent(threading.Event(), instance, 0.01)
    instance.report_run_failed(run)  # between two waits
    assert waited(event) < LONG / 2


def test_without_a_backfill_runs_wake_nobody_and_no_news_lets_the_time_pass(instance: dg.DagsterInstance) -> None:
    run = create_run_for_test(instance, status=dg.DagsterRunStatus.STARTED)
    event = WakingEvent(threading.Event(), instance, 0.01)
    instance.report_run_failed(run)
    assert waited(event, 0.15) >= 0.15
    active = backfill(instance)
    assert waited(event) < LONG / 2
    instance.update_backfill(active.with_status(BulkActionStatus.COMPLETED_SUCCESS))
    assert waited(event, 0.15) >= 0.15


def test_after_news_the_daemon_looks_again_soon(instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("interp_assets.installation.prompt_dagster.SOON_SECONDS", 0.1)
    event = WakingEvent(threading.Event(), instance, 0.01)
    backfill(instance)
    waits = [waited(event, 2.0) for _ in range(SOON + 2)]
    assert all(one < 2.0 for one in waits[:-1]) and all(one >= 0.1 for one in waits[1:-1]) and waits[-1] >= 2.0


def test_the_end_of_the_daemon_is_noticed_at_once_and_a_silent_storage_is_waited_for(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    end = threading.Event()
    event = WakingEvent(end, instance, 0.01)
    backfill(instance)

    def locked(*_: object) -> None:
        raise OperationalError("SELECT", {}, Exception("database is locked"))

    monkeypatch.setattr(instance.run_storage, "get_backfills_count", locked)
    assert waited(event, 0.1) >= 0.1
    end.set()
    assert event.wait(LONG) and event.is_set()


def test_dagster_dev_starts_our_daemon_and_its_own_webserver() -> None:
    source = inspect.getsource(dev.dev_command_impl)
    assert source.count("open_ipc_subprocess(") == 2 and f'"{DAEMON}"' in source
    assert list(inspect.signature(BackfillDaemon.core_loop).parameters) == ["self", "workspace_process_context", "shutdown_event"]
    daemon = ["python", "-m", DAEMON, "run", "--shutdown-pipe", "7"]
    assert with_prompt_daemon(daemon) == ["python", "-m", "interp_assets.installation.prompt_dagster", "daemon", *daemon[3:]]
    webserver = ["python", "-m", "dagster_webserver", "--port", "3000"]
    assert with_prompt_daemon(webserver) == webserver
