"""The max_act_cot explainer: max_act with three steps of reasoning before the tagged line (arXiv 2410.13928).

The reply is free text, and the last tag in it counts: a model may try out explanations while it reasons. The worked examples reason too, as
in the paper.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from interp_assets.domain.bounds import PositiveCount
from interp_assets.domain.explaining.max_act import STRENGTHS, WORKED, ShownSettings, marked_texts, numbered_texts
from interp_assets.domain.explaining.shared.explainer_input import ExplainerInput, ExplainerReply, Reads, read_explanation
from interp_assets.domain.explaining.shared.tagged import WorkedExample, tagged, tagged_prompt
from interp_assets.domain.outcomes import ExplanationOutcome
from interp_assets.domain.prompting.instructions import instructions
from interp_assets.domain.prompting.prompts import Prompt
from interp_assets.domain.prompting.tagged_explanation import EXPLANATION_TAG
from interp_assets.domain.trials import Explanation

NAME: str = "max_act_cot"
VERSION: str = "max_act_cot/2"
READS: frozenset[Reads] = frozenset({"examples"})
CHOOSES: bool = False


@dataclass(frozen=True)
class MaxActCotSettings(ShownSettings):
    """The settings of max_act, with room for the reasoning."""

    max_reply_tokens: PositiveCount = 400
    """Most tokens of a reply, with room for the reasoning. Unit: tokens."""


_REMINDER = f"Write Step 1, Step 2, Step 3 and the {EXPLANATION_TAG} line."

_STEPS: tuple[tuple[str, str, str], ...] = (
    (
        "the marked tokens are Tuesday, Sunday, Monday and Friday.",
        "on or last comes before most of them, and what comes after differs.",
        "each is a day of the week, whatever the text is about.",
    ),
    (
        "the marked tokens are replaced, written and designed, all past participles.",
        "by and the one who did it come after them.",
        "each is the verb of a passive phrase that names who acted.",
    ),
    (
        "the marked tokens are opening parentheses.",
        "the name of a function comes before them and its argument after.",
        "each opens the arguments of a call in code.",
    ),
)


def plan(explainer_input: ExplainerInput, settings: MaxActCotSettings, run_seed: int) -> tuple[Prompt, ...] | ExplanationOutcome:
    """The prompt for one feature, or "no_examples" when the feature has no examples."""
    if not explainer_input.shown:
        return "no_examples"
    said = instructions("max_act_cot", settings.instructions, strengths=STRENGTHS if settings.with_activations else "", tag=EXPLANATION_TAG)
    worked = [
        WorkedExample(_question(texts, settings), _reasoned(steps, explanation))
        for (texts, explanation), steps in zip(WORKED, _STEPS, strict=True)
    ]
    texts = marked_texts(explainer_input.shown[: settings.n_shown], explainer_input, settings.threshold)
    prompt = tagged_prompt(said, worked, _question(texts, settings), settings)
    return (replace(prompt, line_prefix=""),)


def grade(explainer_input: ExplainerInput, replies: Sequence[ExplainerReply], settings: MaxActCotSettings) -> Explanation:
    """The explanation after the last tag of the reply, or why there is none; "unparsable" where the reasoning did not end."""
    return read_explanation(NAME, VERSION, explainer_input, replies)


def _question(texts: Sequence[tuple[str, str]], settings: MaxActCotSettings) -> str:
    """The question of max_act, then the form of the reply once more: after a question of texts alone a small model writes more texts."""
    return f"{numbered_texts(texts, settings.with_activations)}\n{_REMINDER}"


def _reasoned(steps: Sequence[str], explanation: str) -> str:
    """The steps, numbered from 1, and the tagged line."""
    return "\n".join([*(f"Step {number}: {step}" for number, step in enumerate(steps, start=1)), tagged(explanation)])
