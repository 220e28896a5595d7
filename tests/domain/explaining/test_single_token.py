from dataclasses import replace

import pytest
from domain_toys import WORDS, make_example
from explaining_toys import INPUT

from interp_assets.domain.explaining import single_token
from interp_assets.domain.explaining.shared.explainer_input import ExplainerInput
from interp_assets.domain.explaining.single_token import SingleTokenSettings


def counted(*shown, **settings) -> list[str]:
    (prompt,) = single_token.plan(ExplainerInput(7, shown, WORDS, top_token_share=1.0), SingleTokenSettings(few_shot=0, **settings), 0)
    return prompt.messages[-1][1].splitlines()


def test_prompt(check_golden) -> None:
    (prompt,) = single_token.plan(INPUT, SingleTokenSettings(few_shot=3), 0)
    check_golden("single_token", prompt)


def test_strings_are_counted_and_their_strengths_averaged() -> None:
    """ " cat" peaks at 4 and 2, mean 3 of 4: ceil(7.5) = 8. " dog" peaks once at 1: ceil(2.5) = 3. " cat sat" is one run, its peak 4."""
    shown = [
        make_example([0, 1, 3, 9], [0, 4.0, 0, 0.1]),
        make_example([1, 0, 0, 0], [2.0, 0, 0, 0]),
        make_example([9, 3, 0, 0], [1.0, 0, 0, 0]),
        make_example([0, 1, 2, 0], [0, 4.0, 2.0, 0]),
    ]
    assert counted(*shown) == ['"cat": 2 times, strength 8', '"dog": 1 time, strength 3', '"cat sat": 1 time, strength 10']
    assert counted(*shown, n_strings=1) == ['"cat": 2 times, strength 8']


def test_a_window_may_hold_several_and_the_same_with_and_without_a_space_counts_as_one() -> None:
    assert counted(make_example([0, 3, 8, 3], [1.0, 0, 1.0, 0])) == ['"the": 2 times, strength 10']


def test_a_line_break_can_be_seen() -> None:
    assert counted(make_example([14, 1], [1.0, 0])) == ['"↵": 1 time, strength 10']


@pytest.mark.parametrize(("share", "asked"), [(0.9, True), (1.0, True), (0.89, False), (0.0, False), (None, False)])
def test_it_is_asked_exactly_where_one_token_carries_the_mass(share: float | None, asked: bool) -> None:
    planned = single_token.plan(replace(INPUT, top_token_share=share), SingleTokenSettings(), 0)
    assert len(planned) == 1 if asked else planned == "not_single_token"


def test_the_share_can_be_set() -> None:
    assert single_token.plan(replace(INPUT, top_token_share=0.5), SingleTokenSettings(min_share=0.5), 0) != "not_single_token"
    assert single_token.plan(INPUT, SingleTokenSettings(min_share=0.99), 0) == "not_single_token"


def test_without_examples_nothing_is_asked() -> None:
    assert single_token.plan(ExplainerInput(7, (), WORDS, top_token_share=1.0), SingleTokenSettings(), 0) == "no_examples"
