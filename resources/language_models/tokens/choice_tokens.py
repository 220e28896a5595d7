"""The spelling of a list of choices by a tokenizer, and the options' probabilities as a walk down the trie of their spellings.

With options "1", "3" and "10", spelled `1`, `3` and `1 0`, an answer has two forks: its beginning (`1` or `3`), and the place
after `1` (`0`, or the comma or bracket that ends the answer). Only the forks have to be read.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from resources.language_models.interface import ChoiceList, UnsupportedRequest
from resources.language_models.tokens.prefix_batches import common_prefix

Spelling = tuple[int, ...]
END = -1  # stands at a fork for the token that ends an answer


@dataclass(frozen=True)
class ChoiceTokens:
    """Token ids of a list of choices: `opening`, an answer, (`separator`, an answer)…, `closing`.

    `first` spells the options for the first answer, and `later` for all other answers. Tokens with which all options begin are left out of
    both: they are in `opening` and `separator`.
    """

    opening: Spelling
    first: tuple[Spelling, ...]
    separator: Spelling
    later: tuple[Spelling, ...]
    closing: Spelling

    def end(self, last: bool) -> int:
        """The token that comes after an answer."""
        return self.closing[0] if last else self.separator[0]

    @property
    def ids(self) -> list[int]:
        """Every token that may be asked about at a fork, sorted."""
        return sorted({self.end(True), self.end(False), *(token for spelling in (*self.first, *self.later) for token in spelling)})


def choice_tokens(tokenizer: Any, choices: ChoiceList) -> ChoiceTokens:
    """The spelling of `choices`.

    Raises `UnsupportedRequest` where options cannot be told from the tokens around them, or from one another.
    """

    def ids(text: str) -> Spelling:
        return tuple(tokenizer(text, add_special_tokens=False)["input_ids"])

    def after(before: str, rests: Sequence[str]) -> list[Spelling] | None:
        start, wholes = ids(before), [ids(before + rest) for rest in rests]
        return [whole[len(start) :] for whole in wholes] if all(whole[: len(start)] == start for whole in wholes) else None

    one = f"[{choices.options[0]}"
    first, ends = after("[", choices.options), after(one, [",", "]"])
    later, comma = after(f"{one},", [f" {option}" for option in choices.options]), ","
    if later is None:
        later, comma = after(f"{one}, ", choices.options), ", "
    spelled = after(one, [comma])
    if first is None or later is None or ends is None or spelled is None or not all([*first, *later]):
        raise UnsupportedRequest(
            f"the tokenizer merges the options {choices.options} with the bracket or comma beside them: use other words"
        )
    for spellings in (first, later):
        if len(set(spellings)) < len(choices.options):
            raise UnsupportedRequest(f"the tokenizer spells two of the options {choices.options} alike: use other words")
    lead, later_lead = common_prefix(first), common_prefix(later)
    return ChoiceTokens(
        opening=ids("[") + first[0][:lead],
        first=tuple(spelling[lead:] for spelling in first),
        separator=spelled[0] + later[0][:later_lead],
        later=tuple(spelling[later_lead:] for spelling in later),
        closing=ends[1],
    )


def forks(spellings: Sequence[Spelling]) -> dict[Spelling, tuple[int, ...]]:
    """The forks of the trie of `spellings`: tokens that lead to a fork -> tokens (or END) that may follow there; empty for one spelling."""
    followers: dict[Spelling, dict[int, None]] = {}
    for spelling in spellings:
        for depth, token in enumerate((*spelling, END)):
            followers.setdefault(spelling[:depth], {})[token] = None
    return {path: tuple(tokens) for path, tokens in followers.items() if len(tokens) > 1}


def option_logprobs(spellings: Sequence[Spelling], logprobs: Mapping[Spelling, Mapping[int, float]]) -> list[float]:
    """Natural-log probability of each option: the sum of the log-shares at the forks on its way.

    `logprobs[path]` maps the tokens (or END) that may follow a fork to their log-probabilities there, up to a constant.
    """
    totals = {path: _log_sum(list(tokens.values())) for path, tokens in logprobs.items()}
    return [
        sum(
            logprobs[path][token] - totals[path]
            for depth, token in enumerate((*spelling, END))
            if (path := spelling[:depth]) in logprobs  # at any other place there is only one way
        )
        for spelling in spellings
    ]


def _log_sum(values: Sequence[float]) -> float:
    highest = max(values)
    return highest + math.log(sum(math.exp(value - highest) for value in values))
