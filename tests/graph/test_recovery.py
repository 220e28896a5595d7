"""A backfill whose processes are killed one after the other: it ends by itself, with the bytes of an undisturbed one."""

import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from installation import KEY, Installation, ServedModels
from running import HERE, RunningDagster, eventually, free_port

from interp_assets.backfill.launch import FINISHED, known_assets, launch_backfill, partitions_by_asset
from interp_assets.graph.assembly import ASSETS
from interp_assets.installation.registration import add_record
from interp_assets.orchestration.partitions import DICTIONARIES, POOLS
from interp_assets.tables import LEDGER

pytestmark = [pytest.mark.daemon, pytest.mark.slow]
MADE = (
    "token_sample", "activation_shards", "feature_neighbours", "window_embeddings",
    "examples", "explanations/max_act", "explanations/shuffled", "scores/detection",
)  # fmt: skip
CONCURRENCY = 4
LATENCY_SECONDS = 0.02


class Judge:
    """The stand-in judge as a server of its own process, on one port for good."""

    def __init__(self, folder: Path) -> None:
        self.port, self._count = free_port(), folder / "asked.txt"
        self._process: subprocess.Popen[str] | None = None

    def start(self, latency_seconds: float) -> None:
        command = [sys.executable, str(HERE / "scripted_server.py"), str(self.port), str(self._count), str(latency_seconds)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=HERE.parents[1])
        assert self._process.stdout is not None and self._process.stdout.readline().strip() == str(self.port)

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def hold(self, hold: bool) -> None:
        """Answer nothing, so that a run stays where it is, or go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP if hold else signal.SIGCONT)

    def asked(self) -> Counter[str]:
        """How often each question was answered."""
        return Counter(self._count.read_text().splitlines()) if self._count.exists() else Counter()

    def forget(self) -> None:
        self._count.unlink()

    def write_settings(self, installation: Installation) -> None:
        options = {"base_url": f"http://127.0.0.1:{self.port}/v1", "concurrency": CONCURRENCY, "max_connection_failures": 30}
        model = {"backend": "openai", "model": "scripted", "revision": "1", "options": {**options, "backoff_seconds": 0.2}}
        installation.home.root.mkdir(parents=True, exist_ok=True)
        installation.home.settings_file.write_text(yaml.safe_dump({"explainer": model, "scorer": model, "automation": {"when": "never"}}))


def contents(installation: Installation) -> dict[str, Any]:
    """Every file of the lake, and the rows of the ledger.

    Left out of the ledger are how long a reply took, whether it was there already, and what its prompt shared with prompts asked beside it:
    a run that goes on asks other questions together.
    """
    files: dict[str, Any] = {path: content for path, content in installation.lake_bytes().items() if not path.startswith("ledger/")}
    for manifest in installation.home.lake.manifests(LEDGER.name):
        rows = installation.home.lake.read(LEDGER.name, manifest.partition).drop_columns(["seconds", "source", "shareable_tokens"])
        files[f"ledger {manifest.partition}"] = rows.to_pylist()
    return files


def test_a_backfill_outlives_the_death_of_every_process(installation: Installation, new_installation: Any, tmp_path: Path) -> None:
    judge = Judge(tmp_path)
    undisturbed = new_installation("undisturbed")
    record = installation.record(features=tuple(range(0, 64, 2)))
    judge.start(0.0)
    try:
        judge.write_settings(undisturbed)
        undisturbed.models = ServedModels()
        undisturbed.register(record)
        undisturbed.run(*MADE[:4])
        undisturbed.run(*MADE[4:])
        judge.kill()
        needed = judge.asked()
        assert set(needed.values()) == {1} and len(needed) > 150
        judge.forget()

        judge.write_settings(installation)
        judge.start(LATENCY_SECONDS)
        add_record(installation.home, record)
        with RunningDagster(installation.home) as dagster:
            assert dagster.instance.get_dynamic_partitions(DICTIONARIES.name or "") == [KEY]
            backfill = launch_backfill(dagster.server, partitions_by_asset(known_assets(ASSETS, MADE), [KEY]), "recovery")

            def run_in_progress_after(n: int) -> str:
                """The run, held, once so many questions were answered."""
                eventually(lambda: sum(judge.asked().values()) >= n, f"question number {n}", pause=0.02)
                judge.hold(True)
                runs = {run["runId"] for run in dagster.runs() if run["tags"].get("dagster/backfill") == backfill}
                (run,) = runs.intersection(dagster.unfinished())
                return run

            first = run_in_progress_after(10)
            assert dagster.kill_run(first)  # its code server tells, and the run is tried again
            judge.hold(False)
            second = run_in_progress_after(50)
            judge.hold(False)
            judge.kill()
            time.sleep(1)
            judge.start(LATENCY_SECONDS)  # the run has waited
            assert run_in_progress_after(80) == second != first
            dagster.kill("daemon")
            dagster.kill("webserver")
            dagster.start("webserver", "daemon")
            judge.hold(False)
            assert run_in_progress_after(110) == second
            dagster.kill("daemon")
            dagster.kill("code")
            assert dagster.kill_run(second)  # nobody is left to tell
            judge.hold(False)
            dagster.start("code", "daemon")

            status = lambda: next(b["status"] for b in dagster.backfills() if b["id"] == backfill)  # noqa: E731
            eventually(lambda: status() in FINISHED, "end of the backfill", pause=1)
            assert status() == "COMPLETED_SUCCESS", dagster.runs()
            ended = Counter(run["status"] for run in dagster.runs() if run["tags"].get("dagster/backfill") == backfill)
            assert ended == {"SUCCESS": 2, "FAILURE": 2}
            for pool in POOLS:
                eventually(lambda: dagster.instance.event_log_storage.get_concurrency_info(pool).active_slot_count == 0, f"free {pool}")  # noqa: B023

        asked = judge.asked()
        # What was under way at a death was answered, but not heard: of two runs and one server no more than was asked at once.
        assert asked.keys() == needed.keys() and 0 <= sum(asked.values()) - sum(needed.values()) <= 3 * CONCURRENCY
        assert contents(installation) == contents(undisturbed)
        assert not list(installation.home.spill.glob("*"))
        installation.models = ServedModels()
        installation.instance.add_dynamic_partitions(DICTIONARIES.name or "", [KEY])
        installation.run(*MADE[4:])
        assert judge.asked() == asked
    finally:
        judge.kill()
