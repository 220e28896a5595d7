"""Claims: explanations with a regular expression that says where the feature fires, so that their truth on a text can be computed."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_TOKEN = re.compile(r"\s*\w+|\s*[^\w\s]|\s+$")


@dataclass(frozen=True)
class Claim:
    """An explanation, and the places in a text where the feature fires if the explanation is true: the characters that `pattern` matches.

    Raises ValueError for an empty text, and for a pattern that is no regular expression.
    """

    text: str
    """The explanation in words."""
    pattern: str
    """Regular expression of Python's `re`; the feature fires on the characters that it matches."""

    def __post_init__(self) -> None:
        if not self.text.strip():
            raise ValueError(f"the claim with the pattern {self.pattern!r} has no text: say in words what the pattern matches")
        try:
            re.compile(self.pattern)
        except re.error as error:
            raise ValueError(f"the pattern {self.pattern!r} of {self.text!r} is no regular expression: {error}") from None

    def fires_on(self, text: str) -> tuple[bool, ...]:
        """Whether each token of `text` (see `tokens_of`) holds a matched character other than whitespace."""
        return tuple(self.fires_on_tokens(tokens_of(text)).tolist())

    def fires_on_tokens(self, tokens: Sequence[str]) -> np.ndarray:
        """bool [tokens]: whether each token holds a character, other than whitespace, that `pattern` matches in the text of all tokens."""
        text = "".join(tokens)
        claimed = np.zeros(len(text) + 1, dtype=np.int64)  # 1 at the place after each matched character
        for match in re.finditer(self.pattern, text):
            first, end = match.span()
            claimed[first + 1 : end + 1] = [not character.isspace() for character in text[first:end]]
        up_to = np.cumsum(claimed)
        ends = np.cumsum([0, *(len(token) for token in tokens)])
        return np.diff(up_to[ends]) > 0


def tokens_of(text: str) -> tuple[str, ...]:
    """The words and marks of a text, each with the whitespace before it."""
    return tuple(match.group() for match in _TOKEN.finditer(text))


def any_of(*words: str) -> str:
    """A pattern that matches each of the words where it stands as a whole word."""
    return r"\b(?:" + "|".join(words) + r")\b"
