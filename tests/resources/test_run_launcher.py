"""Whether a run's process still runs: its own, a dead one, a zombie, and another that was given its number."""

import os
import subprocess
import sys
import time

import dagster as dg
import pytest
from dagster._core.events import EngineEventData
from dagster._core.launcher.base import WorkerStatus
from dagster._core.storage.tags import GRPC_INFO_TAG
from dagster._core.test_utils import create_run_for_test

from resources.run_launcher import WatchedRunLauncher, birth_of, is_alive


def test_a_process_is_alive_until_it_dies_and_a_zombie_is_dead() -> None:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        assert is_alive(process.pid, time.time())
        process.kill()
        deadline = time.monotonic() + 60
        while is_alive(process.pid, time.time()) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not is_alive(process.pid, time.time())  # nobody has waited for it: it is a zombie
    finally:
        process.kill()
        process.wait()
    assert not is_alive(process.pid, time.time())


def test_a_younger_process_with_the_same_number_is_another_one() -> None:
    assert is_alive(os.getpid(), time.time())
    assert not is_alive(os.getpid(), noted=time.time() - 10 * 365 * 86_400)


@pytest.mark.parametrize(
    ("host", "dead", "expected"),
    [
        ("localhost", True, WorkerStatus.FAILED),
        ("localhost", False, WorkerStatus.RUNNING),
        ("worker-3.cluster", True, WorkerStatus.RUNNING),  # its process ids are not ours
        (None, True, WorkerStatus.RUNNING),
    ],
)
def test_only_a_run_of_this_machine_whose_process_is_gone_has_failed(host: str | None, dead: bool, expected: WorkerStatus) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    with dg.DagsterInstance.ephemeral() as instance:
        launcher = WatchedRunLauncher()
        launcher.register_instance(instance)
        run = create_run_for_test(instance, tags={} if host is None else {GRPC_INFO_TAG: f'{{"host": "{host}", "port": 4000}}'})
        assert launcher.check_run_worker_health(run).status == WorkerStatus.RUNNING  # no process is known yet
        pid = gone.pid if dead else os.getpid()
        instance.report_engine_event("Started process for run", run, EngineEventData.in_process(pid))
        found = launcher.check_run_worker_health(run)
    assert found.status == expected and (not found.msg or str(gone.pid) in found.msg)


def test_a_clock_that_jumps_lets_no_living_run_be_taken_for_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    with dg.DagsterInstance.ephemeral() as instance:
        launcher = WatchedRunLauncher()
        launcher.register_instance(instance)
        run = create_run_for_test(instance, tags={GRPC_INFO_TAG: '{"host": "localhost", "port": 4000}'})
        instance.report_engine_event("Started process for run", run, EngineEventData.in_process(process.pid))

        def status() -> WorkerStatus:
            return launcher.check_run_worker_health(instance.get_run_by_id(run.run_id)).status  # type: ignore[arg-type]

        try:
            assert status() == WorkerStatus.RUNNING
            now = time.time
            for jump in (86_400, -86_400, 10 * 365 * 86_400):
                monkeypatch.setattr(time, "time", lambda: now() + jump)  # noqa: B023
                assert status() == WorkerStatus.RUNNING
        finally:
            process.kill()
            process.wait()
        assert status() == WorkerStatus.FAILED
        assert birth_of(process.pid) is None and birth_of(os.getpid()) == birth_of(os.getpid()) is not None


def test_a_run_that_is_tried_again_is_not_taken_for_the_dead_process_of_its_first_try() -> None:
    local = {GRPC_INFO_TAG: '{"host": "localhost", "port": 4000}'}
    first = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    with dg.DagsterInstance.ephemeral() as instance:
        launcher = WatchedRunLauncher()
        launcher.register_instance(instance)
        try:
            dead = create_run_for_test(instance, tags=local)
            instance.report_engine_event("Started process for run", dead, EngineEventData.in_process(first.pid))
            assert launcher.check_run_worker_health(dead).status == WorkerStatus.RUNNING
        finally:
            first.kill()
            first.wait()
        inherited = instance.get_run_by_id(dead.run_id).tags  # type: ignore[union-attr]
        again = create_run_for_test(instance, tags=dict(inherited))
        instance.report_engine_event("Started process for run", again, EngineEventData.in_process(os.getpid()))
        assert launcher.check_run_worker_health(again).status == WorkerStatus.RUNNING
        assert launcher.check_run_worker_health(instance.get_run_by_id(again.run_id)).status == WorkerStatus.RUNNING  # type: ignore[arg-type]
