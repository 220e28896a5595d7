"""Labels: an explanation in one to six words, for lists and for the nodes of graphs. No model is asked for one.

A label is the line `Label: …` of the explainer's reply, where a prompt asks for such a line. Without one it is made from the explanation
by a rule: `short_label`.
"""

import re

from interp_assets.domain.machine_readable import readable
from interp_assets.domain.machine_readable.token_lists import TokenList
from interp_assets.domain.prompting.final_answer import final_answer
from interp_assets.domain.prompting.rendering import one_line

MOST_WORDS = 6
MOST_CHARACTERS = 60
MOST_READ = 1000
"""Characters of an explanation in which a label is looked for: no text of thousands of separators makes the search slow."""
LISTED = 3
"""Tokens of a token list in its label."""

# Every repetition is bounded, so that no reply makes the search slow.
_LINE = re.compile(r"^[*_#` \t-]{0,8}\[?label\]?[*_` ]{0,8}:[*_` \t]{0,8}(.{0,200})", re.I | re.M)
_FRAME = re.compile(
    r"^(?:(?:this|the|a) )?(?:neuron|feature|latent|unit)s? (?:\w+ly )?(?:fires|activates|responds|detects|represents|captures|is active)"
    r"(?: \w+ly)?(?: (?:on|to|for|at|in response to))? (?=\S)"
    r"|^(?:activates|fires|responds) (?:\w+ly )?(?:on|to|for|at) (?=\S)",
    re.I,
)
_SENTENCE = re.compile(r"; |\. |[。；]")
_WITHIN_SENTENCE = (re.compile(r": | [(\[–—] ?| - |[：（]"), re.compile(r", |[，、]"))
_ARTICLES = frozenset({"a", "an", "the"})
_LINKS = frozenset(
    re.findall(
        r"\w+",
        "a about after against an and any are as at be been before between but by during each especially for from how in inside including "
        "into is its like near of on or other over such than that the their these this those through to under used usually was were when "
        "where which while who whose with within without",
    )
)
_ENDS = " .,;:!?–—-…"
_PAIRS = (('"', '"'), ("“", "”"), ("(", ")"), ("[", "]"), ("`", "`"))


def label_of(explanation: str | None, reply: str = "") -> str | None:
    """The label of an explanation; None where there is no explanation.

    It is the last line `Label: …` of the reply, where this line holds one to six words in at most 60 characters, else `short_label`.
    """
    if explanation is None:
        return None
    lines = [one_line(found).strip("*_`\"' .") for found in _LINE.findall(final_answer(reply))]
    return lines[-1] if lines and _fits(lines[-1]) else short_label(explanation)


def short_label(explanation: str) -> str | None:
    """One to six words of an explanation, at most 60 characters, by rule; None for an explanation without a letter or digit.

    Words such as "the neuron fires on" at the head are left out, and the text ends at the first semicolon or full stop. While it has more
    than six words, it is cut at its first colon, dash or bracket, then at its first comma; then it loses its articles; then it ends after
    six words, without words such as "of" at the end. A mark that a cut leaves open is left out. A token list becomes its three heaviest
    tokens. A text without spaces is cut with an ellipsis.
    """
    listed = readable(explanation)
    if isinstance(listed, TokenList):
        tokens = ", ".join(listed.keys[:LISTED])
        return _within(f"before {tokens}" if listed.before else tokens)
    text = one_line(explanation)[:MOST_READ]
    framed = _FRAME.sub("", text, count=1)
    clause = _first(_SENTENCE, text if set(framed.lower().split()) <= _LINKS else framed)
    for separator in _WITHIN_SENTENCE:
        if len(clause.split()) > MOST_WORDS or len(clause) > MOST_CHARACTERS:
            clause = _first(separator, clause)
    words = clause.split()
    if len(words) > MOST_WORDS:
        words = [word for word in words if word.lower() not in _ARTICLES]
        words = words[:MOST_WORDS]
        while len(words) > 1 and words[-1].lower().strip(_ENDS) in _LINKS:
            words.pop()
    label = _within(_closed(" ".join(words)).rstrip(_ENDS))
    return label if _says(label) else None


def _first(separator: "re.Pattern[str]", text: str) -> str:
    """The text up to the first separator outside marks that says anything; the whole text without one."""
    for found in separator.finditer(text):
        before = text[: found.start()]
        if _says(before) and _closed(before) == before:
            return before
    return text


def _closed(text: str) -> str:
    """The text without opening marks that nothing closes."""
    for opening, closing in _PAIRS:
        excess = text.count(opening) % 2 if opening == closing else text.count(opening) - text.count(closing)
        for _ in range(max(0, excess)):
            place = text.rfind(opening)
            text = text[:place] + text[place + len(opening) :]
    return text


def _within(text: str) -> str:
    """The text in at most MOST_CHARACTERS: cut between words, or inside a word with an ellipsis."""
    if len(text) <= MOST_CHARACTERS:
        return text
    cut = text[:MOST_CHARACTERS].rpartition(" ")[0].strip(_ENDS)
    return cut or text[: MOST_CHARACTERS - 1] + "…"


def _fits(text: str) -> bool:
    return _says(text) and len(text) <= MOST_CHARACTERS and len(text.split()) <= MOST_WORDS


def _says(text: str) -> bool:
    return any(character.isalnum() for character in text)
