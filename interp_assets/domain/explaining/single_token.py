"""The single_token explainer: the highlighted strings without contexts, for a feature that fires on one token.

It is asked only where one token carries nearly all of the feature's activation mass (arXiv 2410.13928 notes how many such features a
dictionary has). For such a feature contexts do not help and may mislead, and a list of strings is much shorter than the contexts.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from interp_assets.domain.bounds import PositiveCount, Share
from interp_assets.domain.explaining.shared.explainer_input import ExplainerInput, ExplainerReply, Reads, read_explanation
from interp_assets.domain.explaining.shared.tagged import TaggedSettings, WorkedExample, tagged, tagged_prompt
from interp_assets.domain.outcomes import ExplanationOutcome
from interp_assets.domain.prompting.instructions import instructions
from interp_assets.domain.prompting.prompts import Prompt
from interp_assets.domain.prompting.rendering import display_activations, marked_positions, over_characters, quoted, token_strings
from interp_assets.domain.prompting.tagged_explanation import EXPLANATION_TAG
from interp_assets.domain.trials import Explanation

NAME: str = "single_token"
VERSION: str = "single_token/1"
READS: frozenset[Reads] = frozenset({"examples", "feature_statistics"})
CHOOSES: bool = False


@dataclass(frozen=True)
class SingleTokenSettings(TaggedSettings):
    """When a feature counts as a feature of one token, and which of its strings are shown."""

    min_share: Share = 0.9
    """Least share of the feature's activation mass, over the whole sample, on its heaviest token. Unit: share."""
    threshold: Share = 0.3
    """A string is a run of tokens at or above this share of the example's maximum. Unit: share."""
    n_strings: PositiveCount = 20
    """Most frequent strings that are shown. Unit: strings."""


_WORKED: tuple[tuple[tuple[tuple[str, int, int], ...], str], ...] = (
    ((("however", 31, 9), ("However", 6, 7), ("nevertheless", 2, 3)), 'the word "however"'),
    (((";", 38, 8), ("};", 2, 5)), "semicolons"),
    ((("ing", 36, 9), ("ings", 3, 4), ("eng", 1, 2)), 'the ending "ing" of words'),
)


def plan(explainer_input: ExplainerInput, settings: SingleTokenSettings, run_seed: int) -> tuple[Prompt, ...] | ExplanationOutcome:
    """The prompt for one feature; "no_examples" without examples, "not_single_token" when no token carries enough activation mass."""
    if not explainer_input.shown:
        return "no_examples"
    if explainer_input.top_token_share is None or explainer_input.top_token_share < settings.min_share:
        return "not_single_token"
    worked = [WorkedExample(_listed(strings), tagged(explanation)) for strings, explanation in _WORKED]
    return (
        tagged_prompt(
            instructions("single_token", settings.instructions, tag=EXPLANATION_TAG),
            worked,
            _listed(_strings(explainer_input, settings)),
            settings,
        ),
    )


def grade(explainer_input: ExplainerInput, replies: Sequence[ExplainerReply], settings: SingleTokenSettings) -> Explanation:
    """The explanation in the reply, or why there is none."""
    return read_explanation(NAME, VERSION, explainer_input, replies)


def _strings(explainer_input: ExplainerInput, settings: SingleTokenSettings) -> list[tuple[str, int, int]]:
    """(string, how often it is highlighted, its mean strength 1–10) of each string, the most frequent first, else in order of appearance.

    Strength 10 is the largest activation on the shown examples.
    """
    peaks: dict[str, list[float]] = defaultdict(list)
    for text, peak in _highlights(explainer_input, settings.threshold):
        peaks[text.strip() or text].append(peak)
    largest = max(max(own) for own in peaks.values())
    counted = [(text, len(own), display_activations([sum(own) / len(own)], largest)[0]) for text, own in peaks.items()]
    return sorted(counted, key=lambda string: -string[1])[: settings.n_strings]


def _highlights(explainer_input: ExplainerInput, threshold: float) -> Iterator[tuple[str, float]]:
    """(text, largest activation) of each maximal run of marked tokens."""
    for example in explainer_input.shown:
        texts = token_strings(example.token_ids, explainer_input.token_texts)
        marked = over_characters(texts, marked_positions(example.activations, threshold))
        tokens = zip(texts, example.activations, marked, strict=True)
        for on, run in groupby(tokens, key=lambda token: token[2]):
            if on:
                highlighted, activations, _ = zip(*run, strict=True)
                yield "".join(highlighted), max(activations)


def _listed(strings: Sequence[tuple[str, int, int]]) -> str:
    """One line a string."""
    return "\n".join(f"{quoted(text)}: {n} time{'s' * (n > 1)}, strength {strength}" for text, n, strength in strings)
