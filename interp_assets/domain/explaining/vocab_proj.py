"""The vocab_proj explainer: the tokens that a feature's output direction makes more and less likely (VocabProj, arXiv 2501.08319).

The decoder row goes through the final norm and the unembedding. The tokens with the 50 largest and the 50 smallest logits are listed, and a
language model says what these tokens have in common. No text is needed, so a dead feature is explained too. As in the paper, a worked
example shows that either list may be noise.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from interp_assets.domain.bounds import Count, PositiveCount
from interp_assets.domain.explaining.shared.explainer_input import ExplainerInput, ExplainerReply, Reads, read_explanation
from interp_assets.domain.explaining.shared.tagged import TaggedSettings, WorkedExample, tagged, tagged_prompt
from interp_assets.domain.outcomes import ExplanationOutcome
from interp_assets.domain.prompting.instructions import instructions
from interp_assets.domain.prompting.prompts import Prompt
from interp_assets.domain.prompting.rendering import quoted
from interp_assets.domain.prompting.tagged_explanation import EXPLANATION_TAG
from interp_assets.domain.trials import Explanation

NAME: str = "vocab_proj"
VERSION: str = "vocab_proj/2"
READS: frozenset[Reads] = frozenset({"vocabulary_projections"})
CHOOSES: bool = False


@dataclass(frozen=True)
class VocabProjSettings(TaggedSettings):
    """How the two lists of tokens are shown."""

    few_shot: Count = 3
    """Worked examples before the question; 3 in the paper. Unit: examples, 0 to 3."""
    n_tokens: PositiveCount = 50
    """Most tokens of each list, strongest first. Unit: tokens."""


_WORKED: tuple[tuple[tuple[str, ...], tuple[str, ...], str], ...] = (
    (
        ("violin", "guitar", "Guitar", "piano", "ynth", "drums", "orchestra", "Klavier", "}}^"),
        ("ozo", "§", "ablish", "xFF", "iterator", "quot"),
        "musical instruments",
    ),
    (
        ("although", "though", "Although", "despite", "whereas", "obwohl", "ikk"),
        ("?>", "arium", "nt", "therefore", "hence", "consequently"),
        "words of concession, such as although, rather than of consequence",
    ),
    (
        ("îl", "();\\r", "unta", "prow", "Ļ", "esy"),
        ("cheap", "cheaper", "price", "inexpensive", "Cost", "billig"),
        "words about low prices, which it makes less likely",
    ),
)


def plan(explainer_input: ExplainerInput, settings: VocabProjSettings, run_seed: int) -> tuple[Prompt, ...] | ExplanationOutcome:
    """The prompt for one feature, or "no_projection" when the feature has no vocabulary projection."""
    lists = token_lists(explainer_input, settings.n_tokens)
    if not any(lists):
        return "no_projection"
    worked = [WorkedExample(listed(more, less), tagged(explanation)) for more, less, explanation in _WORKED]
    return (tagged_prompt(instructions("vocab_proj", settings.instructions, tag=EXPLANATION_TAG), worked, listed(*lists), settings),)


def grade(explainer_input: ExplainerInput, replies: Sequence[ExplainerReply], settings: VocabProjSettings) -> Explanation:
    """The explanation in the reply, or why there is none."""
    return read_explanation(NAME, VERSION, explainer_input, replies)


def token_lists(explainer_input: ExplainerInput, n_tokens: int) -> tuple[list[str], list[str]]:
    """(the `n_tokens` tokens that the feature promotes most, the `n_tokens` tokens that it suppresses most)."""
    return [token for token, _ in explainer_input.promoted[:n_tokens]], [token for token, _ in explainer_input.suppressed[:n_tokens]]


def listed(more: Sequence[str], less: Sequence[str]) -> str:
    """A line for each list that is not empty. Of tokens that look alike a line holds only the strongest."""
    lines: list[str] = []
    for label, tokens in (("More likely", more), ("Less likely", less)):
        if tokens:
            lines.append(f"{label}: {', '.join(dict.fromkeys(quoted(token) for token in tokens))}")
    return "\n".join(lines)
