"""What is paid beside models: imports, Dagster's start, a stage with nothing to do, and the whole demo's share that is neither model nor
judge.

    python benchmarks/overheads.py [--quick] [--home FOLDER]

Imports are CPU seconds of fresh processes. A stage with nothing to do is a range asset of the graph on stand-ins whose partitions are all
complete, in a run of several such stages; a run's own cost is told beside it. Dagster's start is on an empty home. The demo (not with
`--quick`) is `interp demo` in a new home, or in FOLDER, with a stopwatch on the subject model, the judge and the encoder
(`measured_models.py`). Its machinery is the time in which none of the three works. Last, `interp run` explains and scores three features of
the demo's SAE, whose activations are there. The last line is one JSON object.
"""

import argparse
import contextlib
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg

import interp_assets.installation.server as server_module
from interp_assets.assets.examples.asset import RANGE_STAGE as EXAMPLES_STAGE
from interp_assets.backfill.launch import known_assets
from interp_assets.config.keys import FEATURE_RANGE_KEYS, RangeKey
from interp_assets.config.records import DictionaryRecord, TokenSampleSettings
from interp_assets.demo.run import run_demo
from interp_assets.graph.assembly import ASSETS, resources_of
from interp_assets.installation.home import Home
from interp_assets.orchestration.partitions import DICTIONARIES
from resources.fakes import FakeModels

ROUNDS = 3
IMPORTS = {
    "graph": "interp_assets.definitions",
    "torch_and_transformers": "torch, transformers",
    "pyplot": "matplotlib.pyplot",
}
EMPTY_STAGES = ("scores/detection", "scores/fuzzing", "scores/surprisal", "scores/intruder", "scores/matcher")
KEY = "stand-in/00/neurons"
SAE = "smollm2-135m/09/res-2k"
HARVESTED = (
    "documents", "token_samples", "dictionary_samples", "activations", "feature_statistics", "feature_neighbours", "dictionary_embeddings",
)  # fmt: skip
RUN_COMMAND = "from interp_assets.cli.main import app; app()"
ROLES = {"webserver": "dagster_webserver", "daemon": "prompt_dagster daemon", "code": " api grpc ", "proxy": "code-server"}
"""A part of the command line of each of Dagster's processes; the runs are children of the code server."""


def import_figures() -> dict[str, float]:
    """CPU seconds of an import in a new process, beside the seconds of a process that imports nothing."""

    def cpu(statement: str) -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-c", statement], check=True, stderr=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    bare = statistics.median(cpu("pass") for _ in range(ROUNDS))
    return {
        f"import_{name}_cpu_seconds": round(statistics.median(cpu(f"import {modules}") for _ in range(ROUNDS)) - bare, 2)
        for name, modules in IMPORTS.items()
    }


def empty_stage_figures(folder: Path) -> dict[str, float]:
    """CPU seconds of a stage with nothing to do over all ranges of a dictionary, and of a run of such stages beside its stages."""
    home = Home(folder, str(folder / "lake"))
    words = folder / "words.txt"
    words.parent.mkdir(parents=True, exist_ok=True)
    words.write_text("red blue green tree river " * 4000)
    sample = TokenSampleSettings(corpus=(f"text:{words}",), n_tokens=8192, context_tokens=64)
    stages: Any = {"explanations": ["token_list"], "scores": {"detection": ["token_list"], "matcher": ["token_list"]}}
    record = DictionaryRecord(
        key=KEY, hook="blocks.0.mlp.hook_post", kind="topk_neurons", k=8, width=64, token_sample=sample, stages=stages
    )
    home.registry.write(record)
    server_module.prepare_instance(home)
    resources = resources_of(home, FakeModels())
    with dg.DagsterInstance.from_config(str(home.dagster)) as instance:
        instance.add_dynamic_partitions(DICTIONARIES.name or "", [KEY])

        def run(*names: str) -> float:
            started = time.process_time()
            chosen = list(known_assets(ASSETS, names).values())
            ends = [KEY, KEY] if chosen[0].partitions_def == DICTIONARIES else [str(RangeKey(KEY, FEATURE_RANGE_KEYS[i])) for i in (0, -1)]
            tags = dict(zip(("dagster/asset_partition_range_start", "dagster/asset_partition_range_end"), ends, strict=True))
            dg.materialize(ASSETS, selection=chosen, instance=instance, resources=resources, tags=tags)
            return time.process_time() - started

        run("token_sample", "activation_shards", "feature_neighbours", "window_embeddings")
        run(EXAMPLES_STAGE.asset, "explanations/token_list", *EMPTY_STAGES)
        one = statistics.median(run(EMPTY_STAGES[0]) for _ in range(ROUNDS))
        all_of_them = statistics.median(run(*EMPTY_STAGES) for _ in range(ROUNDS))
    stage = (all_of_them - one) / (len(EMPTY_STAGES) - 1)
    return {"empty_stage_cpu_seconds": round(stage, 3), "empty_run_cpu_seconds": round(one - stage, 3)}


def _processes() -> dict[int, tuple[int, str, float, float]]:
    """By process id: the parent, the command line, CPU seconds of the process, and CPU seconds of its children that have ended."""
    found = {}
    tick = os.sysconf("SC_CLK_TCK")
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, IndexError, ValueError):
            fields = (path / "stat").read_text().rpartition(")")[2].split()
            command = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            user, system, ended_user, ended_system = (int(number) / tick for number in fields[11:15])
            found[int(path.name)] = int(fields[1]), command, user + system, ended_user + ended_system
    return found


def _cpu_by_role() -> dict[str, float]:
    """CPU seconds of this process's descendants by role; runs that have ended are counted as `runs`."""
    processes = _processes()
    spent: dict[str, float] = defaultdict(float)
    ours = {os.getpid()}
    while more := {pid for pid, (parent, *_) in processes.items() if parent in ours} - ours:
        ours |= more
    for pid in ours - {os.getpid()}:
        _, command, own, ended = processes[pid]
        role = next((name for name, part in ROLES.items() if part in command), "others")
        spent[role] += own
        spent["runs" if role == "code" else "others"] += ended
    return spent


class Timeline:
    """When Dagster was started, served and was no longer needed, and what its processes had spent by then."""

    def __init__(self) -> None:
        self.begun = self.asked = self.served = self.done = self.ended = time.time()
        self.cpu: dict[str, float] = {}

    def watch(self) -> None:
        """Let `running_server` note its times here, and Dagster load the measured graph."""
        running = server_module.running_server
        write_workspace = server_module._write_workspace

        @contextlib.contextmanager
        def watched(*arguments: Any, **options: Any) -> Iterator[Any]:
            self.asked = time.time()
            with running(*arguments, **options) as server:
                self.served = time.time()
                yield server
                self.done, self.cpu = time.time(), _cpu_by_role()

        def measured(home: Home) -> None:
            write_workspace(home)
            home.workspace_file.write_text(
                home.workspace_file.read_text().replace("interp_assets.definitions", "benchmarks.measured_models")
            )

        server_module.running_server = watched
        server_module._write_workspace = measured


def start_figures(folder: Path) -> dict[str, float]:
    """Seconds until Dagster serves an empty home, and until it has ended."""
    begun = time.time()
    with server_module.running_server(Home(folder, str(folder / "lake"))):
        served, cpu = time.time(), sum(_cpu_by_role().values())
    left = time.time()
    return {
        "dagster_start_seconds": round(served - begun, 1),
        "dagster_start_cpu_seconds": round(cpu, 1),
        "dagster_end_seconds": round(left - served, 1),
    }


def demo_figures(folder: Path) -> dict[str, Any]:
    """The demo's seconds, in which a model or the judge works, and in which neither does."""
    times = folder / "times"
    times.mkdir(parents=True, exist_ok=True)
    os.environ["OVERHEADS_FOLDER"] = str(times)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH")]))
    home, timeline = Home(folder, str(folder / "lake")), Timeline()
    timeline.watch()
    begun = time.time()
    own = time.process_time()
    _, message = run_demo(home, None, print)
    ended = time.time()
    own = time.process_time() - own
    print(message)
    models: dict[str, list[float]] = {}
    for path in times.glob("*.json"):
        for name, numbers in json.loads(path.read_text())["models"].items():
            models[name] = [a + b for a, b in zip(models.get(name, [0, 0, 0]), numbers, strict=True)]
    seconds = {name: models.get(name, [0, 0.0, 0.0])[1] for name in ("model", "judge", "encoder", "load")}
    runs = _run_figures(home)
    whole, work = ended - begun, sum(seconds[name] for name in ("model", "judge", "encoder"))
    return {
        "demo_seconds": round(whole, 1),
        "demo_machinery_seconds": round(whole - work, 1),
        "demo_machinery_share": round((whole - work) / whole, 3),
        **{f"demo_{name}_seconds": round(number, 1) for name, number in seconds.items()},
        "demo_before_dagster_seconds": round(timeline.asked - begun, 1),
        "demo_dagster_start_seconds": round(timeline.served - timeline.asked, 1),
        **runs,
        "demo_after_dagster_seconds": round(ended - timeline.done, 1),
        "demo_cpu_seconds": round(sum(timeline.cpu.values()) + own, 1),
        "demo_cpu_seconds_by_process": {name: round(number, 1) for name, number in timeline.cpu.items()} | {"command": round(own, 1)},
    }


def few_features_figures(demo: Path, folder: Path) -> dict[str, Any]:
    """`interp run` of three features of the demo's SAE whose activations are there: all, and beside the judge's and the encoder's work."""
    for name in ("dictionaries", *(f"lake/{table}" for table in HARVESTED)):
        shutil.copytree(demo / name, folder / name)
    shutil.copy(demo / "lake" / "lake.json", folder / "lake")
    times = folder / "times"
    times.mkdir()
    home = Home(folder, str(folder / "lake"))
    features = ",".join(str(one) for one in home.registry.get(SAE).selected_features[:3])
    environment = {**os.environ, "INTERP_HOME": str(folder), "INTERP_LAKE": "", "OVERHEADS_FOLDER": str(times)}
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    program = f"import sys, benchmarks.measured_models; sys.argv = ['interp', 'run', {SAE!r}, '--features', {features!r}]; " + RUN_COMMAND
    subprocess.run([sys.executable, "-c", program], check=True, env=environment, cwd=Path(__file__).parents[1])
    whole, after = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
    models = json.loads(next(times.glob("*.json")).read_text())["models"]
    asked = [models.get(name, [0, 0.0, 0.0]) for name in ("judge", "encoder", "model")]
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {
        "three_features_seconds": round(whole, 1),
        "three_features_seconds_beside_questions": round(whole - sum(one[1] for one in asked), 1),
        "three_features_cpu_seconds_beside_questions": round(cpu - sum(one[2] for one in asked), 1),
        "three_features_load_seconds": round(models.get("load", [0, 0.0])[1], 1),
    }


def _run_figures(home: Home) -> dict[str, Any]:
    """Of the home's runs: their number, the seconds from request to first step, and the seconds between runs in which none was under
    way."""
    with dg.DagsterInstance.from_config(str(home.dagster)) as instance:
        records = sorted(instance.get_run_records(), key=lambda one: one.create_timestamp)
        starts = []
        for one in records:
            first = instance.get_records_for_run(one.dagster_run.run_id, of_type=dg.DagsterEventType.STEP_START, limit=1).records
            starts.append(first[0].event_log_entry.timestamp - one.create_timestamp.timestamp() if first else 0.0)
    waits, busy_until = 0.0, records[0].create_timestamp.timestamp()
    for one in records:
        waits += max(one.create_timestamp.timestamp() - busy_until, 0)
        busy_until = max(busy_until, one.end_time or busy_until)
    return {"demo_runs": len(records), "demo_start_of_runs_seconds": round(sum(starts), 1), "demo_between_runs_seconds": round(waits, 1)}


def main() -> None:
    """Run the parts and print the table and the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="without the demo; under two minutes")
    parser.add_argument("--home", type=Path, help="where the demo is made, a new folder; a temporary one by default")
    given = parser.parse_args()
    figures: dict[str, Any] = import_figures()
    with tempfile.TemporaryDirectory() as folder:
        figures |= empty_stage_figures(Path(folder) / "stand-ins")
        figures |= start_figures(Path(folder) / "empty")
        if not given.quick:
            demo = given.home or Path(folder) / "demo"
            figures |= demo_figures(demo) | few_features_figures(demo, Path(folder) / "few")
    for name, value in figures.items():
        print(f"{name:>44}  {value}")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
