"""Parsing replies of language models, leniently but without guesses: a reading, or a named failure."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

EXPLANATION_TAG = "[EXPLANATION]:"

_WORDS = {"1": 1, "0": 0, "1.0": 1, "0.0": 0, "true": 1, "false": 0, "yes": 1, "no": 0}
_WORD = r"(?:1\.0|0\.0|[01]|true|false|yes|no)"
_BRACKETED = re.compile(r"\[([^\[\]]*)\]")
_UNCLOSED = re.compile(r"\[([^\[\]]*)$")
# Neighbouring repetitions that can match the same characters are possessive (*+): with backtracking they make a match quadratic.
_NUMBERED = re.compile(rf"^\W*+(?:window|text|example|item|answer)?\s*+#?\(?(\d{{1,4}})\s*+[:.)=\-]\W*+({_WORD})\b", re.I)
_EDGE = r"[\s*_`\"'().]*+"
_BARE = re.compile(rf"^{_EDGE}{_WORD}(?:[,;\s]++{_WORD})*{_EDGE}[,;]?\s*+$", re.I)
_DIGIT_RUN = re.compile(rf"^{_EDGE}([01]{{2,}}){_EDGE}$")
# Every repetition before the word is bounded: an unbounded one makes the search quadratic in replies of nothing but asterisks.
_TAG = re.compile(r"\[\s{0,3}explanation\s{0,3}\][*_` ]{0,8}:?|^[*_#` \t]{0,8}explanation[*_` ]{0,8}:", re.I | re.M)
_QUOTES = ('""', "''", "``", "“”", "‘’", "«»")
# Only at the head of a line: an explanation may be about these tags.
_THOUGHT = re.compile(r"^[ \t]{0,8}<(/?)think(?:ing)?>", re.I | re.M)


@dataclass(frozen=True)
class ParseFailure:
    """Why a reply could not be read: "empty", "no_list", "not_binary", "bad_numbering", "no_tag" or "no_text"."""

    reason: str


def without_reasoning(text: str) -> str:
    """The text after the reasoning between <think> and </think>; the whole text without these tags, and "" where the reasoning did not end.

    The opening tag may be missing, since some chat templates write it for the model.
    """
    tags = list(_THOUGHT.finditer(text))
    if not tags:
        return text
    return text[tags[-1].end() :] if tags[-1].group(1) else ""


def parse_binary_list(text: str, n: int) -> tuple[int, ...] | ParseFailure:
    """The first n answers (0 or 1) of the reply; fewer where the reply has fewer answers.

    The first of these that the reply holds is read: the last bracketed list of n answers; n lists of one answer each; the last bracketed
    list of any length; numbered lines "1: 0"; the last line of bare answers "1, 0, 1" or of digits "101". A list left open at the end of
    the reply counts. Yes and true count as 1, no and false as 0. Answers beyond the n-th are dropped: items are asked in order, so the
    first n answers stay aligned. Reasoning is skipped. Fails as "empty", "not_binary" (only lists that hold anything else), "bad_numbering"
    (also several lists of one answer, but not n: nobody knows of which item each is) or "no_list".
    """
    if not text.strip():
        return ParseFailure("empty")
    text = without_reasoning(text)
    lists = [match.group(1) for match in _BRACKETED.finditer(text)]
    unclosed = _UNCLOSED.search(text.rstrip())
    if unclosed:
        lists.append(unclosed.group(1))
    lists = [content for content in lists if content.strip(" ,\n")]
    readings = [reading for content in lists if (reading := _read_list(content)) is not None]
    if readings:
        return of_lists(readings, n)
    lines = [line for line in text.splitlines() if line.strip()]
    numbered = [match for line in lines if (match := _NUMBERED.match(line))]
    if numbered:
        if [int(match.group(1)) for match in numbered] != list(range(1, len(numbered) + 1)):
            return ParseFailure("bad_numbering")
        return tuple(_WORDS[match.group(2).lower()] for match in numbered)[:n]
    for line in reversed(lines):
        if _BARE.match(line):
            return tuple(_WORDS[word.lower()] for word in re.findall(_WORD, line, re.I))[:n]
        if digits := _DIGIT_RUN.match(line):
            return tuple(int(digit) for digit in digits.group(1))[:n]
    return ParseFailure("not_binary" if lists else "no_list")


def of_lists(readings: Sequence[tuple[int, ...]], n: int) -> tuple[int, ...] | ParseFailure:
    """The first n answers of the lists in a reply, at least one list: see `parse_binary_list`."""
    complete = [reading for reading in readings if len(reading) == n]
    if not complete and len(readings) > 1 and all(len(reading) == 1 for reading in readings):
        return tuple(reading[0] for reading in readings) if len(readings) == n else ParseFailure("bad_numbering")
    return (complete or readings)[-1][:n]


def parse_tagged_explanation(text: str) -> str | ParseFailure:
    """The text after the last explanation tag, on one line, without quotes and Markdown around it.

    The text is the rest of the tag's line or, where the tag stands alone, the next line with a letter or a digit. "Explanation:" at the
    head of a line counts as the tag where the reply has no tag in brackets. Reasoning is skipped. Fails as "empty", "no_tag" or "no_text".
    """
    if not text.strip():
        return ParseFailure("empty")
    text = without_reasoning(text)
    tags = list(_TAG.finditer(text))
    if not tags:
        return ParseFailure("no_tag")
    asked_for = [tag for tag in tags if tag.group().startswith("[")]
    for line in text[(asked_for or tags)[-1].end() :].splitlines():
        cleaned = _unwrapped(" ".join(line.split()))
        if any(c.isalnum() for c in cleaned):
            return cleaned
    return ParseFailure("no_text")


def _unwrapped(text: str) -> str:
    """The text without Markdown and colons around it, and without quotes around the whole text."""
    text = text.strip("*_: ")
    while len(text) > 1 and (ends := text[0] + text[-1]) in _QUOTES and not set(ends) & set(text[1:-1]):
        text = text[1:-1].strip("*_: ")
    return text


def _read_list(content: str) -> tuple[int, ...] | None:
    """The answers in the content of a list, or None if the content holds anything else."""
    words = [word.strip(" \"'`*\n\t").lower() for word in re.split(r"[,;\s]+", content.strip())]
    words = [word for word in words if word]
    if words and all(word in _WORDS for word in words):
        return tuple(_WORDS[word] for word in words)
    return None
