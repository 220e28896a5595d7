"""Parts of all yes-or-no scorers: groups of items to trials, replies to verdicts, verdicts to score rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from interp_assets.domain.bounds import ADDED_LATER, Count, PositiveCount
from interp_assets.domain.outcomes import ScoreOutcome, VerdictOutcome
from interp_assets.domain.prompting.answer_lists import BINARY, ParseFailure
from interp_assets.domain.prompting.instructions import Instructed
from interp_assets.domain.prompting.prompts import Choices, Prompt, Turn
from interp_assets.domain.seeds import generator
from interp_assets.domain.statistics.metrics import (
    PREDICTION_METRICS,
    PROBABILITY_METRICS,
    UNDEFINED,
    Estimate,
    floors,
    prediction_metrics,
    probability_metrics,
    wilson,
)
from interp_assets.domain.trials import AnsweredTrial, ScorerInput, ScoreRow, Trial, TrialItem, Verdict, verdict_of

METRICS = (*PREDICTION_METRICS, *PROBABILITY_METRICS)
STRATUM_METRIC = "recall@stratum"


@dataclass(frozen=True)
class ClassifierSettings(Instructed):
    """How the yes-or-no scorers ask."""

    per_prompt: PositiveCount = 5
    """Windows of a question. Unit: windows."""
    few_shot: Count = 2
    """Worked examples before the question. Unit: examples, 0 to 3."""
    texts_first: Annotated[bool, ADDED_LATER] = False
    """Whether a question ends with the description, so that a prefix cache computes its texts once for all explanations of a feature.
    Scores of the two orders cannot be compared."""


@dataclass(frozen=True)
class WorkedExample:
    """A hand-written question with its answers, shown to the judge before the real question."""

    explanation: str
    texts: tuple[str, ...]
    answers: tuple[int, ...]

    def __post_init__(self) -> None:
        assert len(self.texts) == len(self.answers), self


def plan_trials(
    scorer: str,
    instructions: str,
    worked: Sequence[WorkedExample],
    scorer_input: ScorerInput,
    items: Sequence[tuple[TrialItem, str]],
    settings: ClassifierSettings,
    run_seed: int,
    options: tuple[str, ...] = ("0", "1"),
    order_of: str | None = None,
) -> tuple[Trial, ...]:
    """Trials of at most `per_prompt` items each (the last may be short), positives and negatives mixed at random.

    The order depends on the run's seed, the feature and `order_of` (by default the scorer's name), not on the explanation. So all
    explanations of a feature are judged on the same groups of items, and scorers with an equal `order_of` judge the same groups. `options`
    are the answers that an item may have. No trials without items or without an explanation.
    """
    if scorer_input.explanation is None:
        return ()
    head: list[Turn] = [("system", instructions)]
    for example in worked[: settings.few_shot]:
        head.append(("user", _question(example.explanation, example.texts, settings.texts_first)))
        head.append(("assistant", str(list(example.answers))))
    order = item_order(order_of or scorer, run_seed, scorer_input.feature, len(items))
    trials: list[Trial] = []
    for number, first in enumerate(range(0, len(items), settings.per_prompt)):
        group = [items[i] for i in order[first : first + settings.per_prompt]]
        prompt = Prompt(
            messages=(*head, ("user", _question(scorer_input.explanation, [text for _, text in group], settings.texts_first))),
            shared_messages=len(head),
            choices=Choices(len(group), options),
            max_reply_tokens=4 * len(group) + 8,
        )
        trials.append(Trial.about(scorer_input, scorer, number, prompt, (item for item, _ in group)))
    return tuple(trials)


def item_order(order_of: str, run_seed: int, feature: int, n: int) -> list[int]:
    """The places among n items in the order in which the items are asked about."""
    return generator(run_seed, feature, f"{order_of} order").permutation(n).tolist()


def grade(answered: Sequence[AnsweredTrial]) -> tuple[Verdict, ...]:
    """One verdict per item of every trial, whatever the replies.

    The prediction is read from the text alone. A reply that cannot be read makes every item "unparsable"; a reply that is too short leaves
    its last items "truncated"; an error makes all items "model_error". Probabilities are P(1), kept for answered items.
    """
    return tuple(verdict for one in answered for verdict in _graded(one))


def _graded(answered: AnsweredTrial) -> list[Verdict]:
    trial, probabilities = answered.trial, answered.answer_probabilities
    read = BINARY.read(answered.text, len(trial.items)) if answered.error is None else ()
    verdicts: list[Verdict] = []
    for i in range(len(trial.items)):
        outcome: VerdictOutcome = "answered"
        if answered.error is not None:
            outcome = "model_error"
        elif isinstance(read, ParseFailure):
            outcome = "unparsable"
        elif i >= len(read):
            outcome = "truncated"
        prediction = bool(read[i]) if outcome == "answered" and not isinstance(read, ParseFailure) else None
        probability = None
        if prediction is not None and probabilities is not None and i < len(probabilities):
            probability = float(probabilities[i][1])
        verdicts.append(verdict_of(trial, i, outcome, prediction=prediction, probability=probability))
    return verdicts


def summarise(scorer: str, scorer_input: ScorerInput, verdicts: Sequence[Verdict], n_bootstrap: int, run_seed: int) -> tuple[ScoreRow, ...]:
    """A row for each metric of METRICS, then a row "recall@stratum" for each stratum asked about.

    Metrics are over answered items; unanswered ones are counted. Without verdicts every row ends as `case.absent`; with none answered
    as "no_answers"; with one class as "one_class" where both are needed; what has no value otherwise (precision of a judge that
    never says yes, AUROC without probabilities) as "undefined". Intervals allow for answers to one prompt that are right or wrong together;
    a stratum's, with few windows in any prompt, are Wilson's.
    """
    own = [verdict for verdict in verdicts if verdict.prediction is not None]
    truth = np.array([verdict.truth for verdict in own], dtype=bool)
    n_positive, n_negative = int(truth.sum()), int((~truth).sum())
    rng = generator(run_seed, scorer_input.feature, f"{scorer} bootstrap")
    prompts = np.array([verdict.trial_id for verdict in own])
    estimates: dict[str, Estimate] = {}
    probabilities: np.ndarray | None = None
    if own:
        prediction = np.array([verdict.prediction for verdict in own], dtype=bool)
        estimates = prediction_metrics(truth, prediction, n_bootstrap, rng, prompts)
        probable = [verdict.probability for verdict in own if verdict.probability is not None]
        if len(probable) == len(own):
            probabilities = np.array(probable)
            estimates |= probability_metrics(truth, probabilities, n_bootstrap, rng, prompts)

    def outcome_of(metric: str) -> ScoreOutcome:
        needs_both = metric not in ("precision", "recall", "f1")
        one_class = (needs_both and n_negative == 0) or (metric != "precision" and n_positive == 0)
        return scorer_input.absent if not verdicts else "no_answers" if not own else "one_class" if one_class else "undefined"

    floor = floors(n_positive, n_negative, probabilities)
    counts = (n_positive, n_negative, len(verdicts) - len(own))
    rows = [
        score_row(scorer, scorer_input, metric, estimates.get(metric, UNDEFINED), floor[metric], counts, outcome_of(metric))
        for metric in METRICS
    ]
    return (*rows, *stratum_rows(scorer, scorer_input, verdicts))


def score_row(
    scorer: str,
    scorer_input: ScorerInput,
    metric: str,
    found: Estimate,
    floor: float | None,
    counts: tuple[int, int, int],
    otherwise: ScoreOutcome,
    stratum: int | None = None,
) -> ScoreRow:
    """A score row of a scorer input: "ok" with the value of `found`, or `otherwise` where `found` has no value.

    `counts` are the numbers of answered positives, of answered negatives and of unanswered items.
    """
    return ScoreRow(
        scorer_input.feature, scorer_input.method, scorer, metric, found.value, found.ci_low, found.ci_high, floor, *counts,
        outcome="ok" if found.value is not None else otherwise, stratum=stratum,
    )  # fmt: skip


def stratum_rows(scorer: str, scorer_input: ScorerInput, verdicts: Sequence[Verdict]) -> list[ScoreRow]:
    """Recall among the activating windows of each stratum, with Wilson's interval."""
    rows: list[ScoreRow] = []
    for stratum in sorted({verdict.stratum for verdict in verdicts if verdict.truth and verdict.stratum is not None}):
        asked = [verdict for verdict in verdicts if verdict.truth and verdict.stratum == stratum]
        predictions = [verdict.prediction for verdict in asked if verdict.prediction is not None]
        counts = (len(predictions), 0, len(asked) - len(predictions))
        recall = wilson(sum(predictions), len(predictions))
        rows.append(score_row(scorer, scorer_input, STRATUM_METRIC, recall, None, counts, "no_answers", stratum))
    return rows


def _question(explanation: str, texts: Sequence[str], texts_first: bool) -> str:
    """The last turn: the explanation, then the numbered texts; or the other way round."""
    described, numbered = [f"Description: {explanation}"], [f"Text {number}: {text}" for number, text in enumerate(texts, start=1)]
    return "\n".join([*numbered, *described] if texts_first else [*described, *numbered])
