"""Log-probabilities of a suffix where the engine's prefix cache held a part of the prompt: which places are asked about once more."""

import math
from types import SimpleNamespace
from typing import Any

import pytest

from resources.language_models.interface import Message, Request, SuffixChoices
from resources.language_models.tokens.suffix_tokens import SuffixTokens
from resources.language_models.vllm_engine.follow_ups import (
    EngineRequest,
    FollowUp,
    negligible,
    suffix_probabilities,
    unread_beginning,
    unread_places,
)

BEFORE, SUFFIX = [10, 11, 12, 13], SuffixTokens((20, 21, 22), (1,), ((30, 31),))
REQUEST = Request((Message("user", "?"),), 0, suffix="abc", suffix_choices=SuffixChoices("b", ("0", "1")))


def place(**logprobs: float) -> dict[int, Any]:
    """Log-probabilities by token; the likeliest has rank 1."""
    ranks = sorted(logprobs.values(), reverse=True)
    return {int(name[1:]): SimpleNamespace(logprob=value, rank=ranks.index(value) + 1) for name, value in logprobs.items()}


LISTED = [place(t20=-0.5), place(t21=-2.0, t30=math.log(0.3), t31=math.log(0.1)), place(t22=-1.5)]


def answered(cached: int, listed: list[Any]) -> EngineRequest:
    """A request whose output has `listed` at its last places. At places that came out of the cache stands anything, or nothing."""
    output = SimpleNamespace(num_cached_tokens=cached, prompt_logprobs=listed)
    return EngineRequest(REQUEST, [*BEFORE, *SUFFIX.ids], SUFFIX, output)


ANYTHING = place(t0=-9.0)


@pytest.mark.parametrize(
    "listed", [[None, ANYTHING, ANYTHING, ANYTHING, *LISTED], [None, ANYTHING, *LISTED]], ids=["whole list", "computed places alone"]
)
def test_a_cached_prefix_leaves_the_whole_suffix(listed: list[Any]) -> None:
    # Token 13 before the suffix is computed: the cache held three of the four tokens before it.
    request = answered(3, listed)
    assert unread_beginning(request) == 0 and unread_places(request) == []
    chosen, ((no, yes),) = suffix_probabilities(request)
    assert chosen == (-0.5, -2.0, -1.5) and (no, yes) == pytest.approx((0.75, 0.25))


def test_the_suffixs_first_tokens_are_asked_about_where_the_cache_held_the_tokens_before_them() -> None:
    request = answered(5, [None, ANYTHING, ANYTHING, ANYTHING, ANYTHING, ANYTHING, LISTED[2]])
    assert unread_beginning(request) == 2
    assert unread_places(request) == [FollowUp(0, (10, 11, 12, 13), (20,)), FollowUp(1, (10, 11, 12, 13, 20), (21, 30, 31))]
    request.found = {0: {20: -0.5}, 1: {21: -2.0, 30: math.log(0.3), 31: math.log(0.1)}}
    chosen, ((no, yes),) = suffix_probabilities(request)
    assert chosen == (-0.5, -2.0, -1.5) and (no, yes) == pytest.approx((0.75, 0.25))


def test_a_list_shorter_than_the_computed_places_counts_as_unread() -> None:
    assert unread_beginning(answered(0, [None, LISTED[2]])) == 2


def test_an_unlisted_option_that_can_have_next_to_nothing_counts_as_0() -> None:
    # Option 30 has 0.8. Token 7, with 1e-6, is the least likely of the three likeliest, so that option 31 has at most that.
    here = place(t30=math.log(0.8), t8=math.log(0.1), t7=math.log(1e-6))
    assert negligible(here, (30, 31)) and not negligible(here, (31, 8000))
    # The text's own token is listed whatever its rank: it says nothing of option 31, which may have almost the 0.1 of token 8.
    rare = {30: here[30], 8: here[8], 21: SimpleNamespace(logprob=-30.0, rank=900)}
    assert not negligible(rare, (30, 31))
    request = answered(0, [None, ANYTHING, ANYTHING, ANYTHING, LISTED[0], here | place(t21=-2.0), LISTED[2]])
    assert unread_places(request) == []
    assert suffix_probabilities(request) == ((-0.5, -2.0, -1.5), ((1.0, 0.0),))


def test_an_unlisted_option_is_asked_about_once_more() -> None:
    request = answered(0, [None, ANYTHING, ANYTHING, ANYTHING, LISTED[0], place(t21=-2.0, t30=-1.0), LISTED[2]])
    assert unread_places(request) == [FollowUp(1, (10, 11, 12, 13, 20), (21, 30, 31))]
