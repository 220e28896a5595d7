"""The token_change explainer: the tokens that clamping a feature makes more and less likely (TokenChange, arXiv 2501.08319).

The feature is held at plus and at minus a strength all through some random texts. For either sign the prompt lists the ten tokens whose
mean logit rises most and the ten tokens whose mean logit falls most. A language model says what these tokens have in common. Unlike
vocab_proj, this method sees the effect of the model's blocks after the feature. As in vocab_proj, worked examples show that any list may be
noise.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from interp_assets.domain.bounds import Count, PositiveCount
from interp_assets.domain.explaining.shared.explainer_input import ExplainerInput, ExplainerReply, Reads, read_explanation
from interp_assets.domain.explaining.shared.tagged import TaggedSettings, WorkedExample, tagged, tagged_prompt
from interp_assets.domain.explaining.vocab_proj import listed
from interp_assets.domain.outcomes import ExplanationOutcome
from interp_assets.domain.prompting.instructions import instructions
from interp_assets.domain.prompting.prompts import Prompt
from interp_assets.domain.prompting.tagged_explanation import EXPLANATION_TAG
from interp_assets.domain.trials import Explanation

NAME: str = "token_change"
VERSION: str = "token_change/2"
READS: frozenset[Reads] = frozenset({"token_changes"})
CHOOSES: bool = False

Lists = tuple[tuple[str, ...], tuple[str, ...]]
"""(tokens made more likely, tokens made less likely)."""


@dataclass(frozen=True)
class TokenChangeExplainerSettings(TaggedSettings):
    """How the four lists of tokens are shown."""

    few_shot: Count = 3
    """Worked examples before the question; 3 in the paper. Unit: examples, 0 to 3."""
    n_tokens: PositiveCount = 10
    """Most tokens of each list; the most changed tokens are taken. Unit: tokens."""


SWITCHED_ON, TURNED = "Switched on:", "Turned the other way:"

_WORKED: tuple[tuple[Lists, Lists, str], ...] = (
    (
        (("violin", "guitar", "orchestra", "piano", "drums", "Klavier"), ("ozo", "§", "receipt", "tax")),
        (("xFF", "quot", "invoice", "esy"), ("guitar", "violin", "chord", "ynth")),
        "musical instruments",
    ),
    (
        (("although", "though", "despite", "whereas", "obwohl"), ("hence", "therefore", "arium")),
        (("therefore", "thus", "}}^", "consequently"), ("although", "ikk", "despite")),
        "words of concession, such as although, rather than of consequence",
    ),
    (
        (("îl", "unta", "Ļ", "prow"), ("cheap", "price", "inexpensive", "billig")),
        (("cheap", "cheaper", "Cost", "price"), ("();\\r", "luxurious", "esy")),
        "words about low prices, which it makes less likely",
    ),
)


def plan(explainer_input: ExplainerInput, settings: TokenChangeExplainerSettings, run_seed: int) -> tuple[Prompt, ...] | ExplanationOutcome:
    """The prompt for one feature, or "no_changes" when the feature was not clamped."""
    lists = changed_lists(explainer_input, settings.n_tokens)
    if not lists:
        return "no_changes"
    worked = [WorkedExample(described((above, below)), tagged(explanation)) for above, below, explanation in _WORKED]
    return (tagged_prompt(instructions("token_change", settings.instructions, tag=EXPLANATION_TAG), worked, described(lists), settings),)


def grade(explainer_input: ExplainerInput, replies: Sequence[ExplainerReply], settings: TokenChangeExplainerSettings) -> Explanation:
    """The explanation in the reply, or why there is none."""
    return read_explanation(NAME, VERSION, explainer_input, replies)


def changed_lists(explainer_input: ExplainerInput, n_tokens: int) -> tuple[Lists, ...]:
    """The tokens raised and lowered most, at the strength above 0, then at the strength below 0; empty for a feature that was not
    clamped."""
    return tuple(
        (tuple(token for token, _ in changes.raised[:n_tokens]), tuple(token for token, _ in changes.lowered[:n_tokens]))
        for changes in explainer_input.clamped
    )


def described(lists: Sequence[Lists]) -> str:
    """The lists of each sign, under a heading for the sign."""
    return "\n".join(f"{heading}\n{listed(more, less)}" for heading, (more, less) in zip((SWITCHED_ON, TURNED), lists, strict=True))
