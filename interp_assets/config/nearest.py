"""The nearest known word to a mistyped one."""

import difflib
from collections.abc import Iterable


def nearest_words(word: object, known: Iterable[object], n: int = 3) -> list[str]:
    """Up to `n` known words that resemble a mistyped one, nearest first; also words that hold it, such as "scores" for "score"."""
    by_lower = {str(one).lower(): str(one) for one in known}
    lower = str(word).lower()[:200]
    near = difflib.get_close_matches(lower, list(by_lower), n=n, cutoff=0.55)
    holding = [one for one in by_lower if len(lower) > 3 and lower in one and one not in near]
    return [by_lower[one] for one in (*near, *holding)][:n]


def nearest_hint(word: object, known: Iterable[object]) -> str:
    """ "; did you mean 'hook'?" for a word that resembles a known one, else ""."""
    words = [str(one) for one in known]
    if str(word) in words:
        return ""
    by_lower = {one.lower(): one for one in words}
    near = difflib.get_close_matches(str(word).lower()[:200], list(by_lower), n=1, cutoff=0.55)
    return f"; did you mean {by_lower[near[0]]!r}?" if near else ""
