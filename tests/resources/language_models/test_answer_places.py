"""Options' probabilities from listed alternatives, with their arithmetic."""

import math
from typing import Any

import pytest

from resources.language_models.interface import ChoiceList
from resources.language_models.tokens.answer_places import answer_places, answer_probabilities

SCALE = tuple(str(i) for i in range(11))


def listed(*places: dict[str, float]) -> list[dict[str, float]]:
    """Alternatives from probabilities."""
    return [{token: math.log(p) for token, p in place.items()} for place in places]


def close(*rows: dict[str, float]) -> Any:
    """The rows over SCALE, options not named at 0."""
    return tuple(pytest.approx([row.get(option, 0.0) for option in SCALE], abs=1e-9) for row in rows)


def test_an_option_spread_over_tokens_has_a_place() -> None:
    assert answer_places(["[", "1", "0", ",", " 3", "]"], ChoiceList(2, SCALE)) == [(1, 0, 2), (4, 1, 2)]
    assert answer_places(["no list"], ChoiceList(1, SCALE)) is None
    assert answer_places(["I say ", "[", "3", "]"], ChoiceList(1, SCALE)) == [(2, 0, 1)]


def test_options_of_one_token_are_renormalised_over_those_listed() -> None:
    found = answer_probabilities(["[", "3", "]"], listed({}, {"3": 0.6, "4": 0.2, "x": 0.1}, {}), ChoiceList(1, SCALE))
    assert found == close({"3": 0.75, "4": 0.25})


def test_a_shared_first_token_that_the_reply_took_is_divided_by_what_comes_after() -> None:
    # P("1") = 0.5 goes 0.3 : 0.1 to the ending and to "0"; "3" has 0.25. Sum 0.75.
    tokens = ["[", "1", "]"]
    found = answer_probabilities(tokens, listed({}, {"1": 0.5, "3": 0.25}, {"]": 0.3, "0": 0.1, "7": 0.5}), ChoiceList(1, SCALE))
    assert found == close({"1": 0.375 / 0.75, "10": 0.125 / 0.75, "3": 0.25 / 0.75})


def test_a_shared_first_token_that_the_reply_did_not_take_leaves_the_answer_open() -> None:
    assert answer_probabilities(["[", "3", "]"], listed({}, {"3": 0.5, "1": 0.1}, {}), ChoiceList(1, SCALE)) is None
    found = answer_probabilities(["[", "3", "]"], listed({}, {"3": 0.5, "4": 0.5}, {}), ChoiceList(1, SCALE))
    assert found == close({"3": 0.5, "4": 0.5})  # neither 1 nor 10 is listed


def test_an_option_that_is_listed_anywhere_as_one_token_is_that_token() -> None:
    tokens = ["[", "3", ", ", "10", "]"]
    found = answer_probabilities(tokens, listed({}, {"3": 0.5, "1": 0.5}, {}, {"10": 0.9, "1": 0.1}, {}), ChoiceList(2, SCALE))
    assert found == close({"3": 0.5, "1": 0.5}, {"10": 0.9, "1": 0.1})


def test_words_of_several_tokens_are_known_by_the_tokens_that_begin_them() -> None:
    form = ChoiceList(1, ("agree", "disagree"))
    found = answer_probabilities(["[", "ag", "ree", "]"], listed({}, {"ag": 0.3, "dis": 0.1, "a": 0.1}, {}, {}), form)
    assert found == (pytest.approx((0.8, 0.2)),)


def test_no_list_and_no_listed_option_have_no_probabilities() -> None:
    assert answer_probabilities(["no"], listed({"no": 1.0}), ChoiceList(1, SCALE)) is None
    assert answer_probabilities(["[", "3", "]"], listed({}, {"x": 1.0}, {}), ChoiceList(1, SCALE)) is None
