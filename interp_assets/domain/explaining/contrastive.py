"""The contrastive explainer: marked activating examples and silent examples, and the question what sets the activating examples apart.

Silent windows that look like activating windows rule out descriptions that are too broad. The examples stage shows silent windows of the
hardest kind that its settings ask for.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from interp_assets.domain.bounds import PositiveCount
from interp_assets.domain.explaining.max_act import STRENGTHS, WORKED, ShownSettings, marked_texts, numbered_texts
from interp_assets.domain.explaining.shared.explainer_input import ExplainerInput, ExplainerReply, Reads, read_explanation
from interp_assets.domain.explaining.shared.tagged import WorkedExample, tagged, tagged_prompt
from interp_assets.domain.outcomes import ExplanationOutcome
from interp_assets.domain.prompting.instructions import instructions
from interp_assets.domain.prompting.prompts import Prompt
from interp_assets.domain.prompting.tagged_explanation import EXPLANATION_TAG
from interp_assets.domain.prompting.window_texts import window_text
from interp_assets.domain.trials import Explanation

NAME: str = "contrastive"
VERSION: str = "contrastive/2"
READS: frozenset[Reads] = frozenset({"examples"})
CHOOSES: bool = False


@dataclass(frozen=True)
class ContrastiveSettings(ShownSettings):
    """The settings of max_act with fewer activating examples, and with silent examples."""

    n_shown: PositiveCount = 15
    """Most activating examples shown. Examples are taken at even steps from strongest to weakest. Unit: windows."""
    n_contrast: PositiveCount = 5
    """Most silent examples shown. Unit: windows."""


_ON, _SILENT = "Switched on by:", "Not switched on by:"

_CONTRAST: tuple[tuple[tuple[str, ...], str], ...] = (
    (("we talked about it last May", "closed all winter, from October on"), "names of days of the week, but not of months or seasons"),
    (
        ("she had written to her uncle", "students replaced the pump last year", "a house by the river"),
        'past participles followed by "by", in passive phrases',
    ),
    (
        ("the river (then frozen) was crossed on foot", "total = (a + b) / 2"),
        "opening parentheses after the name of a function in code",
    ),
)
"""Silent texts, and the explanation that these texts make narrower, for each of max_act's worked examples."""


def plan(explainer_input: ExplainerInput, settings: ContrastiveSettings, run_seed: int) -> tuple[Prompt, ...] | ExplanationOutcome:
    """The prompt for one feature; "no_examples" when it has no activating examples, "no_contrast" when it has no silent examples."""
    if not explainer_input.shown:
        return "no_examples"
    silent = tuple(window_text(example, explainer_input.token_texts) for example in explainer_input.contrast[: settings.n_contrast])
    if not silent:
        return "no_contrast"
    n = min(settings.n_shown, len(explainer_input.shown))
    places: list[int] = np.linspace(0, len(explainer_input.shown) - 1, n).round().astype(int).tolist()
    texts = marked_texts([explainer_input.shown[i] for i in places], explainer_input, settings.threshold)
    said = instructions("contrastive", settings.instructions, strengths=STRENGTHS if settings.with_activations else "", tag=EXPLANATION_TAG)
    worked = [
        WorkedExample(_question(on, off, settings), tagged(explanation))
        for (on, _), (off, explanation) in zip(WORKED, _CONTRAST, strict=True)
    ]
    return (tagged_prompt(said, worked, _question(texts, silent, settings), settings),)


def grade(explainer_input: ExplainerInput, replies: Sequence[ExplainerReply], settings: ContrastiveSettings) -> Explanation:
    """The explanation in the reply, or why there is none."""
    return read_explanation(NAME, VERSION, explainer_input, replies)


def _question(texts: Sequence[tuple[str, str]], silent: Sequence[str], settings: ContrastiveSettings) -> str:
    """Both kinds of texts, each kind under its label, with running numbers over both kinds."""
    on = numbered_texts(texts, settings.with_activations)
    off = numbered_texts([(text, "") for text in silent], False, first=len(texts) + 1)
    return "\n".join([_ON, on, _SILENT, off])
