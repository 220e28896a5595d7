"""The clarity scorer: written texts against natural ones, at the weights that these have in the corpus."""

import json
from dataclasses import replace

import numpy as np
import pytest
from domain_toys import WORDS, make_example
from sklearn import metrics as reference

from interp_assets.domain.scoring import clarity
from interp_assets.domain.scoring.clarity import ClaritySettings
from interp_assets.domain.scoring.shared.generated import written
from interp_assets.domain.trials import AnsweredTrial, ScorerInput

SETTINGS = ClaritySettings()


def case_of(activating: list[float], silent: int, firing_share: float | None, n_strata: int = 2) -> ScorerInput:
    """Windows on which the feature's largest activations are these, in strata of equal size, and silent ones."""
    windows = [make_example([0, 1], [0, a], row=i, stratum=i * n_strata // len(activating)) for i, a in enumerate(activating)]
    windows += [make_example([0, 4], [0.0, 0.0], row=100 + i) for i in range(silent)]
    return ScorerInput(7, "max_act", "words for animals", (), tuple(windows), WORDS, firing_share)


CASE = case_of([4.0, 3.0, 2.0, 1.0], 4, 0.25)


def rows_of(scorer_input: ScorerInput, values: list[float], same: bool = False) -> dict:
    """(metric, stratum) → row, for texts with these activations: all distinct, or all the same text."""
    trials = clarity.plan(scorer_input, replace(SETTINGS, n_texts=len(values)), 0)
    answered, rest = [], list(values)
    for trial in trials:
        own, rest = rest[: len(trial.items)], rest[len(trial.items) :]
        reply = written("text", ["same" if same else f"{trial.trial_id} {i}" for i in range(len(own))])
        answered.append(AnsweredTrial(trial, reply, activations=tuple(own)))
    verdicts = clarity.grade(scorer_input, answered, SETTINGS)
    return {(row.metric, row.stratum): row for row in clarity.summarise(scorer_input, verdicts, SETTINGS, 500, 0)}


@pytest.mark.parametrize(("name", "settings"), [("clarity", SETTINGS), ("clarity_bare", replace(SETTINGS, few_shot=0, per_prompt=3))])
def test_prompts(name: str, settings: ClaritySettings, scorer_input, check_golden) -> None:
    check_golden(name, clarity.plan(scorer_input, settings, 0)[0].prompt)


def test_questions_differ_by_their_seed_and_the_last_is_short() -> None:
    trials = clarity.plan(CASE, replace(SETTINGS, n_texts=8, few_shot=2), 0)
    assert [len(trial.items) for trial in trials] == [5, 3]
    assert [item.example_id for trial in trials for item in trial.items] == [f"text/{i}" for i in range(8)]
    assert len({trial.trial_id for trial in trials}) == len({trial.prompt.seed for trial in trials}) == 2
    one, two = clarity.plan(CASE, SETTINGS, 0)
    assert one.prompt == replace(two.prompt, seed=one.prompt.seed) and one.prompt.seed != two.prompt.seed
    assert [list(json.loads(trials[1].prompt.messages[place][1])) for place in (2, 4)] == [[f"text {i}" for i in range(1, 6)]] * 2


def test_seeds_do_not_depend_on_the_explanation() -> None:
    other = replace(CASE, method="shuffled", explanation="something else")
    one, two, three = ([trial.prompt.seed for trial in clarity.plan(c, SETTINGS, seed)] for c, seed in ((CASE, 0), (other, 0), (CASE, 1)))
    assert one == two and not set(one) & set(three)


def test_scores_by_hand() -> None:
    """Texts 2.5 and 0; natural 4, 3, 2, 1 (a quarter of the corpus) and four zeros.

    Against silent: 2.5 beats all, 0 ties all: ¾. Against activating: 2.5 beats two of four, 0 none: ¼. So ¾ · ¾ + ¼ · ¼ = 0.625.
    Strata: 2.5 is below 4 and 3, and above 2 and 1.
    """
    found = rows_of(CASE, [2.5, 0.0])
    assert found["auroc", None].value == pytest.approx(0.625)
    assert found["gini", None].value == pytest.approx(0.25)
    assert (found["auroc@stratum", 0].value, found["auroc@stratum", 1].value) == (0.0, 0.5)
    assert [(row.n_positive, row.n_negative) for row in found.values()] == [(2, 8), (2, 8), (2, 2), (2, 2)]
    chance = 1 - 0.75**3.5  # texts of 21 characters are as long as 3.5 windows, of 7 and 5 characters
    assert [row.floor for row in found.values()] == pytest.approx([chance - 0.25, 0.5 + (chance - 0.25) / 2, chance / 2, chance / 2])
    assert all(row.ci_low <= row.value <= row.ci_high for row in found.values())


def test_the_weights_are_those_of_scikit_learn() -> None:
    draw = np.random.default_rng(0)
    values, activating = np.round(draw.exponential(2, 10), 1).tolist(), np.round(draw.exponential(2, 50) + 0.1, 1).tolist()
    found = rows_of(case_of(activating, 30, 0.02), values)["auroc", None].value
    weights = [1.0] * 10 + [0.02 / 50] * 50 + [0.98 / 30] * 30
    truth, score = [1] * 10 + [0] * 80, [*values, *activating, *[0.0] * 30]
    assert found == pytest.approx(reference.roc_auc_score(truth, score, sample_weight=weights))


def test_the_oracle_and_its_inverse() -> None:
    right, wrong = rows_of(CASE, [9.0] * 10), rows_of(CASE, [0.0] * 10)
    assert {row.value for row in right.values()} == {1.0} and right["gini", None].outcome == "ok"
    assert wrong["gini", None].value == pytest.approx(2 * 0.75 * 0.5 - 1)  # silent texts tie with silent windows and lose to the others
    everywhere = rows_of(case_of([4.0, 3.0], 2, 1.0), [0.0] * 10)
    assert everywhere["gini", None].value == -1.0


def test_texts_like_natural_ones_sit_at_the_floor() -> None:
    """A quarter of the texts fire, as strongly as windows do: what a description that says nothing brings."""
    draw, ginis = np.random.default_rng(0), []
    for _ in range(100):
        texts = np.where(draw.random(10) < 0.25, draw.choice([4.0, 3.0, 2.0, 1.0], 10), 0.0)
        ginis.append(rows_of(CASE, texts.tolist())["gini", None].value)
    assert np.mean(ginis) == pytest.approx(0.0, abs=0.06)


def test_an_unknown_firing_share_compares_with_silent_windows_alone() -> None:
    found = rows_of(replace(CASE, firing_share=None), [2.5, 0.0])
    assert found["auroc", None].value == pytest.approx(0.75)
    assert (found["auroc", None].n_negative, found["auroc@stratum", 1].value) == (4, 0.5)


def test_a_text_that_is_written_again_counts_once() -> None:
    found = rows_of(CASE, [2.5] * 10, same=True)["gini", None]
    assert (found.n_positive, found.n_unanswered, found.value) == (1, 0, pytest.approx(2 * (0.75 + 0.25 * 0.5) - 1))


@pytest.mark.parametrize(
    ("reply", "error", "verdict"),
    [("", None, "unparsable"), ("I would rather not.", None, "unparsable"), (written("text", ["a"]), "timeout", "model_error")],
)
def test_silent_rambling_and_broken_replies_end_in_named_outcomes(reply, error, verdict) -> None:
    trials = clarity.plan(CASE, SETTINGS, 0)
    assert {clarity.texts(AnsweredTrial(trial, reply, error=error)) for trial in trials} == {()}
    verdicts = clarity.grade(CASE, [AnsweredTrial(trial, reply, error=error, activations=()) for trial in trials], SETTINGS)
    assert [v.outcome for v in verdicts] == [verdict] * 10
    rows = clarity.summarise(CASE, verdicts, SETTINGS, 10, 0)
    assert {(row.outcome, row.value) for row in rows} == {("no_answers", None)} and rows[0].n_unanswered == 10


def test_a_short_reply_leaves_the_rest_truncated() -> None:
    trials = clarity.plan(CASE, SETTINGS, 0)
    answered = [AnsweredTrial(trial, written("text", ["a", "b"]), activations=(5.0, 0.0)) for trial in trials]
    assert clarity.texts(answered[0]) == ("a", "b")
    verdicts = clarity.grade(CASE, answered, SETTINGS)
    assert [v.outcome for v in verdicts] == (["answered"] * 2 + ["truncated"] * 3) * 2
    row = clarity.summarise(CASE, verdicts, SETTINGS, 10, 0)[0]
    assert (row.outcome, row.n_positive, row.n_unanswered) == ("ok", 2, 6)


@pytest.mark.parametrize(
    ("scorer_input", "outcome"),
    [
        (replace(CASE, explanation=None), "no_explanation"),
        (replace(CASE, held_out=()), "no_examples"),
        (case_of([1.0], 0, 0.5), "one_class"),
        (case_of([1.0], 0, None), "one_class"),
    ],
)
def test_nothing_to_ask_says_why(scorer_input: ScorerInput, outcome: str) -> None:
    assert clarity.plan(scorer_input, SETTINGS, 0) == ()
    assert {(row.metric, row.outcome, row.floor) for row in clarity.summarise(scorer_input, (), SETTINGS, 10, 0)} == {
        ("gini", outcome, None), ("auroc", outcome, None),
    }  # fmt: skip


def test_equal_seeds_give_equal_rows() -> None:
    assert rows_of(CASE, [2.5, 0.0, 1.5]) == rows_of(CASE, [2.5, 0.0, 1.5])
