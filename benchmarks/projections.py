"""Projections onto the vocabulary: what a feature costs, and how much of that is the product with the unembedding, the floor.

    python benchmarks/projections.py [--quick] [--features 4096]

A random TopK SAE of 16,384 latents on the embedded model, features in ranges of 1,024, from decoder rows to rows of the table. The texts of
the vocabulary are looked up in the first range, as in a run. The last line is one JSON object.
"""

import argparse
import json
import resource
import time

import numpy as np

from interp_assets.assets.vocabulary_projections.projections import BLOCK_FEATURES, VocabularyProjector, projection_rows
from interp_assets.config.keys import FEATURE_RANGE_KEYS, RangeKey
from interp_assets.config.records import DictionaryRecord
from interp_assets.config.settings import ProjectionSettings
from interp_assets.measuring.loaded_models import LoadedModels
from resources.model_provider import RealModels

RANGE = 1024


def clock() -> np.ndarray:
    """(seconds, seconds of a core) of this process."""
    return np.array([time.perf_counter(), time.process_time()])


def main() -> None:
    """Project the features, time the bare product on as many, and print the table and the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="1,024 features: a few seconds")
    parser.add_argument("--features", type=int, default=4096)
    given = parser.parse_args()
    import torch

    n_features = RANGE if given.quick else given.features
    record = DictionaryRecord(key="benchmark/09/topk", hook="blocks.9.hook_resid_post", kind="random_topk", width=16_384, d_in=576, k=32)
    models, settings = RealModels(), ProjectionSettings()
    projector = VocabularyProjector(models)
    list(projector.blocks(record, np.arange(1, dtype=np.uint32), settings))  # the model is loaded
    started, n_rows = clock(), 0
    for index, first in enumerate(range(0, n_features, RANGE)):
        features = np.arange(first, min(first + RANGE, n_features), dtype=np.uint32)
        for block in projector.blocks(record, features, settings):
            n_rows += projection_rows(RangeKey(record.key, FEATURE_RANGE_KEYS[index % 16]), block).num_rows
    whole = clock() - started
    projector.close()
    unembedding = LoadedModels(models).subject(record.model).unembedding(settings.final_norm)
    assert unembedding is not None
    directions, room = torch.randn(BLOCK_FEATURES, record.d_in or 576), unembedding.room(BLOCK_FEATURES)
    started = clock()
    for _ in range(n_features // BLOCK_FEATURES):
        unembedding.logits(directions, room)
    product = clock() - started
    figures = {
        "features": n_features, "vocabulary": unembedding.vocabulary_size, "rows": n_rows, "threads": torch.get_num_threads(),
        "ms_a_feature": round(1000 * whole[0] / n_features, 3), "core_ms_a_feature": round(1000 * whole[1] / n_features, 3),
        "product_core_ms_a_feature": round(1000 * product[1] / n_features, 3), "over_product": round(whole[1] / product[1], 2),
        "peak_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
    }  # fmt: skip
    for name, value in figures.items():
        print(f"{name:>28}  {value:,}")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
