"""The nearest known word to a mistyped one."""

import difflib
from collections.abc import Iterable


def nearest_hint(word: object, known: Iterable[object]) -> str:
    """ "; did you mean 'hook'?" for a word that resembles a known one, else ""."""
    words = [str(one) for one in known]
    if str(word) in words:
        return ""
    by_lower = {one.lower(): one for one in words}
    near = difflib.get_close_matches(str(word).lower()[:200], list(by_lower), n=1, cutoff=0.55)
    return f"; did you mean {by_lower[near[0]]!r}?" if near else ""
