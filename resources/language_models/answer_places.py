"""Where the answers of a `ChoiceList` stand among a reply's tokens, and the options' probabilities there. Pure.

Servers and engines return, for each token of a reply, log-probabilities of some tokens that could have stood there. The answers of
`[1, 0]` are two of those tokens; their alternatives are tokens that differ from them in the option alone (" 1" and " 0", say).
"""

import math
import re
from collections.abc import Mapping, Sequence

from resources.language_models.interface import ChoiceList


def answer_places(tokens: Sequence[str], choices: ChoiceList) -> list[tuple[int, int, int]] | None:
    """(token number, start, end of the option within that token) of each answer; None where the tokens spell no such list.

    The last list of the right length counts. Quotes around the options and other spacing are allowed. None also where an option is spread
    over several tokens.
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
        if end > starts[number] + len(tokens[number]):
            return None
        places.append((number, begin - starts[number], end - starts[number]))
    return places


def answer_probabilities(
    tokens: Sequence[str], alternatives: Sequence[Mapping[str, float]], choices: ChoiceList
) -> tuple[tuple[float, ...], ...] | None:
    """P(option) for each answer, renormalised over the options: [count][options]; None where the reply spells no such list.

    `alternatives[i]` maps the text of tokens that could have stood at place i to natural-log probabilities. An option that is not among
    them counts as 0: a server lists the likeliest tokens only. None where no option at all is listed at some answer.
    """
    places = answer_places(tokens, choices)
    if places is None:
        return None
    answers = []
    for number, begin, end in places:
        before, after = tokens[number][:begin], tokens[number][end:]
        listed = [alternatives[number].get(before + option + after) for option in choices.options]
        known = [value for value in listed if value is not None]
        if not known:
            return None
        highest = max(known)
        weights = [0.0 if value is None else math.exp(value - highest) for value in listed]
        answers.append(tuple(weight / sum(weights) for weight in weights))
    return tuple(answers)
