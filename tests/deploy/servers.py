"""Postgres, an S3 server and a Ray head on 127.0.0.1, each ended by the ids of the processes that were started."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

BUCKET = "interp"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(what: str, is_up: Callable[[], bool], seconds: float = 60) -> None:
    """Return once `is_up` says so; raises `TimeoutError` naming `what`."""
    deadline = time.monotonic() + seconds
    while not is_up():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} was not up after {seconds:g} seconds")
        time.sleep(0.2)


def answers(url: str) -> bool:
    """Whether an HTTP server answers at `url`."""
    try:
        with urllib.request.urlopen(url, timeout=2) as response:
            return response.status == 200
    except OSError:
        return False


@contextlib.contextmanager
def process(command: list[str], log: Path, environment: dict[str, str], ends_by: int = signal.SIGTERM) -> Iterator[subprocess.Popen]:
    """A process in a group of its own, ended with everything that it started in it."""
    with log.open("ab") as output:
        started = subprocess.Popen(command, env=environment, stdout=output, stderr=output, start_new_session=True)
    try:
        yield started
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(started.pid, ends_by)
        try:
            started.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(started.pid, signal.SIGKILL)
            started.wait(30)


@contextlib.contextmanager
def s3_server(folder: Path) -> Iterator[dict[str, str]]:
    """The environment under which S3 is a server on this machine with one empty bucket."""
    import boto3

    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with process(command, folder / "s3.log", {**os.environ}):
        wait_for("the S3 server", lambda: answers(f"{url}/moto-api/data.json"))
        variables = {**CREDENTIALS, "AWS_ENDPOINT_URL": url}
        keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}
        boto3.client("s3", endpoint_url=url, **keys).create_bucket(Bucket=BUCKET)
        yield variables


@dataclass(frozen=True)
class Postgres:
    """A running cluster with an empty database `dagster`."""

    port: int
    user: str = "postgres"

    @property
    def variables(self) -> dict[str, str]:
        """What deploy/dagster.yaml reads."""
        return {
            "DAGSTER_PG_HOST": "127.0.0.1", "DAGSTER_PG_PORT": str(self.port), "DAGSTER_PG_USER": self.user,
            "DAGSTER_PG_PASSWORD": "none", "DAGSTER_PG_DB": "dagster",
        }  # fmt: skip


@contextlib.contextmanager
def postgres(folder: Path) -> Iterator[Postgres]:
    """A cluster of its own under `folder`; by the user `postgres` where the tests run as root, which Postgres refuses to be."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    programs = found[-1] if found else Path(shutil.which("initdb") or "/nowhere/initdb").parent
    if not (programs / "postgres").exists():
        raise FileNotFoundError("Postgres is not installed: apt-get install postgresql")
    port, user = free_port(), "postgres" if os.geteuid() == 0 else None
    if user:
        shutil.chown(folder, user)
    data = folder / "cluster"
    create = [programs / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync"]
    subprocess.run(create, check=True, capture_output=True, user=user, cwd=folder)
    serve = [programs / "postgres", "-D", data, "-h", "127.0.0.1", "-p", str(port), "-k", folder, "-c", "fsync=off"]
    with (folder / "postgres.log").open("ab") as log:
        server = subprocess.Popen(serve, stdout=log, stderr=log, user=user, cwd=folder, start_new_session=True)
    ask = ["-h", "127.0.0.1", "-p", str(port), "-U", "postgres"]
    try:
        wait_for("Postgres", lambda: subprocess.run([programs / "pg_isready", *ask], capture_output=True).returncode == 0)
        subprocess.run([programs / "createdb", *ask, "dagster"], check=True, capture_output=True)
        yield Postgres(port)
    finally:
        server.send_signal(signal.SIGINT)  # fast shutdown
        server.wait(30)


@contextlib.contextmanager
def ray_head(folder: Path, environment: dict[str, str]) -> Iterator[str]:
    """URL at which a Ray head takes jobs, which see `environment`: two CPUs and one card, by name only where there is none."""
    port, jobs = free_port(), free_port()
    command = [
        str(Path(sys.executable).with_name("ray")), "start", "--head", "--block", "--node-ip-address=127.0.0.1", f"--port={port}",
        "--num-cpus=2", "--num-gpus=1", "--dashboard-host=127.0.0.1", f"--dashboard-port={jobs}", "--include-dashboard=true",
        f"--temp-dir={folder}", "--object-store-memory=100000000", "--disable-usage-stats",
    ]  # fmt: skip
    with process(command, folder / "head.log", environment, ends_by=signal.SIGKILL):  # asked to, it drains for half a minute
        wait_for("the Ray head", lambda: answers(f"http://127.0.0.1:{jobs}/api/version"), 120)
        yield f"http://127.0.0.1:{jobs}"
