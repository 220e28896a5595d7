"""The text of each token in its place: the texts of a run's tokens, joined, are the run's decoded text.

A token's text can depend on the tokens around it. A decoder of Llama 2's kind drops a leading space only at the beginning of a run, and a
character may be made of several tokens. Such a character is shown once, at the first of its tokens, and its further tokens have no text.
The same holds for a sequence that readers see as one character: a letter with its combining marks, an emoji joined of several.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import regex

Decode = Callable[[Sequence[int]], str]

_FRAGMENT = "\ufffd"
_JOINS = regex.compile(r"[\p{M}\p{Cf}\p{Emoji_Modifier}\p{Regional_Indicator}\p{Hangul_Syllable_Type=V}\p{Hangul_Syllable_Type=T}\ufffd]")
HELD_RUNS = 100_000
"""Most runs of parts of characters whose texts are kept in memory."""

_CHARACTER = regex.compile(r"\r|\n|\X")


class TokenTexts:
    """Texts of tokens by a tokenizer's `decode`; each text is worked out once.

    `anchor` is the id of a token that is a plain letter: the text that a token adds after it is the token's text in the middle of a run.
    `byte_ids` are the tokens of a single byte (<0xE2>).
    """

    def __init__(self, decode: Decode, anchor: int, byte_ids: frozenset[int] = frozenset()) -> None:
        self._decode, self._anchor, self._byte_ids = decode, anchor, byte_ids
        self._anchor_text = decode([anchor])
        self._inside: dict[int, str] = {}
        self._first: dict[int, str] = {}
        self._runs: dict[tuple[int, ...], list[str]] = {}

    def alone(self, token_ids: Sequence[int]) -> list[str]:
        """Each token's own text in the middle of a run; U+FFFD for a part of a character."""
        return [self._text_inside(token_id) for token_id in token_ids]

    def of_run(self, token_ids: Sequence[int]) -> list[str]:
        """The text of each token of a run; joined they are `decode(token_ids)`."""
        if not len(token_ids):
            return []
        texts = [self._text_first(token_ids[0]), *self.alone(token_ids[1:])]
        if not any(_JOINS.search(text) for text in texts):
            return texts
        return whole_characters(self._with_fragments(token_ids, texts))

    def is_plain(self, token_ids: np.ndarray) -> np.ndarray:
        """Bool [n]: whether a token's text is the same in every place, except at the beginning of a run."""
        return np.array([_JOINS.search(self._text_inside(token_id)) is None for token_id in token_ids.tolist()], dtype=bool)

    def _text_inside(self, token_id: int) -> str:
        if token_id not in self._inside:
            both = self._decode([self._anchor, token_id])
            self._inside[token_id] = both[len(self._anchor_text) :] if both.startswith(self._anchor_text) else self._text_first(token_id)
        return self._inside[token_id]

    def _text_first(self, token_id: int) -> str:
        if token_id not in self._first:
            self._first[token_id] = self._decode([token_id])
        return self._first[token_id]

    def _with_fragments(self, token_ids: Sequence[int], texts: list[str]) -> list[str]:
        """`texts` with every run of parts of characters decoded together."""
        place = 0
        while place < len(texts):
            end = place
            while end < len(texts) and (_FRAGMENT in texts[end] or token_ids[end] in self._byte_ids):
                end += 1
            if end > place:
                texts[place:end] = self._parts(tuple(token_ids[place:end]), inside=place > 0)
            place = end + 1
        return texts

    def _parts(self, run: tuple[int, ...], inside: bool) -> list[str]:
        """The texts of a run of parts of characters, inside a text or at its beginning."""
        key = run if inside else (-1, *run)
        if key not in self._runs:
            if len(self._runs) >= HELD_RUNS:
                self._runs.clear()
            before = [self._anchor] if inside else []
            self._runs[key] = _parts(lambda ids: self._decode([*before, *ids])[len(self._anchor_text) if inside else 0 :], run)
        return self._runs[key]


def _parts(decode: Decode, run: Sequence[int]) -> list[str]:
    """The text of each token of a run of parts of characters; character by character where all characters are whole."""
    texts: list[str] = []
    first = 0
    for end in range(1, len(run) + 1):
        if _FRAGMENT not in decode(run[first:end]):
            texts += aligned(decode, run[first:end])
            first = end
    return texts if first == len(run) and "".join(texts) == decode(run) else aligned(decode, run)


def aligned(decode: Decode, token_ids: Sequence[int]) -> list[str]:
    """The text of each token of a run; joined they are decode(token_ids). A character is shown at its first token.

    Every beginning of the run is decoded. The part of it that stays is finished; one further character may be begun, and shows as U+FFFD.
    """
    whole = decode(token_ids)
    shown = [0]
    for count in range(1, len(token_ids)):
        beginning = decode(token_ids[:count])
        stays = next((i for i, (a, b) in enumerate(zip(beginning, whole, strict=False)) if a != b), min(len(beginning), len(whole)))
        shown.append(max(shown[-1], min(stays + (len(beginning) > stays), len(whole))))
    return [whole[first:end] for first, end in pairwise([*shown, len(whole)])]


def whole_characters(texts: Sequence[str]) -> list[str]:
    """The texts with each character as readers see it (a grapheme cluster of Unicode) whole, at the first of its tokens."""
    joined = "".join(texts)
    if _JOINS.search(joined) is None:
        return list(texts)
    ends = np.cumsum([0, *(len(character[0]) for character in _CHARACTER.finditer(joined))])
    bounds = np.cumsum([0, *map(len, texts)])
    moved = ends[np.searchsorted(ends, bounds)]
    return [joined[first:end] for first, end in pairwise(moved.tolist())]
