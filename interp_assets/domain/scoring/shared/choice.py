"""Parts of all scorers that ask for one of several options: places of the true options, replies to verdicts, verdicts to accuracy.

A trial's items are its options in the order shown, exactly one of them true. The reply is a list of one number, counted from 1. A judge
that may reason writes a few sentences first, and the last number in brackets counts.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, TypeVar

import numpy as np

from interp_assets.domain.bounds import ADDED_LATER, PositiveCount
from interp_assets.domain.outcomes import ScoreOutcome
from interp_assets.domain.prompting.final_answer import final_answer
from interp_assets.domain.prompting.prompts import Choices, Prompt, Turn
from interp_assets.domain.scoring.shared.classifier import score_row
from interp_assets.domain.statistics.metrics import wilson
from interp_assets.domain.trials import AnsweredTrial, ScorerInput, ScoreRow, Verdict, verdict_of

METRIC = "accuracy"
STRATUM_METRIC = "accuracy@stratum"
MAX_REPLY_TOKENS = 12
_NUMBER = re.compile(r"\d+")
_BRACKETED = re.compile(r"\[\s*(?:(?:set|text|option|answer|number)\s{0,3}[:#]?\s*)?(\d+)\s*\]", re.I)
_LAST_WORDS = frozenset({"so", "therefore", "the", "my", "final", "answer", "choice", "number", "is", "set", "text", "option", "boxed"})
"""Words beside its number that a last line may hold and still be an answer."""
Thing = TypeVar("Thing")


@dataclass(frozen=True, kw_only=True)
class Reasoning:
    """Whether a judge may reason before it names an option."""

    reason: Annotated[bool, ADDED_LATER] = False
    """Whether the judge writes a few sentences before the number. Costs as many more tokens, and leaves no probability of the answer."""
    max_reason_tokens: Annotated[PositiveCount, ADDED_LATER] = 300
    """Most tokens of the sentences; only `reason` reads it. Unit: tokens."""


REPLY = "Reply only with its number in brackets."
REASONED_REPLY = "First say in two or three sentences what speaks for each. Then end with a line that holds only its number in brackets."


def how_to_reply(settings: Reasoning) -> str:
    """The sentence of the instructions on the reply."""
    return REASONED_REPLY if settings.reason else REPLY


def worked_reply(answer: int, reasons: str, settings: Reasoning) -> str:
    """The reply of a worked example to option `answer`, counted from 1."""
    return f"{reasons}\n[{answer}]" if settings.reason else f"[{answer}]"


def asking(head: Sequence[Turn], question: str, n: int, settings: Reasoning) -> Prompt:
    """The prompt to name one of n options: an answer of this form alone, or free text where the judge may reason."""
    return Prompt(
        messages=(*head, ("user", question)),
        shared_messages=len(head),
        choices=None if settings.reason else one_of(n),
        max_reply_tokens=MAX_REPLY_TOKENS + (settings.max_reason_tokens if settings.reason else 0),
    )


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
    text = final_answer(text)
    # No option is 0, and int() raises where there are thousands of digits.
    named = {int(number) if len(number) < 10 else 0 for number in _BRACKETED.findall(text) or _NUMBER.findall(text)}
    return named.pop() - 1 if len(named) == 1 and next(iter(named)) in range(1, n + 1) else None


def parse_reasoned_choice(text: str, n: int) -> int | None:
    """The option that a reply with reasons ends with, 0 to n - 1: the number of a last line that says no more than an answer, such as
    "Answer: 2", or else the last number in brackets. None where neither names an option. Reasoning between marks is skipped."""
    text = final_answer(text)
    lines = [line for line in text.splitlines() if any(character.isalnum() for character in line)]
    words = re.findall(r"[^\W\d_]+|\d+", lines[-1].lower()) if lines else []
    numbers = [word for word in words if word.isdecimal()]
    bare = len(numbers) == 1 and _LAST_WORDS.issuperset(set(words) - set(numbers))
    named = numbers if bare else _BRACKETED.findall(text)[-1:]
    chosen = int(named[0]) - 1 if named and len(named[0]) < 10 else -1
    return chosen if 0 <= chosen < n else None


def grade(answered: Sequence[AnsweredTrial], reasoned: bool = False) -> tuple[Verdict, ...]:
    """One verdict per option of every trial: `prediction` says whether the option was chosen, `probability` how likely that was, if
    known. With `reasoned`, a reply that was cut off is "truncated": a number in its reasons is no answer."""
    return tuple(verdict for one in answered for verdict in _graded(one, reasoned))


def _graded(answered: AnsweredTrial, reasoned: bool) -> list[Verdict]:
    trial, n = answered.trial, len(answered.trial.items)
    if answered.error is not None:
        return [verdict_of(trial, i, "model_error") for i in range(n)]
    if reasoned and answered.finish_reason == "length":
        return [verdict_of(trial, i, "truncated") for i in range(n)]
    chosen = (parse_reasoned_choice if reasoned else parse_choice)(answered.text, n)
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
