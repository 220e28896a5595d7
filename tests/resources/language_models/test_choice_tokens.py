"""Spellings of lists of choices with tokenizers that merge in different ways, and options' probabilities with their arithmetic."""

import math
import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resources.language_models.interface import ChoiceList, UnsupportedRequest
from resources.language_models.tokens.choice_tokens import END, choice_tokens, forks, option_logprobs


class Splitting:
    """A tokenizer whose tokens are what a regular expression matches; the id of a token is the number of its first use."""

    def __init__(self, pattern: str) -> None:
        self.pattern, self.known = pattern, {}

    def __call__(self, text: str, add_special_tokens: bool) -> dict[str, list[int]]:
        return {"input_ids": [self.known.setdefault(token, len(self.known)) for token in re.findall(self.pattern, text)]}

    def spelled(self, ids: tuple[int, ...]) -> list[str]:
        texts = {number: token for token, number in self.known.items()}
        return [texts[number] for number in ids]


DIGITS, NUMBERS, SPACED, COMMAS = r"\w|\W", r"\d+|\W", r" ?\d|\D", r", |\d|\W"


@pytest.mark.parametrize(
    ("pattern", "separator", "later"),
    [
        (DIGITS, [",", " "], [["1"], ["3"], ["1", "0"]]),
        (NUMBERS, [",", " "], [["1"], ["3"], ["10"]]),
        (SPACED, [","], [[" 1"], [" 3"], [" 1", "0"]]),
        (COMMAS, [", "], [["1"], ["3"], ["1", "0"]]),
    ],
)
def test_a_list_is_spelled_as_the_tokenizer_spells_it(pattern: str, separator: list[str], later: list[list[str]]) -> None:
    tokenizer = Splitting(pattern)
    tokens = choice_tokens(tokenizer, ChoiceList(2, ("1", "3", "10")))
    assert tokenizer.spelled(tokens.opening) == ["["] and tokenizer.spelled(tokens.closing) == ["]"]
    assert tokenizer.spelled(tokens.separator) == separator
    assert [tokenizer.spelled(spelling) for spelling in tokens.later] == later
    for first, one in zip(tokens.first, ("1", "3", "10"), strict=True):
        for second, other in zip(tokens.later, ("1", "3", "10"), strict=True):
            whole = (*tokens.opening, *first, *tokens.separator, *second, *tokens.closing)
            assert tokenizer.spelled(whole) == re.findall(pattern, f"[{one}, {other}]")


def test_what_all_options_begin_with_is_forced() -> None:
    tokenizer = Splitting(DIGITS)
    tokens = choice_tokens(tokenizer, ChoiceList(1, ("10", "11")))
    assert tokenizer.spelled(tokens.opening) == ["[", "1"]
    assert [tokenizer.spelled(spelling) for spelling in tokens.first] == [["0"], ["1"]]


def test_options_that_merge_with_a_bracket_or_are_spelled_alike_are_refused() -> None:
    with pytest.raises(UnsupportedRequest, match="merges the options"):
        choice_tokens(Splitting(r"\[1|."), ChoiceList(1, ("1", "0")))
    with pytest.raises(UnsupportedRequest, match="spells two of the options"):
        choice_tokens(Splitting(r"\S"), ChoiceList(1, ("1", "1 ")))


def test_forks_and_the_product_along_a_way() -> None:
    one, three, ten = (1,), (3,), (1, 0)
    assert forks([one, three, ten]) == {(): (1, 3), (1,): (END, 0)}
    assert forks([one, three]) == {(): (1, 3)}
    assert forks([ten]) == {}
    # 1 : 3 as 0.6 : 0.2, and after 1 the ending : 0 as 0.1 : 0.3.
    logprobs = {(): {1: math.log(0.6), 3: math.log(0.2)}, (1,): {END: math.log(0.1), 0: math.log(0.3)}}
    found = [math.exp(value) for value in option_logprobs([one, three, ten], logprobs)]
    assert found == pytest.approx([0.75 * 0.25, 0.25, 0.75 * 0.75])


@given(st.sets(st.lists(st.integers(0, 2), min_size=1, max_size=4).map(tuple), min_size=1, max_size=9), st.randoms())
def test_probabilities_sum_to_one_whatever_the_spellings(spelled: set[tuple[int, ...]], chance) -> None:
    spellings = sorted(spelled)
    logprobs = {path: {token: chance.uniform(-9, 0) for token in tokens} for path, tokens in forks(spellings).items()}
    assert math.fsum(math.exp(value) for value in option_logprobs(spellings, logprobs)) == pytest.approx(1.0)
    for shorter, longer in pairwise(spellings):  # a way that ends where another goes on is told from it
        if longer[: len(shorter)] == shorter:
            assert END in forks(spellings)[shorter]
