"""The ensemble_raw explainer: the texts of max_act and the tokens of vocab_proj in one prompt, labelled by side (arXiv 2501.08319).

Texts show what switches a feature on (the input side), tokens show what the feature then does (the output side). The paper asks for one
description of both sides, after three worked examples. With token changes the prompt also holds the tokens of token_change, as the paper's
fullest ensemble does. A question is made of sides: a further side is a function here and a part of each worked example.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from interp_assets.domain.bounds import Count, PositiveCount
from interp_assets.domain.explaining.max_act import STRENGTHS, WORKED, ShownSettings, marked_texts, numbered_texts
from interp_assets.domain.explaining.shared.explainer_input import ExplainerInput, ExplainerReply, Reads, read_explanation
from interp_assets.domain.explaining.shared.tagged import WorkedExample, tagged, tagged_prompt
from interp_assets.domain.explaining.token_change import Lists, changed_lists, described
from interp_assets.domain.explaining.vocab_proj import listed, token_lists
from interp_assets.domain.outcomes import ExplanationOutcome
from interp_assets.domain.prompting.instructions import instructions
from interp_assets.domain.prompting.prompts import Prompt
from interp_assets.domain.prompting.tagged_explanation import EXPLANATION_TAG
from interp_assets.domain.trials import Explanation

NAME: str = "ensemble_raw"
VERSION: str = "ensemble_raw/2"
READS: frozenset[Reads] = frozenset({"examples", "vocabulary_projections", "token_changes"})
CHOOSES: bool = False


@dataclass(frozen=True)
class EnsembleRawSettings(ShownSettings):
    """The settings of max_act for the input side, and settings of the output side."""

    few_shot: Count = 3
    """Worked examples before the question; 3 in the paper. Unit: examples, 0 to 3."""
    n_tokens: PositiveCount = 50
    """Most tokens of each list of the vocabulary projection. Unit: tokens."""
    with_token_changes: bool = False
    """Whether the effects of clamping are shown too; asks for the asset `token_changes`."""
    n_changed_tokens: PositiveCount = 10
    """Most tokens of each list of the effects of clamping. Unit: tokens."""

    @property
    def unread(self) -> frozenset[Reads]:
        """The parts of READS that these settings leave out."""
        return frozenset() if self.with_token_changes else frozenset({"token_changes"})


@dataclass(frozen=True)
class Side:
    """One side of the question: a label, and the lines under the label."""

    label: str
    lines: str


_INPUT, _OUTPUT, _CLAMPED = "Input side:", "Output side:", "Output side, held in many texts:"

_CHANGES = (
    " The last lists show the tokens that became more and less likely while it was switched on all through many texts, and while it was "
    "turned the other way."
)

_WORKED_OUTPUT: tuple[tuple[tuple[str, ...], tuple[str, ...], str], ...] = (
    (
        ("morning", "evening", "afternoon", "Morning", "noon", "ivor"),
        ("ozo", "§", "ablish", "century", "xFF"),
        "names of days of the week, before times of the day such as morning",
    ),
    (
        ("by", " By", "durch", "zzo", "thereby", "from"),
        ("}}^", "arium", "nt", "yourself"),
        'past participles in passive phrases, before the word "by"',
    ),
    (
        (")", "):", "self", "args", "len", "îl"),
        ("whereas", "Sunday", "esy", "although"),
        "opening parentheses of function calls in code, before arguments",
    ),
)
"""Tokens made more and less likely, and the explanation with both sides, for each of max_act's worked examples."""

_WORKED_CHANGES: tuple[tuple[Lists, Lists], ...] = (
    ((("morning", "afternoon", "evening", "night"), ("century", "§")), (("xFF", "decade", "ozo"), ("morning", "evening", "o'clock"))),
    ((("by", "thereby", "zzo", "from"), ("yourself", "arium")), (("myself", "}}^"), ("by", " By", "through"))),
    (((")", "self", "):", "args"), ("although", "esy")), (("whereas", "Sunday", "îl"), (")", "args", "len"))),
)
"""Tokens made more and less likely by clamping to plus and to minus the strength, for each of max_act's worked examples."""


def input_side(explainer_input: ExplainerInput, settings: EnsembleRawSettings) -> Side | ExplanationOutcome:
    """The marked examples of max_act, or "no_examples"."""
    texts = marked_texts(explainer_input.shown[: settings.n_shown], explainer_input, settings.threshold)
    return Side(_INPUT, numbered_texts(texts, settings.with_activations)) if texts else "no_examples"


def output_side(explainer_input: ExplainerInput, settings: EnsembleRawSettings) -> Side | ExplanationOutcome:
    """The tokens of vocab_proj, or "no_projection"."""
    lists = token_lists(explainer_input, settings.n_tokens)
    return Side(_OUTPUT, listed(*lists)) if any(lists) else "no_projection"


def clamped_side(explainer_input: ExplainerInput, settings: EnsembleRawSettings) -> Side | ExplanationOutcome:
    """The tokens of token_change, or "no_changes"."""
    lists = changed_lists(explainer_input, settings.n_changed_tokens)
    return Side(_CLAMPED, described(lists)) if lists else "no_changes"


def plan(explainer_input: ExplainerInput, settings: EnsembleRawSettings, run_seed: int) -> tuple[Prompt, ...] | ExplanationOutcome:
    """The prompt for one feature, or the outcome of the first side without anything to show."""
    sides: list[Side] = []
    for side_of in (input_side, output_side, *([clamped_side] if settings.with_token_changes else [])):
        side = side_of(explainer_input, settings)
        if not isinstance(side, Side):
            return side
        sides.append(side)
    strengths, changes = STRENGTHS if settings.with_activations else "", _CHANGES if settings.with_token_changes else ""
    said = instructions("ensemble_raw", settings.instructions, strengths=strengths, changes=changes, tag=EXPLANATION_TAG)
    return (tagged_prompt(said, _worked(settings), _question(sides), settings),)


def grade(explainer_input: ExplainerInput, replies: Sequence[ExplainerReply], settings: EnsembleRawSettings) -> Explanation:
    """The explanation in the reply, or why there is none."""
    return read_explanation(NAME, VERSION, explainer_input, replies)


def _worked(settings: EnsembleRawSettings) -> list[WorkedExample]:
    worked: list[WorkedExample] = []
    for (texts, _), (more, less, explanation), changes in zip(WORKED, _WORKED_OUTPUT, _WORKED_CHANGES, strict=True):
        sides = [Side(_INPUT, numbered_texts(texts, settings.with_activations)), Side(_OUTPUT, listed(more, less))]
        sides += [Side(_CLAMPED, described(changes))] if settings.with_token_changes else []
        worked.append(WorkedExample(_question(sides), tagged(explanation)))
    return worked


def _question(sides: Sequence[Side]) -> str:
    """The sides, each under its label."""
    return "\n".join(line for side in sides for line in (side.label, side.lines))
