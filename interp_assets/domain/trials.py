"""Records between planning, asking and grading: scorer inputs, explanations, trials with their hidden key, verdicts, score rows."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Self

import numpy as np

from interp_assets.domain.examples.sampling import Example
from interp_assets.domain.outcomes import ExplanationOutcome, ScoreOutcome, VerdictOutcome
from interp_assets.domain.prompting.prompts import Comparison, Matching, Prompt
from interp_assets.domain.prompting.rendering import TokenTexts
from interp_assets.domain.steering.steered_texts import CompletionSet, SteeredRun

Model = Literal["scorer", "generator", "base", "encoder", "machine"]
Reads = Literal["explanation", "rivals", "steered", "steered_sets"]


NO_EXPLANATION = "none"
"""The explanation method in the rows of scorers that read no explanation."""
LATER_DEAL = "deal"
"""Begins the names of trials about the texts of later deals: `deal2/detection/shuffled/17/0`."""


@dataclass(frozen=True)
class FurtherDeal:
    """A second or later text that a shuffled baseline deals to a feature, and the feature that the text was written for."""

    donor_feature: int
    explanation: str


@dataclass(frozen=True)
class Explanation:
    """What one method says about one feature.

    `text` is set exactly when `outcome` is "ok". `donor_feature` is the feature that the text was written for; only methods that shuffle
    explanations set it. `further_deals` are the texts of later deals, where explanations are dealt out more than once.
    """

    feature: int
    method: str
    text: str | None
    outcome: ExplanationOutcome
    raw_reply: str
    prompt_version: str
    donor_feature: int | None = None
    further_deals: tuple[FurtherDeal, ...] = ()

    def __post_init__(self) -> None:
        assert (self.text is not None) == (self.outcome == "ok"), (self.outcome, self.text)

    @property
    def texts(self) -> tuple[str | None, ...]:
        """The text of each deal; (None,) without an explanation."""
        return (self.text, *(deal.explanation for deal in self.further_deals))

    @property
    def donors(self) -> tuple[int | None, ...]:
        """The donor of each deal; (None,) where the text is the feature's own."""
        return (self.donor_feature, *(deal.donor_feature for deal in self.further_deals))


@dataclass(frozen=True)
class Rival:
    """Another feature's explanation by the same method.

    `variant` says how the other feature was found: "neighbour" (one of the nearest features) or "random".
    """

    feature: int
    text: str
    variant: str


@dataclass(frozen=True)
class ScorerInput:
    """What a scorer judges: one feature under one explanation, with everything that the scorer may look at.

    `explanation` is None where the method has no explanation of the feature. It is also None for scorers that read no explanation; `method`
    is then NO_EXPLANATION. `shown` and `held_out` are the feature's examples of these two roles, activating and silent. `firing_share` is
    the share of the sample's windows on which the feature fires, None where unknown. `start_shares` are the shares of contexts on whose
    first part of a window it fires (`firing_shares.START_PARTS`); empty where unknown.

    The further fields are filled for scorers that read them. `rivals` are explanations of other features, the nearest feature first.
    `steered` are the feature's runs on its scoring prompts, empty where the feature was not steered. `steered_set` is the feature's set of
    completions of the fixed prompts, None where the feature was not steered. `rival_sets` are such sets of random other features; every KL
    target of these features was met. `donor` is the feature that the explanation was written for, where the explanation was shuffled; no
    scorer may read it.
    """

    feature: int
    method: str
    explanation: str | None
    shown: tuple[Example, ...]
    held_out: tuple[Example, ...]
    token_texts: TokenTexts
    firing_share: float | None = None
    start_shares: tuple[float, ...] = ()
    rivals: tuple[Rival, ...] = ()
    steered: tuple[SteeredRun, ...] = ()
    steered_set: CompletionSet | None = None
    rival_sets: tuple[CompletionSet, ...] = ()
    donor: int | None = None

    @property
    def absent(self) -> ScoreOutcome:
        """The outcome of a scorer input about which nothing was asked: "no_explanation" or "no_examples"."""
        unexplained = self.explanation is None and self.method != NO_EXPLANATION
        return "no_explanation" if unexplained and self.held_out else "no_examples"


@dataclass(frozen=True)
class TrialItem:
    """One thing to judge within a trial, with its hidden answer. `stratum` is the decile (0 = strongest) of an activating window.

    `example_id` names the window, or the thing in a window's place (a rival's feature, a text to be written). `variant` names how the item
    was made: "activating", a kind of silent window ("random", "similar", "neighbour", "token"), "active" for misplaced marks. `activation`
    is the feature's largest activation on the item, where this activation is known before asking. Where only some windows are asked about,
    `weight` is the number of windows for which the item stands, and `predicted` is the prediction by which windows were sorted into strata.
    """

    example_id: str
    truth: bool
    stratum: int | None
    variant: str
    activation: float | None = None
    weight: int | None = None
    predicted: float | None = None


@dataclass(frozen=True)
class Trial:
    """One question about one scorer input, with the answer key of its items in the order asked.

    The question goes to a language model or, as a `Comparison`, to the sentence encoder; a `Matching` is answered without a model. A trial
    without items gets no verdict: its answer serves the grading of another trial (as the likelihood of a window under a fixed explanation
    does).
    """

    trial_id: str
    feature: int
    explanation_method: str
    scorer: str
    question: Prompt | Comparison | Matching
    items: tuple[TrialItem, ...]

    @classmethod
    def about(
        cls, scorer_input: ScorerInput, scorer: str, name: str | int, question: Prompt | Comparison | Matching, items: Iterable[TrialItem]
    ) -> Self:
        """The scorer's trial about its input; `name` tells it from the scorer's other trials about this input."""
        feature, method = scorer_input.feature, scorer_input.method
        return cls(f"{scorer}/{method}/{feature}/{name}", feature, method, scorer, question, tuple(items))

    @property
    def prompt(self) -> Prompt:
        """The question of a trial that goes to a language model."""
        assert isinstance(self.question, Prompt), self.trial_id
        return self.question


@dataclass(frozen=True)
class AnsweredTrial:
    """A trial and its reply; `error` is set when no reply came.

    `answer_probabilities[i]` are the probabilities of the options at answer i. `suffix_logprobs` has the natural-log probability of each
    token of the prompt's suffix, `suffix_choices[i]` the probabilities of the options at the suffix's placeholder i. `cosines`
    [queries][texts] answer a `Comparison`, `matches` [windows][tokens] a `Matching`. `activations` has the feature's largest activation on
    each text read out of the reply.
    """

    trial: Trial
    text: str = ""
    answer_probabilities: tuple[tuple[float, ...], ...] | None = None
    finish_reason: str = "stop"
    error: str | None = None
    suffix_logprobs: tuple[float, ...] | None = None
    suffix_choices: tuple[tuple[float, ...], ...] | None = None
    cosines: tuple[tuple[float, ...], ...] | None = None
    matches: tuple[tuple[bool, ...], ...] | None = None
    activations: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Verdict:
    """One graded item.

    A judge that decides gives a `prediction`, and its `probability` of yes if known. A scorer that measures gives a `value` (a cosine, a
    log-likelihood ratio, a rating), or `values`, one a token (simulated activations). `activation` is the feature's largest activation on
    the item. `text` is the item's text where the item is no window of the examples. `weight` and `predicted` are those of the `TrialItem`.
    `prediction`, `probability`, `value`, `values` and
    `text` are set only when `outcome` is "answered".
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
    value: float | None = None
    values: tuple[float, ...] | None = None
    activation: float | None = None
    text: str | None = None
    weight: int | None = None
    predicted: float | None = None


def of_deal(trials: Sequence[Trial], deal: int) -> tuple[Trial, ...]:
    """The trials about the text of a deal, counted from 0; trials of later deals have names of their own."""
    return tuple(trials) if deal == 0 else tuple(replace(trial, trial_id=f"{LATER_DEAL}{deal + 1}/{trial.trial_id}") for trial in trials)


def is_of_later_deal(trial_id: str) -> bool:
    """Whether a trial is about the text of a second or later deal."""
    return trial_id.startswith(LATER_DEAL)


def deal_of(trial_id: str) -> int:
    """The deal whose text a trial is about, counted from 0."""
    return int(trial_id.removeprefix(LATER_DEAL).split("/", 1)[0]) - 1 if is_of_later_deal(trial_id) else 0


def verdict_of(trial: Trial, number: int, outcome: VerdictOutcome, **measured: object) -> Verdict:
    """The verdict on item `number` of a trial; `measured` are the fields of `Verdict` that the answer sets."""
    item = trial.items[number]
    own: dict[str, object] = {"prediction": None, "probability": None, "activation": item.activation, **measured}
    return Verdict(
        trial_id=trial.trial_id, feature=trial.feature, explanation_method=trial.explanation_method, scorer=trial.scorer, item=number,
        example_id=item.example_id, truth=item.truth, stratum=item.stratum, variant=item.variant, outcome=outcome,
        weight=item.weight, predicted=item.predicted, **own,  # type: ignore[arg-type]
    )  # fmt: skip


@dataclass(frozen=True)
class DealtScore:
    """The score of the text of one deal; `value` is None where this text has no score."""

    donor_feature: int | None
    value: float | None


@dataclass(frozen=True)
class ScoreRow:
    """One metric of one explanation under one scorer, with its 95 % interval and its floor: the score of a judge that reads nothing.

    `value` is set when `outcome` is "ok". It may also be set when `outcome` is "dead": nothing made the feature fire, and the explanation
    has failed. `stratum` is set only for the metrics named "…@stratum". `n_positive` and `n_negative` count the answered items that the
    metric was taken over, `n_unanswered` the items that ended without an answer. Where the value is an estimate from some of the windows,
    `asked_share` is the share of the windows asked about, and `sampling_error` is the standard error of the value as an estimate of what
    all windows would give (None for metrics without one). The interval allows for this error. `deals` are the
    scores of each deal, where an explanation was dealt more than once; `value` is then their mean.
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
    deals: tuple[DealtScore, ...] = ()
    asked_share: float | None = None
    sampling_error: float | None = None

    def __post_init__(self) -> None:
        assert (self.value is not None) == (self.outcome == "ok") or self.outcome == "dead", (self.outcome, self.value)


def as_item(example: Example, truth: bool | None = None) -> TrialItem:
    """An example as an item. Its truth is `truth` where given, else whether the feature fires on the example."""
    activating = example.kind == "activating"
    return TrialItem(
        example.example_id, activating if truth is None else truth, example.stratum if activating else None,
        "activating" if activating else example.sampling, float(max(example.activations, default=0.0)),
    )  # fmt: skip


def of_kind(examples: Sequence[Example], kind: Literal["activating", "non_activating"]) -> tuple[Example, ...]:
    """The examples of one kind, in order."""
    return tuple(example for example in examples if example.kind == kind)


def evenly_mixed(examples: Sequence[Example], rng: np.random.Generator) -> list[Example]:
    """All examples, each kind in random order and spread evenly: the first n examples hold both kinds in proportion, to within one, for
    every n.

    For questions about one window each, so that asking may stop anywhere. In a question about several windows an even order would give
    answers away.
    """
    kinds = [of_kind(examples, "activating"), of_kind(examples, "non_activating")]
    placed: list[tuple[float, Example]] = []
    for kind in kinds:
        order: list[int] = rng.permutation(len(kind)).tolist()
        placed += [((number + 0.5) / len(kind), kind[i]) for number, i in enumerate(order)]
    return [example for _, example in sorted(placed, key=lambda pair: pair[0])]
