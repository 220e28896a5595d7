"""Nearest features of a dictionary of 131,072: seconds and peak memory of both measures, on a synthetic Zipf-like store.

    python benchmarks/neighbours.py [--quick]

Co-occurrence runs as the asset runs it, from Parquet. The cosine is timed on some blocks of rows against all columns, and multiplied
up. Peaks are of the whole process, each part in a process of its own. The last line is one JSON object; the budget is 4 GB.
"""

import argparse
import json
import multiprocessing
import resource
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor

import numpy as np

from interp_assets.assets.activation_shards.shards import ROW_GROUP_ROWS, WRITER_OPTIONS, activation_tables
from interp_assets.assets.feature_neighbours.nearest import nearest_in_store
from interp_assets.config.keys import FEATURE_RANGE_KEYS, N_FEATURE_RANGES, range_bounds
from interp_assets.config.records import DictionaryRecord
from interp_assets.config.settings import NeighbourSettings
from interp_assets.measuring.directions import ROW_BLOCK, nearest_of_rows
from interp_assets.tables import ACTIVATIONS, SCHEMA_VERSION
from resources.store.lake import Lake

WIDTH, K, D_IN = 131_072, 32, 2304
KEY = "synthetic/00/zipf-131k"
BUDGET_GB = 4.0


def synthesise(lake: Lake, n_tokens: int) -> int:
    """Activations of a new store: each token fires K features, the r-th most frequent with a chance of about 1 / (r + 100)."""
    rng = np.random.default_rng(0)
    cumulative = np.cumsum(1.0 / (np.arange(WIDTH) + 100))
    rename = rng.permutation(WIDTH).astype(np.uint32)
    drawn = np.empty((n_tokens, K), dtype=np.uint32)
    for part in np.array_split(np.arange(n_tokens), max(n_tokens // 100_000, 1)):
        drawn[part] = rename[np.searchsorted(cumulative, rng.random((len(part), K)) * cumulative[-1])]
    total = 0
    for index, feature_range in enumerate(FEATURE_RANGE_KEYS):
        first, end = range_bounds(index, WIDTH)
        position, place = np.nonzero((drawn >= first) & (drawn < end))
        pairs = np.unique(drawn[position, place].astype(np.int64) << 32 | position)
        feature, position = (pairs >> 32).astype(np.uint32), (pairs & (2**32 - 1)).astype(np.uint32)
        batches = activation_tables(KEY, (feature, position, np.ones(len(pairs), dtype=np.float16)))
        cell = {"dictionary": KEY, "feature_range": feature_range}
        lake.write(ACTIVATIONS.name, cell, ACTIVATIONS.schema, batches, "synthetic", {}, WRITER_OPTIONS, ROW_GROUP_ROWS)
        total += len(pairs)
    assert len(FEATURE_RANGE_KEYS) == N_FEATURE_RANGES
    return total


def measured(part: str, *arguments: object) -> dict[str, float]:
    """What `part` reports from a fresh process, with that process's peak memory."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_run, part, *arguments).result()


def _run(part: str, *arguments: object) -> dict[str, float]:
    started = time.perf_counter()
    numbers = {"store": _store, "co_occurrence": _co_occurrence, "cosine": _cosine}[part](*arguments)  # type: ignore[operator]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e9
    return {"seconds": round(time.perf_counter() - started, 1), "peak_gb": round(peak, 2), **numbers}


def _store(root: str, n_tokens: int) -> dict[str, float]:
    return {"activations": synthesise(Lake(root, SCHEMA_VERSION), n_tokens)}


def _co_occurrence(root: str, n_tokens: int, max_pairs: int) -> dict[str, float]:
    record = DictionaryRecord(key=KEY, hook="blocks.0.hook_resid_post", kind="neurons", width=WIDTH)
    n_nearest = NeighbourSettings().n_neighbours
    found = nearest_in_store(Lake(root, SCHEMA_VERSION), record, n_tokens, n_nearest, max_pairs)
    return {"positions": found.n_positions, "neighbours": len(found.nearest.neighbour)}


def _cosine(n_blocks: int) -> dict[str, float]:
    import torch

    generator = torch.Generator().manual_seed(0)
    directions = torch.empty(WIDTH, D_IN, dtype=torch.float16)
    for first in range(0, WIDTH, ROW_BLOCK):
        rows = torch.randn(ROW_BLOCK, D_IN, generator=generator)
        directions[first : first + ROW_BLOCK] = (rows / rows.norm(dim=1, keepdim=True)).half()
    started = time.perf_counter()
    for block in range(n_blocks):
        nearest_of_rows(directions, block * ROW_BLOCK, NeighbourSettings().n_neighbours)
    return {"seconds_for_all": round((time.perf_counter() - started) / n_blocks * WIDTH / ROW_BLOCK, 1)}


def main() -> None:
    """Make the store, run both parts and print the table and the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="200,000 tokens and one block of cosines: about two minutes on one core")
    quick = parser.parse_args().quick
    n_tokens, n_blocks = (200_000, 1) if quick else (10_000_000, 8)
    results = {}
    with tempfile.TemporaryDirectory() as root:
        results["store"] = measured("store", root, n_tokens)
        results["co_occurrence"] = measured("co_occurrence", root, n_tokens, NeighbourSettings().max_pairs)
    results["cosine"] = measured("cosine", n_blocks)
    for part, numbers in results.items():
        print(f"{part:14} " + "  ".join(f"{name} {value:,}" for name, value in numbers.items()))
    within = all(results[part]["peak_gb"] <= BUDGET_GB for part in ("co_occurrence", "cosine"))
    print(json.dumps({"width": WIDTH, "n_tokens": n_tokens, **results, "within_4_gb": within}))


if __name__ == "__main__":
    main()
