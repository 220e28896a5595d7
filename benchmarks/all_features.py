"""The asset `examples` over a whole large dictionary: 100,000 features out of a store of 500 M activations, in bounded memory.

    python benchmarks/all_features.py [--quick] [--features 100000] [--activations 500000000] [--tokens 10000000] [--home FOLDER]

The text and the tokenizer are real. The activations are made up, and written by the harvest's own writer of shards: features' densities
follow Zipf's law from the hundredth on (the densest fires on every fourteenth token, half of them on less than one in 7,000), and half of
a feature's activations are on five tokens of its own. Then the asset runs over all 16 ranges with its defaults, 200 windows to score and 45
to show, in a process of its own. Told are its time, and its peak memory when a tenth, a half and all of the features are made. It takes
6 GB of disk. With `--home` the store stays in FOLDER, and a store that an earlier run made there is used again. The last line is one JSON
object.
"""

import argparse
import contextlib
import json
import multiprocessing
import os
import resource
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from examples import CONTEXT, OWN_TOKENS, materialise

from interp_assets.assets.activation_shards.shards import ShardWriter
from interp_assets.assets.examples.asset import examples
from interp_assets.assets.token_sample.asset import token_sample
from interp_assets.config.keys import FEATURE_RANGE_KEYS, RangeKey
from interp_assets.config.records import DictionaryRecord
from interp_assets.installation.home import Home
from interp_assets.orchestration.threads import cores
from interp_assets.reading.token_sample import read_token_sample
from interp_assets.tables import ACTIVATIONS, EXAMPLES, FEATURE_EXAMPLES, FEATURE_STATISTICS
from resources.model_provider import RealModels
from resources.store.activation_spill import SortedGroup

GOAL_MINUTES = 5.0
"""Minutes that the asset may take for 100,000 features out of 500 M activations."""
GROUP_FEATURES = 256
DISTINCT = 0.825
"""Share of the drawn places of a feature that are no repetition, and not at the first token of a context."""


class ZipfActivations:
    """Activations of features whose numbers follow Zipf's law; half of them on tokens of the feature's own, half anywhere, all in text."""

    def __init__(self, record: DictionaryRecord, tokens: np.ndarray, n_activations: int) -> None:
        self._record, self._flat = record, tokens.reshape(-1)
        self._order = np.argsort(self._flat, kind="stable").astype(np.uint32)
        self._firsts = np.searchsorted(self._flat[self._order], np.arange(int(self._flat.max()) + 2))
        weights = 1.0 / (np.random.default_rng(0).permutation(record.width) + 100.0)
        self._counts = np.maximum(n_activations / DISTINCT * weights / weights.sum(), 2).astype(np.int64)

    def sorted_groups(self, name: str, range_index: int) -> Iterator[SortedGroup]:
        """A range in groups of GROUP_FEATURES features."""
        features = self._record.features_of(RangeKey(name, FEATURE_RANGE_KEYS[range_index]))
        for first in range(0, len(features), GROUP_FEATURES):
            part = features[first : first + GROUP_FEATURES]
            positions = [self._positions(int(feature)) for feature in part]
            feature = np.repeat(part, [len(own) for own in positions]).astype(np.uint32)
            value = (np.random.default_rng(int(part[0])).exponential(1.0, len(feature)) + 0.01).astype(np.float16)
            chunk = feature, np.concatenate(positions), value
            yield SortedGroup(int(part[0]), int(part[-1]) + 1, len(feature), lambda chunk=chunk: iter([chunk]))

    def _positions(self, feature: int) -> np.ndarray:
        rng, count = np.random.default_rng(feature), int(self._counts[feature])
        parts = [rng.integers(0, len(self._flat), count // 2, dtype=np.uint32)]
        for token in self._flat[rng.integers(0, len(self._flat), OWN_TOKENS)].tolist():
            there = self._order[self._firsts[token] : self._firsts[token + 1]]
            parts.append(there[rng.integers(0, len(there), count // 2 // OWN_TOKENS)])
        positions = np.unique(np.concatenate(parts))
        return positions[positions % CONTEXT > 0]


def record(n_features: int, n_tokens: int) -> DictionaryRecord:
    """The dictionary."""
    options: dict[str, Any] = {
        "hook": "blocks.0.mlp.hook_post", "kind": "topk_neurons", "k": 8,
        "token_sample": {"n_tokens": n_tokens, "context_tokens": CONTEXT},
    }  # fmt: skip
    return DictionaryRecord(key="benchmark/00/whole", width=n_features, **options)


def prepare(folder: str, n_features: int, n_activations: int, n_tokens: int) -> dict[str, Any]:
    """Make token sample and store in a home: their sizes and the time that the store took."""
    os.environ["INTERP_HOME"] = folder
    home, one = Home(Path(folder), f"{folder}/lake"), record(n_features, n_tokens)
    home.registry.write(one)
    started = time.perf_counter()
    if len(list(home.lake.manifests(FEATURE_STATISTICS.name))) < len(FEATURE_RANGE_KEYS):
        materialise(home, token_sample, one, by_range=False)
        tokenizer = RealModels().tokenizer(one.model.source, one.model.revision)
        sample = read_token_sample(home.lake, one.key)
        ShardWriter(home.lake, one, sample, tokenizer, "a").write(ZipfActivations(one, sample.tokens, n_activations))
    for table in (EXAMPLES, FEATURE_EXAMPLES):
        shutil.rmtree(f"{folder}/lake/{table.name}", ignore_errors=True)
    manifests = list(home.lake.manifests(ACTIVATIONS.name))
    return {
        "features": n_features, "tokens": n_tokens, "activations": sum(manifest.rows for manifest in manifests),
        "store_gb": round(sum(manifest.bytes for manifest in manifests) / 1e9, 2), "store_seconds": round(time.perf_counter() - started),
    }  # fmt: skip


def peak_gb() -> float:
    """Peak resident memory of this process so far."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2)


def measure(folder: str, n_features: int, n_tokens: int) -> dict[str, Any]:
    """Seconds of the asset over all ranges, and its peak memory by the share of ranges that are made."""
    os.environ["INTERP_HOME"] = folder
    home, one = Home(Path(folder), f"{folder}/lake"), record(n_features, n_tokens)
    peaks: dict[int, float] = {}
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.5):
            n_made = sum(1 for _ in home.lake.manifests(EXAMPLES.name))
            peaks.setdefault(n_made, peak_gb())

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        seconds, on_cores = materialise(home, examples, one)
    finally:
        ended.set()
        watching.join()
    n = len(FEATURE_RANGE_KEYS)
    reached = {share: min((peak for made, peak in peaks.items() if made >= share * n), default=peak_gb()) for share in (0.1, 0.5)}
    manifests = list(home.lake.manifests(EXAMPLES.name))
    return {
        "cores": cores(), "seconds": round(seconds, 1), "core_seconds": round(on_cores, 1),
        "features_a_minute": round(60 * n_features / seconds), "core_ms_a_feature": round(1000 * on_cores / n_features, 2),
        "peak_gb_after_a_tenth": reached[0.1], "peak_gb_after_half": reached[0.5], "peak_gb": peak_gb(),
        "examples": sum(manifest.rows for manifest in manifests), "examples_gb": round(sum(one.bytes for one in manifests) / 1e9, 2),
    }  # fmt: skip


def main() -> None:
    """Make the store, run the asset, print the table and the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", type=int, default=100_000)
    parser.add_argument("--activations", type=int, default=500_000_000)
    parser.add_argument("--tokens", type=int, default=10_000_000, help="length of the token sample")
    parser.add_argument("--home", type=Path, help="where the store stays, 6 GB with the examples; a temporary folder otherwise")
    parser.add_argument("--quick", action="store_true", help="2,000 features, 10 M activations, 1 M tokens: under two minutes")
    given = parser.parse_args()
    n_features, n_activations, n_tokens = given.features, given.activations, given.tokens
    if given.quick:
        n_features, n_activations, n_tokens = 2_000, 10_000_000, 1_000_000
    spawned = multiprocessing.get_context("spawn")
    with contextlib.nullcontext(given.home) if given.home else tempfile.TemporaryDirectory() as folder:
        folder = str(folder)
        with ProcessPoolExecutor(1, spawned) as pool:  # so that the peak is the asset's own
            figures = pool.submit(prepare, folder, n_features, n_activations, n_tokens).result()
        print(f"store of {figures['activations']:,} activations made in {figures['store_seconds']} s", flush=True)
        with ProcessPoolExecutor(1, spawned) as pool:
            figures |= pool.submit(measure, folder, n_features, n_tokens).result()
    figures["within_goal"] = figures["seconds"] / 60 * (100_000 / n_features) <= GOAL_MINUTES
    for name, value in figures.items():
        print(f"{name:>24}  {value:,}")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
