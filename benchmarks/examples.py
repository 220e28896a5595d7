"""The asset `examples` from Parquet to Parquet: what a further feature costs, at several densities and for each kind of silent window.

    python benchmarks/examples.py [--quick] [--features 1024] [--profile]

The text and the tokenizer are real (the embedded corpus and SmolLM2's tokenizer, whose texts depend on their neighbours), the activations
are made up: each feature fires on five tokens of its own and at random places. Examples are as many as the defaults say, 200 windows to
score and 45 to show. Every case is a process of its own: it runs the asset on 16 features, one a range, then on 16 others, and then on all.
What the last run takes beyond the second is the cost of further features. The last line is one JSON object.
"""

import argparse
import cProfile
import json
import multiprocessing
import os
import pstats
import resource
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pyarrow as pa

from interp_assets.assets.activation_shards.shards import ShardWriter
from interp_assets.assets.examples.asset import examples
from interp_assets.assets.token_sample.asset import token_sample
from interp_assets.config.keys import FEATURE_RANGE_KEYS, RangeKey
from interp_assets.config.records import DictionaryRecord
from interp_assets.installation.home import Home
from interp_assets.orchestration.partitions import DICTIONARIES
from interp_assets.orchestration.threads import cores
from interp_assets.reading.token_sample import read_token_sample
from interp_assets.tables import DICTIONARY_EMBEDDINGS, DICTIONARY_SAMPLES, FEATURE_NEIGHBOURS, WINDOW_EMBEDDINGS
from interp_assets.tables.columns import constant
from resources.model_provider import RealModels
from resources.store.activation_spill import SortedGroup

CONTEXT, WINDOW, DIMENSIONS, OWN_TOKENS = 256, 32, 384, 5
GOAL_MS = 1.5
"""Wall-clock milliseconds that a further feature may take on all cores, with random silent windows and 1,000 activations."""


class MadeUp:
    """Activations of features, half of them on tokens of the feature's own, half anywhere; all of them in text."""

    def __init__(self, record: DictionaryRecord, tokens: np.ndarray, per_feature: int) -> None:
        self._record, self._flat, self._per_feature = record, tokens.reshape(-1), per_feature
        self._order = np.argsort(self._flat, kind="stable")
        self._firsts = np.searchsorted(self._flat[self._order], np.arange(int(self._flat.max()) + 2))

    def sorted_groups(self, name: str, range_index: int) -> Iterator[SortedGroup]:
        """One group with all of a range."""
        features = self._record.features_of(RangeKey(name, FEATURE_RANGE_KEYS[range_index]))
        positions = [self._positions(np.random.default_rng(int(feature))) for feature in features]
        feature = np.repeat(features, [len(p) for p in positions]).astype(np.uint32)
        value = (np.random.default_rng(range_index).exponential(1.0, len(feature)) + 0.01).astype(np.float16)
        chunk = feature, np.concatenate(positions), value
        yield SortedGroup(int(features[0]), int(features[-1]) + 1, len(feature), lambda: iter([chunk]))

    def _positions(self, rng: np.random.Generator) -> np.ndarray:
        parts = [rng.integers(0, len(self._flat), self._per_feature // 2)]
        for token in self._flat[rng.integers(0, len(self._flat), OWN_TOKENS)].tolist():
            there = self._order[self._firsts[token] : self._firsts[token + 1]]
            parts.append(rng.choice(there, min(len(there), self._per_feature // 2 // OWN_TOKENS), replace=False))
        positions = np.unique(np.concatenate(parts))
        return positions[positions % CONTEXT > 0].astype(np.uint32)


def records(n_features: int, negatives: str, n_tokens: int) -> list[DictionaryRecord]:
    """Two dictionaries with a feature in each range, and the dictionary with all features."""
    options: dict[str, Any] = {
        "hook": "blocks.0.mlp.hook_post", "kind": "topk_neurons", "k": 8, "stages": {"examples": {"non_activating": negatives}},
        "token_sample": {"n_tokens": n_tokens, "context_tokens": CONTEXT},
    }  # fmt: skip
    widths = {"first": 16, "small": 16, "all": n_features}
    return [DictionaryRecord(key=f"benchmark/00/{name}", width=width, **options) for name, width in widths.items()]


def synthesise(home: Home, record: DictionaryRecord, per_feature: int, negatives: str) -> None:
    """Every input of the stage but the token sample."""
    lake, sample = home.lake, read_token_sample(home.lake, record.key)
    tokenizer = RealModels().tokenizer(record.model.source, record.model.revision)
    ShardWriter(lake, record, sample, tokenizer, "a").write(MadeUp(record, sample.tokens, per_feature))
    width, n, rng = record.width, 16, np.random.default_rng(0)
    feature, rank = np.repeat(np.arange(width, dtype=np.uint32), n), np.tile(np.arange(n, dtype=np.uint16), width)
    neighbours = pa.table(
        {
            "dictionary": constant(record.key, width * n), "feature": feature, "measure": constant("decoder_cosine", width * n),
            "rank": rank, "neighbour": ((feature * 7 + rank + 1) % width).astype(np.uint32),
            "similarity": np.full(width * n, 0.5, np.float32), "n_positions": pa.nulls(width * n, pa.uint64()),
            "outcome": constant("ok", width * n),
        },
        schema=FEATURE_NEIGHBOURS.schema,
    )  # fmt: skip
    own = {"dictionary": record.key}
    lake.write(FEATURE_NEIGHBOURS.name, own, FEATURE_NEIGHBOURS.schema, neighbours, "n", row_group_rows=65_536)
    n_cells = 0
    if negatives == "similar":
        from interp_assets.assets.window_embeddings.asset import SampleCells

        n_cells = len(SampleCells(sample, tokenizer, WINDOW))
        vectors = rng.standard_normal((n_cells, DIMENSIONS), dtype=np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        lists = pa.ListArray.from_arrays(np.arange(n_cells + 1, dtype=np.int32) * DIMENSIONS, vectors.astype(np.float16).ravel())
        columns = {"embeddings": constant("e", n_cells), "cell": np.arange(n_cells, dtype=np.uint32), "vector": lists}
        rows = pa.table(columns, schema=WINDOW_EMBEDDINGS.schema)
        lake.write(WINDOW_EMBEDDINGS.name, {"embeddings": "e"}, WINDOW_EMBEDDINGS.schema, rows, "e")
    sample_name = lake.read(DICTIONARY_SAMPLES.name, own).to_pylist()[0]["sample"]
    row = {**own, "sample": sample_name, "embeddings": "e", "encoder": "e", "window_tokens": WINDOW, "n_cells": n_cells, "outcome": "ok"}
    use = pa.Table.from_pylist([row], DICTIONARY_EMBEDDINGS.schema)
    lake.write(DICTIONARY_EMBEDDINGS.name, own, DICTIONARY_EMBEDDINGS.schema, use, "e")


def prepare(folder: str, n_features: int, per_feature: int, negatives: str, n_tokens: int) -> None:
    """Make the inputs in a home."""
    os.environ["INTERP_HOME"] = folder
    home = Home(Path(folder), f"{folder}/lake")
    for record in records(n_features, negatives, n_tokens):
        home.registry.write(record)
        materialise(home, token_sample, record, by_range=False)
        synthesise(home, record, per_feature, negatives)


def materialise(home: Home, asset: dg.AssetsDefinition, record: DictionaryRecord, by_range: bool = True) -> tuple[float, float]:
    """(seconds, seconds of a core) of an asset's run over all partitions of a dictionary."""
    from interp_assets.graph.assembly import definitions

    instance = dg.DagsterInstance.ephemeral()
    instance.add_dynamic_partitions(DICTIONARIES.name or "", [record.key])
    ends = [f"{record.key}|{FEATURE_RANGE_KEYS[i]}" if by_range else record.key for i in (0, -1)]
    tags: dict[str, str] = dict(zip(("dagster/asset_partition_range_start", "dagster/asset_partition_range_end"), ends, strict=True))
    resources = dict(definitions(home, RealModels()).resources or {})
    started, on_cores = time.perf_counter(), time.process_time()
    assert dg.materialize([asset], instance=instance, resources=resources, tags=tags).success
    return time.perf_counter() - started, time.process_time() - on_cores


def measure(folder: str, n_features: int, negatives: str, n_tokens: int, profiled: bool) -> dict[str, Any]:
    """The figures of one case, whose inputs are in `folder`."""
    os.environ["INTERP_HOME"] = folder
    home = Home(Path(folder), f"{folder}/lake")
    first, small, timed = records(n_features, negatives, n_tokens)
    materialise(home, examples, first)  # imports
    of_16 = materialise(home, examples, small)
    profile = cProfile.Profile()
    if profiled:
        profile.enable()
    seconds, on_cores = materialise(home, examples, timed)
    profile.disable()
    if profiled:
        pstats.Stats(profile).sort_stats("cumtime").print_stats(40)
        pstats.Stats(profile).sort_stats("tottime").print_stats(30)
    each = 1000 / (n_features - 16)
    manifests = [manifest for manifest in home.lake.manifests("examples") if manifest.partition["dictionary"] == timed.key]
    return {
        "ms_a_further_feature": round((seconds - of_16[0]) * each, 3), "core_ms_a_further_feature": round((on_cores - of_16[1]) * each, 3),
        "features_a_minute": round(60_000 / ((seconds - of_16[0]) * each)),
        "seconds": round(seconds, 2), "seconds_of_16_features": round(of_16[0], 2),
        "examples": sum(manifest.rows for manifest in manifests), "bytes": sum(manifest.bytes for manifest in manifests),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }  # fmt: skip


def main() -> None:
    """Run the cases and print the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="320 features of one density: under two minutes")
    parser.add_argument("--features", type=int, default=1024)
    parser.add_argument("--tokens", type=int, default=2_000_000, help="length of the token sample")
    parser.add_argument("--profile", action="store_true", help="print where the time goes, of one case alone")
    given = parser.parse_args()
    n_features, n_tokens = (320, 500_000) if given.quick else (given.features, given.tokens)
    cases = [("random", 1000), ("random", 2000), ("random", 4000), ("token", 2000), ("neighbour", 2000), ("similar", 2000)]
    figures: dict[str, Any] = {"features": n_features, "tokens": n_tokens, "cores": cores()}
    for negatives, per_feature in cases[:1] if given.quick or given.profile else cases:
        with tempfile.TemporaryDirectory() as folder:
            spawned = multiprocessing.get_context("spawn")
            with ProcessPoolExecutor(1, spawned) as pool:  # so that the peak is the asset's own
                pool.submit(prepare, folder, n_features, per_feature, negatives, n_tokens).result()
            with ProcessPoolExecutor(1, spawned) as pool:
                found = pool.submit(measure, folder, n_features, negatives, n_tokens, given.profile).result()
        figures[f"{negatives}_{per_feature}"] = found
        shown = "  ".join(f"{name} {value:,}" for name, value in found.items())
        print(f"{negatives:10} {per_feature:6,} activations  {shown}", flush=True)
    figures["within_goal"] = figures["random_1000"]["ms_a_further_feature"] <= GOAL_MS
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
