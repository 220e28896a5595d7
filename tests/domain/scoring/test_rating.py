"""Ratings of natural texts: what is asked, how replies are read, and the two scores that are made of them."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from domain_toys import split_texts
from growth import assert_linear
from sklearn import metrics as reference

from interp_assets.domain.prompting.answer_lists import RATINGS, ParseFailure
from interp_assets.domain.prompting.prompts import Choices
from interp_assets.domain.scoring import purity, responsiveness
from interp_assets.domain.scoring.shared.rating import RatingSettings, grade
from interp_assets.domain.trials import AnsweredTrial, ScorerInput, Trial, Verdict

SETTINGS = RatingSettings()
BOTH = pytest.mark.parametrize("scorer", [responsiveness, purity])


def animal(text: str) -> int:
    return 2 if "cat" in text or "dog" in text else 0


def ask(trials: tuple[Trial, ...], judge: Callable[[str], int]) -> list[AnsweredTrial]:
    return [AnsweredTrial(trial, str([judge(text) for text in split_texts(trial.prompt.messages[-1][1])])) for trial in trials]


def rows_of(scorer, scorer_input: ScorerInput, judge: Callable[[str], int]) -> dict:
    verdicts = scorer.grade(scorer_input, ask(scorer.plan(scorer_input, SETTINGS, 0), judge), SETTINGS)
    return {(row.metric, row.stratum): row for row in scorer.summarise(scorer_input, verdicts, SETTINGS, 500, 0)}


def rated(rating: float | None, activation: float, stratum: int | None = None) -> Verdict:
    truth, outcome = activation > 0, "unparsable" if rating is None else "answered"
    return Verdict("t", 7, "max_act", "purity", 0, "e", truth, None, None, stratum, "v", outcome, rating, None, activation)


@pytest.mark.parametrize(("name", "few_shot"), [("rating", 2), ("rating_bare", 0)])
def test_prompts(name: str, few_shot: int, scorer_input, check_golden) -> None:
    check_golden(name, responsiveness.plan(scorer_input, replace(SETTINGS, few_shot=few_shot), 0)[0].prompt)


def test_both_scorers_ask_the_same_questions_under_their_own_names(scorer_input) -> None:
    one, two = (scorer.plan(scorer_input, SETTINGS, 0) for scorer in (responsiveness, purity))
    assert [trial.question for trial in one] == [trial.question for trial in two]
    assert [trial.items for trial in one] == [trial.items for trial in two]
    assert not {trial.trial_id for trial in one} & {trial.trial_id for trial in two}
    assert [trial.prompt.choices for trial in one] == [Choices(n, ("0", "1", "2")) for n in (5, 5, 2)]


def test_ratings_within_reasoning_are_passed_over() -> None:
    assert RATINGS.read("<think>Say [0, 0].\n</think>\n1: 2\n2: 1", 2) == (2, 1)
    assert RATINGS.read("<think>Say [0, 0].", 2) == ParseFailure("no_list")


def test_ratings_in_lists_of_their_own_are_read_in_order_where_there_are_as_many_as_texts() -> None:
    assert RATINGS.read("Text 1: [2]\nText 2: [0]\nText 3: [1]", 3) == (2, 0, 1)
    assert RATINGS.read("Text 1: [2]\nText 3: [1]", 3) == ParseFailure("bad_numbering")


@BOTH
def test_two_explanations_are_rated_on_the_same_groups_in_the_order_of_the_seed(scorer, scorer_input) -> None:
    other = replace(scorer_input, method="shuffled", explanation="something else")
    one, two = (scorer.plan(c, SETTINGS, 0) for c in (scorer_input, other))
    assert [trial.items for trial in one] == [trial.items for trial in two]
    assert [trial.items for trial in one] != [trial.items for trial in scorer.plan(scorer_input, SETTINGS, 1)]


@pytest.mark.parametrize(
    ("reply", "ratings"),
    [
        ("[0, 2, 1]", (0, 2, 1)),
        ("[0,2,1, 2]", (0, 2, 1)),
        ('["0", "2", "1"]', (0, 2, 1)),
        ("Ratings [from 0 to 2]: [2.0, 0.0, 1]", (2, 0, 1)),
        ("[2, 2, 2] at first, but [0, 2, 1]", (0, 2, 1)),
        ("[1] and then [0, 2, 1] then [2]", (0, 2, 1)),
        ("[0, 2", (0, 2)),
        ("1: 0\n2: 2\n3: 1", (0, 2, 1)),
        ("Text 1: 0\nText 2: **2**\nText 3: 1 (in part)", (0, 2, 1)),
        ("1) 0\n2) 2", (0, 2)),
        ("My ratings:\n0, 2, 1", (0, 2, 1)),
        ("021", (0, 2, 1)),
        ("<think>\nperhaps [2, 2, 2]\n</think>\n[0, 2, 1]", (0, 2, 1)),
        ("<think>\nperhaps [2, 2, 2]", "no_list"),
        ("", "empty"),
        (" \n", "empty"),
        ("all of them fit", "no_list"),
        ("[0, 3, 1]", "not_a_rating"),
        ("[low, high, low]", "not_a_rating"),
        ("[0.5, 1, 2]", "not_a_rating"),
        ("1: 0\n3: 2", "bad_numbering"),
    ],
)
def test_replies_are_read_leniently_but_never_guessed(reply: str, ratings: tuple[int, ...] | str) -> None:
    assert RATINGS.read(reply, 3) == (ParseFailure(ratings) if isinstance(ratings, str) else ratings)


@pytest.mark.parametrize("unit", ["[", "*", "[0, ", "1: ", "0, ", " ", "[1]", "0", "\n1: 1", "-", ". "])
@pytest.mark.parametrize("head", ["", "1", "1:"])
def test_a_rambling_rating_is_read_in_linear_time(head: str, unit: str) -> None:
    assert_linear(lambda n: RATINGS.read(head + unit * (n // len(unit)) + "x", 5), 10_000)


@pytest.mark.parametrize(
    ("text", "error", "outcomes"),
    [
        ("[2, 0]", None, ["answered"] * 2 + ["truncated"] * 3),
        ("I think all of them fit.", None, ["unparsable"] * 5),
        ("", None, ["unparsable"] * 5),
        ("[2, 0, 1, 0, 0]", "timeout", ["model_error"] * 5),
    ],
)
def test_every_item_gets_a_verdict(scorer_input, text: str, error: str | None, outcomes: list[str]) -> None:
    trial = responsiveness.plan(scorer_input, SETTINGS, 0)[0]
    verdicts = grade([AnsweredTrial(trial, text, error=error)])
    assert [v.outcome for v in verdicts] == outcomes
    assert [v.value for v in verdicts] == [2.0, 0.0, None, None, None] if text == "[2, 0]" else [None] * 5
    assert [v.truth for v in verdicts] == [item.truth for item in trial.items]


def test_the_activation_is_the_largest_of_the_window(scorer_input, held_out) -> None:
    verdicts = responsiveness.grade(scorer_input, ask(responsiveness.plan(scorer_input, SETTINGS, 0), animal), SETTINGS)
    assert {v.example_id: v.activation for v in verdicts} == {e.example_id: max(e.activations) for e in held_out}


def test_the_oracle_and_its_inverse(scorer_input) -> None:
    """Turned round, the silent windows are what is to be found and all share the last rank: precision 6 of 12."""
    right, wrong = (rows_of(responsiveness, scorer_input, judge) for judge in (animal, lambda text: 2 - animal(text)))
    assert (right["gini", None].value, right["auroc", None].value) == (1.0, 1.0)
    assert (wrong["gini", None].value, wrong["auroc", None].value) == (-1.0, 0.0)
    assert (right["gini", None].floor, right["auroc", None].floor) == (0.0, 0.5)
    right, wrong = (rows_of(purity, scorer_input, judge) for judge in (animal, lambda text: 2 - animal(text)))
    assert (right["average_precision", None].value, wrong["average_precision", None].value) == (1.0, 0.5)
    assert {right["precision@stratum", stratum].value for stratum in (0, 1, 2, 3, 4, 9)} == {1.0}
    assert {wrong["precision@stratum", stratum].value for stratum in (0, 1, 2, 3, 4, 9)} == {0.0}


HAND = [rated(2, 4.0, 0), rated(0, 3.0, 0), rated(1, 3.5, 0), rated(2, 1.0, 9), rated(None, 2.0, 9), rated(0, 0.0), rated(0, 0.0)]


def test_scores_by_hand(scorer_input) -> None:
    """Rated 2: 4, 1. Rated 0: 3, 0, 0. The 4 beats three, the 1 beats two: 5 of 6. Precision at the two: 1 and 2/3."""
    gini, auroc = responsiveness.summarise(scorer_input, HAND, SETTINGS, 500, 0)
    assert (gini.value, auroc.value) == (pytest.approx(2 / 3), pytest.approx(5 / 6))
    assert (gini.n_positive, gini.n_negative, gini.n_unanswered) == (2, 3, 1)
    assert gini.ci_low == pytest.approx(2 * auroc.ci_low - 1) and gini.ci_low <= gini.value <= gini.ci_high
    precision, strong, weak = purity.summarise(scorer_input, HAND, SETTINGS, 500, 0)
    # Activations 4, 3, 1, 0, 0, two of them rated 2: (1 + (1 + 1/4) / 2 + (1 + 2/4) / 3 + 2/5 · (1 + 4/4)) / 5.
    assert (precision.value, precision.floor) == (pytest.approx((1 + 2 / 3) / 2), pytest.approx(0.585))
    assert (strong.value, strong.n_positive, strong.n_negative, strong.n_unanswered) == (0.5, 1, 1, 0)
    assert (weak.value, weak.n_positive, weak.n_negative, weak.n_unanswered) == (1.0, 1, 0, 1)
    assert (strong.stratum, weak.stratum, strong.floor) == (0, 9, None)


def test_scores_equal_scikit_learn() -> None:
    draw = np.random.default_rng(0)
    verdicts = [rated(float(r), float(a)) for r, a in zip(draw.integers(0, 3, 100), draw.integers(0, 6, 100), strict=True)]
    kept = [(v.value == 2, v.activation) for v in verdicts if v.value != 1]
    truth, activation = ([one[i] for one in kept] for i in (0, 1))
    scorer_input = ScorerInput(7, "max_act", "x", (), (), ())
    gini = responsiveness.summarise(scorer_input, verdicts, SETTINGS, 10, 0)[0].value
    assert gini == pytest.approx(2 * reference.roc_auc_score(truth, activation) - 1)
    assert purity.summarise(scorer_input, verdicts, SETTINGS, 10, 0)[0].value == pytest.approx(
        reference.average_precision_score(truth, activation)
    )


def test_a_judge_that_knows_nothing_sits_at_the_floors() -> None:
    draw, scorer_input = np.random.default_rng(0), ScorerInput(7, "max_act", "x", (), (), ())
    found = {"gini": [], "auroc": [], "average_precision": []}
    for _ in range(30):
        verdicts = [rated(float(draw.integers(3)), max(0.0, i - 100.0)) for i in range(200)]
        rows = [
            *responsiveness.summarise(scorer_input, verdicts, SETTINGS, 2, 0),
            purity.summarise(scorer_input, verdicts, SETTINGS, 2, 0)[0],
        ]
        for row in rows:
            found[row.metric].append(row.value - row.floor)
    assert all(np.mean(differences) == pytest.approx(0.0, abs=0.03) for differences in found.values())


@BOTH
@pytest.mark.parametrize(
    ("verdicts", "outcome", "counts"),
    [
        ([rated(2, 1.0, 0), rated(2, 0.0)], "one_class", (2, 0, 0)),
        ([rated(1, 1.0, 0), rated(1, 0.0)], "one_class", (0, 0, 0)),
        ([rated(None, 1.0, 0), rated(None, 0.0)], "no_answers", (0, 0, 2)),
    ],
)
def test_ratings_of_one_kind_and_no_answers_are_named(scorer, scorer_input, verdicts, outcome, counts) -> None:
    row = scorer.summarise(scorer_input, verdicts, SETTINGS, 10, 0)[0]
    assert (row.metric, row.outcome, row.value) == (scorer.HEADLINE, outcome, None)
    assert (row.n_positive, row.n_negative, row.n_unanswered) == counts


def test_a_stratum_that_is_only_rated_in_between_is_undefined(scorer_input) -> None:
    rows = purity.summarise(scorer_input, [rated(1, 2.0, 0), rated(None, 1.0, 9)], SETTINGS, 10, 0)
    assert [(row.stratum, row.outcome) for row in rows[1:]] == [(0, "undefined"), (9, "no_answers")]


@BOTH
def test_nothing_to_ask_says_why(scorer, scorer_input) -> None:
    for lacking, outcome in (
        (replace(scorer_input, explanation=None), "no_explanation"),
        (replace(scorer_input, held_out=()), "no_examples"),
    ):
        assert scorer.plan(lacking, SETTINGS, 0) == ()
        assert {(row.outcome, row.value, row.floor) for row in scorer.summarise(lacking, (), SETTINGS, 10, 0)} == {(outcome, None, None)}


@BOTH
def test_equal_seeds_give_equal_rows(scorer, scorer_input) -> None:
    assert scorer.summarise(scorer_input, HAND, SETTINGS, 100, 0) == scorer.summarise(scorer_input, HAND, SETTINGS, 100, 0)
