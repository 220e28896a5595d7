"""The places of the answers of a `ChoiceList` among a reply's tokens, and the options' probabilities at these places. Pure.

Servers and engines return, for each token of a reply, log-probabilities of some tokens that could have stood in its place. The answers of
`[1, 0]` are two of the reply's tokens; their alternatives are tokens that differ from them only in the option (such as " 1" and " 0").
"""

import math
import re
from collections.abc import Mapping, Sequence

from resources.language_models.interface import ChoiceList

ENDINGS = ",]\"' "  # what may come after an answer


def answer_places(tokens: Sequence[str], choices: ChoiceList) -> list[tuple[int, int, int]] | None:
    """(token number, start, end) of each answer; None where the tokens spell no such list.

    `start` and `end` count characters from the beginning of that token; an option of several tokens ends beyond it. The last list of the
    right length counts. Quotes around the options and other spacing are allowed.
    """
    one = r"""["']?(""" + "|".join(re.escape(option) for option in choices.options) + r""")["']?"""
    matches = list(re.finditer(r"\[\s*" + r"\s*,\s*".join([one] * choices.count) + r"\s*\]", "".join(tokens)))
    if not matches:
        return None
    starts, place = [], 0
    for token in tokens:
        starts.append(place)
        place += len(token)
    places = []
    for group in range(1, choices.count + 1):
        begin, end = matches[-1].span(group)
        number = max(i for i, start in enumerate(starts) if start <= begin and tokens[i])
        places.append((number, begin - starts[number], end - starts[number]))
    return places


def answer_probabilities(
    tokens: Sequence[str], alternatives: Sequence[Mapping[str, float]], choices: ChoiceList
) -> tuple[tuple[float, ...], ...] | None:
    """P(option) for each answer, renormalised over the options: [count][options]; None where the reply spells no such list.

    `alternatives[i]` maps the texts of tokens that could have stood at place i to natural-log probabilities. An option that is not among
    these tokens counts as 0: a server lists only the likeliest tokens. An option that is listed anywhere as one token is that token; any
    other option is matched by tokens that begin it. Where such a token begins several options ("1" of "1" and "10"), and the reply has this
    token, the alternatives after it divide its share. Where the reply has another token, the result is None; so it is where no option is
    listed at some answer.
    """
    places = answer_places(tokens, choices)
    if places is None:
        return None
    whole = set().union(*alternatives)
    answers = []
    for number, begin, end in places:
        before, after = tokens[number][:begin], tokens[number][end:]
        single = {option for option in choices.options if before + option + after in whole}
        rests = {option: (before + option + after if option in single else before + option, option in single) for option in choices.options}
        weights = _weights(tokens, alternatives, number, rests, len(before))
        if weights is None or not any(weights.values()):
            return None
        total = sum(weights.values())
        answers.append(tuple(weights.get(option, 0.0) / total for option in choices.options))
    return tuple(answers)


def _weights(
    tokens: Sequence[str], alternatives: Sequence[Mapping[str, float]], number: int, rests: Mapping[str, tuple[str, bool]], least: int
) -> dict[str, float] | None:
    """Probability with which place `number` goes on towards each option; None where the probability cannot be known.

    `rests[option]` is the rest of the option to spell, and whether one token must spell it; only tokens longer than `least` characters
    count.
    """
    weights: dict[str, float] = dict.fromkeys(rests, 0.0)
    for token, logprob in alternatives[number].items():
        towards = [option for option, (rest, at_once) in rests.items() if _leads(token, rest, at_once, least)]
        share = math.exp(logprob)
        if len(towards) == 1:
            weights[towards[0]] += share
        elif towards:
            if token != tokens[number] or number + 1 == len(tokens):
                return None
            further = {option: (rests[option][0][len(token) :], False) for option in towards}
            divided = _weights(tokens, alternatives, number + 1, further, 0)
            total = sum(divided.values()) if divided else 0.0
            if divided is None or not total:
                return None
            for option, part in divided.items():
                weights[option] += share * part / total
    return weights


def _leads(token: str, rest: str, at_once: bool, least: int) -> bool:
    """Whether a token leads towards the rest of an option: it is the rest, where one token must be; or begins it; or ends it, where it is
    empty."""
    if at_once:
        return token == rest
    if not rest:
        return token[:1] in tuple(ENDINGS)
    return len(token) > least and rest.startswith(token)
