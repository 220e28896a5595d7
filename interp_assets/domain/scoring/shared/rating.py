"""Parts of all scorers that ask for ratings of texts: the question, replies to ratings, ratings and activations to metrics.

The texts are the held-out windows, or completions of a steered model (`faithfulness`). A judge rates a text 0 (it does not hold what the
explanation describes), 1 (vaguely or in part) or 2 (clearly), as in FADE (arXiv 2502.16994). `responsiveness` and `purity` use only the
ratings 0 and 2. With equal settings these two scorers ask exactly the same questions, so that the second scorer's questions are answered
out of the reply store.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from interp_assets.domain.outcomes import ScoreOutcome
from interp_assets.domain.prompting.answer_lists import RATINGS, ParseFailure
from interp_assets.domain.prompting.instructions import instructions
from interp_assets.domain.prompting.window_texts import window_text
from interp_assets.domain.scoring.shared import classifier
from interp_assets.domain.scoring.shared.classifier import ClassifierSettings, WorkedExample
from interp_assets.domain.trials import AnsweredTrial, ScorerInput, Trial, TrialItem, Verdict, as_item, verdict_of

LEVELS = ("0", "1", "2")


_WORKED = (
    WorkedExample(
        "names of days of the week",
        (
            "the ferry leaves on Tuesday at noon",
            "a recipe for bread with rye and honey",
            "the office is closed at weekends",
            "we met in the spring of that year",
        ),
        (2, 0, 1, 0),
    ),
    WorkedExample(
        "words for family members",
        (
            "the square root of a negative number",
            "prices rose by four percent in May",
            "her uncle had kept all of the letters",
            "turn left after the second bridge",
            "a gift from my grandmother, long ago",
        ),
        (0, 0, 2, 0, 2),
    ),
    WorkedExample(
        "numbers written as digits",
        ("a total of several hundred votes", "chapter 7 begins at sea", "they built twenty houses"),
        (1, 2, 1),
    ),
)


@dataclass(frozen=True)
class RatingSettings(ClassifierSettings):
    """How the scorer asks for ratings; `per_prompt` counts texts, which are windows or completions."""


def plan_trials(scorer: str, scorer_input: ScorerInput, settings: RatingSettings, run_seed: int) -> tuple[Trial, ...]:
    """Trials over all held-out windows, equal for all scorers but for the scorer's name; none without an explanation or windows."""
    items = [(as_item(example), window_text(example, scorer_input.token_texts)) for example in scorer_input.held_out]
    return plan_texts(scorer, scorer_input, items, settings, run_seed)


def plan_texts(
    scorer: str, scorer_input: ScorerInput, items: Sequence[tuple[TrialItem, str]], settings: RatingSettings, run_seed: int
) -> tuple[Trial, ...]:
    """Trials over any texts, each with its item, in random order; none without an explanation or texts."""
    return classifier.plan_trials(
        scorer, instructions("rating", settings.instructions), _WORKED, scorer_input, items, settings, run_seed, LEVELS, "rating"
    )


def grade(answered: Sequence[AnsweredTrial]) -> tuple[Verdict, ...]:
    """One verdict per item of every trial, with its rating as value; activation is the feature's largest activation on the window.

    The truth of a window says whether the feature fires on it. A reply that cannot be read makes every item "unparsable"; a reply that is
    too short leaves its last items "truncated"; an error makes all items "model_error".
    """
    return tuple(verdict for one in answered for verdict in _graded(one))


def clearly_or_not(verdicts: Sequence[Verdict]) -> tuple[np.ndarray, np.ndarray, np.ndarray, tuple[int, int, int]]:
    """(rated 2 and not 0, largest activation, prompt) of the windows rated 2 or 0, all [n], and counts: rated 2, rated 0, unanswered."""
    own = [verdict for verdict in verdicts if verdict.value in (0.0, 2.0)]
    truth = np.array([verdict.value == 2 for verdict in own], dtype=bool)
    activation = np.array([verdict.activation for verdict in own], dtype=np.float64)
    unanswered = sum(verdict.value is None for verdict in verdicts)
    prompts = np.array([verdict.trial_id for verdict in own])
    return truth, activation, prompts, (int(truth.sum()), int((~truth).sum()), unanswered)


def lacking(scorer_input: ScorerInput, verdicts: Sequence[Verdict]) -> ScoreOutcome:
    """The outcome of a row without a value: nothing to ask about, no answer, or only one of the ratings 0 and 2."""
    return scorer_input.absent if not verdicts else "no_answers" if all(verdict.value is None for verdict in verdicts) else "one_class"


def _graded(answered: AnsweredTrial) -> list[Verdict]:
    trial, n = answered.trial, len(answered.trial.items)
    if answered.error is not None:
        return [verdict_of(trial, i, "model_error") for i in range(n)]
    read = RATINGS.read(answered.text, n)
    if isinstance(read, ParseFailure):
        return [verdict_of(trial, i, "unparsable") for i in range(n)]
    given = [verdict_of(trial, i, "answered", value=float(rating)) for i, rating in enumerate(read)]
    return [*given, *(verdict_of(trial, i, "truncated") for i in range(len(read), n))]
