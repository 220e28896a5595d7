"""Records that pass between planning, asking and grading: explanations, trials with their hidden key, verdicts, score rows."""

from dataclasses import dataclass
from typing import Literal

from interp_assets.domain.prompts import Prompt

ExplanationOutcome = Literal["ok", "no_examples", "unparsable", "empty", "model_error", "no_donor"]
VerdictOutcome = Literal["answered", "unparsable", "truncated", "model_error"]
ScoreOutcome = Literal["ok", "no_explanation", "no_examples", "no_answers", "one_class", "undefined"]


@dataclass(frozen=True)
class Explanation:
    """What one method says about one feature.

    `text` is set exactly when `outcome` is "ok"; `donor_feature` only by `shuffled`.
    """

    feature: int
    method: str
    text: str | None
    outcome: ExplanationOutcome
    raw_reply: str
    prompt_version: str
    donor_feature: int | None = None

    def __post_init__(self) -> None:
        assert (self.text is not None) == (self.outcome == "ok"), (self.outcome, self.text)


@dataclass(frozen=True)
class TrialItem:
    """One thing to judge within a trial, with its hidden answer. `stratum` is the decile (0 = strongest) of an activating window.

    `variant` names how the item was made: "activating", a kind of silent window ("random", "similar", "neighbour", "token"), or
    "active" for misplaced marks.
    """

    example_id: str
    truth: bool
    stratum: int | None
    variant: str


@dataclass(frozen=True)
class Trial:
    """One question to a scorer model about one explanation, with the answer key of its items in the order asked."""

    trial_id: str
    feature: int
    explanation_method: str
    scorer: str
    prompt: Prompt
    items: tuple[TrialItem, ...]


@dataclass(frozen=True)
class AnsweredTrial:
    """A trial and the model's reply. `answer_probabilities[i]` is (P(0), P(1)) at item i; `error` is set when no reply came."""

    trial: Trial
    text: str
    answer_probabilities: tuple[tuple[float, ...], ...] | None = None
    finish_reason: str = "stop"
    error: str | None = None


@dataclass(frozen=True)
class Verdict:
    """One graded item.

    `prediction` is None exactly when `outcome` is not "answered"; `probability` is the judge's P(1), if known.
    """

    trial_id: str
    feature: int
    explanation_method: str
    scorer: str
    item: int
    example_id: str
    truth: bool
    prediction: bool | None
    probability: float | None
    stratum: int | None
    variant: str
    outcome: VerdictOutcome


@dataclass(frozen=True)
class ScoreRow:
    """One metric of one explanation under one scorer, with its 95 % interval and the floor that knowing nothing reaches.

    `value` is None exactly when `outcome` is not "ok". `stratum` is set only for the metric "recall@stratum". `n_positive` and
    `n_negative` count the answered items that the metric was taken over, `n_unanswered` those that ended without an answer.
    """

    feature: int
    explanation_method: str
    scorer: str
    metric: str
    value: float | None
    ci_low: float | None
    ci_high: float | None
    floor: float | None
    n_positive: int
    n_negative: int
    n_unanswered: int
    outcome: ScoreOutcome
    stratum: int | None = None

    def __post_init__(self) -> None:
        assert (self.value is not None) == (self.outcome == "ok"), (self.outcome, self.value)
