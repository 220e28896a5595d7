"""What the yes-or-no scorers share: groups of items to trials, replies to verdicts, verdicts to score rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from interp_assets.domain.parsing import ParseFailure, parse_binary_list
from interp_assets.domain.prompts import Prompt, Turn
from interp_assets.domain.seeds import generator
from interp_assets.domain.statistics import (
    PREDICTION_METRICS,
    PROBABILITY_METRICS,
    Estimate,
    floors,
    prediction_metrics,
    probability_metrics,
    wilson,
)
from interp_assets.domain.trials import (
    AnsweredTrial,
    Explanation,
    ScoreOutcome,
    ScoreRow,
    Trial,
    TrialItem,
    Verdict,
    VerdictOutcome,
)

METRICS = (*PREDICTION_METRICS, *PROBABILITY_METRICS)
STRATUM_METRIC = "recall@stratum"


@dataclass(frozen=True)
class ScorerSettings:
    """How the yes-or-no scorers ask and sum up.

    `per_prompt` windows a question; `few_shot` worked examples (0 to 3); fuzzing marks tokens at or above `threshold` of the
    example's maximum, and its negatives are marks on silent windows ("random") or on silent tokens of activating ones ("active").
    """

    per_prompt: int = 5
    few_shot: int = 2
    threshold: float = 0.3
    n_bootstrap: int = 1000
    fuzzing_negatives: Literal["random", "active"] = "random"


@dataclass(frozen=True)
class WorkedExample:
    """A hand-written question with its answers, shown to the judge before the real one."""

    explanation: str
    texts: tuple[str, ...]
    answers: tuple[int, ...]

    def __post_init__(self) -> None:
        assert len(self.texts) == len(self.answers), self


def plan_trials(
    scorer: str,
    instructions: str,
    worked: Sequence[WorkedExample],
    explanation: Explanation,
    items: Sequence[tuple[TrialItem, str]],
    settings: ScorerSettings,
    run_seed: int,
) -> tuple[Trial, ...]:
    """Trials of at most `per_prompt` items each (the last may be short), positives and negatives mixed at random.

    The order depends on the run's seed, the feature and the scorer, not on the explanation: two explanations of a feature are
    judged on the same groups. No items, or no explanation: no trials.
    """
    if explanation.text is None:
        return ()
    head: list[Turn] = [("system", instructions)]
    for example in worked[: settings.few_shot]:
        head.append(("user", _question(example.explanation, example.texts)))
        head.append(("assistant", str(list(example.answers))))
    order = generator(run_seed, explanation.feature, f"{scorer} order").permutation(len(items))
    trials = []
    for number, first in enumerate(range(0, len(items), settings.per_prompt)):
        group = [items[i] for i in order[first : first + settings.per_prompt]]
        prompt = Prompt(
            messages=(*head, ("user", _question(explanation.text, [text for _, text in group]))),
            shared_messages=len(head),
            answer_count=len(group),
            max_reply_tokens=4 * len(group) + 8,
        )
        trial_id = f"{scorer}/{explanation.method}/{explanation.feature}/{number}"
        trial_items = tuple(item for item, _ in group)
        trials.append(Trial(trial_id, explanation.feature, explanation.method, scorer, prompt, trial_items))
    return tuple(trials)


def grade(answered: AnsweredTrial) -> tuple[Verdict, ...]:
    """One verdict per item, whatever the reply.

    The prediction is read from the text alone. A reply that cannot be read makes every item "unparsable"; one that is too short
    leaves its last items "truncated"; an error makes all "model_error". Probabilities are P(1), kept for answered items.
    """
    trial, probabilities = answered.trial, answered.answer_probabilities
    read = parse_binary_list(answered.text, len(trial.items)) if answered.error is None else ()
    verdicts = []
    for i, item in enumerate(trial.items):
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
        verdicts.append(
            Verdict(
                trial_id=trial.trial_id,
                feature=trial.feature,
                explanation_method=trial.explanation_method,
                scorer=trial.scorer,
                item=i,
                example_id=item.example_id,
                truth=item.truth,
                prediction=prediction,
                probability=probability,
                stratum=item.stratum,
                variant=item.variant,
                outcome=outcome,
            )
        )
    return tuple(verdicts)


def summarise(
    scorer: str,
    feature: int,
    explanation_method: str,
    verdicts: Sequence[Verdict],
    settings: ScorerSettings,
    run_seed: int,
    absent: ScoreOutcome = "no_examples",
) -> tuple[ScoreRow, ...]:
    """One row per metric of METRICS, then one "recall@stratum" row per stratum asked about.

    Metrics are over answered items; unanswered ones are counted. Without verdicts every row ends as `absent`; with none answered
    as "no_answers"; with one class as "one_class" where both are needed; what has no value otherwise (precision of a judge that
    never says yes, AUROC without probabilities) as "undefined". Stratum intervals are Wilson's, the others bootstrapped.
    """
    own = [verdict for verdict in verdicts if verdict.prediction is not None]
    truth = np.array([verdict.truth for verdict in own], dtype=bool)
    n_positive, n_negative, n_unanswered = int(truth.sum()), int((~truth).sum()), len(verdicts) - len(own)
    rng = generator(run_seed, feature, f"{scorer} bootstrap")
    estimates: dict[str, Estimate] = {}
    if own:
        prediction = np.array([verdict.prediction for verdict in own], dtype=bool)
        estimates = prediction_metrics(truth, prediction, settings.n_bootstrap, rng)
        probable = [(verdict.truth, verdict.probability) for verdict in own if verdict.probability is not None]
        if len(probable) == len(own):
            estimates |= probability_metrics(truth, np.array([p for _, p in probable]), settings.n_bootstrap, rng)

    floor = floors(n_positive, n_negative)
    rows = []
    for metric in METRICS:
        found = estimates.get(metric, Estimate(None, None, None))
        outcome: ScoreOutcome = "ok"
        if found.value is None:
            needs_both = metric not in ("precision", "recall", "f1")
            one_class = (needs_both and n_negative == 0) or (metric != "precision" and n_positive == 0)
            outcome = absent if not verdicts else "no_answers" if not own else "one_class" if one_class else "undefined"
        rows.append(
            ScoreRow(
                feature=feature,
                explanation_method=explanation_method,
                scorer=scorer,
                metric=metric,
                value=found.value,
                ci_low=found.ci_low,
                ci_high=found.ci_high,
                floor=floor[metric],
                n_positive=n_positive,
                n_negative=n_negative,
                n_unanswered=n_unanswered,
                outcome=outcome,
            )
        )
    return (*rows, *_stratum_rows(scorer, feature, explanation_method, verdicts))


def _stratum_rows(scorer: str, feature: int, explanation_method: str, verdicts: Sequence[Verdict]) -> list[ScoreRow]:
    """Recall among the activating windows of each stratum, with Wilson's interval."""
    rows = []
    for stratum in sorted({verdict.stratum for verdict in verdicts if verdict.truth and verdict.stratum is not None}):
        asked = [verdict for verdict in verdicts if verdict.truth and verdict.stratum == stratum]
        predictions = [verdict.prediction for verdict in asked if verdict.prediction is not None]
        recall = wilson(sum(predictions), len(predictions))
        rows.append(
            ScoreRow(
                feature=feature,
                explanation_method=explanation_method,
                scorer=scorer,
                metric=STRATUM_METRIC,
                value=recall.value,
                ci_low=recall.ci_low,
                ci_high=recall.ci_high,
                floor=None,
                n_positive=len(predictions),
                n_negative=0,
                n_unanswered=len(asked) - len(predictions),
                outcome="ok" if predictions else "no_answers",
                stratum=stratum,
            )
        )
    return rows


def _question(explanation: str, texts: Sequence[str]) -> str:
    """The last turn: the explanation, then the numbered texts."""
    return "\n".join([f"Description: {explanation}", *(f"Text {number}: {text}" for number, text in enumerate(texts, start=1))])
