"""SQL at the size of the job: how long questions and every shipped view take over a million features, warm and from cold.

    python -m benchmarks.warehouse [--quick] [--dictionaries 61] [--width 16384] [--home FOLDER]

Writes scores (eight rows a feature and scorer), explanations, statistics, examples, verdicts and ledger of every dictionary: 61
dictionaries of 16,384 features have 80 M scores in 9,760 partitions. Then makes the copies and asks: each question and view over all
dictionaries and over one, warm (in one process, median and 95 of 100) and from cold (a new process with its imports). A partition is
written between two questions, and the second must show it. `--home` keeps the home, and uses it again where it was written with the same
sizes. The last line is one JSON object.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from urllib.parse import quote

import duckdb
import numpy as np
import polars  # noqa: F401  (loaded here, not in the first question)
import pyarrow as pa

from benchmarks.explorer import filled, lists, words
from interp_assets.assets.warehouse.views import KEPT_BY, view_files
from interp_assets.config.keys import FEATURE_RANGE_KEYS, range_bounds
from interp_assets.config.records import DictionaryRecord
from interp_assets.domain.scoring import SCORERS
from interp_assets.installation.home import Home
from interp_assets.tables import EXAMPLES, EXPLANATIONS, FEATURE_EXAMPLES, FEATURE_STATISTICS, LEDGER, SCORES, TABLES, VERDICTS, Table
from resources.store.dictionary_partitions import manifests_of
from resources.store.lake import MANIFEST, PART
from resources.store.manifests import Manifest, manifest_bytes

METHODS = ("max_act", "shuffled")
ASKED = (
    "detection",
    "fuzzing",
    "embedding",
    "simulation",
    "purity",
    "surprisal",
    "clarity",
    "responsiveness",
    "intervention",
    "output_based",
)
METRICS = 4
WINDOWS = 2
TOKENS = 8
WRITTEN = 4
"""Dictionaries that the store's own writer writes; further ones are copies of them under other keys."""

ONE = "m/000/x"
QUESTIONS = {
    "one_feature": f"SELECT scorer, explanation_method, value FROM scores WHERE dictionary = '{ONE}' AND feature = 200 AND headline",
    "one_dictionary": f"SELECT scorer, explanation_method, median(value) FROM scores WHERE dictionary = '{ONE}' AND headline GROUP BY ALL",
    "best_20": "SELECT dictionary, feature, scorer, value FROM scores WHERE headline ORDER BY value DESC LIMIT 20",
    "count": "SELECT count(*) FROM scores",
    "one_feature_of_five_tables": f"SELECT * FROM feature_overview WHERE dictionary = '{ONE}' AND feature = 200",
}


def tables_of_range(key: str, number: int, width: int, scorers: tuple[str, ...]) -> Iterator[tuple[Table, dict[str, str], pa.Table]]:
    """(table, first partition column, rows) of all partitions of a feature range of a dictionary."""
    name, (first, end) = FEATURE_RANGE_KEYS[number], range_bounds(number, width)
    features, n = np.arange(first, end), end - first
    rng = np.random.default_rng([*key.encode(), number])
    where = {"dictionary": key, "feature_range": name}
    top = pa.array([[{"token_id": 1, "token": "a", "mass": 1.0}]] * n, FEATURE_STATISTICS.schema.field("top_tokens").type)
    counted = {
        "feature": features,
        "n_tokens": 10_000_000,
        "firing_count": rng.integers(0, 10**6, n),
        "token_density": 10 ** rng.uniform(-5, -0.9, n),
    }
    counted |= {"top_token_share": rng.beta(2, 3, n), "max_activation": rng.exponential(5, n), "top_tokens": top}
    yield FEATURE_STATISTICS, {}, filled(FEATURE_STATISTICS, n, {**where, **counted})
    yield FEATURE_EXAMPLES, {}, filled(FEATURE_EXAMPLES, n, {**where, "feature": features, "outcome": "ok", "n_windows": WINDOWS})
    many = n * WINDOWS
    texts = {
        "token_ids": lists(pa.array(rng.integers(9_999, size=many * TOKENS)), TOKENS, EXAMPLES.schema.field("token_ids").type),
        "tokens": lists(pa.array(words(rng, many * TOKENS, 1)), TOKENS, EXAMPLES.schema.field("tokens").type),
        "activations": lists(pa.array(rng.random(many * TOKENS)), TOKENS, EXAMPLES.schema.field("activations").type),
        "example_id": [f"{number}-{place}" for place in range(many)], "feature": np.repeat(features, WINDOWS), "role": "held_out",
    }  # fmt: skip
    yield EXAMPLES, {}, filled(EXAMPLES, many, {**where, **texts})
    for method in METHODS:
        said = {**where, "feature": features, "explanation_method": method, "outcome": "ok", "explanation": words(rng, n, 6)}
        yield EXPLANATIONS, {"explanation_method": method}, filled(EXPLANATIONS, n, said)
    each = len(METHODS) * METRICS
    metrics = [headline_of(scorers[0]), *(f"other_{place}" for place in range(1, METRICS))]
    methods = np.repeat(np.arange(len(METHODS)), METRICS).astype(np.int32)
    for scorer in scorers:
        metrics[0] = headline_of(scorer)
        value = rng.beta(4, 3, n * each)
        scored = {
            **where, "feature": np.repeat(features, each), "scorer": scorer, "value": value, "ci_low": value - rng.random(n * each) / 9,
            "ci_high": value + rng.random(n * each) / 9, "floor": 0.5, "outcome": "ok", "n_positive": 20, "n_negative": 20,
            "explanation_method": pa.DictionaryArray.from_arrays(np.tile(methods, n), list(METHODS)),
            "metric": pa.DictionaryArray.from_arrays(np.tile(np.arange(METRICS), n * len(METHODS)).astype(np.int32), metrics),
            "headline": pa.array(np.tile(np.arange(METRICS) == 0, n * len(METHODS))),
        }  # fmt: skip
        yield SCORES, {"scorer": scorer}, filled(SCORES, n * each, scored)
        judged = {
            "feature": features,
            "scorer": scorer,
            "explanation_method": "max_act",
            "trial": [f"{scorer}-{f}" for f in features.tolist()],
        }
        yield VERDICTS, {"scorer": scorer}, filled(VERDICTS, n, {**where, **judged, "probability": rng.random(n), "outcome": "answered"})
        asked = {"feature": features, "asset": f"scores/{scorer}", "question": np.arange(n), "model": "m", "explanation_method": "max_act"}
        yield LEDGER, {"asset": f"scores/{scorer}"}, filled(LEDGER, n, {**where, **asked, "source": "model", "prompt_tokens": 500})


def headline_of(scorer: str) -> str:
    """The metric that stands for a scorer."""
    return {one.NAME: one.HEADLINE for one in SCORERS}[scorer]


def write_dictionary(root: str, key: str, width: int, scorers: tuple[str, ...]) -> float:
    """Write all partitions of a dictionary by the store's own writer, and return the seconds of a core that it took.

    The column `dictionary` is not compressed, and pages have no checksums, so that `copy_dictionary` can change the key.
    """
    started = time.process_time()
    home = Home(Path(root), f"{root}/lake")
    for number in range(len(FEATURE_RANGE_KEYS)):
        for table, first, rows in tables_of_range(key, number, width, scorers):
            partition = {**first, "dictionary": key, "feature_range": FEATURE_RANGE_KEYS[number]}
            compression = {field.name: "none" if field.name == "dictionary" else "zstd" for field in table.schema}
            options = {"compression": compression, "write_page_checksum": False}
            home.lake.write(table.name, partition, table.schema, rows, "v1", None, options, table.row_group_rows)
    return time.process_time() - started


def read_dictionary(root: str, key: str) -> list[tuple[Manifest, bytes]]:
    """All partitions of a dictionary: the manifest and the bytes of the part of each."""
    lake = Home(Path(root), f"{root}/lake").lake
    manifests = manifests_of(lake, key)
    return [(one, Path(lake.path(one.table, one.partition), PART).read_bytes()) for one in manifests]


def copy_dictionary(root: str, held: list[tuple[Manifest, bytes]], source: str, key: str) -> None:
    """Write the partitions of `source` again under another key of the same length, file by file."""
    lake = Home(Path(root), f"{root}/lake").lake
    for manifest, part in held:
        partition = {**manifest.partition, "dictionary": key}
        content = part.replace(source.encode(), key.encode())
        footer = int.from_bytes(content[-8:-4], "little") + 8
        sums = {"footer_crc32": zlib.crc32(content[-footer:]), "file_crc32": zlib.crc32(content)}
        folder = Path(lake.path(manifest.table, partition))
        folder.mkdir(parents=True)
        (folder / PART).write_bytes(content)
        (folder / MANIFEST).write_bytes(manifest_bytes(replace(manifest, partition=partition, **sums)))


def write_home(root: Path, n: int, width: int) -> dict[str, float]:
    """Write the home where it is not there yet, and return its sizes."""
    mark, sizes = root / "written.json", {"dictionaries": n, "width": width}
    if mark.exists() and json.loads(mark.read_text())["sizes"] == sizes:
        return json.loads(mark.read_text())["figures"]
    home = Home(root, str(root / "lake"))
    keys = [f"m/{number:03d}/x" for number in range(n)]
    for key in keys:
        home.registry.write(DictionaryRecord(key=key, hook="blocks.0.mlp.hook_post", kind="neurons", width=width))
    started = time.monotonic()
    written = sum(write_dictionary(str(root), key, width, ASKED) for key in keys[:WRITTEN])
    for place, source in enumerate(keys[:WRITTEN]):
        held = read_dictionary(str(root), source) if keys[WRITTEN + place :] else []
        for key in keys[WRITTEN + place :: WRITTEN]:
            copy_dictionary(str(root), held, source, key)
    gigabytes = sum(path.stat().st_size for path in (root / "lake" / "scores").rglob("*.parquet")) / 1e9
    partitions = n * len(FEATURE_RANGE_KEYS)
    figures = {
        "features": n * width, "scores_rows": n * width * len(ASKED) * len(METHODS) * METRICS, "scores_partitions": partitions * len(ASKED),
        "partitions": partitions * (3 + len(METHODS) + 3 * len(ASKED)), "scores_gigabytes": gigabytes,
        "written_core_seconds_a_dictionary": written / min(n, WRITTEN), "write_seconds": time.monotonic() - started,
    }  # fmt: skip
    mark.write_text(json.dumps({"sizes": sizes, "figures": figures}))
    return figures


def milliseconds(name: str, ask: Callable[[], object], n: int) -> dict[str, float]:
    """Wall times of n calls, after one that is not counted: median and 95 of 100; and the median of a core's, which other work disturbs
    less."""
    wall, core = [], []
    for _ in range(n + 1):
        started, used = time.perf_counter(), time.process_time()
        ask()
        wall.append(1000 * (time.perf_counter() - started))
        core.append(1000 * (time.process_time() - used))
    high = float(np.quantile(wall[1:], 0.95))
    return {f"{name}_p50_ms": float(np.median(wall[1:])), f"{name}_p95_ms": high, f"{name}_core_ms": float(np.median(core[1:]))}


def questions_of_views() -> Iterator[tuple[str, str, list[str]]]:
    """(view, "all" or "one", SQL): what `interp query VIEW` asks, and all rows of one dictionary or layer."""
    for view in view_files():
        yield view, "all", [f"SELECT * FROM {view} LIMIT 40", f"SELECT count(*) FROM {view}"]
        if KEPT_BY.get(view) in ("dictionary", "layer"):
            yield view, "one", [f"SELECT * FROM {view} WHERE dictionary = '{ONE}'"]
        elif view == "scores_by_layer":
            yield view, "one", [f"SELECT * FROM {view} WHERE model = 'm' AND layer = '00'"]


def peak_megabytes() -> float:
    """Peak resident memory of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def copied(root: str) -> dict[str, float]:
    """What the copies and the kept rows of views take to make, after the index is there."""
    warehouse = Home(Path(root), f"{root}/lake").warehouse
    started = time.process_time()
    for table in TABLES:
        warehouse.index.look(table.name, len(table.partition_columns))
    looked, started = time.process_time() - started, time.process_time()
    made = warehouse.copy()
    figures = {"first_look_core_seconds": looked, "copies": made, "copies_core_seconds": time.process_time() - started}
    if not made:  # an earlier run with this home has made them
        figures = {"first_look_core_seconds": looked}
    for name, folder in (("copies", warehouse.copies_folder), ("answers", warehouse.answers.folder)):
        figures[f"{name}_gigabytes"] = sum(path.stat().st_size for path in folder.rglob("*.parquet")) / 1e9
    started = time.process_time()
    assert warehouse.copy() == 0
    return figures | {"nothing_to_copy_core_seconds": time.process_time() - started, "copies_peak_mb": peak_megabytes()}


def asked(root: str, n: int) -> dict[str, float]:
    """Every question and view, warm, in one process."""
    warehouse = Home(Path(root), f"{root}/lake").warehouse
    figures: dict[str, float] = {}
    for name, sql in QUESTIONS.items():
        figures |= milliseconds(name, partial(warehouse.query, sql), n)
    for view, scope, sqls in questions_of_views():
        figures |= milliseconds(f"{view}_{scope}", lambda sqls=sqls: [warehouse.query(sql) for sql in sqls], max(n // 4, 3))
    for scope in ("all", "one"):
        for of in ("p50", "core"):
            figures[f"slowest_view_{scope}_{of}_ms"] = max(
                figures[f"{view}_{one}_{of}_ms"] for view, one, _ in questions_of_views() if one == scope
            )
    return figures | {"questions_peak_mb": peak_megabytes()}


def repeated(root: str, n: int) -> dict[str, float]:
    """What DuckDB takes to read as many rows as 61 dictionaries have: the files of the first dictionary, each named 61 times."""
    warehouse, figures = Home(Path(root), f"{root}/lake").warehouse, {}
    scores, overview, leaderboard = (
        f"read_parquet({[str(max(folder.glob(files)))] * 61!r})"
        for folder, files in (
            (warehouse.copies_folder / "scores", f"dictionary={quote(ONE, safe='')}/*.parquet"),
            *((warehouse.answers.folder / view, "*.parquet") for view in ("feature_overview", "leaderboard")),
        )
    )
    ordered = f"FROM {overview} ORDER BY dictionary, feature, explanation_method"
    with duckdb.connect() as connection:
        connection.execute("SET enable_progress_bar = false")
        for name, sqls in {
            "best_20": [QUESTIONS["best_20"].replace("FROM scores", f"FROM {scores}")],
            "leaderboard": [f"SELECT * FROM {leaderboard} ORDER BY dictionary, scorer, place NULLS LAST, explanation_method"],
            "feature_overview": [f"SELECT * {ordered} LIMIT 40", f"SELECT count(*) FROM (SELECT * {ordered})"],
        }.items():
            figures |= milliseconds(f"{name}_61_times", lambda sqls=sqls: [connection.sql(sql).to_arrow_table() for sql in sqls], n)
    return figures


def changed(root: str) -> dict[str, float]:
    """What a question sees and takes right after a commit, and whether readers go on while the copies are made again."""
    home = Home(Path(root), f"{root}/lake")
    reader = Home(Path(root), f"{root}/lake").warehouse
    where = {"scorer": ASKED[0], "dictionary": ONE, "feature_range": FEATURE_RANGE_KEYS[0]}
    rows = home.lake.read(SCORES.name, where).select(SCORES.schema.names)
    before = reader.query(QUESTIONS["count"]).rows.column(0)[0].as_py()
    reader.query("SELECT * FROM leaderboard")
    figures: dict[str, float] = {}
    for name, kept in (("after_commit", rows.num_rows - 8), ("after_second_commit", rows.num_rows)):
        home.lake.write(SCORES.name, where, SCORES.schema, rows.slice(0, kept), f"{name}-{time.time()}", row_group_rows=4096)
        for question, sql in (*QUESTIONS.items(), ("leaderboard", "SELECT * FROM leaderboard")):
            started = time.perf_counter()
            found = reader.query(sql).rows
            figures[f"{question}_{name}_ms"] = 1000 * (time.perf_counter() - started)
            if question == "count":
                assert found.column(0)[0].as_py() == before - rows.num_rows + kept, "the commit is not seen"
    over, taken, failures = threading.Event(), [], []

    def read() -> None:
        while not over.is_set():
            started = time.perf_counter()
            try:
                reader.query(QUESTIONS["one_feature"])
                reader.query("SELECT * FROM leaderboard")
            except Exception as error:
                failures.append(error)
            taken.append(1000 * (time.perf_counter() - started))

    thread = threading.Thread(target=read)
    thread.start()
    started = time.process_time()
    home.warehouse.copy()
    figures["one_dictionary_copied_again_core_seconds"] = time.process_time() - started
    over.set()
    thread.join()
    return figures | {
        "answers_meanwhile": len(taken),
        "errors_meanwhile": len(failures),
        "answer_meanwhile_p95_ms": float(np.quantile(taken, 0.95)),
    }


def cold(root: str, n: int) -> dict[str, float]:
    """Wall and core seconds of the command, each time a new process."""
    command, figures = [sys.executable, "-m", "interp_assets.cli.main"], {}
    environment = {**os.environ, "INTERP_HOME": root}
    asks = {"help": ["--help"], **{name: ["query", sql] for name, sql in QUESTIONS.items()}, "leaderboard": ["query", "leaderboard"]}
    for name, arguments in asks.items():
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        run = partial(subprocess.run, [*command, *arguments], env=environment, check=True, capture_output=True)
        median = milliseconds("", run, n)["_p50_ms"]
        now = resource.getrusage(resource.RUSAGE_CHILDREN)
        figures[f"cold_{name}_seconds"] = median / 1000
        figures[f"cold_{name}_core_seconds"] = (now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime) / (n + 1)
    return figures


def main() -> None:
    """Write the home, ask, and print the table and the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dictionaries", type=int, default=61)
    parser.add_argument("--width", type=int, default=16_384, help="features of a dictionary")
    parser.add_argument("--home", type=Path, help="where the home is kept; by default it is removed at the end")
    parser.add_argument("--quick", action="store_true", help="three dictionaries of 2,048 features")
    given = parser.parse_args()
    n, width = (3, 2_048) if given.quick else (given.dictionaries, given.width)
    with tempfile.TemporaryDirectory() as name:
        root = (given.home or Path(name)).absolute()
        figures: dict[str, float] = {"load_before": os.getloadavg()[0], **write_home(root, n, width)}
        for step in (
            copied,
            partial(asked, n=20),
            partial(repeated, n=5),
            changed,
            partial(cold, n=5),
        ):  # each in a process of its own, for its peak memory
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                figures |= pool.submit(step, str(root)).result()
    shown = {name: round(value, 3) for name, value in figures.items()}
    for name, value in shown.items():
        print(f"{name:>45}  {value:,}")
    print(json.dumps(shown))


if __name__ == "__main__":
    main()
