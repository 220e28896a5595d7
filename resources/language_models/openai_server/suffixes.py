"""A suffix's log-probabilities in a server's answer. Pure.

vLLM's server sends, for each token of the prompt, its text and log-probability, and the texts and log-probabilities of the likeliest
alternatives. The suffix's tokens are found from the end of the prompt. Which tokens begin the options of its choices is learnt beforehand,
from a text that spells the options.
"""

import math
import re
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

from resources.language_models.interface import Request, SuffixChoices
from resources.language_models.tokens.suffix_tokens import refuse_alike

# The texts of the tokens that begin the options of a suffix's choices, by the character before the placeholder.
Beginnings = Mapping[str, tuple[str, ...]]
Places = Sequence[Mapping[str, Any] | None]


LARGEST_LOGPROB = 1e-3


class SuffixUnread(ValueError):
    """The server's answer does not hold the log-probabilities of the request's suffix."""


def read_suffix(
    places: Places | None, request: Request, beginnings: Beginnings
) -> tuple[tuple[float, ...] | None, tuple[tuple[float, ...], ...] | None]:
    """The suffix's log-probabilities, and the options' probabilities at its placeholders.

    `places` are the places of the prompt. An option that is not among the listed tokens counts as 0; where no option is listed at some
    placeholder, the probabilities are None. Raises `SuffixUnread` where the server's tokens do not spell the suffix.
    """
    if not request.suffix:
        return None, None
    found = _suffix_places(places, request.suffix)
    logprobs = tuple(place[0][1] for place in found)
    if request.suffix_choices is None:
        return logprobs, None
    choices = []
    for character in _placeholders(request):
        listed = dict(found[_token_at(found, character)])
        options = beginnings[request.suffix[max(character - 1, 0) : character]]
        weights = [math.exp(listed[token]) if token in listed else 0.0 for token in options]
        if not sum(weights):
            return logprobs, None
        choices.append(tuple(weight / sum(weights) for weight in weights))
    return logprobs, tuple(choices)


def is_logprob(value: Any) -> bool:
    """Whether a value is a log-probability: a number or -inf, not NaN, and above 0 by rounding at most."""
    return isinstance(value, int | float) and not isinstance(value, bool) and value <= LARGEST_LOGPROB


def before_placeholders(request: Request) -> dict[str, None]:
    """The distinct characters before the placeholders of the request's suffix ("" at its beginning); empty without choices."""
    return dict.fromkeys(request.suffix[max(place - 1, 0) : place] for place in _placeholders(request))


def spelling_text(choices: SuffixChoices, before: str) -> tuple[str, list[int]]:
    """A text with every option after the character `before`, and the index of the character at which each option begins."""
    starts, text = [], "Hello"
    for option in choices.options:
        text += f"\na{before}" if before else "\n"
        starts.append(len(text))
        text += option
    return text + ".", starts


def spelled_beginnings(places: Places | None, choices: SuffixChoices, before: str) -> tuple[str, ...]:
    """The texts of the tokens that begin the options, from the places of a prompt that ends with their `spelling_text`.

    Raises `UnsupportedRequest` naming an option that begins like another option.
    """
    text, starts = spelling_text(choices, before)
    found = _suffix_places(places, text)
    tokens = tuple(found[_token_at(found, start)][0][0] for start in starts)
    refuse_alike(choices, tokens)
    return tokens


def _placeholders(request: Request) -> list[int]:
    """The indices of the characters of the suffix at which the placeholders of its choices begin."""
    choices = request.suffix_choices
    return [match.start() for match in re.finditer(re.escape(choices.placeholder), request.suffix)] if choices else []


def _suffix_places(places: Places | None, suffix: str) -> list[list[tuple[str, float]]]:
    """The last places of a prompt, which spell `suffix`: for each place the texts and log-probabilities of its tokens, the actual token
    first.

    Raises `SuffixUnread` where a token crosses the suffix's beginning, or where the prompt ends with other text (a chat template may trim).
    """
    if not places:
        raise SuffixUnread("the server sent no log-probabilities of the prompt")
    found: list[list[tuple[str, float]]] = []
    length = 0
    for place in reversed(places):
        if length >= len(suffix) or not place:
            break
        own, *others = place.values()
        if not is_logprob(own["logprob"]) or math.isinf(own["logprob"]):
            raise SuffixUnread(f"the server gives {own['logprob']} as the log-probability of the suffix's token {own['decoded_token']!r}")
        found.append([(one["decoded_token"], float(one["logprob"])) for one in (own, *others) if is_logprob(one["logprob"])])
        length += len(found[-1][0][0])
    found.reverse()
    spelled = "".join(place[0][0] for place in found)
    if spelled != suffix:
        raise SuffixUnread(
            f"the server's tokens do not spell the suffix: they end {spelled[-80:]!r}, it ends {suffix[-80:]!r}. A suffix that begins with "
            "a letter, and ends with neither a space nor a newline, passes most chat templates; or use the transformers or vllm back end"
        )
    return found


def _token_at(places: Sequence[Sequence[tuple[str, float]]], character: int) -> int:
    """Number of the place whose own token holds this character of the spelled text."""
    ends = list(accumulate(len(place[0][0]) for place in places))
    return bisect_right(ends, character)
