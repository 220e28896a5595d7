"""Trains the demo dictionary: a TopK sparse autoencoder on the residual stream of SmolLM2-135M-Instruct after block 9.

    python -m interp_assets.demo.train_sae --work /tmp/demo-sae

About 25 minutes on two CPU cores, in three stages that each resume where they stopped: activations are harvested once to disk; the
autoencoder is trained on these activations with sae-lens; `interp_assets/demo/evaluate_sae.py` measures it on held-out rows and writes the
card. The result is a SAELens folder (`cfg.json`, `sae_weights.safetensors`, `README.md`).
"""

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from interp_assets.demo.recipe import Recipe

if TYPE_CHECKING:
    import torch
    from sae_lens import SAETrainer

    from resources.subject.model import SubjectModel

SAE_FOLDER = Path(__file__).parent / "sae" / "smollm2-135m-09-res-2k"
HELD_OUT_GAP_ROWS = 64
FROZEN_WEIGHTS = {"decoder": "W_dec", "encoder": "W_enc"}
"""The matrix that a recipe with `frozen` keeps as it was drawn."""


def token_rows(recipe: Recipe, subject: "SubjectModel") -> np.ndarray:
    """int32 [training + gap + held-out rows, context]: documents joined by EOS and cut, each row beginning with BOS.

    The corpus never repeats a document, so the last rows hold text that the first rows do not hold. The gap covers a document that spans
    rows.
    """
    from resources.corpus import read_documents

    rows = recipe.training_rows + HELD_OUT_GAP_ROWS + recipe.held_out_rows
    body, eos = recipe.context_tokens - 1, subject.eos_token_id
    needed, held, parts = rows * body, 0, []
    for document in read_documents(recipe.sources, recipe.seed):
        ids = [*subject.tokenizer(document.text, add_special_tokens=False)["input_ids"], eos]
        parts.append(np.asarray(ids, dtype=np.int32))
        held += len(ids)
        if held >= needed:
            break
    assert held >= needed, f"the corpus gave {held} tokens of the {needed} that {rows} rows need"
    packed = np.concatenate(parts)[:needed].reshape(rows, body)
    return np.concatenate([np.full((rows, 1), subject.bos_token_id, dtype=np.int32), packed], axis=1)


def harvest(recipe: Recipe, work: Path, batch_rows: int = 8) -> None:
    """Write `tokens.npy` and `activations.f16` (float16 [training rows, context - 1, d_in], BOS left out) into `work`.

    Resumes after the last batch that `rows_done` names.
    """
    from resources.subject.model import SubjectModel

    subject = SubjectModel.load(recipe.model)
    if not (work / "tokens.npy").is_file():
        np.save(work / "tokens.npy", token_rows(recipe, subject))
        np.save(work / "special_ids.npy", np.array(sorted(subject.special_token_ids)))
    tokens = np.load(work / "tokens.npy")
    marker = work / "rows_done"
    done = int(marker.read_text()) if marker.is_file() else 0
    store = activation_store(recipe, work, mode="r+" if done else "w+")
    began, first = time.monotonic(), done
    while done < recipe.training_rows:
        stop = min(done + batch_rows, recipe.training_rows)
        values = subject.hook_values(tokens[done:stop], [recipe.hook])[recipe.hook]
        store[done:stop] = values[:, 1:].cpu().numpy()
        done = stop
        if (done // batch_rows) % 20 == 0 or done == recipe.training_rows:
            store.flush()
            marker.write_text(str(done))
            rate = (done - first) * recipe.context_tokens / (time.monotonic() - began)
            print(f"harvested {done}/{recipe.training_rows} rows, {rate:.0f} tokens/s", flush=True)
    subject.close()


def activation_store(recipe: Recipe, work: Path, mode: Literal["r", "r+", "w+"]) -> np.memmap:
    """The float16 [training rows, context - 1, 576] file in `work`."""
    return np.memmap(work / "activations.f16", dtype=np.float16, mode=mode, shape=(recipe.training_rows, recipe.context_tokens - 1, 576))


def sample_batches(recipe: Recipe, work: Path) -> Iterator["torch.Tensor"]:
    """Endless float32 batches [batch samples, 576], a new shuffle each epoch; special tokens' activations are left out."""
    import torch

    tokens = np.load(work / "tokens.npy")[: recipe.training_rows, 1:]
    special = np.load(work / "special_ids.npy")
    usable = np.flatnonzero(~np.isin(tokens.reshape(-1), special))
    values = activation_store(recipe, work, mode="r").reshape(tokens.size, -1)
    rng = np.random.default_rng(recipe.seed)
    while True:
        order = rng.permutation(usable)
        for start in range(0, len(order) - recipe.batch_samples + 1, recipe.batch_samples):
            chosen = np.sort(order[start : start + recipe.batch_samples])
            yield torch.from_numpy(values[chosen].astype(np.float32))


def train(recipe: Recipe, work: Path, out: Path) -> None:
    """Train on the harvested activations and save the inference weights, scale folded in, to `out`."""
    import torch
    from sae_lens import SAETrainer, TopKTrainingSAE, TopKTrainingSAEConfig
    from sae_lens.config import SAETrainerConfig
    from sae_lens.saes.sae import SAEMetadata

    torch.manual_seed(recipe.seed)
    if recipe.frozen not in (None, *FROZEN_WEIGHTS):
        raise ValueError(f"recipe.frozen is {recipe.frozen!r}; it is one of {', '.join(FROZEN_WEIGHTS)}, or None")
    metadata = SAEMetadata(
        model_name=recipe.model,
        hook_name=recipe.hook,
        hf_hook_name=recipe.hf_hook,
        context_size=recipe.context_tokens,
        prepend_bos=True,
    )
    sae = TopKTrainingSAE(
        TopKTrainingSAEConfig(
            d_in=576, d_sae=recipe.latents, k=recipe.k, dtype="float32", device="cpu", apply_b_dec_to_input=True, metadata=metadata,
            normalize_activations="expected_average_only_in", aux_loss_coefficient=recipe.aux_loss_coefficient,
        )
    )  # fmt: skip
    if recipe.frozen is not None:
        sae.get_parameter(FROZEN_WEIGHTS[recipe.frozen]).requires_grad_(False)  # stays as it was drawn from the seed
    trainer = SAETrainer(
        SAETrainerConfig(
            total_training_samples=recipe.training_samples, train_batch_size_samples=recipe.batch_samples, lr=recipe.learning_rate,
            lr_end=recipe.learning_rate, lr_scheduler_name="constant", lr_warm_up_steps=recipe.warm_up_steps,
            lr_decay_steps=recipe.decay_steps, n_restart_cycles=1, device="cpu", n_batches_for_norm_estimate=20,
            dead_feature_window=recipe.dead_feature_window_steps,
        ),
        sae,
        sample_batches(recipe, work),
    )  # fmt: skip
    trainer.activation_scaler.estimate_scaling_factor(576, trainer.data_provider, 20)
    found = trainer.activation_scaler.scaling_factor
    assert found is not None
    scale = float(found)
    mean = torch.stack([next(trainer.data_provider).mean(0) for _ in range(20)]).mean(0)
    sae.b_dec.data = mean * scale
    _steps(trainer)
    sae.fold_activation_norm_scaling_factor(scale)
    trainer.set_final_sae_metadata()
    metadata.activation_scale_folded = scale
    out.mkdir(parents=True, exist_ok=True)
    sae.save_inference_model(out)


def _steps(trainer: "SAETrainer") -> None:
    """All training steps, with a line of progress every 20."""
    began = time.monotonic()
    while trainer.n_training_samples < trainer.cfg.total_training_samples:
        result = trainer.step(next(trainer.data_provider))
        trainer.n_training_steps += 1
        if trainer.n_training_steps % 20 == 0:
            losses = " ".join(f"{name} {float(value):.1f}" for name, value in result.losses.items())
            variance = float((result.sae_in - result.sae_in.mean(0)).pow(2).sum(-1).mean())
            unexplained = float((result.sae_out - result.sae_in).pow(2).sum(-1).mean()) / variance
            print(
                f"trained {trainer.n_training_samples} samples in {time.monotonic() - began:.0f} s: FVU {unexplained:.3f}, "
                f"{int(trainer.dead_neurons.sum())} latents silent for the window, {losses}",
                flush=True,
            )


def main() -> None:
    from interp_assets.demo.evaluate_sae import evaluate

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for tokens and activations (1.4 GB)")
    parser.add_argument("--out", type=Path, default=SAE_FOLDER, help="folder for the trained autoencoder")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    recipe = Recipe()
    (arguments.work / "recipe.json").write_text(json.dumps(asdict(recipe), indent=1), encoding="utf-8")
    harvest(recipe, arguments.work)
    if not (arguments.out / "sae_weights.safetensors").is_file():
        train(recipe, arguments.work, arguments.out)
    evaluate(recipe, np.load(arguments.work / "tokens.npy"), arguments.out)


if __name__ == "__main__":
    main()
