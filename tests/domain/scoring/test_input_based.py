"""The input-based scorer: sentences that are written, measured and compared."""

import json
from dataclasses import replace

import numpy as np
import pytest
from domain_toys import WORDS, make_example

from interp_assets.domain.scoring import input_based
from interp_assets.domain.scoring.input_based import KINDS, METRICS, InputBasedSettings
from interp_assets.domain.scoring.shared.generated import written
from interp_assets.domain.trials import AnsweredTrial, ScorerInput, Trial

SETTINGS = InputBasedSettings()
SHOWN = (make_example([0, 1, 2], [0, 8.0, 0.5], "shown"), make_example([0, 9], [0, 2.0], "shown", 1))
CASE = ScorerInput(7, "max_act", "words for animals", SHOWN, (), WORDS)


def answers(trials: tuple[Trial, ...], *activations: list[float]) -> list[AnsweredTrial]:
    """Replies with as many sentences as there are activations for each kind, on which the feature's largest activations are these."""
    return [
        AnsweredTrial(trial, written(kind, [f"{kind} {i}" for i in range(len(own))]), activations=tuple(own))
        for trial, kind, own in zip(trials, KINDS, activations, strict=True)
    ]


def rows_of(should: list[float], should_not: list[float], scorer_input: ScorerInput = CASE, settings=SETTINGS) -> dict:
    verdicts = input_based.grade(scorer_input, answers(input_based.plan(scorer_input, settings, 0), should, should_not), settings)
    return {row.metric: row for row in input_based.summarise(scorer_input, verdicts, settings, 1000, 0)}


@pytest.mark.parametrize(
    ("name", "number", "settings"),
    [
        ("input_based_activating", 0, SETTINGS),
        ("input_based_silent", 1, SETTINGS),
        ("input_based_bare", 1, replace(SETTINGS, few_shot=0, n_sentences=3)),
    ],
)
def test_prompts(name: str, number: int, settings: InputBasedSettings, scorer_input, check_golden) -> None:
    check_golden(name, input_based.plan(scorer_input, settings, 0)[number].prompt)


def test_worked_replies_have_the_form_and_number_asked_for() -> None:
    for n, shown in ((5, 5), (2, 2), (9, 5)):
        for trial, kind in zip(input_based.plan(CASE, replace(SETTINGS, n_sentences=n, few_shot=2), 0), KINDS, strict=True):
            messages = trial.prompt.messages
            assert len(messages) == 6 and messages[-1][1].endswith(f"Sentences: {n}")
            for question, reply in ((messages[1], messages[2]), (messages[3], messages[4])):
                assert question[1].endswith(f"Sentences: {shown}")
                assert list(json.loads(reply[1])) == [f"{kind} {i}" for i in range(1, shown + 1)]


def test_items_are_the_sentences_to_be_written() -> None:
    items = [item for trial in input_based.plan(CASE, SETTINGS, 0) for item in trial.items]
    assert [item.example_id for item in items] == [f"{kind}/{i}" for kind in ("activating", "silent") for i in range(5)]
    assert [item.truth for item in items] == [True] * 5 + [False] * 5


def test_texts_are_in_the_order_of_the_items() -> None:
    one, two = input_based.plan(CASE, SETTINGS, 0)
    assert one.trial_id != two.trial_id
    assert input_based.texts(AnsweredTrial(one, written("activating", "abcdef"))) == ("a", "b", "c", "d", "e")
    assert input_based.texts(AnsweredTrial(two, written("silent", "xy"))) == ("x", "y")


def test_scores_by_hand() -> None:
    """A: 8, 4, 2, 1, 0 (mean 3). S: 0, 0, 0, 0, 5 (mean 1). Largest shown 8, so a hit is 2.4 or more: 2 of 5.

    Pairs won: 8 beats five, 4, 2 and 1 beat four each, 0 ties four: 17 + 2 of 25.
    """
    found = rows_of([8.0, 4.0, 2.0, 1.0, 0.0], [0.0, 0.0, 0.0, 0.0, 5.0])
    assert {metric: row.value for metric, row in found.items()} == {
        "success": 1.0, "margin": pytest.approx(2 / 8), "hit_rate": pytest.approx(2 / 5), "auroc": pytest.approx(19 / 25),
    }  # fmt: skip
    assert [found[metric].floor for metric in METRICS] == [None, 0.0, None, 0.5]
    assert all((row.n_positive, row.n_negative, row.n_unanswered, row.outcome) == (5, 5, 0, "ok") for row in found.values())
    assert (found["success"].ci_low, found["success"].ci_high) == (None, None)  # a single trial
    assert found["margin"].ci_low < 0 < found["margin"].ci_high and 0 < found["hit_rate"].ci_low < 0.4 < found["hit_rate"].ci_high


def test_the_oracle_and_its_inverse() -> None:
    right, wrong = rows_of([8.0] * 5, [0.0] * 5), rows_of([0.0] * 5, [8.0] * 5)
    assert [right[metric].value for metric in METRICS] == [1.0] * 4
    assert [wrong[metric].value for metric in METRICS] == [0.0, -1.0, 0.0, 0.0]
    assert right["auroc"].ci_high == 1.0 and 0.5 < right["auroc"].ci_low < 0.8  # five sentences of each kind leave errors open


def test_equal_means_are_no_success() -> None:
    assert rows_of([2.0] * 5, [2.0] * 5)["success"].value == 0.0


def test_the_share_of_a_hit_is_a_setting() -> None:
    assert rows_of([1.0, 0.0, 0, 0, 0], [0.0] * 5, settings=replace(SETTINGS, hit_share=0.1))["hit_rate"].value == pytest.approx(1 / 5)
    assert rows_of([1.0, 0.0, 0, 0, 0], [0.0] * 5, settings=replace(SETTINGS, hit_share=0.0))["hit_rate"].value == pytest.approx(1 / 5)


@pytest.mark.parametrize("scorer_input", [CASE, replace(CASE, shown=())])
def test_sentences_on_which_nothing_fires_are_a_failure_and_not_a_gap(scorer_input: ScorerInput) -> None:
    found = rows_of([0.0] * 5, [0.0] * 5, scorer_input)
    assert {metric: row.value for metric, row in found.items()} == {"success": 0.0, "margin": 0.0, "hit_rate": 0.0, "auroc": 0.5}
    assert {row.outcome for row in found.values()} == {"dead"}


def test_a_feature_without_examples_is_asked_but_has_no_scale() -> None:
    found = rows_of([3.0, 0, 0, 0, 0], [0.0] * 5, replace(CASE, shown=()))
    assert {metric: (row.outcome, row.value) for metric, row in found.items()} == {
        "success": ("ok", 1.0), "margin": ("undefined", None), "hit_rate": ("undefined", None), "auroc": ("ok", pytest.approx(15 / 25)),
    }  # fmt: skip


@pytest.mark.parametrize(("density", "chance"), [(0.0008, 0.004), (0.02, 0.0915), (0.2, 0.446), (1.0, 0.5)])
def test_a_success_by_chance_depends_on_how_often_the_feature_fires(density: float, chance: float) -> None:
    """(1 - (1 - density)¹⁰) / 2 for five sentences of each kind."""
    row = rows_of([8.0, 0, 0, 0, 0], [0.0] * 5, replace(CASE, firing_share=density))["success"]
    assert row.floor == pytest.approx((1 - (1 - density) ** 10) / 2) == pytest.approx(chance, abs=5e-4)


@pytest.mark.parametrize("chances", [((0.3,) * 5, (0.1,) * 3), ((0.9,) * 5, (0.2, 0.5, 0.3)), ((0.05,) * 4, (0.95,) * 5)])
def test_a_success_by_chance_of_sentences_of_other_lengths(chances: tuple[tuple[float, ...], ...]) -> None:
    """Longer sentences fire oftener: so the mean of all of them is the higher one oftener too where both kinds fire."""
    rng = np.random.default_rng(0)
    should, should_not = (
        np.where(rng.random((40_000, len(own))) < own, rng.lognormal(0, 0.7, (40_000, len(own))), 0).mean(axis=1) for own in chances
    )
    found = input_based.success_by_chance(*chances, rng.lognormal(0, 0.7, 200), rng)
    assert found == pytest.approx((should > should_not).mean(), abs=0.015)


def test_a_generator_that_knows_nothing_sits_at_the_floors() -> None:
    draw, density = np.random.default_rng(0), 0.1
    case = replace(CASE, firing_share=density)
    found = [rows_of(*(np.round(draw.exponential(2.0, (2, 5)), 1) * (draw.random((2, 5)) < density)).tolist(), case) for _ in range(150)]
    for metric, tolerance in (("success", 0.1), ("margin", 0.05), ("auroc", 0.05)):
        assert np.mean([rows[metric].value - rows[metric].floor for rows in found]) == pytest.approx(0, abs=tolerance)


def test_missing_sentences_are_counted() -> None:
    found = rows_of([8.0, 4.0], [0.0])
    assert {(row.n_positive, row.n_negative, row.n_unanswered, row.outcome) for row in found.values()} == {(2, 1, 7, "ok")}


@pytest.mark.parametrize(
    ("reply", "error", "verdict"),
    [
        ("", None, "unparsable"),
        ("I would rather not write sentences.", None, "unparsable"),
        (written("activating", "abcde"), "timeout", "model_error"),
    ],
)
def test_silent_rambling_and_broken_replies_end_in_named_outcomes(reply: str, error: str | None, verdict: str) -> None:
    one, two = input_based.plan(CASE, SETTINGS, 0)
    broken = [AnsweredTrial(trial, reply, error=error, activations=()) for trial in (one, two)]
    whole = AnsweredTrial(two, written("silent", "ab"), activations=(1.0, 0.0))
    for answered, outcome, counts in ((broken, "no_answers", (0, 0, 10)), ([broken[0], whole], "one_class", (0, 2, 8))):
        verdicts = input_based.grade(CASE, answered, SETTINGS)
        assert [v.outcome for v in verdicts][:5] == [verdict] * 5 and len(verdicts) == 10
        rows = input_based.summarise(CASE, verdicts, SETTINGS, 10, 0)
        assert {(row.outcome, row.value) for row in rows} == {(outcome, None)} and [row.metric for row in rows] == list(METRICS)
        assert {(row.n_positive, row.n_negative, row.n_unanswered) for row in rows} == {counts}


def test_without_an_explanation_nothing_is_asked(scorer_input) -> None:
    for lacking in (replace(scorer_input, explanation=None), replace(CASE, explanation=None)):
        assert input_based.plan(lacking, SETTINGS, 0) == ()
        assert {row.outcome for row in input_based.summarise(lacking, (), SETTINGS, 10, 0)} == {"no_explanation"}


def test_seeds_depend_on_run_and_feature_and_not_on_the_explanation() -> None:
    def seeds(scorer_input: ScorerInput, seed: int = 0) -> set[int]:
        return {trial.prompt.seed for trial in input_based.plan(scorer_input, SETTINGS, seed)}

    assert seeds(CASE) == seeds(replace(CASE, explanation="x", method="shuffled"))
    assert len(seeds(CASE) | seeds(CASE, 1) | seeds(replace(CASE, feature=8))) == 6
    assert input_based.plan(CASE, SETTINGS, 0) == input_based.plan(CASE, SETTINGS, 0)


def test_equal_seeds_give_equal_rows() -> None:
    assert rows_of([8.0, 4.0, 2.0, 1.0, 0.0], [0.0, 0, 0, 0, 5.0]) == rows_of([8.0, 4.0, 2.0, 1.0, 0.0], [0.0, 0, 0, 0, 5.0])
