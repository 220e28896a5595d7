"""Examples as text: with marks for prompts, with highlights for people.

`TokenTexts` gives the string of a token id: a list over the vocabulary or a mapping. A string may be anything: empty, whitespace,
half a character decoded to U+FFFD.
"""

import html
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby

TokenTexts = Mapping[int, str] | Sequence[str]

MARK_OPEN, MARK_CLOSE = "<<", ">>"
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_MARKDOWN_SPECIAL = re.compile(r"([\\`*_{}\[\]()#+\-.!|<>~$&])")


def token_strings(token_ids: Sequence[int], token_texts: TokenTexts) -> tuple[str, ...]:
    """The strings of the tokens, in order."""
    return tuple(token_texts[token_id] for token_id in token_ids)


def plain_text(tokens: Sequence[str]) -> str:
    """The tokens joined, without outer whitespace."""
    return "".join(tokens).strip()


def marked_positions(activations: Sequence[float], threshold: float) -> tuple[bool, ...]:
    """Whether each activation is positive and at least `threshold` times the largest of the example; all False in silence."""
    limit = threshold * max(activations, default=0.0)
    return tuple(a > 0 and a >= limit for a in activations)


def mark_tokens(tokens: Sequence[str], marked: Sequence[bool]) -> str:
    """The text with marked tokens between << and >>, adjacent ones in one pair, without outer whitespace.

    Whitespace at the head of a marked run stays before the mark (" <<dog>>"), unless the run is nothing else.
    """
    runs = _runs(tokens, marked)
    return "".join(f"{lead}{MARK_OPEN}{text}{MARK_CLOSE}" if on else text for on, lead, text in runs).strip()


def display_activations(activations: Sequence[float], feature_max: float) -> tuple[int, ...]:
    """Integers 0–10 per token: ceil(10 · a / feature_max), 0 only for silence; the whole feature's maximum, not the window's."""
    return tuple(min(10, max(1, math.ceil(10 * a / feature_max))) if a > 0 else 0 for a in activations)


def activation_list(tokens: Sequence[str], activations: Sequence[float], marked: Sequence[bool], feature_max: float) -> str:
    """Marked tokens with their display activations, as `("dog", 7), ("cat", 10)`; an empty string when none is marked."""
    shown = zip(tokens, display_activations(activations, feature_max), marked, strict=True)
    return ", ".join(f'("{token.strip() or visible(token)}", {level})' for token, level, on in shown if on)


def quoted(text: str) -> str:
    """The text between quotation marks, on one line and without outer whitespace, unless it is nothing else."""
    return f'"{visible(text.strip() or text)}"'


def one_line(text: str) -> str:
    """The text with every run of whitespace as one space, none at its ends: what a line of a prompt may hold."""
    return " ".join(text.split())


def encodable(text: str) -> str:
    """The text with U+FFFD for lone surrogates (halves of characters that were escaped in JSON), which no tokenizer or table can hold."""
    return _LONE_SURROGATE.sub("\ufffd", text)


def visible(text: str) -> str:
    """The text on one line: line breaks as ↵, tabs as ⇥, other control characters as U+FFFD."""
    text = text.replace("\r\n", "↵").replace("\n", "↵").replace("\r", "↵").replace("\t", "⇥")
    return "".join(c if c.isprintable() or c == " " else "\ufffd" for c in text)


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
    """HTML with every active token in a <span> whose background is the deeper the larger its share of `feature_max`."""
    pieces = []
    for token, activation in zip(tokens, activations, strict=True):
        text = html.escape(visible(token))
        if activation > 0:
            depth = 0.15 + 0.75 * min(activation / feature_max, 1.0)
            text = f'<span style="background:rgba(255,140,0,{depth:.2f})" title="{activation:.3g}">{text}</span>'
        pieces.append(text)
    return "".join(pieces)


def _highlight(text: str) -> str:
    """The text in bold between guillemets; spaces at its end, or a text of nothing else, are made visible."""
    body = visible(text)
    bare = body.rstrip(" ")
    return f"«**{escape_markdown(bare + '␣' * (len(body) - len(bare)) or '∅')}**»"


def _runs(tokens: Sequence[str], marked: Sequence[bool]) -> Iterator[tuple[bool, str, str]]:
    """(marked, whitespace to keep outside, text) of each maximal run of equally marked tokens."""
    for on, run in groupby(zip(tokens, marked, strict=True), key=lambda pair: bool(pair[1])):
        text = "".join(token for token, _ in run)
        body = text.lstrip() if on else text
        if not body:
            body = text
        yield on, text[: len(text) - len(body)], body
