"""Naming one of several, on trials and replies written by hand."""

from collections import Counter

import numpy as np
import pytest

from interp_assets.domain.prompting.prompts import Prompt
from interp_assets.domain.scoring.shared import choice
from interp_assets.domain.statistics.metrics import wilson
from interp_assets.domain.trials import AnsweredTrial, ScorerInput, Trial, TrialItem

CASE = ScorerInput(7, "max_act", "words for animals", (), (), ())


def trial(place: int, n: int = 3, stratum: int | None = None) -> Trial:
    """A trial of n options, the true one at `place`."""
    items = tuple(TrialItem(f"feature/{i}", i == place, stratum if i == place else None, "v") for i in range(n))
    return Trial(f"t{place}", 7, "max_act", "s", Prompt((("user", "?"),), 0, 8, choice.one_of(n)), items)


@pytest.mark.parametrize(
    ("reply", "named"),
    [
        ("[2]", 1), ("2", 1), ("Text 3.", 2), ("[ 1 ]", 0), ("It is 2, yes: 2", 1), ("[2], unlike the other 4", 1), ("[2] or [2]", 1),
        ("", None), ("none of them", None), ("1 or 2", None), ("[1] or [2]", None), ("[4]", None), ("[0]", None), ("[1, 2]", None),
        ("<think>[1]? No, 3.\n</think>\n[2]", 1), ("<think>perhaps [1]", None),
        ("1" * 5000, None), ("[" + "9" * 5000 + "]", None), ("007", None), ("002", 1),
    ],
)  # fmt: skip
def test_a_reply_names_one_option_or_none(reply: str, named: int | None) -> None:
    assert choice.parse_choice(reply, 3) == named


def test_every_option_gets_a_verdict() -> None:
    verdicts = choice.grade([AnsweredTrial(trial(2), "[2]", ((0.2, 0.7, 0.1),))])
    assert [(v.prediction, v.truth, v.probability, v.outcome) for v in verdicts] == [
        (False, False, 0.2, "answered"), (True, False, 0.7, "answered"), (False, True, 0.1, "answered"),
    ]  # fmt: skip
    assert {v.probability for v in choice.grade([AnsweredTrial(trial(2), "[2]")])} == {None}


@pytest.mark.parametrize(
    ("text", "error", "outcome"), [("", None, "unparsable"), ("all", None, "unparsable"), ("[1]", "timeout", "model_error")]
)
def test_no_choice_has_a_name(text: str, error: str | None, outcome: str) -> None:
    verdicts = choice.grade([AnsweredTrial(trial(0), text, error=error)])
    assert [(v.prediction, v.outcome) for v in verdicts] == [(None, outcome)] * 3
    (row,) = choice.summarise("s", CASE, verdicts)
    assert (row.outcome, row.value, row.n_positive, row.n_unanswered) == ("no_answers", None, 0, 1)


def test_summary_by_hand() -> None:
    """Three of four answered trials are right; both of stratum 0, and one of the two of stratum 4 that were answered."""
    replies = [(trial(0, stratum=0), "[1]"), (trial(1, stratum=0), "[2]"), (trial(2, stratum=4), "[3]"), (trial(0, stratum=4), "[2]")]
    answered = [AnsweredTrial(one, text) for one, text in (*replies, (trial(1, stratum=4), "?"))]
    rows = choice.summarise("s", CASE, choice.grade(answered))
    assert [(r.metric, r.stratum, r.value, r.n_positive, r.n_negative, r.n_unanswered) for r in rows] == [
        ("accuracy", None, 3 / 4, 4, 0, 1), ("accuracy@stratum", 0, 1.0, 2, 0, 0), ("accuracy@stratum", 4, 1 / 2, 2, 0, 1),
    ]  # fmt: skip
    assert {r.floor for r in rows} == {5 / 15}
    assert (rows[0].ci_low, rows[0].ci_high) == (wilson(3, 4).ci_low, wilson(3, 4).ci_high)


def test_without_verdicts_the_row_says_why() -> None:
    (row,) = choice.summarise("s", CASE, ())
    assert (row.outcome, row.floor, row.value) == ("no_examples", None, None)
    assert choice.summarise("s", CASE, (), "no_rivals")[0].outcome == "no_rivals"


def test_every_place_is_the_true_one_equally_often() -> None:
    places = choice.even_places(23, 5, np.random.default_rng(0))
    assert sorted(Counter(places).values()) == [4, 4, 5, 5, 5]
    assert len({tuple(places[i : i + 5]) for i in range(0, 20, 5)}) > 1
    assert choice.even_places(0, 5, np.random.default_rng(0)) == []


def test_the_true_one_is_put_in_its_place() -> None:
    assert [choice.inserted("x", ["a", "b"], place) for place in range(3)] == [["x", "a", "b"], ["a", "x", "b"], ["a", "b", "x"]]
