"""Lists of tokens as explanations: `the tokens "cat", "dog"`, or `tokens before "York", "Jersey"`.

A list is written for people and language models, and a machine reads it back. Tokens are compared by `token_key`: with capitals, without
outer spaces, on one line.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, chain, pairwise

import numpy as np

from interp_assets.domain.prompting.rendering import visible

THESE, BEFORE = "the tokens ", "tokens before "
SEPARATOR = '", "'
SPACE = "␣"


@dataclass(frozen=True)
class TokenList:
    """The keys of the listed tokens, heaviest first. With `before`, the list speaks of every token that stands before a listed token."""

    keys: tuple[str, ...]
    before: bool = False

    def __post_init__(self) -> None:
        assert self.keys and all(keyed == token_key(keyed) and SEPARATOR not in keyed for keyed in self.keys), self.keys

    def __str__(self) -> str:
        return f'{BEFORE if self.before else THESE}"{SEPARATOR.join(self.keys)}"'


def token_key(text: str) -> str:
    """The text by which tokens are compared: on one line, without outer spaces, runs of spaces as one; of spaces alone, each as ␣."""
    shown = visible(text)
    return re.sub(" +", " ", shown.strip(" ")) or SPACE * len(shown)


def read_token_list(explanation: str) -> TokenList | None:
    """The list that an explanation writes out; None where it does not have the form of a list."""
    for head in (THESE, BEFORE):
        body = explanation.removeprefix(head)
        if body != explanation and len(body) > 2 and body[0] == body[-1] == '"':
            keys = tuple(dict.fromkeys(body[1:-1].split(SEPARATOR)))
            return TokenList(keys, head == BEFORE) if all(keyed and keyed == token_key(keyed) for keyed in keys) else None
    return None


def matches_of_lists(cases: Sequence[tuple[TokenList, Sequence[Sequence[str]]]]) -> list[list[np.ndarray]]:
    """For each list with its windows of token texts, whether the list speaks of each token: a boolean array [tokens] a window.

    All windows of all lists are matched together: every distinct text gets a number, and a token of list i with number k is looked up as
    one whole number among the pairs (i, k) of all lists. A token list with `before` speaks of a token where its successor is listed.
    """
    windows = [window for _, own in cases for window in own]
    texts = list(chain.from_iterable(windows))
    if not texts:
        return [[np.zeros(0, dtype=bool) for _ in own] for _, own in cases]
    lengths = np.array([len(window) for window in windows])
    number_of = {text: number for number, text in enumerate(dict.fromkeys(texts))}
    key_numbers: dict[str, int] = {}
    key_of_text = np.array([key_numbers.setdefault(token_key(text), len(key_numbers)) for text in number_of], dtype=np.int64)
    key = key_of_text[np.fromiter((number_of[text] for text in texts), dtype=np.int64, count=len(texts))]
    n_keys = len(key_numbers)
    listed = np.unique(
        [case * n_keys + key_numbers[keyed] for case, (own, _) in enumerate(cases) for keyed in own.keys if keyed in key_numbers]
    ).astype(np.int64)
    case = np.repeat(np.arange(len(cases)), [len(own) for _, own in cases])
    token_case = np.repeat(case, lengths)
    pair = token_case * n_keys + key
    place = np.minimum(np.searchsorted(listed, pair), max(len(listed) - 1, 0))
    matched = listed[place] == pair if len(listed) else np.zeros(len(pair), dtype=bool)
    ends = np.cumsum(lengths)
    before = np.array([own.before for own, _ in cases])[token_case]
    following = np.append(matched[1:], False)
    following[ends[lengths > 0] - 1] = False
    parts = np.split(np.where(before, following, matched), ends[:-1])
    firsts = list(accumulate((len(own) for _, own in cases), initial=0))
    return [parts[first:last] for first, last in pairwise(firsts)]
