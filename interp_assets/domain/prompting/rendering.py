"""Examples as text: with marks for prompts, with highlights for people.

`TokenTexts` gives the string of a token id: a list over the vocabulary, or a mapping. A string may be anything: empty, whitespace, half a
character decoded to U+FFFD. A character of several tokens is the string of its first token; the strings of its further tokens are empty.
"""

import html
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate, groupby

TokenTexts = Mapping[int, str] | Sequence[str]

DEEP = 0.6
"""Depth of a highlight above which its letters are dark on every page."""

MARK_OPEN, MARK_CLOSE = "<<", ">>"
ELLIPSIS = "…"
_JOINERS = re.compile("[\u200c\u200d\U000e0020-\U000e007f]")  # joiners inside words and emoji, which fall apart without them
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_MARKDOWN_SPECIAL = re.compile(r"([\\`*_{}\[\]()#+\-.!|<>~$&])")


def token_strings(token_ids: Sequence[int], token_texts: TokenTexts) -> tuple[str, ...]:
    """The strings of the tokens, in order."""
    return tuple(token_texts[token_id] for token_id in token_ids)


def plain_text(tokens: Sequence[str]) -> str:
    """The tokens joined, without outer whitespace."""
    return "".join(tokens).strip()


def marked_positions(activations: Sequence[float], threshold: float) -> tuple[bool, ...]:
    """Whether each activation is positive and at least `threshold` times the example's largest activation; all False in silence."""
    limit = threshold * max(activations, default=0.0)
    return tuple(a > 0 and a >= limit for a in activations)


def over_characters(tokens: Sequence[str], values: Sequence[float]) -> tuple[float, ...]:
    """For each token the largest value of all tokens of its character. A token with an empty text belongs to the character before it.

    Tokens with empty texts at the beginning belong to the first character.
    """
    character = list(accumulate(map(bool, tokens)))
    first = min(1, character[-1]) if character else 0
    largest: dict[int, float] = {}
    for number, value in zip(character, values, strict=True):
        largest[max(number, first)] = max(largest.get(max(number, first), value), value)
    return tuple(largest[max(number, first)] for number in character)


def mark_tokens(tokens: Sequence[str], marked: Sequence[bool]) -> str:
    """The text with marked tokens between << and >>, without outer whitespace. Adjacent marked tokens share a pair of marks.

    Whitespace at the head of a marked run stays before the mark (" <<dog>>"), unless the run is whitespace alone. A mark never falls inside
    a character. Only marks look like marks: a << or >> of the text itself is written with a space (`cout < < x`), and a bracket of the text
    next to a mark is kept apart from the mark by a space.
    """
    written = ""
    for on, lead, text in _runs(tokens, marked):
        text = _without_marks(text)
        if on:
            before = written + lead
            before += " " * before.endswith("<")
            written = f"{before}{MARK_OPEN}{' ' * text.startswith('<')}{text}{' ' * text.endswith('>')}{MARK_CLOSE}"
        else:
            written += " " * (written != "" and text.startswith(">")) + text
    return written.strip()


def _without_marks(text: str) -> str:
    """The text with a space inside every << and >>."""
    return re.sub("<(?=<)", "< ", re.sub(">(?=>)", "> ", text))


def display_activations(activations: Sequence[float], feature_max: float) -> tuple[int, ...]:
    """Integers 0–10, one a token: ceil(10 · a / feature_max), 0 only for silence. `feature_max` is the feature's maximum, not the
    window's."""
    return tuple(min(10, max(1, math.ceil(10 * a / feature_max))) if a > 0 else 0 for a in activations)


def activation_list(tokens: Sequence[str], activations: Sequence[float], marked: Sequence[bool], feature_max: float) -> str:
    """Marked tokens with their display activations, as `("dog", 7), ("cat", 10)`; an empty string when no token is marked."""
    levels = over_characters(tokens, display_activations(activations, feature_max))
    shown = zip(tokens, levels, over_characters(tokens, marked), strict=True)
    return ", ".join(f'("{visible(token.strip() or token)}", {level})' for token, level, on in shown if on and token)


def quoted(text: str) -> str:
    """The text between quotation marks, on one line, without outer whitespace; a text of whitespace alone keeps its whitespace."""
    return f'"{visible(text.strip() or text)}"'


def one_line(text: str) -> str:
    """The text on one line, as a line of a prompt may hold it: every run of whitespace is one space, and none stands at the ends."""
    return " ".join(text.split())


def encodable(text: str) -> str:
    """The text with U+FFFD for lone surrogates: halves of characters, escaped in JSON, that no tokenizer and no table can hold."""
    return _LONE_SURROGATE.sub("\ufffd", text)


def visible(text: str) -> str:
    """The text on one line: line breaks as ↵, tabs as ⇥, other control characters as U+FFFD; joiners of letters and emoji stay."""
    text = text.replace("\r\n", "↵").replace("\n", "↵").replace("\r", "↵").replace("\t", "⇥")
    return "".join(c if c.isprintable() or c == " " or _JOINERS.match(c) else "\ufffd" for c in text)


def markdown(tokens: Sequence[str], marked: Sequence[bool]) -> str:
    """One line of Markdown with marked tokens in bold between guillemets; safe inside a table cell.

    The guillemets stand outside the asterisks because emphasis inside a word, or beside punctuation, renders only next to punctuation.
    """
    runs = _runs(tokens, marked)
    return "".join(visible(lead) + _highlight(text) if on else escape_markdown(text) for on, lead, text in runs)


def escape_markdown(text: str) -> str:
    """One line of text in which Markdown reads no markup."""
    return _MARKDOWN_SPECIAL.sub(r"\\\1", visible(text))


def html_highlight(tokens: Sequence[str], activations: Sequence[float], feature_max: float) -> str:
    """HTML with every active token in a <span>; the larger the activation's share of `feature_max`, the deeper the background."""
    pieces: list[str] = []
    for token, activation in zip(tokens, over_characters(tokens, activations), strict=True):
        text = html.escape(visible(token))
        if activation > 0 and token:
            depth = 0.15 + 0.75 * min(activation / feature_max, 1.0)
            ink = ";color:#111" if depth > DEEP else ""  # on a dark page, the page's light letters are not read on orange
            text = f'<span style="background:rgba(255,140,0,{depth:.2f}){ink}" title="{activation:.3g}">{text}</span>'
        pieces.append(text)
    return "".join(pieces)


def _highlight(text: str) -> str:
    """The text in bold between guillemets; spaces at its end are made visible, and an empty text is shown as ∅."""
    body = visible(text)
    bare = body.rstrip(" ")
    return f"«**{escape_markdown(bare + '␣' * (len(body) - len(bare)) or '∅')}**»"


def _runs(tokens: Sequence[str], marked: Sequence[bool]) -> Iterator[tuple[bool, str, str]]:
    """(marked, whitespace to keep outside, text) of each maximal run of equally marked characters."""
    for on, run in groupby(zip(tokens, over_characters(tokens, marked), strict=True), key=lambda pair: bool(pair[1])):
        text = "".join(token for token, _ in run)
        body = text.lstrip() if on else text
        if not body:
            body = text
        yield on, text[: len(text) - len(body)], body
