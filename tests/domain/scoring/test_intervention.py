from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from interp_assets.domain.scoring import intervention
from interp_assets.domain.scoring.intervention import InterventionSettings
from interp_assets.domain.scoring.shared.sequential import SequentialSettings, next_round
from interp_assets.domain.steering.steered_texts import SteeredRun, SteeredText
from interp_assets.domain.trials import AnsweredTrial, ScorerInput, ScoreRow, Trial

SETTINGS = InterventionSettings()
STEERED = " cat and a dog"
N = 12


def run_at(target: float | None, met: bool = True) -> SteeredRun:
    """Twelve prompts, after which the steered model speaks of animals."""
    texts = tuple(SteeredText(10 + i, f"It was\n number {i},", f" and {i} more", STEERED) for i in range(N))
    return SteeredRun(target, met, texts)


@pytest.fixture
def steered(scorer_input: ScorerInput) -> ScorerInput:
    """The common case without windows, steered to two targets and ablated."""
    return replace(scorer_input, held_out=(), steered=(run_at(0.33, met=False), run_at(1.0), run_at(None)))


def is_clean(trial: Trial) -> bool:
    return not trial.items


def rows_of(
    scorer_input: ScorerInput, likelihood: Callable[[str, str], float], settings: InterventionSettings = SETTINGS
) -> dict[str, ScoreRow]:
    """Rows of a model that gives each of two tokens of the explanation `likelihood(passage, explanation)`."""
    answered = []
    for trial in intervention.plan(scorer_input, settings, 0):
        passage = trial.prompt.messages[-1][1].split("\n")[0].removeprefix("Passage: ")
        answered.append(AnsweredTrial(trial, suffix_logprobs=(likelihood(passage, trial.prompt.suffix),) * 2))
    rows = intervention.summarise(scorer_input, intervention.grade(scorer_input, answered, settings), settings, 500, 0)
    return {row.metric: row for row in rows}


@pytest.mark.parametrize(("name", "few_shot", "number"), [("intervention", 3, 1), ("intervention_bare", 0, 0)])
def test_prompts(name: str, few_shot: int, number: int, steered, check_golden) -> None:
    check_golden(name, intervention.plan(steered, InterventionSettings(few_shot=few_shot), 0)[number].prompt)


def test_each_prompt_is_asked_about_twice_at_the_one_target_clean_first(steered) -> None:
    trials = intervention.plan(steered, SETTINGS, 0)
    assert len(trials) == 2 * N == len({trial.trial_id for trial in trials})
    for number, (clean, own) in enumerate(zip(trials[::2], trials[1::2], strict=True)):
        assert is_clean(clean) and (own.items[0].example_id, own.items[0].variant) == (f"prompt/{10 + number}", "1")
        assert f"It was number {number}, and {number} more\n" in clean.prompt.messages[-1][1]
        assert f"It was number {number}, cat and a dog\n" in own.prompt.messages[-1][1]
        assert clean.prompt.suffix == own.prompt.suffix == "words for animals" and own.prompt.max_reply_tokens == 0
        assert clean.prompt.messages[:-1] == own.prompt.messages[:-1] and own.prompt.shared_messages == len(own.prompt.messages) - 1


def test_explanations_of_a_feature_are_read_after_the_same_texts(steered) -> None:
    other = replace(steered, method="shuffled", explanation="numbers")
    one, two = (intervention.plan(scorer_input, SETTINGS, 0) for scorer_input in (steered, other))
    assert [t.prompt.messages for t in one] == [t.prompt.messages for t in two]
    assert not {t.trial_id for t in one} & {t.trial_id for t in two}


def test_the_gain_its_error_and_interval_by_hand(steered) -> None:
    """Gains of 3, 1 and 2 nats: mean 2, s = 1, standard error 1 / √3."""
    trials = intervention.plan(steered, SETTINGS, 0)[:6]
    logprobs = [(-5.0, -1.0), (-2.0, -1.0), (-4.0,), (-3.0,), (-3.0, -3.0), (-2.0, -2.0)]
    verdicts = intervention.grade(steered, [AnsweredTrial(t, suffix_logprobs=p) for t, p in zip(trials, logprobs, strict=True)], SETTINGS)
    assert [(v.value, v.text, v.truth) for v in verdicts] == [(3.0, STEERED, True), (1.0, STEERED, True), (2.0, STEERED, True)]
    gain, error = intervention.summarise(steered, verdicts, SETTINGS, 2000, 0)
    assert (gain.metric, gain.value, gain.floor, gain.n_positive, gain.n_negative) == ("gain", 2.0, 0.0, 3, 0)
    assert error.value == pytest.approx(1 / np.sqrt(3)) and (error.ci_low, error.ci_high, error.floor) == (None, None, None)
    assert (gain.ci_low, gain.ci_high) == (None, None)  # three prompts have no honest interval
    (_, lone) = intervention.summarise(steered, verdicts[:1], SETTINGS, 50, 0)
    assert (lone.value, lone.outcome) == (None, "undefined")


def test_the_oracle_its_inverse_and_one_that_reads_nothing(steered) -> None:
    def oracle(passage: str, explanation: str) -> float:
        return -1.0 if "cat" in passage and "animal" in explanation else -2.0

    assert rows_of(steered, oracle)["gain"].value == 2.0
    assert rows_of(steered, lambda *text: -3.0 - oracle(*text))["gain"].value == -2.0
    nothing = rows_of(steered, lambda passage, explanation: -1.5)["gain"]
    assert (nothing.value, nothing.ci_low, nothing.ci_high) == (0.0, 0.0, 0.0) == (nothing.floor,) * 3
    shuffled = rows_of(replace(steered, method="shuffled", explanation="numbers"), oracle)["gain"]
    assert (shuffled.value, shuffled.floor) == (0.0, 0.0)


def test_one_that_guesses_is_at_the_floor(steered) -> None:
    draw = np.random.default_rng(0)
    found = [rows_of(steered, lambda *_: -float(draw.random()))["gain"] for _ in range(100)]
    assert np.mean([row.value for row in found]) == pytest.approx(0.0, abs=0.08)  # of a gain of 2·(u - v), s / √1200 = 0.024
    assert np.mean([row.ci_low <= 0 <= row.ci_high for row in found]) > 0.85


@pytest.mark.parametrize("broken", [0, 1])
@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        ({}, "no_probabilities"),
        ({"text": "I do not know."}, "no_probabilities"),
        ({"suffix_logprobs": (-float("inf"),)}, "no_probabilities"),
        ({"suffix_logprobs": (-1.0,), "error": "timeout"}, "model_error"),
    ],
)
def test_what_is_missing_in_either_of_the_two_has_a_name(broken: int, answer: dict, outcome: str, steered) -> None:
    trials = intervention.plan(steered, SETTINGS, 0)
    answered = [AnsweredTrial(t, **(answer if n % 2 == broken else {"suffix_logprobs": (-1.0,)})) for n, t in enumerate(trials)]
    verdicts = intervention.grade(steered, answered, SETTINGS)
    assert [(v.outcome, v.value, v.text) for v in verdicts] == [(outcome, None, None)] * N
    rows = intervention.summarise(steered, verdicts, SETTINGS, 100, 0)
    assert {(row.outcome, row.value, row.floor, row.n_unanswered) for row in rows} == {("no_answers", None, None, N)}


@pytest.mark.parametrize(
    ("changes", "settings", "outcome"),
    [
        ({"explanation": None}, SETTINGS, "no_explanation"),
        ({"steered": ()}, SETTINGS, "not_steered"),
        ({}, InterventionSettings(kl_target=3.0), "not_steered"),
        ({}, InterventionSettings(kl_target=0.33), "kl_not_met"),
    ],
)
def test_nothing_to_ask_says_why(changes: dict, settings: InterventionSettings, outcome: str, steered) -> None:
    lacking = replace(steered, **changes)
    assert intervention.plan(lacking, settings, 0) == ()
    rows = intervention.summarise(lacking, (), settings, 100, 0)
    assert {(row.metric, row.outcome, row.value, row.floor) for row in rows} == {
        ("gain", outcome, None, None), ("gain_standard_error", outcome, None, None),
    }  # fmt: skip


def test_wherever_asking_stops_every_item_has_its_pair(steered) -> None:
    trials = intervention.plan(steered, SETTINGS, 0)
    asked = 0
    while chosen := next_round(len(trials), asked, SequentialSettings(0.2, first_trials=3, step_trials=4)):
        asked = chosen.stop
        verdicts = intervention.grade(steered, [AnsweredTrial(t, suffix_logprobs=(-1.0,)) for t in trials[:asked]], SETTINGS)
        assert len(verdicts) == asked // 2 and {v.outcome for v in verdicts} <= {"answered"}
    assert asked == len(trials)
