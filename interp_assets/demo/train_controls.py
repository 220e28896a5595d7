"""Trains the demo's trained controls: TopK sparse autoencoders of which one half stays random.

    python -m interp_assets.demo.train_controls --work /tmp/demo-controls

    smollm2-135m-09-frozen-decoder   W_dec stays as it was drawn; W_enc and the biases are trained to reconstruct with it
    smollm2-135m-09-frozen-encoder   W_enc stays as it was drawn; W_dec and the biases are trained

A feature of such a control cannot be a direction that the training found, and yet its explanations score nearly as well as a trained
autoencoder's (arXiv 2602.14111). So a control of this kind is harder to beat than an autoencoder that was never trained. The stages are
the stages of `train_sae.py`, the controls share the harvested activations, and every stage resumes. The weights are stored as float16.
"""

import argparse
from pathlib import Path

import numpy as np

from interp_assets.demo.evaluate_sae import evaluate
from interp_assets.demo.recipe import CONTROL_RECIPES
from interp_assets.demo.train_sae import SAE_FOLDER, harvest, train

WEIGHTS_FILE = "sae_weights.safetensors"


def store_as(dtype: str, folder: Path) -> None:
    """Write the weights in `folder` anew with numbers of this type, such as "float16"."""
    import torch
    from safetensors.torch import load_file, save_file

    weights = {name: tensor.to(getattr(torch, dtype)).contiguous() for name, tensor in load_file(folder / WEIGHTS_FILE).items()}
    save_file(weights, folder / WEIGHTS_FILE)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for tokens and activations (0.5 GB)")
    parser.add_argument("--out", type=Path, default=SAE_FOLDER.parent, help="folder for the controls' folders")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    harvest(next(iter(CONTROL_RECIPES.values())), arguments.work)
    for name, recipe in CONTROL_RECIPES.items():
        folder = arguments.out / name
        if not (folder / WEIGHTS_FILE).is_file():
            train(recipe, arguments.work, folder)
            store_as(recipe.stored_dtype, folder)
    for name, recipe in CONTROL_RECIPES.items():
        evaluate(recipe, np.load(arguments.work / "tokens.npy"), arguments.out / name)


if __name__ == "__main__":
    main()
