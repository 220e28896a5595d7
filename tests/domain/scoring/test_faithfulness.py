from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from domain_toys import split_texts

from interp_assets.domain.prompting.prompts import Choices
from interp_assets.domain.scoring import faithfulness
from interp_assets.domain.scoring.faithfulness import FaithfulnessSettings
from interp_assets.domain.steering.steered_texts import SteeredRun, SteeredText
from interp_assets.domain.trials import AnsweredTrial, ScorerInput, ScoreRow, Trial

SETTINGS = FaithfulnessSettings()
N = 10
SHARES = {0.33: 0.4, 1.0: 0.7, -0.5: 0.0, None: 0.1}
"""Of ten steered completions four speak of animals at 0.33 nats, seven at 1, none at -0.5, one ablated; of the clean ones two do."""


def completion(share: float, number: int) -> str:
    return f" a cat,\nnumber {number}" if number < share * N else f" nothing, number {number}"


def run_at(target: float | None, met: bool = True) -> SteeredRun:
    texts = tuple(SteeredText(i, "It was", completion(0.2, i), completion(SHARES[target], i)) for i in range(N))
    return SteeredRun(target, met, texts)


@pytest.fixture
def steered(scorer_input: ScorerInput) -> ScorerInput:
    """The common case steered to three targets and ablated."""
    return replace(scorer_input, held_out=(), steered=tuple(run_at(target) for target in SHARES))


def animal(text: str) -> int:
    return 2 if "cat" in text else 0


def ask(trials: tuple[Trial, ...], judge: Callable[[str], int]) -> list[AnsweredTrial]:
    return [AnsweredTrial(trial, str([judge(text) for text in split_texts(trial.prompt.messages[-1][1])])) for trial in trials]


def rows_of(scorer_input: ScorerInput, judge: Callable[[str], int], n_bootstrap: int = 500, seed: int = 0) -> dict[str, ScoreRow]:
    verdicts = faithfulness.grade(scorer_input, ask(faithfulness.plan(scorer_input, SETTINGS, seed), judge), SETTINGS)
    return {row.metric: row for row in faithfulness.summarise(scorer_input, verdicts, SETTINGS, n_bootstrap, seed)}


@pytest.mark.parametrize(("name", "few_shot"), [("faithfulness", 2)])
def test_prompts(name: str, few_shot: int, steered, check_golden) -> None:
    check_golden(name, faithfulness.plan(steered, replace(SETTINGS, few_shot=few_shot), 0)[0].prompt)


def test_clean_texts_are_judged_once_and_prompts_not_at_all(steered) -> None:
    trials = faithfulness.plan(steered, SETTINGS, 0)
    items = [item for trial in trials for item in trial.items]
    assert Counter(item.variant for item in items) == {"clean": N, "0.33": N, "1": N, "-0.5": N, "zero_ablation": N}
    assert len({item.example_id for item in items}) == len(items) == 5 * N and len(trials) == N
    assert all(item.truth == (item.variant != "clean") and item.stratum is None for item in items)
    texts = [text for trial in trials for text in split_texts(trial.prompt.messages[-1][1])]
    assert len(texts) == 5 * N and not any("It was" in text for text in texts)
    assert {trial.prompt.choices for trial in trials} == {Choices(5, ("0", "1", "2"))}


def test_explanations_of_a_feature_are_judged_on_the_same_groups(steered) -> None:
    one, two = (faithfulness.plan(c, SETTINGS, 0) for c in (steered, replace(steered, method="shuffled", explanation="numbers")))
    assert [t.items for t in one] == [t.items for t in two] and not {t.trial_id for t in one} & {t.trial_id for t in two}
    assert [t.items for t in one] != [t.items for t in faithfulness.plan(steered, SETTINGS, 1)]


def test_verdicts_hold_the_texts_that_were_rated(steered) -> None:
    verdicts = faithfulness.grade(steered, ask(faithfulness.plan(steered, SETTINGS, 0), animal), SETTINGS)
    assert {(v.outcome, v.value == 2) for v in verdicts if "cat" in v.text} == {("answered", True)}
    assert Counter(v.variant for v in verdicts if v.value == 2) == {"clean": 2, "0.33": 4, "1": 7, "zero_ablation": 1}
    assert next(v.text for v in verdicts if v.example_id == "0/clean") == "a cat, number 0"


def test_rises_by_hand(steered) -> None:
    """Clean 0.2, so a headroom of 0.8: (0.4 - 0.2) / 0.8 and (0.7 - 0.2) / 0.8; falls of 0.2 and 0.1 stay as they are."""
    rows = rows_of(steered, animal)
    assert list(rows) == ["rise", "rise@0.33", "rise@1", "rise@-0.5", "rise@zero_ablation"]
    values = {metric: row.value for metric, row in rows.items()}
    assert values == pytest.approx({"rise": 0.625, "rise@0.33": 0.25, "rise@1": 0.625, "rise@-0.5": -0.2, "rise@zero_ablation": -0.1})
    assert (rows["rise"].n_positive, rows["rise"].n_negative, rows["rise"].n_unanswered) == (4 * N, N, 0)
    assert (rows["rise@1"].n_positive, rows["rise@1"].n_negative) == (N, N)
    for row in rows.values():
        assert row.ci_low <= row.value <= row.ci_high and row.ci_low < row.ci_high


def test_interventions_that_missed_their_target_count_for_nothing(steered) -> None:
    missed = replace(steered, steered=(run_at(0.33), run_at(1.0, met=False)))
    rows = rows_of(missed, animal)
    assert {metric: row.value for metric, row in rows.items()} == pytest.approx({"rise": 0.25, "rise@0.33": 0.25})


def test_where_every_intervention_makes_it_rarer_the_sign_is_kept(steered) -> None:
    """The inverse judge: clean 0.8; steered 0.6 and 0.3."""
    falling = replace(steered, steered=(run_at(0.33), run_at(1.0)))
    rows = rows_of(falling, lambda text: 2 - animal(text))
    assert {metric: row.value for metric, row in rows.items()} == pytest.approx({"rise": -0.2, "rise@0.33": -0.2, "rise@1": -0.5})


def test_an_explanation_of_everything_has_no_headroom_and_one_of_nothing_no_rise(steered) -> None:
    for constant in (0, 1, 2):
        rows = rows_of(steered, lambda text, constant=constant: constant)
        assert {(row.value, row.floor) for row in rows.values()} == {(0.0, 0.0)}
        assert all(row.ci_low < 0 < row.ci_high for row in rows.values())  # as many prompts cannot exclude a small effect


def test_the_floor_is_the_mean_over_all_ways_to_deal_the_ratings_out() -> None:
    """One prompt with a clean text and two steered ones, one of the three rated 2: dealt out it is the clean one in a third of the cases,
    a rise of -1, else one of the others, a rise of 1: 1/3. A single intervention rises by 1, falls by 1 or stays, a third each: 0."""
    texts = (SteeredText(0, "", "x", "cat"),)
    runs = (SteeredRun(1.0, True, texts), SteeredRun(3.0, True, (replace(texts[0], steered="y"),)))
    rows = rows_of(ScorerInput(7, "m", "animals", (), (), (), steered=runs), animal, n_bootstrap=4000)
    assert rows["rise"].value == 1.0 and rows["rise"].floor == pytest.approx(1 / 3, abs=0.05)
    assert rows["rise@1"].floor == pytest.approx(0.0, abs=0.05)


def test_a_judge_that_guesses_sits_at_the_floor(steered) -> None:
    """Which is above 0: it is the largest of four rises. An explanation of what no text holds is at 0, and so is its floor."""
    draw = np.random.default_rng(0)
    found = [rows_of(steered, lambda text: int(draw.integers(3)), n_bootstrap=50, seed=seed)["rise"] for seed in range(60)]
    assert np.mean([row.value - row.floor for row in found]) == pytest.approx(0.0, abs=0.06)
    assert np.mean([row.floor for row in found]) > 0.1
    shuffled = rows_of(steered, lambda text: 2 * ("boat" in text))["rise"]
    assert (shuffled.value, shuffled.floor) == (0.0, 0.0)


@pytest.mark.parametrize(("reply", "error", "outcome"), [("", None, "unparsable"), ("They all fit very well.", None, "unparsable"),
                                                        ("[2, 2, 2, 2, 2]", "timeout", "model_error")])  # fmt: skip
def test_no_answer_has_a_name(reply: str, error: str | None, outcome: str, steered) -> None:
    verdicts = faithfulness.grade(
        steered, [AnsweredTrial(t, reply, error=error) for t in faithfulness.plan(steered, SETTINGS, 0)], SETTINGS
    )
    assert {(v.outcome, v.value, v.text) for v in verdicts} == {(outcome, None, None)} and len(verdicts) == 5 * N
    rows = faithfulness.summarise(steered, verdicts, SETTINGS, 50, 0)
    assert {(row.outcome, row.value, row.floor) for row in rows} == {("no_answers", None, None)}
    assert [row.n_unanswered for row in rows] == [5 * N, *[2 * N] * 4]


def test_texts_without_ratings_are_left_out_and_a_kind_of_them_is_undefined(steered) -> None:
    verdicts = faithfulness.grade(steered, ask(faithfulness.plan(steered, SETTINGS, 0), animal), SETTINGS)

    def without(*variants: str) -> dict[str, ScoreRow]:
        own = [replace(v, outcome="unparsable", value=None, text=None) if v.variant in variants else v for v in verdicts]
        return {row.metric: row for row in faithfulness.summarise(steered, own, SETTINGS, 200, 0)}

    rows = without("1")
    assert rows["rise"].value == pytest.approx(0.25) and rows["rise"].n_unanswered == N
    assert (rows["rise@1"].outcome, rows["rise@1"].value, rows["rise@1"].floor) == ("undefined", None, None)
    assert {row.outcome for row in without("clean").values()} == {"undefined"}
    first = [v for v in verdicts if int(v.example_id.split("/")[0]) != 0]  # one prompt fewer, which had a cat in all but one text
    assert faithfulness.summarise(steered, first, SETTINGS, 200, 0)[0].value == pytest.approx((6 / 9 - 1 / 9) / (8 / 9))


@pytest.mark.parametrize(
    ("changes", "outcome"),
    [({"explanation": None}, "no_explanation"), ({"steered": ()}, "not_steered"), ({"steered": (run_at(1.0, met=False),)}, "kl_not_met")],
)
def test_nothing_to_ask_says_why(changes: dict, outcome: str, steered) -> None:
    lacking = replace(steered, **changes)
    assert faithfulness.plan(lacking, SETTINGS, 0) == ()
    (row,) = faithfulness.summarise(lacking, (), SETTINGS, 100, 0)
    assert (row.metric, row.outcome, row.value, row.floor) == ("rise", outcome, None, None)


def test_equal_seeds_give_equal_rows(steered) -> None:
    assert rows_of(steered, animal) == rows_of(steered, animal)
