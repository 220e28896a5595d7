"""Dagster on this machine: its processes, started for one home and ended whole, and its webserver, which answers over GraphQL."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import yaml

from interp_assets.installation.dagster_files import unusable_home
from interp_assets.installation.home import Home
from interp_assets.installation.one_dagster import AlreadyClaimed, claim_on, claimed, using, wait_for_users
from interp_assets.installation.process_group import started_group

if TYPE_CHECKING:
    import dagster as dg
    import httpx

INSTANCE = Path(__file__).with_name("dagster.yaml")
DEFAULT_HOST, DEFAULT_PORT = "127.0.0.1", 3000
START_SECONDS, SLOW_SECONDS = 300.0, 30.0
"""How long Dagster may take to start, and after what time the wait is told: seconds on a busy machine, where an idle one takes six."""

QUERY_SECONDS, PROBE_SECONDS = 60.0, 10.0
SERVED = "{ instance { info } repositoriesOrError { ... on RepositoryConnection { nodes { name } } } }"


class ServerError(RuntimeError):
    """Dagster did not start, went away, or refused a request."""


class ServerSilent(ServerError):
    """Dagster does not answer, perhaps only for a while."""


@dataclass(frozen=True)
class DagsterServer:
    """A running webserver."""

    url: str

    @cached_property
    def _client(self) -> "httpx.Client":
        """One client for all requests, since making one reads every certificate of the machine. A proxy of the environment is for other
        hosts."""
        import httpx

        return httpx.Client(trust_env=False)

    def query(self, query: str, **variables: Any) -> dict[str, Any]:
        """Data of a GraphQL request. Raises `ServerError` with the server's own message, and `ServerSilent` where no answer comes."""
        return self._answered(query, variables, QUERY_SECONDS)

    def _answered(self, query: str, variables: dict[str, Any], seconds: float) -> dict[str, Any]:
        import httpx

        try:
            response = self._client.post(f"{self.url}/graphql", json={"query": query, "variables": variables}, timeout=seconds)
            response.raise_for_status()
            content = response.json()
        except httpx.HTTPStatusError as error:
            said = f"{error.response.status_code} {error.response.reason_phrase}: {error.response.text.strip()[:200]}"
            raise ServerSilent(f"Dagster at {self.url} failed to answer a request: {said}") from None
        except httpx.HTTPError as error:
            raise ServerSilent(f"Dagster at {self.url} does not answer: {error}. Is `interp ui` still running?") from None
        except ValueError:
            content = None
        if not isinstance(content, dict) or not (content.get("data") or content.get("errors")):
            raise ServerError(f"{self.url} answers, but is no Dagster webserver: choose another --port")
        if content.get("errors"):
            raise ServerError(f"Dagster refused a request: {content['errors'][0]['message']}")
        return content["data"]

    def serves(self, home: Home) -> bool:
        """Whether the server answers, holds the instance of `home`, and has loaded our code."""
        try:
            data = self._answered(SERVED, {}, PROBE_SECONDS)
        except ServerError:
            return False
        described = yaml.safe_load(data["instance"]["info"] or "")
        return any(Path(path).is_relative_to(home.dagster) for path in _strings(described)) and bool(
            data["repositoriesOrError"].get("nodes")
        )


def _strings(described: Any) -> Iterator[str]:
    """Every string in nested dicts and lists."""
    if isinstance(described, str):
        yield described
    elif isinstance(described, dict | list):
        for value in described.values() if isinstance(described, dict) else described:
            yield from _strings(value)


def prepare_instance(home: Home) -> dict[str, str]:
    """Place the package's dagster.yaml and a workspace.yaml in the instance's folder, and return the environment for Dagster's processes.

    A new instance, and an instance whose databases were moved away, gets the pools' limits and the partitions of all registered
    dictionaries.
    """
    home.dagster.mkdir(parents=True, exist_ok=True)
    _write_workspace(home)
    target = home.dagster / "dagster.yaml"
    if not target.exists() or not target.stat().st_size:
        aside = home.dagster / f".dagster-{os.getpid()}.yaml"
        shutil.copyfile(INSTANCE, aside)
        aside.replace(target)
    if not any(home.dagster.rglob("*.db")):
        from interp_assets.installation.instance import opened_instance
        from interp_assets.orchestration.partitions import DICTIONARIES

        with opened_instance(home) as instance:
            set_pool_limits(instance)
            instance.add_dynamic_partitions(DICTIONARIES.name or "", list(home.registry.read_all()[0]))
    own = {
        "INTERP_HOME": str(home.root),
        "DAGSTER_HOME": str(home.dagster),
        "PYTHONUNBUFFERED": "1",
        "PYTHONSAFEPATH": "1",
        "PYTHONUTF8": "1",
    }
    if folders := os.environ.get("PYTHONPATH"):
        own["PYTHONPATH"] = os.pathsep.join((str(home.dagster), folders))  # Dagster leaves out the first folder, taking it for the script's
    return {**os.environ, **own}


def _write_workspace(home: Home) -> None:
    """Write the file that names the code for Dagster to load.

    Its working folder is the folder of the instance, since Dagster imports from the working folder first. By default that is the current
    folder, and a folder `resources` in it would be taken for ours. Python's safe path does the same for the processes that Dagster starts.
    """
    module = {"module_name": "interp_assets.definitions", "location_name": "interp_assets", "working_directory": str(home.dagster)}
    content = yaml.safe_dump({"load_from": [{"python_module": module}]})
    if not home.workspace_file.exists() or home.workspace_file.read_text() != content:
        temporary = home.workspace_file.with_name(f".workspace-{os.getpid()}.yaml")
        temporary.write_text(content)
        temporary.replace(home.workspace_file)


def set_pool_limits(instance: "dg.DagsterInstance") -> None:
    """Give each pool the default limit of dagster.yaml, unless a user has set its limit: Dagster itself applies the default only from the
    second use of a pool on."""
    from interp_assets.orchestration.partitions import POOLS

    storage, default = instance.event_log_storage, instance.global_op_concurrency_default_limit
    limits = {limit.name: limit for limit in storage.get_pool_limits()}
    for pool in POOLS:
        if pool in limits and limits[pool].from_default and limits[pool].limit != default:
            storage.delete_concurrency_limit(pool)  # Dagster's own change of a default fails on Postgres
            del limits[pool]
        if pool not in limits:
            storage.initialize_concurrency_limit_to_default(pool)


@contextlib.contextmanager
def running_server(home: Home, port: int | None = None, say: Callable[[str], None] = print) -> Iterator[DagsterServer]:
    """The webserver of this home: on `port`; without a port on the default port, or started by another command, or started here with its
    daemon.

    A webserver that is started here runs as long as the block, and then until no other command uses it. Raises `Interrupted` in the block
    when a signal comes meanwhile, and `ServerError` where a port is given and this home's webserver is not there.
    """
    existing = DagsterServer(url_of(DEFAULT_HOST, port or DEFAULT_PORT))
    if existing.serves(home):
        with using(home.dagster):
            yield existing
        return
    if port is not None:
        claim = claim_on(home.dagster)
        elsewhere = f"it answers at {claim.url}" if claim and claim.url else f"start it with `interp ui --port {port}`"
        raise ServerError(f"Dagster of the home {home.root} does not answer at {existing.url}: {elsewhere}, or leave --port out")
    log_path = home.dagster / "server.log"
    refuse_unusable(home)
    try:
        with log_path.open("ab") as log, started_dagster(home, DEFAULT_HOST, free_port(), log) as (server, process):
            if not wait_until_it_serves(server, home, process, say):
                tail = "\n".join(log_path.read_text(errors="replace").splitlines()[-15:])
                raise ServerError(f"{_not_started(process)}; the end of {log_path}:\n{tail}")
            yield server
            wait_for_users(home.dagster, say)
        return
    except AlreadyClaimed as claimed_already:
        say(f"{claimed_already}: it is used")
    with using(home.dagster):
        yield _other_commands_server(home, say)


def _other_commands_server(home: Home, say: Callable[[str], None]) -> DagsterServer:
    """The webserver that another command is starting or has started. Raises `ServerError` where it never answers."""
    claim = None
    for _ in _patience(say):
        if (claim := claim_on(home.dagster)) is None:
            break
        server = DagsterServer(claim.url)
        if claim.url and server.serves(home):
            return server
    raise ServerError(
        "the Dagster that another command of this home was starting "
        + (f"does not answer at {claim.url} (process {claim.pid})" if claim else "has ended")
        + "; end that command, and run this one again"
    )


def refuse_unusable(home: Home) -> None:
    """Raise `ServerError` where Dagster cannot work in this home: the home cannot be written, or a database is damaged."""
    if why := unusable_home(home.dagster):
        raise ServerError(why)


def serve_ui(home: Home, host: str, port: int, say: Callable[[str], None]) -> None:
    """Run the webserver and the daemon of this home until a signal ends them; return at once where they run on this port already.

    Raises `Interrupted` at the signal, and `ServerError` when another program holds the port, or when Dagster ends by itself.
    """
    server = DagsterServer(url_of(host, port))
    if server.serves(home):
        say(f"the UI of {home.root} is already at {server.url}")
        return
    refuse_unusable(home)
    if (claim := claim_on(home.dagster)) is not None:
        raise ServerError(f"{AlreadyClaimed(claim)}: open that address, or end that command first")
    refuse_taken_port(host, port)
    with started_dagster(home, host, port, None) as (server, process):
        if wait_until_it_serves(server, home, process, say):
            say(f"the UI of {home.root} is at {server.url}; Ctrl-C ends it, and all runs that it has started")
            process.wait()
            raise ServerError(f"Dagster ended by itself with status {process.returncode}; its last lines above say why")
        why = _not_started(process)
    raise ServerError(f"{why}; its lines above say why")


def _not_started(process: subprocess.Popen[bytes]) -> str:
    """Why a Dagster that was started does not answer: it has ended, or takes too long."""
    ended = process.poll()
    return f"Dagster did not start within {START_SECONDS:g} s" if ended is None else f"Dagster did not start: it ended with status {ended}"


@contextlib.contextmanager
def started_dagster(home: Home, host: str, port: int, log: IO[bytes] | None) -> Iterator[tuple[DagsterServer, subprocess.Popen[bytes]]]:
    """Dagster's webserver, daemon and code server of this home, and the process that leads them. They print to `log`, or to our output.

    All of them have ended after the block, and a signal raises `Interrupted` in it: see `started_group`. They keep our working folder,
    so that a relative path in a record means the same as when the record was tried. Raises `AlreadyClaimed` where another process has
    started Dagster for this home.
    """
    command = [
        *(sys.executable, "-m", "interp_assets.installation.prompt_dagster", "dev"),
        *("-w", str(home.workspace_file), "-h", host, "-p", str(port)),
    ]
    from interp_assets.installation.instance import opened_instance

    server = DagsterServer(url_of(host, port))
    environment = prepare_instance(home)
    opened_instance(home).dispose()  # a fault of its settings is a message, and not the end of four processes
    with claimed(home.dagster, server.url), started_group(command, environment, log) as process:
        yield server, process


def wait_until_it_serves(server: DagsterServer, home: Home, process: subprocess.Popen[bytes], say: Callable[[str], None]) -> bool:
    """Whether the server answers for this home before `START_SECONDS` are over and before its process ends. A long wait is told."""
    for _ in _patience(say):
        if server.serves(home):
            return True
        if process.poll() is not None:
            break
    return False


def _patience(say: Callable[[str], None]) -> Iterator[None]:
    """Half a second apart until `START_SECONDS` are over, for a look at whether Dagster has started."""
    begun, told = time.monotonic(), False
    while (waited := time.monotonic() - begun) < START_SECONDS:
        yield
        if waited > SLOW_SECONDS and not told:
            say(f"Dagster has not started after {waited:.0f} s: is the machine busy? Waiting for up to {START_SECONDS:g} s")
            told = True
        time.sleep(0.5)


def url_of(host: str, port: int) -> str:
    """The address by which a browser on this machine reaches a server at host and port."""
    reachable = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{reachable}]:{port}" if ":" in reachable else f"http://{reachable}:{port}"


def free_port(host: str = DEFAULT_HOST) -> int:
    """A port without a listener."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return probe.getsockname()[1]


def refuse_taken_port(host: str, port: int) -> None:
    """Raise `ServerError` where nothing can listen at host and port."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except (OSError, OverflowError) as error:
        raise ServerError(f"nothing can listen at {host}, port {port}: {error}. Choose another --port, or --host.") from None
