"""The pattern explainer: a semantic regex, which people and machines can match alike, in the manner of arXiv 2510.06378.

The explainer sees the marked windows of max_act and writes a pattern in the small language of `domain/machine_readable/patterns.py`. The
pattern is then tried on windows that no scorer uses: the validation windows where there are any, else the shown windows and the silent
windows shown for contrast. A pattern that cannot be read, that misses every token on which the feature fires, or that matches silent
windows as often as activating windows is no explanation, and its outcome says so. The scorer `matcher` reads patterns without a judge.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from interp_assets.domain.bounds import PositiveCount
from interp_assets.domain.examples.sampling import Example
from interp_assets.domain.explaining.max_act import WORKED, ShownSettings, marked_texts, numbered_texts
from interp_assets.domain.explaining.shared.explainer_input import ExplainerInput, ExplainerReply, Reads, read_explanation
from interp_assets.domain.explaining.shared.tagged import WorkedExample, tagged, tagged_prompt
from interp_assets.domain.machine_readable.patterns import Pattern, PatternError, read_pattern
from interp_assets.domain.outcomes import ExplanationOutcome
from interp_assets.domain.prompting.instructions import instructions
from interp_assets.domain.prompting.prompts import Prompt
from interp_assets.domain.prompting.rendering import token_strings
from interp_assets.domain.prompting.tagged_explanation import EXPLANATION_TAG
from interp_assets.domain.trials import Explanation, of_kind

NAME: str = "pattern"
VERSION: str = "pattern/2"
READS: frozenset[Reads] = frozenset({"examples"})
CHOOSES: bool = False


@dataclass(frozen=True)
class PatternSettings(ShownSettings):
    """The settings of max_act, with a longer reply."""

    max_reply_tokens: PositiveCount = 150
    """Most tokens of a reply. Unit: tokens."""


_STRENGTHS = " Under each text is how strongly each token switched the neuron on, from 1 to 10."
_PATTERNS = (
    "[:field days of the week: Monday, Tuesday, Wednesday, Thursday, Friday, Saturday, Sunday:]",
    "([:symbol …ed:] | [:symbol written:] | [:symbol made:] | [:symbol given:]) [:symbol by:]",
    "([:lexeme range:] | [:lexeme print:] | [:field functions: len, open, max, min, int, str:]) [:symbol (:]",
)
"""A pattern for each of max_act's worked examples."""


def plan(explainer_input: ExplainerInput, settings: PatternSettings, run_seed: int) -> tuple[Prompt, ...] | ExplanationOutcome:
    """The prompt for one feature, or "no_examples" when the feature has no examples."""
    if not explainer_input.shown:
        return "no_examples"
    said = instructions("pattern", settings.instructions, strengths=_STRENGTHS if settings.with_activations else "", tag=EXPLANATION_TAG)
    worked = [
        WorkedExample(numbered_texts(texts, settings.with_activations), tagged(pattern))
        for (texts, _), pattern in zip(WORKED, _PATTERNS, strict=True)
    ]
    shown = marked_texts(explainer_input.shown[: settings.n_shown], explainer_input, settings.threshold)
    return (tagged_prompt(said, worked, numbered_texts(shown, settings.with_activations), settings),)


def grade(explainer_input: ExplainerInput, replies: Sequence[ExplainerReply], settings: PatternSettings) -> Explanation:
    """The pattern in the reply, or why there is none; "bad_pattern" where the reply's line is no pattern, else see `refusal`."""
    read = read_explanation(NAME, VERSION, explainer_input, replies)
    if read.text is None:
        return read
    outcome: ExplanationOutcome | None
    try:
        outcome = refusal(read_pattern(read.text), explainer_input)
    except PatternError:
        outcome = "bad_pattern"
    return read if outcome is None else Explanation(read.feature, NAME, None, outcome, read.raw_reply, VERSION)


def refusal(pattern: Pattern, explainer_input: ExplainerInput) -> ExplanationOutcome | None:
    """Why a pattern is of no use: "no_match" where it matches no token on which the feature fires, "not_selective" where it matches a share
    of the silent windows that is at least as large as its share of the activating windows; None for a pattern of use."""
    validation = explainer_input.validation
    kinds = {example.kind for example in validation}
    activating, silent = (
        (of_kind(validation, "activating"), of_kind(validation, "non_activating"))
        if len(kinds) == 2
        else (explainer_input.shown, explainer_input.contrast)
    )
    matched = [(_matched(pattern, example, explainer_input), np.array(example.activations) > 0) for example in activating]
    if not any((own & active).any() for own, active in matched):
        return "no_match"
    false = [_matched(pattern, example, explainer_input).any() for example in silent]
    true = [own.any() for own, _ in matched]
    return "not_selective" if false and float(np.mean(false)) >= float(np.mean(true)) else None


def _matched(pattern: Pattern, example: Example, explainer_input: ExplainerInput) -> np.ndarray:
    """Whether the pattern matches each token of the window, bool [tokens]."""
    return pattern.matched_tokens(token_strings(example.token_ids, explainer_input.token_texts))
