"""Matching two dictionaries: seconds and peak memory of the cosines and of the one-to-one assignment, on synthetic decoders.

    python benchmarks/matching.py [--quick] [--width 16384] [--d-in 768]

The second decoder is the first in another order with noise, so that the right matches are known; `unrelated` is the worst case, two of
random directions. Each case runs in a process of its own. The last line is one JSON object.
"""

import argparse
import json
import multiprocessing
import resource
import sys
import time
from concurrent.futures import ProcessPoolExecutor

import numpy as np

from interp_assets.config.settings import MatchingSettings
from interp_assets.domain.features.matching import one_to_one
from interp_assets.measuring.directions import nearest_both_ways

NOISE = 0.7
"""Length of the noise added to directions of length 1: cosines of the matched are about 0.82."""


def decoders(width: int, d_in: int, related: bool):
    """Two Tensor[width, d_in] of directions, and int64 [width]: which of the second is each of the first (anything unless related)."""
    import torch

    source = torch.Generator().manual_seed(0)

    def directions() -> torch.Tensor:
        rows = torch.randn(width, d_in, generator=source)
        return rows / rows.norm(dim=1, keepdim=True)

    ours, other, order = directions(), directions(), torch.randperm(width, generator=source)
    theirs = (ours + NOISE * other)[order] if related else other
    theirs /= theirs.norm(dim=1, keepdim=True)
    return ours.half(), theirs.half(), order.argsort().numpy()


def run(width: int, d_in: int, related: bool) -> dict[str, float]:
    """Seconds of both steps, the process's peak memory, and the share of features matched as they should be."""
    ours, theirs, truth = decoders(width, d_in, related)
    started = time.perf_counter()
    nearest, back = nearest_both_ways(ours, theirs, MatchingSettings().n_nearest)
    compared = time.perf_counter()
    index, partner, _ = one_to_one(nearest, back)
    seconds = {"cosine_seconds": round(compared - started, 2), "assignment_seconds": round(time.perf_counter() - compared, 2)}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e9
    right = {"right": float(np.mean(partner == truth[index]))} if related else {}
    return {**seconds, "peak_gb": round(peak, 2), "matched": len(index), **right}


def main() -> None:
    """Run both cases and print the table and the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="4,096 features: a few seconds")
    parser.add_argument("--width", type=int, default=16_384, help="features of either dictionary")
    parser.add_argument("--d-in", type=int, default=768, help="dimensions of a decoder row")
    arguments = parser.parse_args()
    width = 4096 if arguments.quick else arguments.width
    results = {}
    for name, related in (("related", True), ("unrelated", False)):
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            results[name] = pool.submit(run, width, arguments.d_in, related).result()
        print(f"{name:10} " + "  ".join(f"{key} {value:,}" for key, value in results[name].items()))
    print(json.dumps({"width": width, "d_in": arguments.d_in, **results}))


if __name__ == "__main__":
    main()
