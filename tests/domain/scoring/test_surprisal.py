from dataclasses import replace

import pytest
from domain_toys import make_example

from interp_assets.domain.scoring import surprisal
from interp_assets.domain.scoring.shared.sequential import SequentialSettings, next_round
from interp_assets.domain.scoring.surprisal import PSEUDO_EXPLANATION, SurprisalSettings
from interp_assets.domain.trials import AnsweredTrial, ScorerInput, ScoreRow, Trial

SETTINGS = SurprisalSettings()


def is_pseudo(trial: Trial) -> bool:
    return PSEUDO_EXPLANATION in trial.prompt.messages[-1][1]


def rows_of(scorer_input: ScorerInput, gain) -> dict[tuple[str, int | None], ScoreRow]:
    """Rows of a model to which a text has three tokens of -1 each under the pseudo-explanation, and of -1 + gain(text) under the other."""
    answered = []
    for trial in surprisal.plan(scorer_input, SETTINGS, 0):
        each = -1.0 if is_pseudo(trial) else -1.0 + gain(trial.prompt.suffix)
        answered.append(AnsweredTrial(trial, suffix_logprobs=(each,) * 3))
    rows = surprisal.summarise(scorer_input, surprisal.grade(scorer_input, answered, SETTINGS), SETTINGS, 1000, 0)
    return {(row.metric, row.stratum): row for row in rows}


@pytest.mark.parametrize(("name", "few_shot", "number"), [("surprisal", 3, 1), ("surprisal_pseudo", 3, 0), ("surprisal_bare", 0, 1)])
def test_prompts(name: str, few_shot: int, number: int, scorer_input, check_golden) -> None:
    check_golden(name, surprisal.plan(scorer_input, SurprisalSettings(few_shot), 0)[number].prompt)


def test_every_window_is_asked_about_twice_the_pseudo_explanation_first(scorer_input, held_out) -> None:
    trials = surprisal.plan(scorer_input, SETTINGS, 0)
    pairs = list(zip(trials[::2], trials[1::2], strict=True))
    assert sorted(own.items[0].example_id for _, own in pairs) == sorted(e.example_id for e in held_out)
    for pseudo, own in pairs:
        assert pseudo.items == () and is_pseudo(pseudo) and not is_pseudo(own)
        assert pseudo.prompt.suffix == own.prompt.suffix
        assert pseudo.prompt.shared_messages == len(pseudo.prompt.messages) == own.prompt.shared_messages
    assert len({trial.trial_id for trial in trials}) == 24


def test_the_pseudo_explanation_is_the_same_question_for_all_methods(scorer_input) -> None:
    other = replace(scorer_input, method="shuffled", explanation="something else")
    one, two = (surprisal.plan(c, SETTINGS, 0) for c in (scorer_input, other))
    assert [trial.prompt for trial in one[::2]] == [trial.prompt for trial in two[::2]]
    assert [trial.items for trial in one] == [trial.items for trial in two]
    assert not {trial.prompt for trial in one[1::2]} & {trial.prompt for trial in two[1::2]}
    assert not {trial.trial_id for trial in one} & {trial.trial_id for trial in two}
    assert one == surprisal.plan(scorer_input, SETTINGS, 0) != surprisal.plan(scorer_input, SETTINGS, 1)


def test_windows_of_whitespace_or_nothing_are_asked_about_as_they_stand() -> None:
    words = ("\n", " ", "", " cat")
    windows = [([0, 1], "\n "), ([2, 2], " "), ([0, 3, 1], "cat")]
    held_out = tuple(make_example(tokens, [1.0] * len(tokens), row=i) for i, (tokens, _) in enumerate(windows))
    trials = surprisal.plan(ScorerInput(7, "m", "x", (), held_out, words), SETTINGS, 0)
    assert {trial.items[0].example_id: trial.prompt.suffix for trial in trials[1::2]} == {
        f"7/{i}/0": text for i, (_, text) in enumerate(windows)
    }


def test_the_gain_is_the_difference_of_sums(scorer_input) -> None:
    pseudo, own = surprisal.plan(scorer_input, SETTINGS, 0)[:2]
    answered = [AnsweredTrial(pseudo, suffix_logprobs=(-1.0, -2.5)), AnsweredTrial(own, suffix_logprobs=(-0.5, -1.0))]
    (verdict,) = surprisal.grade(scorer_input, answered, SETTINGS)
    assert (verdict.value, verdict.outcome, verdict.trial_id) == (2.0, "answered", own.trial_id)
    assert (verdict.prediction, verdict.probability, verdict.truth) == (None, None, own.items[0].truth)


@pytest.mark.parametrize("broken", [0, 1])
@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        ({}, "no_probabilities"),
        ({"suffix_logprobs": (-1.0, -float("inf"))}, "no_probabilities"),
        ({"suffix_logprobs": (-1.0,), "error": "timeout"}, "model_error"),
    ],
)
def test_what_is_missing_in_either_of_the_two_has_a_name(broken: int, answer: dict, outcome: str, scorer_input) -> None:
    trials = surprisal.plan(scorer_input, SETTINGS, 0)
    answered = [AnsweredTrial(t, **(answer if n % 2 == broken else {"suffix_logprobs": (-1.0, -2.0)})) for n, t in enumerate(trials)]
    verdicts = surprisal.grade(scorer_input, answered, SETTINGS)
    assert [(v.outcome, v.value) for v in verdicts] == [(outcome, None)] * 12
    rows = surprisal.summarise(scorer_input, verdicts, SETTINGS, 1000, 0)
    assert {(row.outcome, row.value) for row in rows} == {("no_answers", None)}
    assert {row.n_unanswered for row in rows if row.stratum is None} == {12}


def test_without_trials_the_rows_say_why(scorer_input) -> None:
    for nothing, outcome in (
        (replace(scorer_input, explanation=None), "no_explanation"),
        (replace(scorer_input, held_out=()), "no_examples"),
    ):
        assert surprisal.plan(nothing, SETTINGS, 0) == ()
        rows = surprisal.summarise(nothing, (), SETTINGS, 1000, 0)
        assert {(row.metric, row.outcome) for row in rows} == {("auroc", outcome), ("average_precision", outcome)}


def test_summary_by_hand() -> None:
    """Gains 3 and 1 of windows on which the feature fires against 2 and 0: 3 of 4 pairs; stratum 0 wins 2 of 2, stratum 5 1 of 2."""
    windows = [([1], [1.0], 0), ([9], [1.0], 5), ([2], [0.0], None), ([3], [0.0], None)]
    held_out = tuple(make_example(tokens, values, row=i, stratum=s) for i, (tokens, values, s) in enumerate(windows))
    gains = dict(zip(("a", "b", "c", "d"), (1.0, 1 / 3, 2 / 3, 0.0), strict=True))  # three tokens each
    words = dict(zip((1, 9, 2, 3), "abcd", strict=True))
    rows = rows_of(ScorerInput(7, "m", "x", (), held_out, words), gains.__getitem__)
    assert rows["auroc", None].value == 3 / 4
    assert (rows["auroc@stratum", 0].value, rows["auroc@stratum", 5].value) == (1.0, 0.5)
    assert rows["average_precision", None].value == pytest.approx((1 + 2 / 3) / 2)
    # Two of four in random order: H = 25/12, (H + (4 - H) / 3) / 4.
    assert (rows["auroc", None].floor, rows["average_precision", None].floor) == (0.5, pytest.approx((25 / 12 + 23 / 36) / 4))


def has_animal(text: str) -> bool:
    return "cat" in text or "dog" in text


def test_the_oracle_its_inverse_and_one_that_knows_nothing(scorer_input) -> None:
    assert {row.value for row in rows_of(scorer_input, lambda text: float(has_animal(text))).values()} == {1.0}
    assert rows_of(scorer_input, lambda text: -float(has_animal(text)))["auroc", None].value == 0.0
    nothing = rows_of(scorer_input, lambda text: 0.25)["auroc", None]
    assert nothing.value == nothing.floor == 0.5


def test_wherever_asking_stops_every_item_has_its_pair(scorer_input) -> None:
    trials = surprisal.plan(scorer_input, SETTINGS, 0)
    asked = 0
    while chosen := next_round(len(trials), asked, SequentialSettings(0.2, first_trials=3, step_trials=4)):
        asked = chosen.stop
        verdicts = surprisal.grade(scorer_input, [AnsweredTrial(t, suffix_logprobs=(-1.0,)) for t in trials[:asked]], SETTINGS)
        assert len(verdicts) == asked // 2 and {v.outcome for v in verdicts} <= {"answered"}
    assert asked == len(trials)
