"""A real Dagster over a home, its processes apart: a code server, a webserver and a daemon, each of which a test may kill."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import yaml

from interp_assets.installation.home import Home
from interp_assets.installation.server import INSTANCE, DagsterServer, ServerError, prepare_instance
from resources.run_launcher import worker_process

HERE = Path(__file__).parent
PROJECT = HERE.parents[1]
PATIENCE_SECONDS = 600.0
# The daemons as they are, but that look every second instead of every 5 or 30.
QUICK_DAEMON = """
import dagster._daemon.asset_daemon, dagster._daemon.cli, dagster._daemon.controller, dagster._daemon.sensor
dagster._daemon.controller.DEFAULT_DAEMON_INTERVAL_SECONDS = 1
dagster._daemon.sensor.MIN_INTERVAL_LOOP_TIME = dagster._daemon.asset_daemon.MIN_INTERVAL_LOOP_SECONDS = 1
dagster._daemon.cli.main()
"""
RUNS = """{ runsOrError { ... on Runs { results { runId status tags { key value } } } } }"""
BACKFILLS = """{ partitionBackfillsOrError { ... on PartitionBackfills { results { id status numPartitions isAssetBackfill
  assetSelection { path } error { message } } } } }"""


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def eventually(found: Callable[[], Any], what: str, seconds: float = PATIENCE_SECONDS, pause: float = 0.1) -> Any:
    """What `found` returns once that is true; raises AssertionError naming `what` after `seconds`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if result := found():
            return result
        time.sleep(pause)
    raise AssertionError(f"no {what} within {seconds:g} s")


class RunningDagster:
    """The processes, by name: "code", "webserver", "daemon". `location` is the file with the definitions."""

    def __init__(self, home: Home, location: Path = HERE / "fakes_location.py") -> None:
        self.home = home
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.environment = {**prepare_instance(home), "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
        configured = yaml.safe_load(INSTANCE.read_text())
        configured["run_monitoring"] |= {"poll_interval_seconds": 2, "free_slots_after_run_end_seconds": 2}
        (home.dagster / "dagster.yaml").write_text(yaml.safe_dump(configured))
        self._location = location
        self._code_port, self._web_port = free_port(), free_port()
        self._workspace = home.root / "workspace.yaml"
        server = {"host": "127.0.0.1", "port": self._code_port, "location_name": "interp_assets"}
        self._workspace.write_text(yaml.safe_dump({"load_from": [{"grpc_server": server}]}))
        self.server = DagsterServer(f"http://127.0.0.1:{self._web_port}")

    def __enter__(self) -> "RunningDagster":
        self.start("code", "webserver", "daemon")
        return self

    def __exit__(self, *error: object) -> None:
        for run_id in self.unfinished():
            self.kill_run(run_id)
        for name in list(self.processes):
            self.kill(name)

    def start(self, *names: str) -> None:
        """Start processes and wait until the code is loaded and the webserver answers, where they are asked for."""
        address = ["-h", "127.0.0.1", "-p"]
        commands = {
            "code": ["-m", "dagster", "api", "grpc", "-f", str(self._location), *address, str(self._code_port)],
            "webserver": ["-m", "dagster_webserver", "-w", str(self._workspace), *address, str(self._web_port)],
            "daemon": ["-c", QUICK_DAEMON, "run", "-w", str(self._workspace)],
        }
        for name in names:
            with (self.home.root / f"{name}.log").open("ab") as log:
                command = [sys.executable, *commands[name]]
                self.processes[name] = subprocess.Popen(command, env=self.environment, cwd=PROJECT, stdout=log, stderr=log)
            if name == "code":
                eventually(lambda: self._listens(self._code_port), "code server")
        if "webserver" in names:
            eventually(lambda: self.server.serves(self.home), "webserver")

    def kill(self, name: str) -> None:
        """SIGKILL one of the processes."""
        process = self.processes.pop(name)
        process.kill()
        process.wait()

    def kill_run(self, run_id: str) -> bool:
        """SIGKILL the process of a run, if it has one."""
        found = worker_process(self.instance, run_id)
        if found is None:
            return False
        try:
            os.kill(found[0], signal.SIGKILL)
        except ProcessLookupError:
            return False
        return True

    @property
    def instance(self) -> dg.DagsterInstance:
        """The instance, read from the folder that the processes write to."""
        return dg.DagsterInstance.from_config(str(self.home.dagster))

    def unfinished(self) -> list[str]:
        """Runs that a process works on."""
        active = dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.STARTING])
        return [run.run_id for run in self.instance.get_runs(active)]

    def runs(self) -> list[dict[str, Any]]:
        """All runs, newest first, their tags as a mapping."""
        found = self.server.query(RUNS)["runsOrError"]["results"]
        return [{**run, "tags": {tag["key"]: tag["value"] for tag in run["tags"]}} for run in found]

    def backfills(self) -> list[dict[str, Any]]:
        """All backfills, newest first."""
        return self.server.query(BACKFILLS)["partitionBackfillsOrError"]["results"]

    def is_made(self, asset: str, partitions: int) -> bool:
        """Whether all of so many partitions of an asset are materialised, as its page in the UI says."""
        query = """query($k: AssetKeyInput!) { assetNodeOrError(assetKey: $k) { ... on AssetNode { assetMaterializations(limit: 1) { runId }
          partitionStats { numMaterialized numFailed } } } }"""
        try:
            node = self.server.query(query, k={"path": asset.split("/")})["assetNodeOrError"]
        except ServerError:
            return False
        stats = node["partitionStats"]
        return bool(node["assetMaterializations"]) if stats is None else stats["numMaterialized"] == partitions

    def log(self, name: str) -> str:
        """What one of the processes has printed."""
        return (self.home.root / f"{name}.log").read_text(errors="replace")

    def loads(self) -> list[tuple[str, str, str]]:
        """(run, asset, kind of model) of every load."""
        file = self.home.root / "loads.txt"
        return [tuple(line.split()) for line in file.read_text().splitlines()] if file.exists() else []  # type: ignore[misc]

    @staticmethod
    def _listens(port: int) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0
