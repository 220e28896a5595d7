from collections import Counter
from dataclasses import replace

import pytest
from domain_toys import WORDS, ask

from interp_assets.domain.scoring import SCORERS, ScorerSettings, detection
from interp_assets.domain.trials import AnsweredTrial

SETTINGS = ScorerSettings()


@pytest.mark.parametrize(("name", "few_shot"), [("detection", 2), ("detection_bare", 0)])
def test_prompts(name: str, few_shot: int, explanation, held_out, check_golden) -> None:
    trials = detection.plan(explanation, held_out, WORDS, replace(SETTINGS, few_shot=few_shot), run_seed=0)
    check_golden(name, trials[0].prompt)


def test_every_held_out_example_is_asked_once_and_the_last_group_is_short(explanation, held_out) -> None:
    trials = detection.plan(explanation, held_out, WORDS, SETTINGS, 0)
    assert [len(trial.items) for trial in trials] == [trial.prompt.answer_count for trial in trials] == [5, 5, 2]
    assert sorted(item.example_id for trial in trials for item in trial.items) == sorted(e.example_id for e in held_out)
    assert len({trial.trial_id for trial in trials}) == 3


def test_positives_and_negatives_are_mixed_and_their_number_varies(explanation, held_out) -> None:
    counts = Counter(
        sum(item.truth for item in trial.items)
        for seed in range(30)
        for trial in detection.plan(explanation, held_out, WORDS, SETTINGS, seed)
        if len(trial.items) == 5
    )
    assert set(counts) >= {1, 2, 3, 4}


def test_worked_examples_do_not_tell_how_many_fit() -> None:
    for scorer in SCORERS:
        shares = [sum(worked.answers) / len(worked.answers) for worked in scorer._WORKED]  # type: ignore[attr-defined]
        assert len(set(shares)) == len(shares)


def test_two_explanations_are_judged_on_the_same_groups(explanation, held_out) -> None:
    other = replace(explanation, method="shuffled", text="something else")
    one, two = (detection.plan(e, held_out, WORDS, SETTINGS, 0) for e in (explanation, other))
    assert [trial.items for trial in one] == [trial.items for trial in two]
    assert not {trial.trial_id for trial in one} & {trial.trial_id for trial in two}


def test_no_explanation_or_no_examples_no_trials(explanation, held_out) -> None:
    assert detection.plan(replace(explanation, text=None, outcome="unparsable"), held_out, WORDS, SETTINGS, 0) == ()
    assert detection.plan(explanation, [], WORDS, SETTINGS, 0) == ()


def scores(explanation, held_out, judge) -> dict[str, float | None]:
    answered = ask(detection.plan(explanation, held_out, WORDS, SETTINGS, 0), judge)
    verdicts = [verdict for one in answered for verdict in detection.grade(one)]
    return {row.metric: row.value for row in detection.summarise(7, "max_act", verdicts, SETTINGS, 0)}


def test_an_oracle_scores_one(explanation, held_out) -> None:
    found = scores(explanation, held_out, lambda text: 0.9 if "cat" in text or "dog" in text else 0.1)
    assert set(found.values()) == {1.0}


def test_an_inverted_oracle_scores_zero(explanation, held_out) -> None:
    found = scores(explanation, held_out, lambda text: 0.1 if "cat" in text or "dog" in text else 0.9)
    assert found.pop("average_precision") == 0.5  # all six positives share the last rank: 6 of 12
    assert set(found.values()) == {0.0}


@pytest.mark.parametrize(
    ("text", "error", "outcome"),
    [("", None, "unparsable"), ("I think all of them fit well.", None, "unparsable"), ("", "timeout", "model_error")],
)
def test_silent_rambling_and_broken_judges_end_in_named_outcomes(explanation, held_out, text, error, outcome) -> None:
    trials = detection.plan(explanation, held_out, WORDS, SETTINGS, 0)
    verdicts = [v for trial in trials for v in detection.grade(AnsweredTrial(trial, text, None, "stop", error))]
    assert len(verdicts) == 12 and {v.outcome for v in verdicts} == {outcome}
    rows = detection.summarise(7, "max_act", verdicts, SETTINGS, 0)
    assert {(row.outcome, row.value) for row in rows} == {("no_answers", None)}
    assert {row.n_unanswered for row in rows if row.stratum is None} == {12}
