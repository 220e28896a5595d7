"""The explorer over a large home: how long each page takes, whether fifty readers get answers while a backfill writes, and what one
feature costs to read.

    python -m benchmarks.explorer [--quick] [--features 1000000] [--windows 100] [--home FOLDER]

Writes one dictionary of a million features with two explanations and ten scores each, and a hundred windows a feature (100 M rows of
`examples`), starts `interp explore` on it as a process of its own, and asks each page for random features over HTTP. `--home` keeps the
home, and uses it again where it was written with the same sizes. The last line is one JSON object.
"""

import argparse
import contextlib
import http.client
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from interp_assets.config.keys import FEATURE_RANGE_KEYS, range_bounds
from interp_assets.config.records import DictionaryRecord
from interp_assets.domain.features.feature_statistics import N_BINS
from interp_assets.explorer.explorer import Explorer
from interp_assets.explorer.feature_view import feature_view
from interp_assets.explorer.meaning import MeaningIndex, rounded
from interp_assets.installation.home import Home
from interp_assets.reading.feature_rows import FeatureRows
from interp_assets.tables import EXAMPLES, EXPLANATIONS, FEATURE_EXAMPLES, FEATURE_STATISTICS, SCORES, Table

KEY = "model/00/large"
SCORERS = ("detection", "fuzzing", "embedding", "simulation", "purity")
METHODS = ("max_act", "shuffled")
BLOCK = 512
"""Features that are written at once."""

WORDS = np.array([f"{first}{second}" for first in "bcdfghklmnprstvw" for second in ("a", "ero", "ing", "on", "ter", "um", "y", "ents")])
READERS = 50
TOKENS = 16


def words(rng: np.random.Generator, n: int, each: int) -> list[str]:
    """n texts of random words."""
    return [" ".join(row) for row in WORDS[rng.integers(len(WORDS), size=(n, each))].tolist()]


def filled(table: Table, n: int, values: Mapping[str, Any]) -> pa.Table:
    """n rows: `values` by column, one value for all rows or one a row, and null or the least of its type elsewhere."""
    arrays = []
    for field in table.schema:
        value: Any = values.get(field.name)
        kind = field.type
        if isinstance(value, pa.Array):
            arrays.append(value if value.type == kind else value.cast(kind))
        elif value is not None:
            arrays.append(pa.array(value).cast(kind) if isinstance(value, np.ndarray | list) else pa.repeat(value, n).cast(kind))
        elif field.nullable:
            arrays.append(pa.nulls(n, kind))
        elif pa.types.is_list(kind):
            arrays.append(pa.array([[]] * n, kind))
        else:
            arrays.append(pa.repeat("x" if pa.types.is_string(kind) or pa.types.is_dictionary(kind) else 0, n).cast(kind))
    return pa.table(arrays, schema=table.schema)


def lists(values: pa.Array, each: int, kind: pa.DataType) -> pa.Array:
    """Values as lists of `each`."""
    offsets = pa.array(np.arange(0, len(values) + 1, each, dtype=np.int32))
    return pa.ListArray.from_arrays(offsets, values).cast(kind)


def windows(first: int, end: int, n_windows: int, rng: np.random.Generator, where: Mapping[str, str]) -> Iterator[pa.Table]:
    """The windows of features, half of them activating, BLOCK features at a time: the same texts in every block."""
    n = BLOCK * n_windows
    ids = rng.integers(len(WORDS), size=n * TOKENS)
    texts = pa.array(WORDS[ids].tolist())
    peaks = np.where(np.arange(n) % n_windows < n_windows // 2, rng.exponential(3, n) + 0.1, 0).astype(np.float32)
    heights = np.zeros((n, TOKENS), dtype=np.float32)
    heights[:, TOKENS // 2] = peaks
    kinds = np.where(peaks > 0, "activating", "non_activating")
    schema = EXAMPLES.schema
    block = filled(
        EXAMPLES, n,
        {
            **where, "example_id": [f"w{place % n_windows}" for place in range(n)], "role": "held_out", "kind": pa.array(kinds.tolist()),
            "sampling": pa.array(np.where(peaks > 0, "quantiles", "random").tolist()),
            "stratum": pa.array(np.arange(n) % n_windows // 10, mask=peaks == 0),
            "row": rng.integers(0, 100_000, n), "start": np.full(n, 3), "max_activation": peaks,
            "token_ids": lists(pa.array(ids), TOKENS, schema.field("token_ids").type),
            "tokens": lists(texts, TOKENS, schema.field("tokens").type),
            "activations": lists(pa.array(heights.ravel()), TOKENS, schema.field("activations").type),
        },
    )  # fmt: skip
    at = schema.get_field_index("feature")
    for start in range(first, end, BLOCK):
        stop = min(end, start + BLOCK)
        rows = block.slice(0, (stop - start) * n_windows)
        numbers = pa.array(np.repeat(np.arange(start, stop), n_windows)).cast(schema.field("feature").type)
        yield rows.set_column(at, schema.field("feature"), numbers)


def write_range(root: str, number: int, n_features: int, n_windows: int) -> int:
    """Write a range of the home, and return the rows of its windows."""
    home = Home(Path(root), f"{root}/lake")
    name, (first, end) = FEATURE_RANGE_KEYS[number], range_bounds(number, n_features)
    rng, n, where = np.random.default_rng(number), end - first, {"dictionary": KEY, "feature_range": name}
    features = np.arange(first, end)

    def write(table: Table, rows: pa.Table | Iterator[pa.Table], **extra: str) -> int:
        manifest = home.lake.write(table.name, {**extra, **where}, table.schema, rows, "v1", row_group_rows=table.row_group_rows)
        return manifest.rows

    density = 10 ** rng.uniform(-5, -1, n)
    histogram = np.zeros((n, N_BINS), dtype=np.int64)
    histogram[:, N_BINS // 2 : N_BINS // 2 + 4] = np.maximum(density * 1e7, 4).astype(int)[:, None] // 4
    counted = {
        "token_density": density, "context_density": density, "firing_count": histogram.sum(1), "max_activation": 10 * density**0.2,
        "histogram": lists(pa.array(histogram.ravel()), N_BINS, FEATURE_STATISTICS.schema.field("histogram").type),
    }  # fmt: skip
    write(FEATURE_STATISTICS, filled(FEATURE_STATISTICS, n, {**where, "feature": features, "n_tokens": 10_000_000, **counted}))
    write(FEATURE_EXAMPLES, filled(FEATURE_EXAMPLES, n, {**where, "feature": features, "outcome": "ok", "n_windows": n_windows}))
    for method in METHODS:
        said = {**where, "feature": features, "explanation_method": method, "outcome": "ok", "explanation": words(rng, n, 8)}
        write(EXPLANATIONS, filled(EXPLANATIONS, n, said), explanation_method=method)
    for scorer in SCORERS:
        value = rng.beta(4, 3, 2 * n)
        scored = {
            **where, "feature": np.repeat(features, 2), "explanation_method": list(METHODS) * n, "scorer": scorer, "metric": "auroc",
            "headline": True, "value": value, "ci_low": value - 0.1, "ci_high": value + 0.1, "floor": 0.5, "outcome": "ok",
        }  # fmt: skip
        write(SCORES, filled(SCORES, 2 * n, scored), scorer=scorer)
    return write(EXAMPLES, windows(first, end, n_windows, rng, where))


def write_home(root: Path, n_features: int, n_windows: int) -> dict[str, float]:
    """Write the home where it is not there yet."""
    mark, sizes = root / "written.json", {"features": n_features, "windows": n_windows}
    if mark.exists() and json.loads(mark.read_text())["sizes"] == sizes:
        return json.loads(mark.read_text())["figures"]
    home = Home(root, str(root / "lake"))
    home.registry.write(DictionaryRecord(key=KEY, hook="blocks.0.mlp.hook_post", kind="neurons", width=n_features))
    started = time.monotonic()
    with ProcessPoolExecutor(2) as pool:
        n = len(FEATURE_RANGE_KEYS)
        rows = sum(pool.map(write_range, [str(root)] * n, range(n), [n_features] * n, [n_windows] * n))
    gigabytes = sum(path.stat().st_size for path in (root / "lake").rglob("*.parquet")) / 1e9
    figures = {"features": n_features, "example_rows": rows, "gigabytes": gigabytes, "write_seconds": time.monotonic() - started}
    mark.write_text(json.dumps({"sizes": sizes, "figures": figures}))
    return figures


def pages(n_features: int, rng: random.Random) -> dict[str, Callable[[], str]]:
    """The address of each kind of page, of a random feature where there is one."""

    def feature() -> int:
        return rng.randrange(n_features)

    table = ("sort=-score:fuzzing:max_act", "sort=density&density_from=1", "by=score:detection:max_act&least=0.7", "token=x", "page=9999")
    compared = f"dictionary={KEY}&a=max_act&b=shuffled"
    return {
        "home": lambda: "/",
        "dictionary": lambda: f"/d/{KEY}?{rng.choice(table)}",
        "feature": lambda: f"/d/{KEY}/{feature()}",
        "json": lambda: f"/d/{KEY}/{feature()}.json",
        "search": lambda: f"/search?dictionary={KEY}&q={rng.choice(WORDS)}+{rng.choice(WORDS)[:2]}",
        "compare_features": lambda: f"/compare?a={KEY}/{feature()}&b={KEY}/{feature()}",
        "compare_methods": lambda: f"/compare?{compared}&by={rng.choice(SCORERS)}",
        "leaderboard": lambda: "/leaderboards/scores_by_method",
    }


def get(port: int, address: str) -> int:
    """The status of an answer that was read whole."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
    try:
        connection.request("GET", address)
        answer = connection.getresponse()
        answer.read()
        return answer.status
    finally:
        connection.close()


def settled(port: int, address: str) -> float:
    """Seconds until a page that is asked for the first time is there."""
    started = time.monotonic()
    while (status := get(port, address)) == 503:
        time.sleep(0.2)
    assert status == 200, f"{status} for {address}"
    return time.monotonic() - started


@contextlib.contextmanager
def served(root: Path) -> Iterator[tuple[int, int]]:
    """(port, process id) of an explorer that runs beside this process."""
    command = [sys.executable, "-m", "interp_assets.cli.main", "explore", "--port", "0"]
    environment = {**os.environ, "INTERP_HOME": str(root)}
    environment.pop("INTERP_LAKE", None)
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        said = process.stdout.readline()
        found = re.search(r":(\d+)/", said)
        assert found, f"the explorer did not start: {said}"
        yield int(found[1]), process.pid
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)


def peak_gb(pid: int) -> float:
    """Most memory that a process has held at a time, 2^30 bytes; the pages of mapped files count too."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found, f"process {pid} has no VmHWM"
    return int(found[1]) / 2**20


def latencies(port: int, ask: Mapping[str, Callable[[], str]], n: int) -> dict[str, float]:
    """Milliseconds in which 95 of 100 answers of each page are there, one reader at a time."""
    found = {}
    for name, address in ask.items():
        taken = []
        for _ in range(n):
            started = time.monotonic()
            status = get(port, address())
            taken.append(time.monotonic() - started)
            assert status == 200, f"{status} of {name}"
        found[f"{name}_p95_ms"] = 1000 * float(np.quantile(taken, 0.95))
        found[f"{name}_median_ms"] = 1000 * float(np.median(taken))
    return found


def under_load(root: Path, port: int, n_features: int, seconds: float) -> dict[str, float]:
    """What READERS readers get while ranges are written again and again under them."""
    statuses: Counter[str] = Counter()
    taken: list[float] = []
    over, lock = threading.Event(), threading.Lock()
    home = Home(root, str(root / "lake"))

    def read(number: int) -> None:
        ask = list(pages(n_features, random.Random(number)).values())
        rng = random.Random(number)
        while not over.is_set():
            started = time.monotonic()
            try:
                status = str(get(port, rng.choice(ask)()))
            except (OSError, http.client.HTTPException) as error:
                status = type(error).__name__
            with lock:
                statuses[status] += 1
                taken.append(time.monotonic() - started)

    def backfill() -> int:
        written = 0
        while not over.is_set():
            where = {"scorer": SCORERS[0], "dictionary": KEY, "feature_range": FEATURE_RANGE_KEYS[written % len(FEATURE_RANGE_KEYS)]}
            rows = home.lake.read(SCORES.name, where)
            home.lake.write(
                SCORES.name, where, SCORES.schema, rows.select(SCORES.schema.names), f"v{written + 2}", row_group_rows=SCORES.row_group_rows
            )
            written += 1
        return written

    threads = [threading.Thread(target=read, args=(number,)) for number in range(READERS)]
    for thread in threads:
        thread.start()
    stop = threading.Timer(seconds, over.set)
    stop.start()
    written = backfill()
    for thread in threads:
        thread.join()
    errors = sum(n for status, n in statuses.items() if status != "200")
    print("answers while a backfill writes:", dict(statuses))
    return {
        "readers": READERS, "answers": sum(statuses.values()), "errors": errors, "partitions_replaced": written,
        "loaded_p95_ms": 1000 * float(np.quantile(taken, 0.95)),
    }  # fmt: skip


class CountedRows(FeatureRows):
    """Counts the compressed bytes of the column chunks that are read, and of the footers."""

    chunks = footers = reads = 0

    def _read(self, folder: str, part: Any, groups: list[int], columns: list[str] | None) -> pa.Table | None:
        self.reads += 1
        for group in groups:
            row_group = part.footer.row_group(group)
            for place in range(row_group.num_columns):
                chunk = row_group.column(place)
                if columns is None or chunk.path_in_schema.split(".")[0] in columns:
                    self.chunks += chunk.total_compressed_size
        return super()._read(folder, part, groups, columns)

    def _looked_at(self, folder: str, stamps: tuple[Any, ...], now: float, key: str) -> Any:
        part = super()._looked_at(folder, stamps, now, key)
        self.footers += part.footer.serialized_size if part is not None else 0
        return part


def bytes_of_a_feature(root: Path, n_features: int) -> dict[str, float]:
    """Bytes and reads of the page of one feature, the mean over ten: of rows, and once a file of footers."""
    home = Home(root, str(root / "lake"))
    explorer = Explorer(home)
    record, columns = home.registry.get(KEY), explorer.dictionaries.columns(KEY, patience=3600)
    found = []
    for feature in np.random.default_rng(0).integers(n_features, size=10).tolist():
        explorer.__dict__["rows"] = counted = CountedRows(home.lake)
        feature_view(explorer, record, columns, feature)
        found.append((counted.chunks, counted.footers, counted.reads))
    explorer.close()
    chunks, footers, reads = np.mean(found, axis=0)
    return {"feature_megabytes": chunks / 1e6, "feature_reads": reads, "footer_megabytes": footers / 1e6}


def meaning(n: int, dimensions: int = 384) -> dict[str, float]:
    """Milliseconds of a search by meaning among n made-up vectors, exact, the median of eight: on the clock, and of processors."""
    rng = np.random.default_rng(0)
    vectors = np.empty((n, dimensions), np.float16)
    for first in range(0, n, 65_536):
        part = slice(first, min(n, first + 65_536))
        made = rng.standard_normal((part.stop - first, dimensions), dtype=np.float32)
        vectors[part] = made / np.linalg.norm(made, axis=1, keepdims=True)
    ids = pa.chunked_array([pa.array([""])])
    started = time.monotonic()
    index = MeaningIndex(np.arange(n), np.zeros(n, dtype=object), ids, *rounded(vectors), vectors, "made up")
    rounding = time.monotonic() - started
    taken = []
    for place in range(8):
        query = vectors[place].astype(np.float32) + 0.02 * rng.standard_normal(dimensions, dtype=np.float32)
        started, used = time.monotonic(), time.process_time()
        index.nearest(query / np.linalg.norm(query), 120)
        taken.append((time.monotonic() - started, time.process_time() - used))
    wall, processor = 1000 * np.median(taken, axis=0)
    return {"meaning_ms": float(wall), "meaning_processor_ms": float(processor), "meaning_rounding_s": rounding}


def main() -> None:
    """Write the home, ask, and print the table and the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", type=int, default=1_000_000)
    parser.add_argument("--windows", type=int, default=100, help="a feature")
    parser.add_argument("--home", type=Path, help="where the home is kept; by default it is removed at the end")
    parser.add_argument("--quick", action="store_true", help="8,192 features of 20 windows")
    given = parser.parse_args()
    n_features, n_windows = (8_192, 20) if given.quick else (given.features, given.windows)
    with tempfile.TemporaryDirectory() as name:
        root = (given.home or Path(name)).absolute()
        figures: dict[str, float] = {"load_before": os.getloadavg()[0], **write_home(root, n_features, n_windows)}
        with served(root) as (port, pid):
            figures["dictionary_first_seconds"] = settled(port, f"/d/{KEY}")
            ask = pages(n_features, random.Random(0))
            for kind in ("search", "leaderboard", "compare_methods", "dictionary"):
                figures[f"{kind}_first_seconds"] = settled(port, ask[kind]())
            figures |= latencies(port, ask, 20 if given.quick else 40)
            figures |= under_load(root, port, n_features, 10 if given.quick else 30)
            figures["explorer_peak_gb"] = peak_gb(pid)
        figures |= bytes_of_a_feature(root, n_features)
        figures |= meaning(n_features)
    shown = {name: round(value, 2) for name, value in figures.items()}
    for name, value in shown.items():
        print(f"{name:>28}  {value:,}")
    print(json.dumps(shown))


if __name__ == "__main__":
    main()
