"""One harvest by delphi's LatentCache, for `benchmarks/harvest.py --delphi-python`. Runs where `eai-delphi` is installed.

    python delphi_latent_cache.py MODEL_FOLDER SAE_FOLDER TOKENS.npy CACHE_FOLDER

Times what its users run: the pass over the tokens and the writing of the splits. Prints one JSON object.
"""

import json
import resource
import sys
import time
from pathlib import Path

import numpy as np
import torch
from delphi.latents.cache import LatentCache
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

BATCH_ROWS, N_SPLITS = 32, 5


def sparse_encode(sae_folder: Path):
    """The TopK encoder in the form that delphi takes: dense activations [rows, context, width], zero outside the k."""
    config = json.loads((sae_folder / "cfg.json").read_text())
    assert config["apply_b_dec_to_input"] and config["rescale_acts_by_decoder_norm"], "written for the demo's SAE"
    weights = load_file(sae_folder / "sae_weights.safetensors")

    def encode(x: torch.Tensor) -> torch.Tensor:
        hidden = ((x - weights["b_dec"]) @ weights["W_enc"] + weights["b_enc"]) * weights["W_dec"].norm(dim=-1)
        values, indices = hidden.topk(config["k"], dim=-1)
        return torch.zeros_like(hidden).scatter_(-1, indices, values.relu())

    return encode, config


def main() -> None:
    """Harvest, write the splits, and print seconds, activations, bytes and peak memory."""
    model_folder, sae_folder, tokens_file, cache_folder = sys.argv[1:]
    model = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32).eval()
    encode, config = sparse_encode(Path(sae_folder))
    layer = int(config["metadata"]["hook_name"].split(".")[1])
    tokens = torch.from_numpy(np.load(tokens_file)).long()
    cache = LatentCache(model, {f"model.layers.{layer}": encode}, batch_size=BATCH_ROWS)
    started = time.perf_counter()
    cache.run(tokens.numel(), tokens)
    folder = Path(cache_folder)
    cache.save_splits(n_splits=N_SPLITS, save_dir=folder, save_tokens=False)
    seconds = time.perf_counter() - started
    print(
        json.dumps(
            {
                "seconds": seconds,
                "activations": sum(len(locations) for locations in cache.cache.latent_locations.values()),
                "bytes": sum(path.stat().st_size for path in folder.rglob("*.safetensors")),
                "peak_rss_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
            }
        )
    )


if __name__ == "__main__":
    main()
