"""What steering found out about a feature, as the scorers read it that look at what the feature makes the model say."""

from dataclasses import dataclass


@dataclass(frozen=True)
class SteeredText:
    """One prompt, by its number, and how the model went on from it, clean and steered."""

    prompt: int
    prompt_text: str
    clean: str
    steered: str


@dataclass(frozen=True)
class SteeredRun:
    """A feature's scoring prompts under one intervention: strength tuned for `target_kl` nats, or ablation where this is None.

    `met` is whether the target was met within tolerance; an ablation, which has none, always counts as met.
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
    """What a feature makes the model say after the fixed prompts: (target KL, prompt and completion), for the targets that were met."""

    feature: int
    texts: tuple[tuple[float, str], ...]
