"""The asset `examples` on 1,000 features: seconds and peak memory, from a synthetic store of two million activations.

    python benchmarks/examples.py [--quick] [--negatives random|similar|neighbour|token] [--profile]

The real asset runs, all 16 ranges in one run, from Parquet to Parquet; inputs are synthetic, no model is loaded. The budget is ten
seconds. The last line is one JSON object.
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
from pathlib import Path

import dagster as dg
import numpy as np
import pyarrow as pa

from interp_assets.assets.activation_shards.shards import ShardWriter
from interp_assets.assets.examples.asset import examples
from interp_assets.config.keys import FEATURE_RANGE_KEYS, RangeKey
from interp_assets.config.records import DictionaryRecord
from interp_assets.installation.home import Home
from interp_assets.orchestration.partitions import DICTIONARIES
from interp_assets.reading.token_sample import TokenSample
from interp_assets.tables import (
    DICTIONARY_EMBEDDINGS,
    DICTIONARY_SAMPLES,
    FEATURE_NEIGHBOURS,
    SCHEMA_VERSION,
    TOKEN_SAMPLES,
    WINDOW_EMBEDDINGS,
    constant,
)
from resources.fakes import FakeModels
from resources.store.activation_spill import SortedGroup
from resources.store.lake import Lake

KEY, CONTEXT, VOCABULARY, WINDOW, DIMENSIONS = "synthetic/00/thousand", 256, 49_152, 32, 384
BUDGET_SECONDS = 10.0


class Words:
    """A tokenizer of a real one's size, without files."""

    revision, bos_token_id, eos_token_id, special_token_ids = "words-1", 0, 1, frozenset((0, 1))

    def tokens(self, token_ids: np.ndarray) -> list[str]:
        """A made-up text for each id."""
        return [f" w{i}" for i in token_ids]


class Inputs(FakeModels):
    """The stand-ins, with that tokenizer."""

    def tokenizer(self, source: str, revision: str | None) -> Words:  # type: ignore[override]
        return Words()


class Synthetic:
    """Activations at random positions, about `per_feature` of each feature."""

    def __init__(self, record: DictionaryRecord, n_tokens: int, per_feature: int) -> None:
        self._record, self._n_tokens, self._per_feature = record, n_tokens, per_feature
        self._rng = np.random.default_rng(1)

    def sorted_groups(self, name: str, range_index: int) -> Iterator[SortedGroup]:
        """One group with all of a range."""
        features = self._record.features_of(RangeKey(name, FEATURE_RANGE_KEYS[range_index]))
        positions = [np.unique(self._rng.integers(0, self._n_tokens, self._per_feature)) for _ in features]
        positions = [p[p % CONTEXT > 0].astype(np.uint32) for p in positions]
        feature = np.repeat(features, [len(p) for p in positions]).astype(np.uint32)
        value = (self._rng.exponential(1.0, len(feature)) + 0.01).astype(np.float16)
        chunk = feature, np.concatenate(positions), value
        yield SortedGroup(int(features[0]), int(features[-1]) + 1, len(feature), lambda: iter([chunk]))


def synthesise(lake_url: str, record: DictionaryRecord, n_tokens: int, per_feature: int) -> None:
    """The inputs of the stage: each feature fires mostly on a few tokens of its own, and has the next features as neighbours."""
    lake, rng = Lake(lake_url, SCHEMA_VERSION), np.random.default_rng(0)
    tokens = (rng.zipf(1.2, n_tokens).astype(np.int64) % VOCABULARY).astype(np.int32).reshape(-1, CONTEXT)
    tokens[:, 0] = 0
    n_rows = len(tokens)
    lists = pa.ListArray.from_arrays(np.arange(n_rows + 1, dtype=np.int32) * CONTEXT, tokens.ravel())
    none = pa.array([[]] * n_rows, pa.list_(pa.uint32()))
    columns = {"sample": constant("s", n_rows), "row": np.arange(n_rows, dtype=np.uint32), "token_ids": lists}
    rows = pa.table({**columns, "document_ids": none, "document_starts": none}, schema=TOKEN_SAMPLES.schema)
    lake.write(TOKEN_SAMPLES.name, {"sample": "s"}, TOKEN_SAMPLES.schema, rows, "s")
    use = [{"dictionary": KEY, "sample": "s", "n_rows": n_rows, "context_tokens": CONTEXT}]
    lake.write(
        DICTIONARY_SAMPLES.name, {"dictionary": KEY}, DICTIONARY_SAMPLES.schema, pa.Table.from_pylist(use, DICTIONARY_SAMPLES.schema), "s"
    )
    writer = ShardWriter(lake, record, TokenSample("s", tokens), Inputs().tokenizer("", None), "a")
    writer.write(Synthetic(record, tokens.size, per_feature))
    width, n = record.width, 16
    feature, rank = np.repeat(np.arange(width, dtype=np.uint32), n), np.tile(np.arange(n, dtype=np.uint16), width)
    neighbours = pa.table(
        {
            "dictionary": constant(KEY, width * n), "feature": feature, "measure": constant("decoder_cosine", width * n), "rank": rank,
            "neighbour": ((feature * 7 + rank + 1) % width).astype(np.uint32), "similarity": np.full(width * n, 0.5, np.float32),
            "n_positions": pa.nulls(width * n, pa.uint64()), "outcome": constant("ok", width * n),
        },
        schema=FEATURE_NEIGHBOURS.schema,
    )  # fmt: skip
    lake.write(FEATURE_NEIGHBOURS.name, {"dictionary": KEY}, FEATURE_NEIGHBOURS.schema, neighbours, "n", row_group_rows=65_536)
    n_cells = n_rows * -(-(CONTEXT - 1) // WINDOW)
    vectors = rng.standard_normal((n_cells, DIMENSIONS), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    lists = pa.ListArray.from_arrays(np.arange(n_cells + 1, dtype=np.int32) * DIMENSIONS, vectors.astype(np.float16).ravel())
    columns = {"embeddings": constant("e", n_cells), "cell": np.arange(n_cells, dtype=np.uint32), "vector": lists}
    lake.write(
        WINDOW_EMBEDDINGS.name, {"embeddings": "e"}, WINDOW_EMBEDDINGS.schema, pa.table(columns, schema=WINDOW_EMBEDDINGS.schema), "e"
    )
    row = {
        "dictionary": KEY,
        "sample": "s",
        "embeddings": "e",
        "encoder": "e",
        "window_tokens": WINDOW,
        "n_cells": n_cells,
        "outcome": "ok",
    }
    use = pa.Table.from_pylist([row], DICTIONARY_EMBEDDINGS.schema)
    lake.write(DICTIONARY_EMBEDDINGS.name, {"dictionary": KEY}, DICTIONARY_EMBEDDINGS.schema, use, "e")


def main() -> None:
    """Make the inputs, run the asset and print the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="200 features: a few seconds")
    parser.add_argument("--negatives", default="random", choices=["random", "similar", "neighbour", "token"])
    parser.add_argument("--tokens", type=int, default=2_560_000, help="length of the token sample, a multiple of 256")
    parser.add_argument("--profile", action="store_true", help="print where the time goes")
    arguments = parser.parse_args()
    n_features = 200 if arguments.quick else 1000
    stages = {"examples": {"non_activating": arguments.negatives}}
    record = DictionaryRecord(key=KEY, hook="blocks.0.mlp.hook_post", kind="topk_neurons", k=8, width=n_features, stages=stages)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["INTERP_HOME"] = folder
        from interp_assets.graph.assembly import definitions

        home = Home(Path(folder), f"{folder}/lake")
        home.registry.write(record)
        with multiprocessing.get_context("spawn").Pool(1) as pool:  # so that the peak is the asset's own
            pool.apply(synthesise, (home.lake_url, record, arguments.tokens, 2000))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        instance = dg.DagsterInstance.ephemeral()
        instance.add_dynamic_partitions(DICTIONARIES.name or "", [KEY])
        first, last = f"{KEY}|{FEATURE_RANGE_KEYS[0]}", f"{KEY}|{FEATURE_RANGE_KEYS[-1]}"
        tags = {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}
        resources = dict(definitions(home, Inputs()).resources or {})
        profile = cProfile.Profile()
        if arguments.profile:
            profile.enable()
        started, cpu_started = time.perf_counter(), time.process_time()
        result = dg.materialize([examples], instance=instance, resources=resources, tags=tags)
        seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu_started
        profile.disable()
        manifests = list(home.lake.manifests("examples"))
    if arguments.profile:
        pstats.Stats(profile).sort_stats("cumtime").print_stats(40)
        pstats.Stats(profile).sort_stats("tottime").print_stats(25)
    numbers = {
        "features": n_features, "negatives": arguments.negatives, "tokens": arguments.tokens,
        "seconds": round(seconds, 2), "cpu_seconds": round(cpu_seconds, 2),
        "examples": sum(m.rows for m in manifests), "bytes": sum(m.bytes for m in manifests), "success": result.success,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, "peak_mb_before": before // 1024,
        "within_budget": seconds <= BUDGET_SECONDS * n_features / 1000,
    }  # fmt: skip
    print(json.dumps(numbers))


if __name__ == "__main__":
    main()
