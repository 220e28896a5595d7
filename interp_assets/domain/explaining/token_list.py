"""The token_list explainer: the feature's heaviest tokens as a list, without any model. It is the explanation to beat.

The heaviest tokens are the tokens with the largest sums of activations over the shown windows: `the tokens "cat", "dog"`. Some features say
more by what follows: `tokens before "York", "Jersey"` lists the tokens after the activations, by the same sums. This list is taken where it
tells the tokens on which the feature fires better from the silent tokens of the same windows; each window is held against the list of the
other windows (`contrast`), so that no list gains by rare tokens of one window.

A machine can match the list with any window: see the scorer `matcher`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from interp_assets.domain.bounds import PositiveCount, PositiveShare
from interp_assets.domain.explaining.shared.explainer_input import ExplainerInput, Reads
from interp_assets.domain.machine_readable.token_lists import SEPARATOR, TokenList, token_key
from interp_assets.domain.prompting.rendering import over_characters, token_strings
from interp_assets.domain.trials import Explanation

NAME: str = "token_list"
VERSION: str = "token_list/1"
READS: frozenset[Reads] = frozenset({"examples"})

HALF_CHARACTER = "\ufffd"
"""Stands in the texts of tokens that are parts of characters; such tokens look alike, and are not listed."""
ROUNDING = 1e-9
"""A sum that is left after a window's own share is taken off counts as nothing up to this."""
Window = tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class TokenListSettings:
    """How many tokens are listed, and of what kind."""

    n_tokens: PositiveCount = 10
    """Most tokens of the list. Unit: tokens."""
    next_tokens: bool = True
    """Whether the list may be of the tokens after the activations, where they say more."""
    min_gain: PositiveShare = 0.1
    """By how much the list of next tokens must do better to be taken. Unit: difference of two shares."""


def explain(explainer_input: ExplainerInput, settings: TokenListSettings) -> Explanation:
    """The list of one feature; "no_examples" without shown examples, or where no token of the shown examples has a text."""
    windows = [_window(explainer_input, number) for number in range(len(explainer_input.shown))]
    masses = [_masses(window, 0) for window in windows]
    if not any(masses):
        return Explanation(explainer_input.feature, NAME, None, "no_examples", "", VERSION)
    listed = TokenList(_heaviest(masses, settings.n_tokens))
    next_masses = [_masses(window, 1) for window in windows]
    if settings.next_tokens and any(next_masses):
        gain = contrast(windows, 1, settings.n_tokens) - contrast(windows, 0, settings.n_tokens)
        if gain >= settings.min_gain:
            listed = TokenList(_heaviest(next_masses, settings.n_tokens), before=True)
    return Explanation(explainer_input.feature, NAME, str(listed), "ok", "", VERSION)


def contrast(windows: Sequence[Window], offset: int, n_tokens: int) -> float:
    """How well lists of the tokens `offset` places after the activations tell firing tokens from silent tokens, -1 to 1; chance is 0.

    The share of the activation that lies on tokens that the list fits, less the share of silent tokens that it fits, over all windows. A
    window's list is made from the other windows.
    """
    masses = [_masses(window, offset) for window in windows]
    total = _summed(masses)
    hit, activation, false, silent = 0.0, 0.0, 0, 0
    for window, own in zip(windows, masses, strict=True):
        others = {token: mass - own.get(token, 0.0) for token, mass in total.items()}
        listed = set(_heaviest([others], n_tokens))
        for place in range(len(window) - offset):
            value, fits = window[place][1], window[place + offset][0] in listed
            hit, activation = hit + value * fits, activation + value
            false, silent = false + (fits and not value), silent + (not value)
    return (hit / activation if activation else 0.0) - (false / silent if silent else 0.0)


def _window(explainer_input: ExplainerInput, number: int) -> Window:
    """(key, activation) of each token of a shown window; the tokens of one character are one, as active as the most active of them."""
    example = explainer_input.shown[number]
    texts = token_strings(example.token_ids, explainer_input.token_texts)
    activations = over_characters(texts, example.activations)
    return tuple((token_key(text), value) for text, value in zip(texts, activations, strict=True) if text)


def _masses(window: Window, offset: int) -> dict[str, float]:
    """Summed activation by the key of the token `offset` places later."""
    masses: dict[str, float] = {}
    for (_, value), (token, _) in zip(window, window[offset:], strict=False):
        if value > 0 and SEPARATOR not in token and HALF_CHARACTER not in token:
            masses[token] = masses.get(token, 0.0) + value
    return masses


def _heaviest(masses: Sequence[dict[str, float]], n_tokens: int) -> tuple[str, ...]:
    """The keys with the largest sums, heaviest first, of equals the first that occurs; keys without any activation are left out."""
    kept = [(token, mass) for token, mass in _summed(masses).items() if mass > ROUNDING]
    return tuple(token for token, _ in sorted(kept, key=lambda pair: -pair[1])[:n_tokens])


def _summed(masses: Sequence[dict[str, float]]) -> dict[str, float]:
    """The sums by key, in order of appearance."""
    total: dict[str, float] = {}
    for own in masses:
        for token, mass in own.items():
            total[token] = total.get(token, 0.0) + mass
    return total
