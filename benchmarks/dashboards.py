"""Whole runs from a model and an SAE to pages of features, beside SAEDashboard on the same model, SAE and tokens.

    python -m venv peer && peer/bin/pip install "sae-dashboard>=0.8,<0.9" "pyarrow<22"
    python benchmarks/dashboards.py [--quick] [--features 256 1024] [--peer-python peer/bin/python]

128 contexts of 128 tokens of the embedded corpus, the demo's SAE, 45 windows a feature as SAEDashboard's defaults show: the 20 strongest
and 25 by quantiles. Ours are the assets activation_shards, vocabulary_projections and examples, in the lake; SAEDashboard's are its
defaults, in a JSON file. Each run is a process of its own with its start and imports, on as many threads as OMP_NUM_THREADS says. Without
`--peer-python` ours runs alone. SAEDashboard runs the model again for every 256 features. The last line is one JSON object.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

RECORD = Path(__file__).parents[1] / "interp_assets" / "demo" / "records" / "res-2k.yaml"
N_CONTEXTS, CONTEXT = 128, 128
EXAMPLES = {
    "n_shown": 20, "sampling": "top", "n_held_out": 25, "n_non_activating": 0, "n_shown_non_activating": 0, "min_activating": 2,
    "n_strata": 5,
}  # fmt: skip


def ours(folder: str, n_features: int) -> None:
    """Make the pages of the first features in `folder`, where tokens.npy is written too, and print what it took."""
    started = time.perf_counter()
    os.environ["INTERP_HOME"] = folder
    import dagster as dg

    from interp_assets.assets.activation_shards.asset import activation_shards
    from interp_assets.assets.examples.asset import examples
    from interp_assets.assets.token_sample.asset import token_sample
    from interp_assets.assets.vocabulary_projections.asset import vocabulary_projections
    from interp_assets.config.keys import FEATURE_RANGE_KEYS
    from interp_assets.config.registry import DictionaryRegistry
    from interp_assets.graph.assembly import definitions
    from interp_assets.installation.home import Home
    from interp_assets.orchestration.partitions import DICTIONARIES
    from interp_assets.reading.token_sample import read_token_sample
    from resources.kept_models import KeptModels
    from resources.model_provider import RealModels

    record = DictionaryRegistry.parse(RECORD.read_text(), str(RECORD))
    sample = record.token_sample.model_copy(update={"n_tokens": N_CONTEXTS * CONTEXT, "context_tokens": CONTEXT})
    changes = {"features": list(range(n_features)), "token_sample": sample.model_dump(), "stages": {"examples": EXAMPLES}}
    record = type(record).model_validate({**record.model_dump(exclude_none=True), **changes})
    home = Home(Path(folder), f"{folder}/lake")
    home.registry.write(record)
    instance = dg.DagsterInstance.ephemeral()
    instance.add_dynamic_partitions(DICTIONARIES.name or "", [record.key])
    resources = dict(definitions(home, KeptModels(RealModels())).resources or {})
    seconds = {"start": time.perf_counter() - started}
    assets: tuple[dg.AssetsDefinition, ...] = (token_sample, activation_shards, vocabulary_projections, examples)
    for asset in assets:
        begun = time.perf_counter()
        by_range = asset in (vocabulary_projections, examples)
        ends = [f"{record.key}|{FEATURE_RANGE_KEYS[i]}" if by_range else record.key for i in (0, -1)]
        tags = dict(zip(("dagster/asset_partition_range_start", "dagster/asset_partition_range_end"), ends, strict=True))
        assert dg.materialize([asset], instance=instance, resources=resources, tags=tags).success
        seconds[asset.key.path[-1]] = time.perf_counter() - begun
    np.save(f"{folder}/tokens.npy", read_token_sample(home.lake, record.key).tokens)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    size = sum(path.stat().st_size for path in Path(folder, "lake").rglob("*.parquet"))
    figures = {
        **{f"{name}_seconds": value for name, value in seconds.items()}, "core_seconds": usage.ru_utime + usage.ru_stime,
        "peak_rss_gb": usage.ru_maxrss / 2**20, "megabytes": size / 1e6,
    }  # fmt: skip
    print(json.dumps({name: round(value, 6) for name, value in figures.items()}))


def hook_mean(tokens: np.ndarray) -> float:
    """Mean size of the values at the SAE's hook on the first two contexts, without BOS: both sides must run the same model."""
    from interp_assets.config.registry import DictionaryRegistry
    from resources.model_provider import RealModels

    record = DictionaryRegistry.parse(RECORD.read_text(), str(RECORD))
    subject = RealModels().subject(record.model.source, None, "float32")
    (values,) = subject.hook_values(tokens[:2], [record.hook]).values()
    return float(values[:, 1:].double().abs().mean())


def timed(command: list[str]) -> dict[str, Any]:
    """What a process prints last, and its whole seconds."""
    started = time.perf_counter()
    printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
    return {"seconds": round(time.perf_counter() - started, 2), **json.loads(printed.strip().splitlines()[-1])}


def main() -> None:
    """Run both sides at each number of features and print the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="64 features: under two minutes")
    parser.add_argument("--features", type=int, nargs="*", default=[256, 1024])
    parser.add_argument("--peer-python", help="interpreter of an environment with sae-dashboard")
    parser.add_argument("--ours", nargs=2, metavar=("FOLDER", "FEATURES"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.ours:
        ours(given.ours[0], int(given.ours[1]))
        return
    figures: dict[str, Any] = {"tokens": N_CONTEXTS * CONTEXT}
    for n_features in [64] if given.quick else given.features:
        with tempfile.TemporaryDirectory() as folder:
            mine = timed([sys.executable, __file__, "--ours", folder, str(n_features)])
            figures[f"ours_{n_features}"] = mine
            print(f"ours, {n_features} features: {mine}", flush=True)
            if given.peer_python:
                peer = peer_figures(given.peer_python, folder, n_features)
                figures[f"sae_dashboard_{n_features}"] = peer
                ratios = {name: round(peer[name] / mine[name], 2) for name in ("seconds", "core_seconds", "peak_rss_gb", "megabytes")}
                figures[f"sae_dashboard_over_ours_{n_features}"] = ratios
                print(f"SAEDashboard: {peer}; over ours: {ratios}", flush=True)
    print(json.dumps(figures))


def peer_figures(python: str, folder: str, n_features: int) -> dict[str, Any]:
    """SAEDashboard on the tokens in `folder`, refused where its model has other values at the hook than ours."""
    from interp_assets.config.registry import DictionaryRegistry
    from resources.weights import resolve_model_folder

    record = DictionaryRegistry.parse(RECORD.read_text(), str(RECORD))
    script = Path(__file__).parent / "peers" / "sae_dashboard_pages.py"
    model = resolve_model_folder(record.model.source, None).location
    tokens = f"{folder}/tokens.npy"
    peer = timed([python, str(script), str(model), str(record.resolved_source), tokens, str(n_features), f"{folder}/pages.json"])
    expected = hook_mean(np.load(tokens))
    assert abs(peer["hook_mean"] / expected - 1) < 1e-3, f"the peer's model is another: {peer['hook_mean']} at the hook, ours {expected}"
    return peer


if __name__ == "__main__":
    main()
