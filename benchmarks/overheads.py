"""What is paid beside models: imports, Dagster's start, a stage with nothing to do, and the whole demo's share that is neither model nor
judge.

    python benchmarks/overheads.py [--quick] [--home FOLDER]

Imports are CPU seconds of fresh processes. A stage with nothing to do is a range asset of the graph on stand-ins whose partitions are all
complete, in a run of several such stages; a run's own cost is told beside it. Dagster's start is on an empty home. `interp run` then
explains and scores three features of the demo's SAE, whose activations are there, with a stopwatch on the subject model, the judge and the
encoder (`measured_models.py`). The demo (not with `--quick`) is `interp demo` in a new home, or in FOLDER. Its machinery is the time in
which none of the three works. The last line is one JSON object.
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
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa

import interp_assets.installation.server as server_module
from interp_assets.assets.examples.asset import RANGE_STAGE as EXAMPLES_STAGE
from interp_assets.backfill.launch import known_assets
from interp_assets.config.keys import FEATURE_RANGE_KEYS, RangeKey
from interp_assets.config.records import DictionaryRecord, TokenSampleSettings
from interp_assets.demo.run import RECORDS
from interp_assets.graph.assembly import ASSETS, resources_of
from interp_assets.installation.home import Home
from interp_assets.orchestration.partitions import DICTIONARIES
from resources.event_log import write_events_quickly
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
HARVEST = tuple(word for name in ("token_sample", "activation_shards", "feature_neighbours") for word in ("--only", name))
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
    write_events_quickly()
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


def measured_command(home: Home, *arguments: str) -> dict[str, float]:
    """Run `interp` with these arguments in a process with stopwatches: its seconds, CPU seconds, and the seconds of each model in it.

    `beside` are the seconds in which neither the subject model nor the judge nor the encoder works; to load them is beside their work, as
    far as we wait for it. `own_cpu` are the CPU seconds of the process itself, without the processes that it has started.
    """
    with tempfile.TemporaryDirectory() as times:
        environment = {**os.environ, "INTERP_HOME": str(home.root), "INTERP_LAKE": "", "OVERHEADS_FOLDER": times}
        program = f"import sys, benchmarks.measured_models; sys.argv = {['interp', *arguments]!r}; {RUN_COMMAND}"
        before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run([sys.executable, "-c", program], check=True, env=environment, cwd=Path(__file__).parents[1])
        whole, after = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
        written = json.loads(next(Path(times).glob("*.json")).read_text())
    models = written["models"]
    seconds = {name: models.get(name, [0, 0.0, 0.0])[1] for name in ("model", "judge", "encoder", "load")}
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    worked, worked_cpu = (sum(models.get(name, [0, 0.0, 0.0])[i] for name in ("model", "judge", "encoder")) for i in (1, 2))
    return {"all": whole, "cpu": cpu, "own_cpu": written["process"], "beside": whole - worked, "cpu_beside": cpu - worked_cpu, **seconds}


def demo_figures(home: Home) -> dict[str, Any]:
    """The demo's seconds, in which a model or the judge works, and in which neither does."""
    taken = measured_command(home, "demo")
    return {
        "demo_seconds": round(taken["all"], 1),
        "demo_machinery_seconds": round(taken["beside"], 1),
        "demo_machinery_share": round(taken["beside"] / taken["all"], 3),
        **{f"demo_{name}_seconds": round(taken[name], 1) for name in ("model", "judge", "encoder", "load")},
        "demo_cpu_seconds": round(taken["cpu"], 1),
        "demo_machinery_cpu_seconds": round(taken["cpu_beside"], 1),
        **_run_figures(home),
    }


def few_features_figures(home: Home) -> dict[str, Any]:
    """`interp run` of three features of the demo's SAE whose activations are there: all, and beside the models' work."""
    record = home.registry.parse((RECORDS / "res-2k.yaml").read_text(), "the demo's record")
    sample = record.token_sample.model_copy(update={"n_tokens": 16_384})
    scores = {"matcher": ["token_list"], "embedding": "all", "surprisal": ["max_act"], "detection": [], "fuzzing": []}
    stages = {**record.stages, "explanations": ["token_list", "max_act"], "scores": scores}
    home.registry.write(record.model_copy(update={"token_sample": sample, "stages": stages}))
    environment = {**os.environ, "INTERP_HOME": str(home.root), "INTERP_LAKE": ""}
    program = f"import sys; sys.argv = {['interp', 'run', SAE, *HARVEST]!r}; {RUN_COMMAND}"
    subprocess.run([sys.executable, "-c", program], check=True, env=environment, cwd=Path(__file__).parents[1])
    keys = ({"dictionary": SAE, "feature_range": one} for one in FEATURE_RANGE_KEYS)
    counts = pa.concat_tables(home.lake.read("feature_statistics", one, ["feature", "firing_count"]) for one in keys).to_pylist()
    features = [one["feature"] for one in sorted(counts, key=lambda one: -one["firing_count"])[:3]]
    unasking = Home(home.root.with_name("few-unasked"), str(home.root.with_name("few-unasked") / "lake"))
    shutil.copytree(home.root, unasking.root)
    stages = {**stages, "explanations": ["token_list"], "scores": {**scores, "surprisal": []}}
    unasking.registry.write(record.model_copy(update={"token_sample": sample, "stages": stages}))
    chosen = ("run", SAE, "--features", ",".join(map(str, sorted(features))))
    unasked = measured_command(unasking, *chosen)
    taken = measured_command(home, *chosen)
    return {
        "three_features_without_questions_seconds": round(unasked["all"], 1),
        "three_features_without_questions_cpu_seconds": round(unasked["cpu"], 1),
        "three_features_seconds": round(taken["all"], 1),
        "three_features_seconds_beside_questions": round(taken["beside"], 1),
        "three_features_cpu_seconds": round(taken["cpu"], 1),
        "three_features_own_cpu_seconds": round(taken["own_cpu"], 1),
        "three_features_load_seconds": round(taken["load"], 1),
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
        figures |= few_features_figures(Home(Path(folder) / "few", str(Path(folder) / "few" / "lake")))
        if not given.quick:
            demo = given.home or Path(folder) / "demo"
            figures |= demo_figures(Home(demo, str(demo / "lake")))
    for name, value in figures.items():
        print(f"{name:>44}  {value}")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
