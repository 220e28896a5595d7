"""Parts of all scorers that ask for one of several options: places of the true options, replies to verdicts, verdicts to accuracy.

A trial's items are its options in the order shown, exactly one of them true. The reply is a list of one number, counted from 1.
"""

import re
from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from interp_assets.domain.outcomes import ScoreOutcome
from interp_assets.domain.prompting.parsing import without_reasoning
from interp_assets.domain.prompting.prompts import Choices
from interp_assets.domain.scoring.shared.classifier import score_row
from interp_assets.domain.statistics.metrics import wilson
from interp_assets.domain.trials import AnsweredTrial, ScorerInput, ScoreRow, Verdict, verdict_of

METRIC = "accuracy"
STRATUM_METRIC = "accuracy@stratum"
MAX_REPLY_TOKENS = 12
_NUMBER = re.compile(r"\d+")
_BRACKETED = re.compile(r"\[\s*(\d+)\s*\]")
Thing = TypeVar("Thing")


def one_of(n: int) -> Choices:
    """The form of a reply that names one of n options."""
    return Choices(1, tuple(str(number) for number in range(1, n + 1)))


def even_places(n_trials: int, n_options: int, rng: np.random.Generator) -> list[int]:
    """The place, 0 to n_options - 1, of the true option of each trial: in random order, each place equally often, to within one.

    So a judge that always names the same place scores exactly at chance where `n_options` divides `n_trials`.
    """
    decks = [rng.permutation(n_options).tolist() for _ in range(0, n_trials, n_options)]
    return [place for deck in decks for place in deck][:n_trials]


def inserted(true: Thing, others: Sequence[Thing], place: int) -> list[Thing]:
    """The options: `others` in their order, with `true` at `place`."""
    return [*others[:place], true, *others[place:]]


def parse_choice(text: str, n: int) -> int | None:
    """The option that the reply names, 0 to n - 1; None where it names no option, different options, or an option that does not exist.

    Where a number stands in brackets, as the prompt asks, only numbers in brackets count. Reasoning is skipped.
    """
    text = without_reasoning(text)
    # No option is 0, and int() raises where there are thousands of digits.
    named = {int(number) if len(number) < 10 else 0 for number in _BRACKETED.findall(text) or _NUMBER.findall(text)}
    return named.pop() - 1 if len(named) == 1 and next(iter(named)) in range(1, n + 1) else None


def grade(answered: Sequence[AnsweredTrial]) -> tuple[Verdict, ...]:
    """One verdict per option of every trial: `prediction` says whether the option was chosen, `probability` how likely that was, if
    known."""
    return tuple(verdict for one in answered for verdict in _graded(one))


def _graded(answered: AnsweredTrial) -> list[Verdict]:
    trial, n = answered.trial, len(answered.trial.items)
    if answered.error is not None:
        return [verdict_of(trial, i, "model_error") for i in range(n)]
    chosen = parse_choice(answered.text, n)
    if chosen is None:
        return [verdict_of(trial, i, "unparsable") for i in range(n)]
    shares = answered.answer_probabilities[0] if answered.answer_probabilities else [None] * n
    return [verdict_of(trial, i, "answered", prediction=i == chosen, probability=shares[i]) for i in range(n)]


def summarise(
    scorer: str, scorer_input: ScorerInput, verdicts: Sequence[Verdict], absent: ScoreOutcome | None = None
) -> tuple[ScoreRow, ...]:
    """A row for accuracy over all trials, then a row for the trials of each stratum, with Wilson's intervals.

    The stratum of a trial is the stratum of its true option. The floor is 1 / number of options. `n_positive` counts answered trials,
    `n_unanswered` unanswered trials. Without verdicts the row ends as `absent`, by default `scorer_input.absent`; with no trial answered it
    ends as "no_answers".
    """
    truths = [verdict for verdict in verdicts if verdict.truth]
    floor = len(truths) / len(verdicts) if verdicts else None
    rows = [_accuracy_row(scorer, scorer_input, METRIC, truths, floor, "no_answers" if verdicts else absent or scorer_input.absent)]
    for stratum in sorted({verdict.stratum for verdict in truths if verdict.stratum is not None}):
        own = [verdict for verdict in truths if verdict.stratum == stratum]
        rows.append(_accuracy_row(scorer, scorer_input, STRATUM_METRIC, own, floor, "no_answers", stratum))
    return tuple(rows)


def _accuracy_row(
    scorer: str,
    scorer_input: ScorerInput,
    metric: str,
    truths: Sequence[Verdict],
    floor: float | None,
    otherwise: ScoreOutcome,
    stratum: int | None = None,
) -> ScoreRow:
    """Share of the trials whose true option was chosen."""
    hits = [verdict.prediction for verdict in truths if verdict.prediction is not None]
    counts = (len(hits), 0, len(truths) - len(hits))
    return score_row(scorer, scorer_input, metric, wilson(sum(hits), len(hits)), floor, counts, otherwise, stratum)
