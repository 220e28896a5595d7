"""Eight runs at once on one installation, each on its own feature ranges, while readers query the warehouse: nothing may go wrong.

    python benchmarks/soak.py [--minutes 10] [--quick] [--runs 8] [--readers 2]

Real Dagster runs on stand-in models share one SQLite instance, one lake, one reply store and one DuckDB file, which they rebuild as they
go. Each withdraws what it made and makes it again: every file must come out with the bytes that it had, and whenever readers look every
range has all of its rows or none yet. The last line is one JSON object; status 1 when anything was wrong.
"""

import argparse
import json
import multiprocessing
import os
import resource
import statistics
import sys
import tempfile
import time
import traceback
import zlib
from collections import Counter
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import numpy as np

# Loading the definitions opens a home: not that of whoever measures.
os.environ["INTERP_HOME"] = tempfile.mkdtemp(prefix="interp-benchmark-")

from interp_assets.config.keys import FEATURE_RANGE_KEYS
from interp_assets.config.records import DictionaryRecord, TokenSampleSettings
from interp_assets.graph.assembly import ASSETS, definitions
from interp_assets.installation.home import Home
from interp_assets.installation.registration import add_record
from resources.fakes import WORDS, FakeModels

KEY = "soak/00/neurons"
FIRST = ("token_sample", "activation_shards", "feature_neighbours", "window_embeddings")
BY_RANGE = ("examples", "explanations/max_act", "scores/detection")
TABLES = ("examples", "feature_examples", "explanations", "trials", "verdicts", "scores")
COUNTS = " UNION ALL ".join(f"SELECT '{table}', feature_range, count(*) FROM {table} GROUP BY 2" for table in TABLES)
RANGE_STAGES = {
    "examples": {"window_tokens": 8, "n_shown": 6, "n_held_out": 10, "n_non_activating": 10, "min_activating": 12, "n_strata": 5},
    "explanations": ["max_act"], "scores": {"fuzzing": []}, "scoring": {"n_bootstrap": 50},
}  # fmt: skip
MIN_PASSES = 2


def home_in(folder: Path) -> Home:
    """The installation under a folder."""
    return Home(folder / "home", str(folder / "home" / "lake"))


def write_corpus(folder: Path) -> None:
    """Twenty documents of random known words."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(20):
        weights = rng.dirichlet(np.full(len(WORDS), 0.2))
        (folder / f"{number:02d}.txt").write_text(" ".join(rng.choice(WORDS, size=1000, p=weights)))


def materialise(home: Home, instance: dg.DagsterInstance, names: tuple[str, ...], first: str, last: str) -> None:
    """One Dagster run of some assets over a range of partitions. Raises what fails in it."""
    dg.materialize(
        ASSETS,
        selection=[asset for asset in ASSETS if "/".join(asset.key.path) in names],
        instance=instance,
        resources=dict(definitions(home, FakeModels()).resources or {}),
        tags={"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last},
    )


def harvest(folder: Path) -> None:
    """Register the dictionary and make everything before the feature ranges."""
    home = home_in(folder)
    write_corpus(folder / "corpus")
    sample = TokenSampleSettings(corpus=(f"text:{folder}/corpus/*.txt",), n_tokens=8192, context_tokens=64)
    fields: dict[str, Any] = {"hook": "blocks.0.mlp.hook_post", "kind": "topk_neurons", "k": 8, "width": 64, "token_sample": sample}
    add_record(home, DictionaryRecord(key=KEY, stages=RANGE_STAGES, **fields))
    with dg.DagsterInstance.from_config(str(home.dagster)) as instance:
        materialise(home, instance, FIRST, KEY, KEY)


def write(folder: Path, ranges: list[str], deadline: float, done: "multiprocessing.Queue[dict[str, Any]]") -> None:
    """Make the ranges again and again; at the end report passes, seconds and what went wrong."""
    home, errors, seconds, memory = home_in(folder), [], [], []
    digests: dict[str, int] = {}
    changed: set[str] = set()
    with dg.DagsterInstance.from_config(str(home.dagster)) as instance:
        while time.time() < deadline or len(seconds) < MIN_PASSES:
            started = time.perf_counter()
            try:
                for table in TABLES:
                    for manifest in list(home.lake.manifests(table)):
                        if manifest.partition.get("feature_range") in ranges:
                            home.lake.discard(table, manifest.partition)
                materialise(home, instance, BY_RANGE, f"{KEY}|{ranges[0]}", f"{KEY}|{ranges[-1]}")
                home.warehouse.build()
            except Exception:
                errors.append(traceback.format_exc(limit=-3))
            seconds.append(time.perf_counter() - started)
            memory.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
            for table in TABLES:
                for feature_range in ranges:
                    for path in Path(home.lake.root, table).glob(f"**/feature_range={feature_range}/*.parquet"):
                        digest = zlib.crc32(path.read_bytes())
                        if digests.setdefault(str(path), digest) != digest:
                            changed.add(str(path))
    done.put({"kind": "writer", "seconds": seconds, "errors": errors, "changed": sorted(changed), "memory_mb": [memory[0], memory[-1]]})


def read(folder: Path, stop: Event, done: "multiprocessing.Queue[dict[str, Any]]") -> None:
    """Count the rows of every range again and again. A range has all its rows or, between its withdrawal and the next run, none."""
    home, errors, milliseconds = home_in(folder), [], []
    seen: dict[tuple[str, str], int] = {}
    wrong: list[str] = []
    while not stop.is_set() or not milliseconds:
        started = time.perf_counter()
        try:
            with home.warehouse.open() as connection:
                found = {(table, feature_range): n for table, feature_range, n in connection.execute(COUNTS).fetchall()}
                connection.execute("SELECT count(*) FROM feature_overview").fetchall()
        except duckdb.Error as error:
            errors.append(str(error))
            continue
        milliseconds.append(1000 * (time.perf_counter() - started))
        wrong += [f"{place} had {n} rows, then {found[place]}" for place, n in seen.items() if found.get(place, n) != n]
        seen |= found
        time.sleep(0.05)
    counts = sorted((*place, n) for place, n in seen.items())
    done.put({"kind": "reader", "milliseconds": milliseconds, "errors": errors, "wrong": wrong, "counts": counts})


def soak(folder: Path, seconds: float, n_runs: int, n_readers: int) -> dict[str, Any]:
    """Figures of a soak in an empty folder; `errors`, `changed_files` and `wrong_counts` are 0 when all is well."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["interp_assets.definitions", "resources.fakes"])
    preparing = context.Process(target=harvest, args=(folder,))
    preparing.start()
    preparing.join()
    assert preparing.exitcode == 0, "the harvest failed"
    home = home_in(folder)
    home.warehouse.build()
    shares = [[str(key) for key in share] for share in np.array_split(FEATURE_RANGE_KEYS, n_runs)]
    done: multiprocessing.Queue[dict[str, Any]] = context.Queue()
    stop = context.Event()
    started = time.time()
    readers = [context.Process(target=read, args=(folder, stop, done)) for _ in range(n_readers)]
    writers = [context.Process(target=write, args=(folder, share, started + seconds, done)) for share in shares]
    for process in (*readers, *writers):
        process.start()
    reports = [done.get() for _ in writers]
    stop.set()
    reports += [done.get() for _ in readers]
    for process in (*readers, *writers):
        process.join()
    written = [report for report in reports if report["kind"] == "writer"]
    looked = [report for report in reports if report["kind"] == "reader"]
    passes = [s for report in written for s in report["seconds"]]
    looks = sorted(ms for report in looked for ms in report["milliseconds"])
    errors = Counter(error.strip().splitlines()[-1] for report in reports for error in report["errors"])
    for error, n in errors.most_common(10):
        print(f"{n} x {error}")
    for line in [line for report in looked for line in report["wrong"]][:10]:
        print(line)
    left = [str(path) for path in Path(home.lake.root).rglob("*") if path.name.endswith(".tmp")]
    statuses: Counter[str] = Counter()
    with dg.DagsterInstance.from_config(str(home.dagster)) as instance:
        statuses.update(run.status.value for run in instance.get_runs())
    rows = dict.fromkeys(TABLES, 0)
    for table, _, n in looked[0]["counts"]:
        rows[table] += n
    return {
        "seconds": round(time.time() - started, 1), "runs_at_once": n_runs, "readers": n_readers, "runs": len(passes),
        "run_statuses": dict(statuses), "run_seconds_median": round(statistics.median(passes), 2), "queries": len(looks),
        "query_ms_median": round(statistics.median(looks), 1), "query_ms_p99": round(looks[int(0.99 * (len(looks) - 1))], 1),
        "writer_mb_first_pass": round(max(report["memory_mb"][0] for report in written)),
        "writer_mb_last_pass": round(max(report["memory_mb"][1] for report in written)),
        "replies": home.replies.size().n_replies, "rows": rows, "incomplete_partitions": len(home.lake.incomplete()),
        "temporary_files": len(left), "errors": sum(errors.values()), "changed_files": sum(len(report["changed"]) for report in written),
        "wrong_counts": sum(len(report["wrong"]) for report in looked),
    }  # fmt: skip


def main() -> None:
    """Soak in a temporary folder and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--runs", type=int, default=8, help="runs at once, at most 16")
    parser.add_argument("--readers", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="half a minute and what two passes take")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        figures = soak(Path(name), 30 if given.quick else 60 * given.minutes, given.runs, given.readers)
    for name, value in figures.items():
        print(f"{name:>24}  {value}")
    print(json.dumps(figures))
    sys.exit(any(figures[name] for name in ("errors", "changed_files", "wrong_counts", "temporary_files", "incomplete_partitions")))


if __name__ == "__main__":
    main()
