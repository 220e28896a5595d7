"""Results of steering a feature, as scorers read them: how the model goes on from prompts, clean and steered."""

from dataclasses import dataclass


@dataclass(frozen=True)
class SteeredText:
    """One prompt, by its number, and the model's completions of the prompt, clean and steered."""

    prompt: int
    prompt_text: str
    clean: str
    steered: str


@dataclass(frozen=True)
class SteeredRun:
    """A feature's scoring prompts under one intervention: a strength tuned for `target_kl` nats, or an ablation where `target_kl` is None.

    `met` says whether the target was met within tolerance. An ablation has no target and always counts as met.
    """

    target_kl: float | None
    met: bool
    texts: tuple[SteeredText, ...]

    @property
    def name(self) -> str:
        """The target, as in "0.33", or "zero_ablation"."""
        return "zero_ablation" if self.target_kl is None else f"{self.target_kl:g}"


@dataclass(frozen=True)
class CompletionSet:
    """What a feature makes the model say after the fixed prompts: (target KL, prompt and completion) of every target that was met."""

    feature: int
    texts: tuple[tuple[float, str], ...]
