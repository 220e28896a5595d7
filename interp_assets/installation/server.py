"""Talking to Dagster's webserver: finding the one of this home or starting one, and asking it over GraphQL."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import dagster as dg
import httpx

from interp_assets.installation.home import Home
from interp_assets.orchestration.partitions import POOLS

PROJECT = Path(__file__).resolve().parents[2]
DEFAULT_PORT = 3000
START_SECONDS = 120


class ServerError(RuntimeError):
    """Dagster did not start, went away, or refused a request."""


@dataclass(frozen=True)
class DagsterServer:
    """A running webserver."""

    url: str

    @cached_property
    def _client(self) -> httpx.Client:
        return httpx.Client(timeout=60)  # one for all requests: making one reads every certificate of the machine

    def query(self, query: str, **variables: Any) -> dict[str, Any]:
        """Data of a GraphQL request. Raises `ServerError` with the server's own message."""
        try:
            response = self._client.post(f"{self.url}/graphql", json={"query": query, "variables": variables})
            response.raise_for_status()
        except httpx.HTTPError as error:
            raise ServerError(f"Dagster at {self.url} does not answer: {error}. Is `make ui` still running?") from None
        content = response.json()
        if content.get("errors"):
            raise ServerError(f"Dagster refused a request: {content['errors'][0]['message']}")
        return content["data"]

    def serves(self, home: Home) -> bool:
        """Whether it is up, holds the instance of `home`, and has loaded our code."""
        try:
            data = self.query("{ instance { info } repositoriesOrError { ... on RepositoryConnection { nodes { name } } } }")
        except ServerError:
            return False
        return str(home.dagster) in (data["instance"]["info"] or "") and bool(data["repositoriesOrError"].get("nodes"))


def prepare_instance(home: Home) -> dict[str, str]:
    """Environment for Dagster's processes, after placing the project's dagster.yaml in the instance's folder."""
    home.dagster.mkdir(parents=True, exist_ok=True)
    target = home.dagster / "dagster.yaml"
    if not target.exists():
        shutil.copy(PROJECT / "dagster.yaml", target)
        with dg.DagsterInstance.from_config(str(home.dagster)) as instance:
            set_pool_limits(instance)
    return {**os.environ, "INTERP_HOME": str(home.root), "DAGSTER_HOME": str(home.dagster), "PYTHONUNBUFFERED": "1"}


def set_pool_limits(instance: dg.DagsterInstance) -> None:
    """Give each pool that has no limit yet the default of dagster.yaml, which Dagster applies only from the second time that it meets a
    pool."""
    for pool in POOLS:
        instance.event_log_storage.initialize_concurrency_limit_to_default(pool)


@contextlib.contextmanager
def running_server(home: Home, port: int = DEFAULT_PORT) -> Iterator[DagsterServer]:
    """The webserver of this home on `port`, or one with its daemon started for as long as the block runs."""
    existing = DagsterServer(f"http://127.0.0.1:{port}")
    if existing.serves(home):
        yield existing
        return
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free_port = probe.getsockname()[1]
    log_path = home.dagster / "server.log"
    environment = prepare_instance(home)
    command = [
        sys.executable,
        "-m",
        "dagster",
        "dev",
        "-w",
        str(PROJECT / "workspace.yaml"),
        "-h",
        "127.0.0.1",
        "-p",
        str(free_port),
    ]
    with log_path.open("ab") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=PROJECT, start_new_session=True)
    server = DagsterServer(f"http://127.0.0.1:{free_port}")
    try:
        deadline = time.monotonic() + START_SECONDS
        while not server.serves(home):
            if process.poll() is not None or time.monotonic() > deadline:
                tail = "\n".join(log_path.read_text(errors="replace").splitlines()[-15:])
                raise ServerError(f"Dagster did not start within {START_SECONDS} s; the end of {log_path}:\n{tail}")
            time.sleep(0.5)
        yield server
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGINT)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
