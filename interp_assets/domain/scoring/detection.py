"""The detection scorer: which of these plain windows does the description fit? (arXiv 2410.13928)"""

from collections.abc import Sequence

from interp_assets.domain.rendering import TokenTexts, plain_text, token_strings
from interp_assets.domain.sampling import Example
from interp_assets.domain.scoring import classifier
from interp_assets.domain.scoring.classifier import ScorerSettings, WorkedExample
from interp_assets.domain.trials import AnsweredTrial, Explanation, ScoreOutcome, ScoreRow, Trial, TrialItem, Verdict

NAME: str = "detection"
VERSION: str = "detection/1"

_INSTRUCTIONS = (
    "A neuron of a language model reacts to what a description says. For each numbered text, decide whether the description fits "
    "some part of it. Reply only with a list holding one number per text, in order: 1 if it fits, 0 if not. Any number of texts "
    "may fit, also none or all."
)

_WORKED = (
    WorkedExample(
        "names of days of the week",
        (
            "the ferry leaves on Tuesday at noon",
            "a recipe for bread with rye and honey",
            "closed every Sunday in winter, as before",
            "we met in the spring of that year",
        ),
        (1, 0, 1, 0),
    ),
    WorkedExample(
        "words for family members",
        (
            "the square root of a negative number",
            "prices rose by four percent in May",
            "return the first item of the list",
            "her uncle had kept all of the letters",
            "turn left after the second bridge",
        ),
        (0, 0, 0, 1, 0),
    ),
    WorkedExample(
        "numbers written as digits",
        ("a total of 412 votes", "chapter 7 begins at sea", "they built 20 houses"),
        (1, 1, 1),
    ),
)


def plan(
    explanation: Explanation, held_out: Sequence[Example], token_texts: TokenTexts, settings: ScorerSettings, run_seed: int
) -> tuple[Trial, ...]:
    """Trials over all held-out examples, activating ones true; none without an explanation or without examples."""
    items = [
        (
            TrialItem(
                example.example_id,
                example.kind == "activating",
                example.stratum,
                "activating" if example.kind == "activating" else example.sampling,
            ),
            plain_text(token_strings(example.token_ids, token_texts)),
        )
        for example in held_out
    ]
    return classifier.plan_trials(NAME, _INSTRUCTIONS, _WORKED, explanation, items, settings, run_seed)


def grade(answered: AnsweredTrial) -> tuple[Verdict, ...]:
    """One verdict per item, whatever the reply: see `classifier.grade`."""
    return classifier.grade(answered)


def summarise(
    feature: int,
    explanation_method: str,
    verdicts: Sequence[Verdict],
    settings: ScorerSettings,
    run_seed: int,
    absent: ScoreOutcome = "no_examples",
) -> tuple[ScoreRow, ...]:
    """Score rows of one explanation: see `classifier.summarise`."""
    return classifier.summarise(NAME, feature, explanation_method, verdicts, settings, run_seed, absent)
