"""The tokens of a request's suffix, and the tokens in it that begin the options of its choices.

The suffix is tokenized by itself, and its ids follow the ids of the prompt. So its tokens do not depend on the text before it. A
placeholder is found by the characters that its tokens cover. An option's token is the token with which the option would begin there: the
text before the placeholder, back to the beginning of the previous token, is tokenized with the option in the placeholder's place.
"""

import re
from bisect import bisect_right
from dataclasses import dataclass
from functools import cache
from typing import Any

from resources.language_models.interface import Request, SuffixChoices, UnsupportedRequest
from resources.language_models.tokens.prompt_tokens import text_ids
from resources.subject.control_tokens import text_encoder


@dataclass(frozen=True)
class SuffixTokens:
    """`ids` of the suffix; `places[i]` is the index in `ids` of the token with which placeholder i begins; `option_ids[i]` [options] are
    the tokens with which the options would begin there."""

    ids: tuple[int, ...]
    places: tuple[int, ...] = ()
    option_ids: tuple[tuple[int, ...], ...] = ()


def suffix_tokens(tokenizer: Any, request: Request) -> SuffixTokens:
    """The suffix's tokens; empty for a request without a suffix.

    Raises `UnsupportedRequest` where two options begin with the same token, or where an option would merge with the token before it.
    """
    if not request.suffix:
        return SuffixTokens(())
    choices = request.suffix_choices
    if choices is None:
        return SuffixTokens(tuple(text_ids(tokenizer, request.suffix)))
    if not tokenizer.is_fast:
        raise UnsupportedRequest(f"{type(tokenizer).__name__} does not say where its tokens stand; use a model with a fast tokenizer")
    ids, spans = _encoded(tokenizer, request.suffix)
    ends = [end for _, end in spans]
    places, option_ids = [], []
    beginnings = cache(lambda before, begin: _beginnings(tokenizer, choices, before, begin))
    for match in re.finditer(re.escape(choices.placeholder), request.suffix):
        number = bisect_right(ends, match.start())
        anchor = spans[max(number - 1, 0)][0]
        places.append(number)
        option_ids.append(beginnings(request.suffix[anchor : match.start()], spans[number][0] - anchor))
    return SuffixTokens(ids, tuple(places), tuple(option_ids))


def refuse_alike(choices: SuffixChoices, beginnings: tuple[int, ...] | tuple[str, ...]) -> None:
    """Raise `UnsupportedRequest` naming the first option that begins with the same token as an earlier option."""
    seen: dict[int | str, str] = {}
    for option, token in zip(choices.options, beginnings, strict=True):
        if token in seen:
            raise UnsupportedRequest(
                f"option {option!r} begins with the same token as option {seen[token]!r} for this model's tokenizer, so that one place "
                "cannot tell them apart; use a scale of single-token options, such as 0-9."
            )
        seen[token] = option


def _beginnings(tokenizer: Any, choices: SuffixChoices, before: str, begin: int) -> tuple[int, ...]:
    """The token that begins each option after the text `before`: it covers the characters from `begin` on, like the placeholder's first
    token."""
    found = []
    for option in choices.options:
        ids, spans = _encoded(tokenizer, before + option)
        number = bisect_right([end for _, end in spans], len(before))
        if spans[number][0] != begin:
            raise UnsupportedRequest(
                f"option {option!r} merges with the text before it ({before!r}) for this model's tokenizer; put a tab before the "
                "placeholder, and use a scale of single-token options, such as 0-9."
            )
        found.append(ids[number])
    refuse_alike(choices, tuple(found))
    return tuple(found)


def _encoded(tokenizer: Any, text: str) -> tuple[tuple[int, ...], list[tuple[int, int]]]:
    """Token ids of a text, and the characters that each token covers."""
    encoder = text_encoder(tokenizer)
    if encoder.has_control(text):
        ids, spans = encoder.encode_with_spans(tokenizer, text)
        return tuple(ids), spans
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    return tuple(encoded["input_ids"]), encoded["offset_mapping"]
