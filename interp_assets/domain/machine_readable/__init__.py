"""Explanations that a machine can match with a window: lists of tokens, and patterns.

`readable` reads an explanation of either form. `matched_tokens` says which tokens of a window an explanation speaks of, and
`matched_in_windows` says it for the windows of many features at once.
"""

from collections.abc import Sequence

import numpy as np

from interp_assets.domain.machine_readable.patterns import Pattern, PatternError, read_pattern
from interp_assets.domain.machine_readable.token_lists import TokenList, matches_of_lists, read_token_list

MachineReadable = TokenList | Pattern


def readable(explanation: str) -> MachineReadable | None:
    """The token list or pattern that an explanation is; None for an explanation in plain words."""
    listed = read_token_list(explanation)
    if listed is not None:
        return listed
    try:
        return read_pattern(explanation)
    except PatternError:
        return None


def matched_tokens(explanation: MachineReadable, tokens: Sequence[str]) -> tuple[bool, ...]:
    """Whether the explanation speaks of each token of a window, given as the tokens' texts."""
    (found,) = matched_in_windows([(explanation, [tokens])])
    return tuple(found[0].tolist())


def matched_in_windows(cases: Sequence[tuple[MachineReadable, Sequence[Sequence[str]]]]) -> list[list[np.ndarray]]:
    """For each case, an explanation with its windows, whether the explanation speaks of each token: a boolean array [tokens] a window.

    All token lists are matched together, in a few array operations; patterns are matched window by window.
    """
    lists = [number for number, (explanation, _) in enumerate(cases) if isinstance(explanation, TokenList)]
    found: list[list[np.ndarray]] = [[] for _ in cases]
    of_lists = matches_of_lists([(explanation, windows) for explanation, windows in cases if isinstance(explanation, TokenList)])
    for number, matched in zip(lists, of_lists, strict=True):
        found[number] = matched
    for number, (explanation, windows) in enumerate(cases):
        if isinstance(explanation, Pattern):
            found[number] = [explanation.matched_tokens(window) for window in windows]
    return found
