"""Lists of answers in replies of language models: one answer for each item of a question, in order."""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from interp_assets.domain.prompting.final_answer import final_answer

_BRACKETED = re.compile(r"\[([^\[\]]*)\]")
_UNCLOSED = re.compile(r"\[([^\[\]]*)$")
_BRACES = re.compile(r"\{([^{}]*)\}")
_EDGE = r"[\s*_`\"'().]*+"


@dataclass(frozen=True)
class ParseFailure:
    """Why a reply could not be read: "empty", "no_list", "not_binary", "not_a_rating", "bad_numbering", "no_tag" or "no_text"."""

    reason: str


class AnswerWords:
    """The words that answers of one kind have, each with its value; `failure` names a list of anything else."""

    def __init__(self, words: Mapping[str, int], failure: str) -> None:
        self._values, self._failure = dict(words), failure
        word = "|".join(re.escape(one) for one in sorted(words, key=len, reverse=True))
        digits = "".join(sorted(one for one in words if len(one) == 1))
        # Neighbouring repetitions that can match the same characters are possessive (*+): with backtracking they make a match quadratic.
        # "No doubt", 0.7 and 1/5 are no answers.
        rest = r"(?!\w|[.,/]\d|[ ]{0,2}%|\s+(?:doubt|question|wonder|problem|longer)\b)"
        name = r"(?:window|text|example|item|answer|rating)?[\s_#(\"'`*]*+"
        self._word = re.compile(word, re.I)
        self._numbered = re.compile(rf"^\W*+{name}(\d{{1,4}})[\s_\"'`*]*+[:.)=→⇒\-]\W*+(?<![-.])({word}){rest}", re.I)
        self._row = re.compile(rf"^\W*+{name}(\d{{1,4}})\s*+\|(?:[^|\n]*\|)?\s*+({word})\s*+\|?\s*+$", re.I)
        self._bare = re.compile(rf"^{_EDGE}(?:{word})(?:[,;\s]++(?:{word}))*{_EDGE}[,;]?\s*+$", re.I)
        self._run = re.compile(rf"^{_EDGE}([{digits}]{{2,}}){_EDGE}$")

    def read(self, text: str, n: int) -> tuple[int, ...] | ParseFailure:
        """The first n answers of the reply; fewer where the reply has fewer answers.

        The first of these that the reply holds is read: the last bracketed list of n answers; n lists of one answer each; the last
        bracketed list of any length; numbered lines "1: 0", also as members of a JSON object, in any order; a table of n numbered rows; the
        last line of bare answers "1, 0, 1" or of digits "101". A list left open at the end of the reply counts. Full-width characters are
        read as ASCII. Answers beyond the n-th are dropped: items are asked in order, so the first n answers stay aligned. Reasoning is
        skipped, and so are further turns. Fails as "empty", `failure` (only lists that hold anything else), "bad_numbering" (also several
        lists of one answer, but not n: nobody knows of which item each is) or "no_list".
        """
        if not text.strip():
            return ParseFailure("empty")
        text = unicodedata.normalize("NFKC", final_answer(text))
        lists = [match.group(1) for match in _BRACKETED.finditer(text)]
        unclosed = _UNCLOSED.search(text.rstrip())
        if unclosed:
            lists.append(unclosed.group(1))
        lists += [content for content in _BRACES.findall(text) if ":" not in content]
        lists = [content for content in lists if content.strip(" ,\n")]
        readings = [reading for content in lists if (reading := self._list(content)) is not None]
        if readings:
            return _of_lists(readings, n)
        members = _members_on_lines(text).splitlines()
        for pattern, whole in ((self._numbered, False), (self._row, True)):
            if numbered := [match for line in members if (match := pattern.match(line))]:
                found = {int(match.group(1)): self._values[match.group(2).lower()] for match in numbered}
                if len(found) < len(numbered) or set(found) != set(range(1, len(found) + 1)) or (whole and len(found) != n):
                    return ParseFailure("bad_numbering")
                return tuple(found[number] for number in sorted(found))[:n]
        for line in reversed(text.splitlines()):
            if self._bare.match(line):
                return tuple(self._values[word.lower()] for word in self._word.findall(line))[:n]
            if digits := self._run.match(line):
                return tuple(self._values[digit] for digit in digits.group(1))[:n]
        return ParseFailure(self._failure if lists else "no_list")

    def _list(self, content: str) -> tuple[int, ...] | None:
        """The answers in the content of a list, or None if the content holds anything else."""
        words = [word.strip(" \"'“”‘’`*\\\n\t").lower() for word in re.split(r"[,;、\s]+", content.strip())]
        words = [word for word in words if word]
        if words and all(word in self._values for word in words):
            return tuple(self._values[word] for word in words)
        return None


def _members_on_lines(text: str) -> str:
    """The text with every member of a JSON object on a line of its own."""
    return _BRACES.sub(lambda match: "\n" + match.group(1).replace(",", "\n") + "\n", text)


def _of_lists(readings: Sequence[tuple[int, ...]], n: int) -> tuple[int, ...] | ParseFailure:
    """The first n answers of the lists in a reply, at least one list: see `AnswerWords.read`."""
    complete = [reading for reading in readings if len(reading) == n]
    if not complete and len(readings) > 1 and all(len(reading) == 1 for reading in readings):
        return tuple(reading[0] for reading in readings) if len(readings) == n else ParseFailure("bad_numbering")
    return (complete or readings)[-1][:n]


BINARY = AnswerWords({"1": 1, "0": 0, "1.0": 1, "0.0": 0, "true": 1, "false": 0, "yes": 1, "no": 0}, "not_binary")
"""Answers yes or no: yes and true count as 1, no and false as 0."""
RATINGS = AnswerWords({"0": 0, "1": 1, "2": 2, "0.0": 0, "1.0": 1, "2.0": 2}, "not_a_rating")
"""Ratings 0 to 2."""
