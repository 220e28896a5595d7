"""Dashboards of some features by SAEDashboard, for `benchmarks/dashboards.py --peer-python`. Runs where `sae-dashboard` is installed.

    python sae_dashboard_pages.py MODEL_FOLDER SAE_FOLDER TOKENS.npy N_FEATURES OUT.json

Its defaults, from loading to the JSON file of all features. TransformerLens reads a local Llama folder without its rotary base, which is
set here, so that both sides run the same model. Prints one JSON object.
"""

import json
import resource
import sys
import time
from pathlib import Path

import numpy as np
import torch
from sae_dashboard.sae_vis_data import SaeVisConfig
from sae_dashboard.sae_vis_runner import SaeVisRunner
from sae_lens import SAE, HookedSAETransformer
from transformer_lens import loading_from_pretrained
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast


def loaded_model(folder: str) -> HookedSAETransformer:
    """The model of a local folder of Llama's architecture, with the folder's own rotary base."""
    config = json.loads((Path(folder) / "config.json").read_text())
    base = config.get("rope_theta") or config["rope_parameters"]["rope_theta"]
    convert = loading_from_pretrained.convert_hf_model_config

    def with_rotary_base(*arguments: object, **options: object) -> dict:
        return {**convert(*arguments, **options), "rotary_base": int(base)}

    loading_from_pretrained.convert_hf_model_config = with_rotary_base
    loading_from_pretrained.get_official_model_name = lambda name: name  # a folder, not one of the models that it lists
    named = json.loads((Path(folder) / "tokenizer_config.json").read_text())
    special = {name: named[name] for name in ("bos_token", "eos_token", "pad_token", "unk_token") if isinstance(named.get(name), str)}
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=f"{folder}/tokenizer.json", name_or_path=folder, add_bos_token=True, **special)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return HookedSAETransformer.from_pretrained_no_processing(folder, hf_model=model, tokenizer=tokenizer, device="cpu")


def main() -> None:
    """Load, make the dashboards, write them, and print what it took."""
    model_folder, sae_folder, tokens_file, n_features, out = sys.argv[1:]
    started = time.perf_counter()
    model, sae = loaded_model(model_folder), SAE.load_from_disk(sae_folder, device="cpu")
    tokens = torch.from_numpy(np.load(tokens_file)).long()
    hook = sae.cfg.metadata.hook_name
    with torch.inference_mode():
        _, cache = model.run_with_cache(tokens[:2], names_filter=hook, stop_at_layer=int(hook.split(".")[1]) + 1)
    first = cache[hook][:, 1:].double().abs().mean().item()
    loaded = time.perf_counter()
    data = SaeVisRunner(SaeVisConfig(hook_point=hook, features=list(range(int(n_features))))).run(encoder=sae, model=model, tokens=tokens)
    made = time.perf_counter()
    data.save_json(out)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    figures = {
        "load_seconds": loaded - started, "pages_seconds": made - loaded, "write_seconds": time.perf_counter() - made,
        "core_seconds": usage.ru_utime + usage.ru_stime, "peak_rss_gb": usage.ru_maxrss / 2**20,
        "megabytes": Path(out).stat().st_size / 1e6, "hook_mean": first,
    }  # fmt: skip
    print(json.dumps({name: round(value, 6) for name, value in figures.items()}))


if __name__ == "__main__":
    main()
