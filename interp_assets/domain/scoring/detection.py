"""The detection scorer: which of these plain windows does the description fit? (arXiv 2410.13928)"""

from collections.abc import Sequence

from interp_assets.domain.prompting.instructions import instructions
from interp_assets.domain.prompting.window_texts import window_text
from interp_assets.domain.scoring.shared import classifier, estimated
from interp_assets.domain.scoring.shared.classifier import ClassifierSettings, WorkedExample
from interp_assets.domain.scoring.shared.estimated import are_sampled
from interp_assets.domain.trials import AnsweredTrial, Model, Reads, ScorerInput, ScoreRow, Trial, TrialItem, Verdict, as_item

NAME: str = "detection"
VERSION: str = "detection/5"
MODEL: Model = "scorer"
HEADLINE: str = "balanced_accuracy"
READS: frozenset[Reads] = frozenset({"explanation"})
DetectionSettings = ClassifierSettings


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


def plan(scorer_input: ScorerInput, settings: ClassifierSettings, run_seed: int) -> tuple[Trial, ...]:
    """Trials over all held-out examples; activating examples are true. None without an explanation or without examples."""
    return plan_some(scorer_input, items(scorer_input, settings, run_seed), settings, run_seed)


def items(scorer_input: ScorerInput, settings: ClassifierSettings, run_seed: int) -> list[tuple[TrialItem, str]]:
    """Every held-out example as an item, with the text that the judge reads."""
    return [(as_item(example), window_text(example, scorer_input.token_texts)) for example in scorer_input.held_out]


def plan_some(
    scorer_input: ScorerInput, items: Sequence[tuple[TrialItem, str]], settings: ClassifierSettings, run_seed: int
) -> tuple[Trial, ...]:
    """Trials over some of the items."""
    return classifier.plan_trials(NAME, instructions("detection", settings.instructions), _WORKED, scorer_input, items, settings, run_seed)


def grade(scorer_input: ScorerInput, answered: Sequence[AnsweredTrial], settings: ClassifierSettings) -> tuple[Verdict, ...]:
    """One verdict per item, whatever the replies: see `classifier.grade`."""
    return classifier.grade(answered)


def summarise(
    scorer_input: ScorerInput, verdicts: Sequence[Verdict], settings: ClassifierSettings, n_bootstrap: int, run_seed: int
) -> tuple[ScoreRow, ...]:
    """Score rows of one explanation: see `classifier.summarise`, and `estimated.summarise` for verdicts on some of the windows."""
    if are_sampled(verdicts):
        return estimated.summarise(NAME, scorer_input, verdicts, n_bootstrap, run_seed)
    return classifier.summarise(NAME, scorer_input, verdicts, n_bootstrap, run_seed)
