"""The max_act explainer: examples with their active tokens marked go in, one tagged line comes back (arXiv 2410.13928)."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from interp_assets.domain.bounds import ADDED_LATER, PositiveCount, Share
from interp_assets.domain.examples.sampling import Example
from interp_assets.domain.explaining.shared.explainer_input import ExplainerInput, ExplainerReply, Reads, read_explanation
from interp_assets.domain.explaining.shared.tagged import TaggedSettings, WorkedExample, tagged, tagged_prompt
from interp_assets.domain.outcomes import ExplanationOutcome
from interp_assets.domain.prompting.instructions import instructions
from interp_assets.domain.prompting.prompts import Prompt
from interp_assets.domain.prompting.rendering import MARK_CLOSE, MARK_OPEN, activation_list, marked_positions, quoted, token_strings
from interp_assets.domain.prompting.tagged_explanation import EXPLANATION_TAG
from interp_assets.domain.prompting.window_texts import marked_window
from interp_assets.domain.trials import Explanation

NAME: str = "max_act"
VERSION: str = "max_act/3"
READS: frozenset[Reads] = frozenset({"examples"})
CHOOSES: bool = False


@dataclass(frozen=True)
class ShownSettings(TaggedSettings):
    """What an explainer is shown of examples, and what it may answer."""

    n_shown: PositiveCount = 40
    """Most examples shown. Unit: windows."""
    with_activations: bool = False
    """Whether the strengths of marked tokens, 0 to 10, are listed too."""
    threshold: Share = 0.3
    """Tokens at or above this share of the example's maximum are marked. Unit: share."""


@dataclass(frozen=True)
class MaxActSettings(ShownSettings):
    """The settings of explainers that are asked by max_act's prompt."""

    breadth: Annotated[Literal["strong", "all"], ADDED_LATER] = "all"
    """`all`: one phrase that covers all of the texts. `strong`: what the strongest texts share, not widened for weaker texts; more precise,
    and with less recall."""
    next_tokens: Annotated[bool, ADDED_LATER] = False
    """Whether the token after the strongest token is listed below each text, for features that are about what comes next."""


BREADTHS: dict[str, str] = {
    "all": "cover all of the texts",
    "strong": "explain the strongest texts, which come first, without widening the phrase so that it fits weaker texts",
}
NEXT_TOKENS = " Under each text is the token that follows the one with the largest reaction."
NO_NEXT = "none"
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
    strengths = (STRENGTHS if settings.with_activations else "") + (NEXT_TOKENS if settings.next_tokens else "")
    breadth = BREADTHS[settings.breadth]
    said = instructions("max_act", settings.instructions, strengths=strengths, breadth=breadth, tag=EXPLANATION_TAG)
    worked = [
        WorkedExample(
            numbered_texts(texts, settings.with_activations, next_tokens=_worked_next(texts) if settings.next_tokens else None),
            tagged(explanation),
        )
        for texts, explanation in WORKED
    ]
    following = [next_token(one, explainer_input) for one in examples] if settings.next_tokens else None
    texts = marked_texts(examples, explainer_input, settings.threshold)
    return tagged_prompt(said, worked, numbered_texts(texts, settings.with_activations, next_tokens=following), settings)


def next_token(example: Example, explainer_input: ExplainerInput) -> str:
    """The token after the strongest token of an example, quoted on one line; NO_NEXT where the window ends there.

    Tokens without a text belong to the character before them, and are passed over.
    """
    peak = max(range(len(example.activations)), key=example.activations.__getitem__)
    texts = token_strings(example.token_ids[peak + 1 :], explainer_input.token_texts)
    return next((quoted(text) for text in texts if text), NO_NEXT)


def _worked_next(texts: Sequence[tuple[str, str]]) -> list[str]:
    """The word or sign after the strongest mark of each worked text, quoted; NO_NEXT at the end of a text."""
    found: list[str] = []
    for text, strengths in texts:
        levels = [int(level) for level in re.findall(r", (\d+)\)", strengths)]
        after = text.split(MARK_CLOSE)[1 + levels.index(max(levels))].replace(MARK_OPEN, "")
        word = re.match(r"\s*(\w+|\S)", after)
        found.append(quoted(word.group(1)) if word else NO_NEXT)
    return found


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


def numbered_texts(
    texts: Sequence[tuple[str, str]], with_activations: bool, first: int = 1, next_tokens: Sequence[str] | None = None
) -> str:
    """The texts, numbered from `first`; with activations the strengths of each text stand in a line below it, and each of `next_tokens` in
    another line."""
    lines: list[str] = []
    for number, (text, strengths) in enumerate(texts, start=first):
        lines.append(f"Text {number}: {text}")
        if with_activations:
            lines.append(f"Strengths: {strengths}")
        if next_tokens is not None:
            lines.append(f"Next token: {next_tokens[number - first]}")
    return "\n".join(lines)
