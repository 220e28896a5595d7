"""The activation store at full size without a model: write, sort, statistics, reads and examples, in bounded memory.

    python benchmarks/store.py [--quick] [--width 131072] [--tokens 10000000] [--l0 50] [--ranges 16]

Synthesises the activations of a dictionary whose features' densities follow Zipf's law (a few fire on every tenth token, most on one in
a hundred thousand), puts them through the spill, the sort and the statistics into a lake, and reads them back. The floor is the disk: the
same bytes written and read once. Then the examples of some ranges are drawn and written as the asset `examples` does it, on all cores; the
peak memory is told after a quarter of them and after all. The last line is one JSON object.
"""

import argparse
import json
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from interp_assets.assets.activation_shards.shards import ShardWriter, feature_edges, write_threads
from interp_assets.assets.examples.asset import BLOCK_FEATURES
from interp_assets.config.keys import FEATURE_RANGE_KEYS, RangeKey, lake_partition
from interp_assets.config.records import DictionaryRecord
from interp_assets.config.settings import StageSettings
from interp_assets.domain.examples.drawing import WindowedSample, draw_activating
from interp_assets.domain.examples.negative_draws import with_negatives
from interp_assets.domain.examples.sampling import ExampleSettings
from interp_assets.measuring.drawn_examples import draw_examples, example_rows
from interp_assets.measuring.hard_negatives import HardNegatives
from interp_assets.measuring.texts_of_windows import WindowTexts
from interp_assets.orchestration.threads import cores, in_order
from interp_assets.reading.activations import activations_in_order, read_kept_shares
from interp_assets.reading.token_sample import TokenSample
from interp_assets.tables import ACTIVATIONS, EXAMPLES, FEATURE_STATISTICS, SCHEMA_VERSION
from resources.fakes import FakeTokenizer
from resources.store.activation_spill import RECORD, ActivationSpill
from resources.store.lake import Lake
from resources.subject.model import SparseBatch

CONTEXT = 256
BATCH_CONTEXTS = 128
N_TIMED_FEATURES = 40


def batches(width: int, n_contexts: int, l0: int, rng: np.random.Generator) -> Iterator[SparseBatch]:
    """Activations of `n_contexts` contexts, `l0` distinct features on each token but the first of a context."""
    weights = 1.0 / (np.arange(width) + 10.0)
    cumulative = np.cumsum(weights) / weights.sum()
    names = rng.permutation(width).astype(np.uint32)
    for first in range(0, n_contexts, BATCH_CONTEXTS):
        n = min(BATCH_CONTEXTS, n_contexts - first)
        drawn = np.sort(np.searchsorted(cumulative, rng.random((n * (CONTEXT - 1), l0))), axis=1)
        new = np.ones(drawn.shape, dtype=bool)
        new[:, 1:] = drawn[:, 1:] != drawn[:, :-1]
        token, place = np.nonzero(new)
        value = rng.gamma(2.0, 3.0, len(token)).astype(np.float32) + 0.01
        row, position = np.divmod(token, CONTEXT - 1)
        yield SparseBatch(
            "synthetic", (row + first).astype(np.uint32), (position + 1).astype(np.uint16), names[drawn[token, place]], value, first + n
        )


def peak_gb() -> float:
    """Peak resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def disk_seconds(folder: Path, n_bytes: int) -> float:
    """Seconds to write and read as many bytes once, in blocks of 8 MiB."""
    block = os.urandom(8 << 20)
    started = time.perf_counter()
    with (folder / "floor").open("wb") as file:
        for _ in range(max(1, n_bytes // len(block))):
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
    with (folder / "floor").open("rb") as file:
        while file.read(8 << 20):
            pass
    (folder / "floor").unlink()
    return time.perf_counter() - started


def main() -> None:
    """Run the parts in turn and print the table and the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=131_072, help="features")
    parser.add_argument("--tokens", type=int, default=10_000_000)
    parser.add_argument("--l0", type=int, default=52, help="features drawn a token; a few are drawn twice and count once")
    parser.add_argument("--ranges", type=int, default=1, help="ranges of features, of 16, whose examples are drawn")
    parser.add_argument("--folder", type=Path, help="where to put some 8 GB; a temporary folder otherwise")
    parser.add_argument("--quick", action="store_true", help="100,000 tokens: under two minutes on two cores")
    given = parser.parse_args()
    n_contexts = (100_000 if given.quick else given.tokens) // CONTEXT
    rng = np.random.default_rng(0)
    record = DictionaryRecord(key="synthetic/00/zipf", hook="blocks.0.mlp.hook_post", kind="neurons", width=given.width)
    figures: dict[str, float] = {"width": given.width, "tokens": n_contexts * CONTEXT}
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        folder = Path(name)
        tokens = rng.integers(3, 40, (n_contexts, CONTEXT), dtype=np.int32)
        tokens[:, 0] = FakeTokenizer().bos_token_id
        sample = TokenSample("synthetic", tokens)
        spill = ActivationSpill(folder / "spill", {record.key: feature_edges(record)}, CONTEXT)
        making = spilling = 0.0
        last = time.perf_counter()
        for batch in batches(given.width, n_contexts, given.l0, rng):
            made = time.perf_counter()
            spill.append(record.key, batch)
            making, spilling, last = making + made - last, spilling + time.perf_counter() - made, time.perf_counter()
        started = time.perf_counter()
        spill.flush()
        figures["spill_seconds"] = spilling + time.perf_counter() - started
        figures["peak_gb_after_spill"] = peak_gb()
        lake = Lake(str(folder / "lake"), SCHEMA_VERSION)
        started, on_cores = time.perf_counter(), time.process_time()
        ShardWriter(lake, record, sample, FakeTokenizer(), "benchmark").write(spill, write_threads())
        figures["threads"] = write_threads()
        figures["sort_statistics_write_seconds"] = time.perf_counter() - started
        figures["sort_statistics_write_core_seconds"] = time.process_time() - on_cores
        manifests = list(lake.manifests(ACTIVATIONS.name))
        n = sum(manifest.rows for manifest in manifests)
        size = sum(manifest.bytes for manifest in manifests)
        figures["activations"] = n
        figures["bytes_per_activation"] = size / n
        with_statistics = size + sum(manifest.bytes for manifest in lake.manifests(FEATURE_STATISTICS.name))
        figures["bytes_per_activation_with_statistics"] = with_statistics / n
        figures["million_activations_per_second"] = n / 1e6 / (figures["spill_seconds"] + figures["sort_statistics_write_seconds"])
        floor = disk_seconds(folder, n * RECORD.itemsize + size)
        figures["store_over_disk"] = (figures["spill_seconds"] + figures["sort_statistics_write_seconds"]) / floor
        figures |= read_figures(lake, record, sample)
        figures |= page_figures(lake, record, sample, given.ranges)
        figures["peak_gb"] = peak_gb()
    shown = {name: round(value, 3) if isinstance(value, float) else value for name, value in figures.items()}
    for name, value in shown.items():
        print(f"{name:>40}  {value:,}")
    print(json.dumps(shown))


def page_figures(lake: Lake, record: DictionaryRecord, sample: TokenSample, n_ranges: int) -> dict[str, float]:
    """Seconds, and milliseconds of a feature, of the examples of the first ranges, and the peak memory after a quarter and after all."""
    stages, tokenizer = StageSettings(), FakeTokenizer()
    source, texts = HardNegatives(lake, record, sample, tokenizer, stages), WindowTexts(tokenizer)
    peaks: list[float] = []
    counts: list[int] = []

    def rows(key: RangeKey) -> Iterator[pa.Table]:
        features = activations_in_order(lake, key, record.features_of(key))
        shares = read_kept_shares(lake, key)
        blocks = iter(lambda: list(islice(features, BLOCK_FEATURES)), [])

        def made(block: list) -> pa.Table:
            found = draw_examples(source, block, shares, stages.examples, stages.seed, stages.seed)
            return example_rows(key, stages.examples.sampling, found, texts)

        for table in in_order(made, blocks, cores()):
            peaks.append(peak_gb())
            counts.append(table.num_rows)
            yield table

    started, on_cores = time.perf_counter(), time.process_time()
    keys = [RangeKey(record.key, name) for name in FEATURE_RANGE_KEYS[:n_ranges]]
    for key in keys:
        lake.write(EXAMPLES.name, lake_partition(key), EXAMPLES.schema, rows(key), "benchmark", row_group_rows=EXAMPLES.row_group_rows)
    seconds, core_seconds = time.perf_counter() - started, time.process_time() - on_cores
    n_features = sum(len(record.features_of(key)) for key in keys)
    return {
        "pages_features": n_features, "pages_windows": sum(counts), "pages_seconds": seconds,
        "pages_ms_a_feature": 1000 * seconds / n_features, "pages_core_ms_a_feature": 1000 * core_seconds / n_features,
        "pages_peak_gb_after_a_quarter": peaks[len(peaks) // 4], "pages_peak_gb": peaks[-1],
    }  # fmt: skip


def read_figures(lake: Lake, record: DictionaryRecord, sample: TokenSample) -> dict[str, float]:
    """Milliseconds to read one feature, by the lake and by DuckDB, and examples a second of such features."""
    cell = {"dictionary": record.key, "feature_range": FEATURE_RANGE_KEYS[5]}
    counted = lake.read(FEATURE_STATISTICS.name, cell, columns=["feature", "firing_count"])
    busy = counted.filter(pc.greater(counted.column("firing_count"), 200)).column("feature").to_numpy()
    features = busy[:: max(1, len(busy) // N_TIMED_FEATURES)][:N_TIMED_FEATURES].tolist()
    assert features, "no feature of range 05of16 fires often enough; give more tokens"
    by_lake, by_duckdb, building = [], [], []
    windowed = WindowedSample.of(sample.tokens, ExampleSettings().shape(CONTEXT, 1))
    path = f"{lake.path(ACTIVATIONS.name, cell)}/part-0.parquet"
    with duckdb.connect() as connection:
        for feature in features:
            started = time.perf_counter()
            rows = lake.read(ACTIVATIONS.name, cell, columns=["position", "value"], filters=[("feature", "=", feature)])
            read = time.perf_counter()
            found = connection.execute(f"SELECT count(*) FROM read_parquet('{path}') WHERE feature = {feature}").fetchone()
            asked = time.perf_counter()
            assert found == (rows.num_rows,)
            position, value = rows.column("position").to_numpy().astype(np.int64), rows.column("value").to_numpy().astype(np.float64)
            draws = draw_activating([(feature, position, value)], windowed, ExampleSettings(), 0)
            with_negatives(draws, [{}], windowed, ExampleSettings(), 0)
            by_lake.append(read - started)
            by_duckdb.append(asked - read)
            building.append(time.perf_counter() - asked)
    return {
        "one_feature_by_lake_ms": 1000 * statistics.median(by_lake),
        "one_feature_by_duckdb_ms": 1000 * statistics.median(by_duckdb),
        "examples_of_one_feature_ms": 1000 * statistics.median(building),
    }


if __name__ == "__main__":
    main()
