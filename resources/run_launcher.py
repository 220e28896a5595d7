"""Dagster's launcher of runs as processes of this machine, extended to notice that such a process has died.

    run_launcher: {module: resources.run_launcher, class: WatchedRunLauncher}        in dagster.yaml

By itself Dagster learns of a dead run from the code server that started it. Where that server died too (a kill, a reboot, no memory), the
run would count as running for ever: its backfill would never end, and its pool would never be free.

A process is known by its number, the machine's boot and the kernel's ticks from the boot to its start. All three stay as they are when the
clock is set, so that a clock that jumps lets no living run be taken for dead.
"""

import json
import os
import time
from contextlib import suppress
from pathlib import Path

from dagster import DagsterEventType, DagsterInstance, DagsterRun
from dagster._core.launcher.base import CheckRunHealthResult, WorkerStatus
from dagster._core.launcher.default_run_launcher import DefaultRunLauncher
from dagster._core.storage.tags import GRPC_INFO_TAG

CLOCK_SLACK_SECONDS = 5.0
FIRST_EVENTS = 20
LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")
BIRTH_TAG = "interp/process"
IN_PROCESS_TAG = "interp/in_process"
"""Tag of a run that a command or a notebook runs in its own process; its value is the process's `birth_of`."""


class WatchedRunLauncher(DefaultRunLauncher):
    """A `DefaultRunLauncher` whose runs the monitoring daemon can check. A dead run is failed, and retried like any crash.

    Only runs whose code server is on the daemon's own machine are checked.
    """

    @property
    def supports_check_run_worker_health(self) -> bool:
        """True, so that Dagster's monitoring checks the runs."""
        return True

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """FAILED where the run's process has ended; RUNNING otherwise, also where its process is not known.

        The process is noted in a tag of the run at the first check that finds it alive; later checks compare the process with the tag. The
        tag names its run, since a run that is tried again inherits the tags of the first try.
        """
        if (birth := run.tags.get(IN_PROCESS_TAG)) is not None:
            ended = has_ended(birth)
            return CheckRunHealthResult(WorkerStatus.FAILED, "its process is gone") if ended else CheckRunHealthResult(WorkerStatus.RUNNING)
        server = json.loads(run.tags.get(GRPC_INFO_TAG, "{}"))
        found = worker_process(self._instance, run.run_id) if server.get("host") in LOCAL_HOSTS else None
        if found is None:
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        of_run, _, noted = run.tags.get(BIRTH_TAG, "").partition(" ")
        birth = birth_of(found[0])
        if birth == noted if of_run == run.run_id else is_alive(*found):
            if birth and of_run != run.run_id:
                self._instance.add_run_tags(run.run_id, {BIRTH_TAG: f"{run.run_id} {birth}"})
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        return CheckRunHealthResult(WorkerStatus.FAILED, f"its process {found[0]} is gone")


def worker_process(instance: DagsterInstance, run_id: str) -> tuple[int, float] | None:
    """(process id of a run, time at which the id was noted in seconds since 1970); None before the id was noted."""
    page = instance.get_records_for_run(run_id, of_type=DagsterEventType.ENGINE_EVENT, limit=FIRST_EVENTS)
    for record in page.records:
        event = record.event_log_entry.get_dagster_event()
        pid = event.engine_event_data.metadata.get("pid")
        if pid is not None:
            return int(str(pid.value)), record.event_log_entry.timestamp
    return None


def birth_of(pid: int) -> str | None:
    """A lasting name of a running process: boot, process id and ticks from boot to start; None for a dead process and without /proc."""
    with suppress(OSError, IndexError):
        state, *fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return None if state == "Z" else f"{boot}:{pid}:{fields[18]}"
    return None


def has_ended(birth: str) -> bool:
    """Whether the process with this `birth_of` is gone; False for a text that is none."""
    parts = birth.split(":")
    return len(parts) == 3 and parts[1].isdecimal() and birth_of(int(parts[1])) != birth


def is_alive(pid: int, noted: float) -> bool:
    """Whether the process that had this id at the time `noted` (seconds since 1970) still runs.

    A zombie does not run, and a younger process with the same id, as after a reboot, does not count. Without /proc the age of a process is
    not known, and any process with the id counts.
    """
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    with suppress(OSError):
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        booted = time.time() - float(Path("/proc/uptime").read_text().split()[0])
        started = booted + int(fields[18]) / os.sysconf("SC_CLK_TCK")
        return state != "Z" and started < noted + CLOCK_SLACK_SECONDS
    return True
