"""Explanations in replies of language models, read leniently but without guesses: a text, or a named failure."""

import re

from interp_assets.domain.prompting.answer_lists import ParseFailure
from interp_assets.domain.prompting.final_answer import final_answer

EXPLANATION_TAG = "[EXPLANATION]:"

# Every repetition before the word is bounded: an unbounded one makes the search quadratic in replies of nothing but asterisks.
_TAG = re.compile(r"\[\s{0,3}explanation\s{0,3}\][*_` ]{0,8}:?|^[*_#` \t]{0,8}explanation[*_` ]{0,8}:", re.I | re.M)
_QUOTES = ('""', "''", "``", "“”", "‘’", "«»")


def parse_tagged_explanation(text: str) -> str | ParseFailure:
    """The text after the last explanation tag, on one line, without quotes and Markdown around it.

    The text is the rest of the tag's line or, where the tag stands alone, the next line with a letter or a digit. "Explanation:" at the
    head of a line counts as the tag where the reply has no tag in brackets. Reasoning is skipped, and so are further turns. Fails as
    "empty", "no_tag" or "no_text".
    """
    if not text.strip():
        return ParseFailure("empty")
    text = final_answer(text)
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
