"""Parts of all scorers that ask for ratings of texts: the question, replies to ratings, ratings and activations to metrics.

The texts are the held-out windows, or completions of a steered model (`faithfulness`). A judge rates a text 0 (it does not hold what the
explanation describes), 1 (vaguely or in part) or 2 (clearly), as in FADE (arXiv 2502.16994). `responsiveness` and `purity` use only the
ratings 0 and 2. With equal settings these two scorers ask exactly the same questions, so that the second scorer's questions are answered
out of the reply store.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from interp_assets.domain.outcomes import ScoreOutcome
from interp_assets.domain.prompting.instructions import instructions
from interp_assets.domain.prompting.parsing import ParseFailure, of_lists, without_reasoning
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

_ONE = r"[012](?:\.0)?"
_BRACKETED = re.compile(r"\[([^\[\]]*)(?:\]|$)")
_LISTED = re.compile(rf"^\s*{_ONE}(?:[,;\s]+{_ONE})*[,;]?\s*$")
_NUMBERED = re.compile(rf"^\W{{0,8}}(?:text|rating)?\s{{0,4}}#?\(?(\d{{1,4}})\s{{0,4}}[:.)=\-]+\s{{0,4}}\W{{0,4}}({_ONE})\b", re.I)
_DIGIT_RUN = re.compile(r"^\s*([012]{2,})\s*$")


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


def parse_ratings(text: str, n: int) -> tuple[int, ...] | ParseFailure:
    """The first n ratings (0 to 2) of the reply; fewer where the reply has fewer ratings.

    The first of these that the reply holds is read: the last bracketed list of n ratings; n lists of one rating each; the last bracketed
    list of any length; numbered lines "1: 2"; the last line of bare ratings "0, 2, 1" or digits "021". A list left open at the end of the
    reply counts. Reasoning is skipped. Fails as "empty", "not_a_rating" (a list holds anything but ratings), "bad_numbering" or "no_list".
    """
    if not text.strip():
        return ParseFailure("empty")
    text = without_reasoning(text)
    lists = [content for content in _BRACKETED.findall(text) if content.strip(" ,\n")]
    readings = [reading for content in lists if (reading := _read(content.replace('"', "").replace("'", ""))) is not None]
    if readings:
        return of_lists(readings, n)
    if lists:
        return ParseFailure("not_a_rating")
    numbered = [match for line in text.splitlines() if (match := _NUMBERED.match(line))]
    if numbered:
        if [int(match.group(1)) for match in numbered] != list(range(1, len(numbered) + 1)):
            return ParseFailure("bad_numbering")
        return tuple(int(match.group(2)[0]) for match in numbered)[:n]
    for line in reversed(text.splitlines()):
        if (reading := _read(line)) is not None:
            return reading[:n]
        if digits := _DIGIT_RUN.match(line):
            return tuple(int(digit) for digit in digits.group(1))[:n]
    return ParseFailure("no_list")


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
    read = parse_ratings(answered.text, n)
    if isinstance(read, ParseFailure):
        return [verdict_of(trial, i, "unparsable") for i in range(n)]
    given = [verdict_of(trial, i, "answered", value=float(rating)) for i, rating in enumerate(read)]
    return [*given, *(verdict_of(trial, i, "truncated") for i in range(len(read), n))]


def _read(content: str) -> tuple[int, ...] | None:
    """The ratings in the content of a list; None if the content is anything else."""
    return tuple(int(one[0]) for one in re.findall(_ONE, content)) if _LISTED.match(content) else None
