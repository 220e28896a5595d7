"""The intervention explainer: what steering a feature makes the model say next (arXiv 2410.13928).

Ten texts end where the feature fires. For each text the prompt lists the five next tokens whose probability steering raises most, at a
strength that moves the next token by one nat. A language model then says what the feature makes the model say. The paper asks a base model
to continue after worked examples. Here the worked examples are turns of a conversation, so that the explainer model of all methods can be
asked.

A feature whose strength did not reach the divergence is shown at the strength with the nearest divergence. The explainer sees only the
prompts for explainers; scorers have prompts of their own.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from interp_assets.domain.bounds import Count, PositiveCount
from interp_assets.domain.explaining.shared.explainer_input import ExplainerInput, ExplainerReply, Reads, SteeredPrompt, read_explanation
from interp_assets.domain.explaining.shared.tagged import TaggedSettings, WorkedExample, tagged, tagged_prompt
from interp_assets.domain.outcomes import ExplanationOutcome
from interp_assets.domain.prompting.instructions import instructions
from interp_assets.domain.prompting.prompts import Prompt
from interp_assets.domain.prompting.rendering import quoted, visible
from interp_assets.domain.prompting.tagged_explanation import EXPLANATION_TAG
from interp_assets.domain.trials import Explanation

NAME: str = "intervention"
VERSION: str = "intervention/2"
READS: frozenset[Reads] = frozenset({"steering"})
CHOOSES: bool = False

LEAST_RISE = 0.0005
"""The least rise of a probability that is shown; a smaller rise would read +0.000."""


@dataclass(frozen=True)
class InterventionSettings(TaggedSettings):
    """Which effects of steering are shown."""

    few_shot: Count = 3
    """Worked examples before the question. Unit: examples, 0 to 3."""
    target_kl: float = 1.0
    """The target of `steering.kl_targets`, with the sign of the strength, whose effects are shown. Unit: nats."""
    n_prompts: PositiveCount = 10
    """Most texts shown. Unit: prompts."""
    n_tokens: PositiveCount = 5
    """Most tokens shown of each text. Unit: tokens."""


_WORKED: tuple[tuple[tuple[SteeredPrompt, ...], str], ...] = (
    (
        (
            SteeredPrompt("the ferry will leave on", (("Tuesday", 0.31), ("Monday", 0.18), ("Sunday", 0.07))),
            SteeredPrompt("closed in winter, and open every", (("Saturday", 0.42), ("weekend", 0.11), ("ivor", 0.01))),
            SteeredPrompt("we talked about it and then he", (("Friday", 0.05), ("on", 0.03))),
        ),
        "names of days of the week",
    ),
    (
        (
            SteeredPrompt("She asked me a question and I", (("replied", 0.22), ("answered", 0.15), ("said", 0.08))),
            SteeredPrompt("According to the minister, who", (("said", 0.35), ("told", 0.09), ("stated", 0.04))),
        ),
        "verbs of saying",
    ),
    (
        (
            SteeredPrompt("the captain of the ship", (("ship", 0.44), ("captain", 0.13))),
            SteeredPrompt("two loaves of bread, and", (("bread", 0.38), ("loaves", 0.21), ("two", 0.06))),
        ),
        "repetition of words that the text has just used",
    ),
)


def plan(explainer_input: ExplainerInput, settings: InterventionSettings, run_seed: int) -> tuple[Prompt, ...] | ExplanationOutcome:
    """The prompt for one feature; "no_steering" when the feature was not steered, or when steering makes no token likelier."""
    shown = [_first(prompt, settings.n_tokens) for prompt in explainer_input.steered[: settings.n_prompts]]
    if not any(prompt.raised for prompt in shown):
        return "no_steering"
    worked = [WorkedExample(_described(prompts), tagged(explanation)) for prompts, explanation in _WORKED]
    return (tagged_prompt(instructions("intervention", settings.instructions, tag=EXPLANATION_TAG), worked, _described(shown), settings),)


def grade(explainer_input: ExplainerInput, replies: Sequence[ExplainerReply], settings: InterventionSettings) -> Explanation:
    """The explanation in the reply, or why there is none."""
    return read_explanation(NAME, VERSION, explainer_input, replies)


def _first(prompt: SteeredPrompt, n_tokens: int) -> SteeredPrompt:
    """The prompt with its first `n_tokens` tokens, without tokens that gain less than LEAST_RISE."""
    return SteeredPrompt(prompt.text, tuple((token, rise) for token, rise in prompt.raised[:n_tokens] if rise >= LEAST_RISE))


def _described(prompts: Sequence[SteeredPrompt]) -> str:
    """Two lines a prompt: its text, and the tokens that gain probability."""
    lines: list[str] = []
    for number, prompt in enumerate(prompts, start=1):
        gained = ", ".join(f"{quoted(token)} +{rise:.3f}" for token, rise in prompt.raised) or "none"
        lines += [f"Text {number}: {visible(prompt.text.strip())}", f"Likelier next: {gained}"]
    return "\n".join(lines)
