from collections import Counter
from dataclasses import replace

import pytest
from domain_toys import ask

from interp_assets.domain.scoring import detection, fuzzing
from interp_assets.domain.scoring.shared.classifier import ClassifierSettings
from interp_assets.domain.trials import AnsweredTrial, ScorerInput

SETTINGS = ClassifierSettings()


@pytest.mark.parametrize(("name", "few_shot"), [("detection", 2), ("detection_bare", 0)])
def test_prompts(name: str, few_shot: int, scorer_input, check_golden) -> None:
    trials = detection.plan(scorer_input, replace(SETTINGS, few_shot=few_shot), run_seed=0)
    check_golden(name, trials[0].prompt)


def test_every_held_out_example_is_asked_once_and_the_last_group_is_short(scorer_input, held_out) -> None:
    trials = detection.plan(scorer_input, SETTINGS, 0)
    assert [len(trial.items) for trial in trials] == [trial.prompt.choices.count for trial in trials] == [5, 5, 2]
    assert sorted(item.example_id for trial in trials for item in trial.items) == sorted(e.example_id for e in held_out)
    assert len({trial.trial_id for trial in trials}) == 3


def test_positives_and_negatives_are_mixed_and_their_number_varies(scorer_input) -> None:
    counts = Counter(
        sum(item.truth for item in trial.items)
        for seed in range(30)
        for trial in detection.plan(scorer_input, SETTINGS, seed)
        if len(trial.items) == 5
    )
    assert set(counts) >= {1, 2, 3, 4}


def test_worked_examples_do_not_tell_how_many_fit() -> None:
    for scorer in (detection, fuzzing):
        shares = [sum(worked.answers) / len(worked.answers) for worked in scorer._WORKED]
        assert len(set(shares)) == len(shares)


def test_two_explanations_are_judged_on_the_same_groups(scorer_input) -> None:
    other = replace(scorer_input, method="shuffled", explanation="something else")
    one, two = (detection.plan(c, SETTINGS, 0) for c in (scorer_input, other))
    assert [trial.items for trial in one] == [trial.items for trial in two]
    assert not {trial.trial_id for trial in one} & {trial.trial_id for trial in two}


def test_texts_first_makes_the_texts_a_prefix_that_explanations_share(scorer_input) -> None:
    other = replace(scorer_input, explanation="something else")
    for few_shot in (0, 2):
        usual = detection.plan(scorer_input, replace(SETTINGS, few_shot=few_shot), 0)
        one, two = (detection.plan(c, replace(SETTINGS, few_shot=few_shot, texts_first=True), 0) for c in (scorer_input, other))
        assert [trial.items for trial in usual] == [trial.items for trial in one] and len(one[0].prompt.messages) == 2 + 2 * few_shot
        for turn, turned in zip(usual[0].prompt.messages[1::2], one[0].prompt.messages[1::2], strict=True):
            described, *texts = turn[1].split("\n")  # worked examples stand in the same order
            assert turned == (turn[0], "\n".join([*texts, described]))
        end, other_end = (trial.prompt.messages[-1][1].split("Description: ") for trial in (one[0], two[0]))
        assert end[0] == other_end[0] and end[1] == scorer_input.explanation and other_end[1] == "something else"


def test_no_explanation_or_no_examples_no_trials(scorer_input) -> None:
    assert detection.plan(replace(scorer_input, explanation=None), SETTINGS, 0) == ()
    assert detection.plan(replace(scorer_input, held_out=()), SETTINGS, 0) == ()


def scores(scorer_input: ScorerInput, judge) -> dict[str, float | None]:
    answered = ask(detection.plan(scorer_input, SETTINGS, 0), judge)
    verdicts = detection.grade(scorer_input, answered, SETTINGS)
    return {row.metric: row.value for row in detection.summarise(scorer_input, verdicts, SETTINGS, 1000, 0)}


def test_an_oracle_scores_one(scorer_input) -> None:
    found = scores(scorer_input, lambda text: 0.9 if "cat" in text or "dog" in text else 0.1)
    assert set(found.values()) == {1.0}


def test_an_inverted_oracle_scores_zero(scorer_input) -> None:
    found = scores(scorer_input, lambda text: 0.1 if "cat" in text or "dog" in text else 0.9)
    assert found.pop("average_precision") == 0.5  # all six positives share the last rank: 6 of 12
    assert set(found.values()) == {0.0}


@pytest.mark.parametrize(
    ("text", "error", "outcome"),
    [("", None, "unparsable"), ("I think all of them fit well.", None, "unparsable"), ("", "timeout", "model_error")],
)
def test_silent_rambling_and_broken_judges_end_in_named_outcomes(scorer_input, text, error, outcome) -> None:
    trials = detection.plan(scorer_input, SETTINGS, 0)
    verdicts = detection.grade(scorer_input, [AnsweredTrial(trial, text, None, "stop", error) for trial in trials], SETTINGS)
    assert len(verdicts) == 12 and {v.outcome for v in verdicts} == {outcome}
    rows = detection.summarise(scorer_input, verdicts, SETTINGS, 1000, 0)
    assert {(row.outcome, row.value) for row in rows} == {("no_answers", None)}
    assert {row.n_unanswered for row in rows if row.stratum is None} == {12}
