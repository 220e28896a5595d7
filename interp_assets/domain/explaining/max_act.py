"""The max_act explainer: examples with their active tokens marked go in, one tagged line comes back (arXiv 2410.13928)."""

from collections.abc import Sequence
from dataclasses import dataclass

from interp_assets.domain.bounds import PositiveCount, Share
from interp_assets.domain.examples.sampling import Example
from interp_assets.domain.explaining.shared.explainer_input import ExplainerInput, ExplainerReply, Reads, read_explanation
from interp_assets.domain.explaining.shared.tagged import TaggedSettings, WorkedExample, tagged, tagged_prompt
from interp_assets.domain.outcomes import ExplanationOutcome
from interp_assets.domain.prompting.instructions import instructions
from interp_assets.domain.prompting.parsing import EXPLANATION_TAG
from interp_assets.domain.prompting.prompts import Prompt
from interp_assets.domain.prompting.rendering import activation_list, marked_positions, token_strings
from interp_assets.domain.prompting.window_texts import marked_window
from interp_assets.domain.trials import Explanation

NAME: str = "max_act"
VERSION: str = "max_act/2"
READS: frozenset[Reads] = frozenset({"examples"})
CHOOSES: bool = False


@dataclass(frozen=True)
class MaxActSettings(TaggedSettings):
    """What the explainer is shown, and what it may answer."""

    n_shown: PositiveCount = 40
    """Most examples shown. Unit: windows."""
    with_activations: bool = False
    """Whether the strengths of marked tokens, 0 to 10, are listed too."""
    threshold: Share = 0.3
    """Tokens at or above this share of the example's maximum are marked. Unit: share."""


STRENGTHS = " Under each text is how strongly each token did so, from 1 to 10."

WORKED: tuple[tuple[tuple[tuple[str, str], ...], str], ...] = (
    (
        (
            ("the ferry leaves on <<Tuesday>> at noon", '("Tuesday", 9)'),
            ("closed every <<Sunday>> in winter, and on <<Monday>> mornings", '("Sunday", 10), ("Monday", 8)'),
            ("we talked about it last <<Friday>>", '("Friday", 7)'),
        ),
        "names of days of the week",
    ),
    (
        (
            ("the pump was <<replaced>> by an electric one", '("replaced", 8)'),
            ("letters <<written>> by her uncle", '("written", 10)'),
            ("a bridge that had been <<designed>> by students", '("designed", 9)'),
        ),
        'past participles followed by "by", in passive phrases',
    ),
    (
        (
            ("for i in range<<(>>10):", '("(", 10)'),
            ("print<<(>>total)", '("(", 9)'),
        ),
        "opening parentheses of function calls in code",
    ),
)


def plan(explainer_input: ExplainerInput, settings: MaxActSettings, run_seed: int) -> tuple[Prompt, ...] | ExplanationOutcome:
    """The prompt for one feature, or "no_examples" when the feature has no examples."""
    return (prompt(explainer_input, explainer_input.shown[: settings.n_shown], settings),) if explainer_input.shown else "no_examples"


def grade(explainer_input: ExplainerInput, replies: Sequence[ExplainerReply], settings: MaxActSettings) -> Explanation:
    """The explanation in the reply, or why there is none."""
    return read_explanation(NAME, VERSION, explainer_input, replies)


def prompt(explainer_input: ExplainerInput, examples: Sequence[Example], settings: MaxActSettings) -> Prompt:
    """The prompt about `examples`, some of a feature's shown examples."""
    said = instructions("max_act", settings.instructions, strengths=STRENGTHS if settings.with_activations else "", tag=EXPLANATION_TAG)
    worked = [WorkedExample(numbered_texts(texts, settings.with_activations), tagged(explanation)) for texts, explanation in WORKED]
    question = numbered_texts(marked_texts(examples, explainer_input, settings.threshold), settings.with_activations)
    return tagged_prompt(said, worked, question, settings)


def marked_texts(examples: Sequence[Example], explainer_input: ExplainerInput, threshold: float) -> list[tuple[str, str]]:
    """(text with active tokens marked, list of the strengths of these tokens) of each example.

    Strengths are 1 to 10, where 10 is the largest activation on the feature's shown examples.
    """
    feature_max = max((max(example.activations) for example in explainer_input.shown), default=0.0)
    rendered: list[tuple[str, str]] = []
    for example in examples:
        tokens = token_strings(example.token_ids, explainer_input.token_texts)
        marked = marked_positions(example.activations, threshold)
        strengths = activation_list(tokens, example.activations, marked, feature_max)
        rendered.append((marked_window(example, explainer_input.token_texts, marked), strengths))
    return rendered


def numbered_texts(texts: Sequence[tuple[str, str]], with_activations: bool, first: int = 1) -> str:
    """The texts, numbered from `first`; with activations the strengths of each text stand in a line below it."""
    lines: list[str] = []
    for number, (text, strengths) in enumerate(texts, start=first):
        lines.append(f"Text {number}: {text}")
        if with_activations:
            lines.append(f"Strengths: {strengths}")
    return "\n".join(lines)
