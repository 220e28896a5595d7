"""Patterns as explanations: a small language that people, language models and machines read, in the manner of arXiv 2510.06378.

    [:symbol York:]                        these characters, as a word or phrase; `…` for the rest of a word: [:symbol …ing:]
    [:lexeme run:]                         a word in its inflected forms, in any case: run, Runs, running
    [:field months: January, May:]         any of the listed words or phrases, in any case; the field's name is for people
    A B      A, then B                     A | B    A or B                    A?    A or nothing                    (A)    A
    @{:context A:}(B)                      B, in a text that holds A as well

arXiv 2510.06378 leaves the members of a field to a language model, which then has to match the pattern. Here a field lists its members, so
that a machine matches it. A match takes time that grows with the length of the text times the length of the pattern, whatever the pattern.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from interp_assets.domain.prompting.rendering import ELLIPSIS

MAX_PARTS = 64
"""Most primitives of a pattern; a field counts one for each of its members."""
MAX_DEPTH = 16
"""Most parentheses and contexts inside one another."""

_PRIMITIVE = re.compile(r"\[:(symbol|lexeme|field)[ \t]+(.*?):\](?!\])", re.S)
_CONTEXT = re.compile(r"@\{:context[ \t]+", re.S)
_INFLECTED = r"(?:s|es|ed|d|ing|er|ers|est|'s|’s)?"


class PatternError(ValueError):
    """A text that is no pattern; the message says where and why."""


@dataclass(frozen=True)
class Words:
    """A primitive: a regular expression without anything to go back over."""

    expression: str
    parts: int = 1

    @cached_property
    def compiled(self) -> "re.Pattern[str]":
        return re.compile(self.expression)


@dataclass(frozen=True)
class Sequenced:
    """Nodes one after another, with nothing but whitespace between them."""

    nodes: tuple["Node", ...]


@dataclass(frozen=True)
class Either:
    """Any of the nodes."""

    nodes: tuple["Node", ...]


@dataclass(frozen=True)
class Maybe:
    """The node or nothing."""

    node: "Node"


@dataclass(frozen=True)
class InContext:
    """The node, in a text that holds `context` as well."""

    context: "Node"
    node: "Node"


Node = Words | Sequenced | Either | Maybe | InContext


@dataclass(frozen=True)
class Pattern:
    """A pattern that was read; `text` is how it was written."""

    text: str
    node: Node

    def __str__(self) -> str:
        return self.text

    def spans(self, text: str) -> list[tuple[int, int]]:
        """(begin, end) of the longest match at each place of the text where a non-empty match begins, in order."""
        known: dict[tuple[int, int], frozenset[int]] = {}
        return [(start, end) for start in range(len(text)) if (end := max(_ends(self.node, text, start, known), default=start)) > start]

    def matched_tokens(self, tokens: Sequence[str]) -> np.ndarray:
        """Whether each token has a character in a match, bool [tokens]; of a token that begins with whitespace the rest counts."""
        text = "".join(tokens)
        inside = np.zeros(len(text) + 1, dtype=bool)
        for start, end in self.spans(text):
            inside[start:end] = True
        matched, place = np.zeros(len(tokens), dtype=bool), 0
        for number, token in enumerate(tokens):
            begin = place + (len(token) - len(token.lstrip()) if token.strip() else 0)
            place += len(token)
            matched[number] = inside[begin:place].any()
        return matched


def read_pattern(text: str) -> Pattern:
    """The pattern that a text writes out. Raises `PatternError`."""
    reader = _Reader(text)
    node = reader.either(0)
    reader.skip()
    if reader.place < len(text):
        raise PatternError(f"{text[reader.place :][:40]!r} at character {reader.place} begins no part of a pattern")
    if reader.parts > MAX_PARTS:
        raise PatternError(f"the pattern has {reader.parts} parts; at most {MAX_PARTS} are allowed")
    if 0 in _ends(node, "", 0, {}):
        raise PatternError("every part of the pattern is optional, so that it matches everywhere")
    return Pattern(text, node)


class _Reader:
    """Reads a pattern from left to right."""

    def __init__(self, text: str) -> None:
        self.text, self.place, self.parts = text, 0, 0

    def skip(self) -> None:
        while self.place < len(self.text) and self.text[self.place].isspace():
            self.place += 1

    def takes(self, character: str) -> bool:
        self.skip()
        found = self.text.startswith(character, self.place)
        self.place += len(character) * found
        return found

    def either(self, depth: int) -> Node:
        """Alternatives with | between them."""
        if depth > MAX_DEPTH:
            raise PatternError(f"more than {MAX_DEPTH} parentheses stand inside one another")
        nodes = [self.sequence(depth)]
        while self.takes("|"):
            nodes.append(self.sequence(depth))
        return nodes[0] if len(nodes) == 1 else Either(tuple(nodes))

    def sequence(self, depth: int) -> Node:
        nodes: list[Node] = []
        while (node := self.part(depth)) is not None:
            nodes.append(Maybe(node) if self.takes("?") else node)
        if not nodes:
            rest = repr(self.text[self.place :][:40]) if self.place < len(self.text) else "the end"
            raise PatternError(f"a part of the pattern is missing at character {self.place}, before {rest}")
        return nodes[0] if len(nodes) == 1 else Sequenced(tuple(nodes))

    def part(self, depth: int) -> Node | None:
        """The next primitive, group or context; None where none begins."""
        self.skip()
        if found := _PRIMITIVE.match(self.text, self.place):
            self.place = found.end()
            words = _words(found.group(1), found.group(2))
            self.parts += words.parts
            return words
        if found := _CONTEXT.match(self.text, self.place):
            self.place = found.end()
            context = self.either(depth + 1)
            if not (self.takes(":}") and self.takes("(")):
                raise PatternError(f"a context must be written @{{:context A:}}(B); it breaks off at character {self.place}")
            return InContext(context, self.closed(depth))
        return self.closed(depth) if self.takes("(") else None

    def closed(self, depth: int) -> Node:
        node = self.either(depth + 1)
        if not self.takes(")"):
            raise PatternError(f"a parenthesis is not closed at character {self.place}")
        return node


def _words(kind: str, body: str) -> Words:
    """The primitive of a kind with this body."""
    if kind == "field":
        name, colon, members = body.partition(":")
        found = [member.strip() for member in members.split(",") if member.strip()]
        if not colon or not name.strip() or not found:
            raise PatternError(f"a field must list its members, as [:field months: January, May:]; this is [:field {body}:]")
        longest_first = sorted(dict.fromkeys(found), key=len, reverse=True)
        return Words(f"(?i:{'|'.join(map(_phrase, longest_first))})", len(found))
    if not (body := body.strip()).strip(ELLIPSIS):
        raise PatternError(f"a {kind} is empty")
    return Words(_phrase(body)) if kind == "symbol" else Words(f"(?i:(?<!\\w){_stem(body)})")


def _phrase(text: str) -> str:
    """A regular expression for the characters of `text`, as whole words unless an ellipsis stands at an end."""
    body = text.strip(ELLIPSIS)
    begins, ends = text.startswith(ELLIPSIS), text.endswith(ELLIPSIS)
    before = r"(?<!\w)" if body[:1].isalnum() and not begins else ""
    after = r"(?!\w)" if body[-1:].isalnum() and not ends else ""
    return before + r"\s+".join(map(re.escape, body.split())) + after


def _stem(word: str) -> str:
    """A regular expression for the forms of an English word that endings make: try, tries, tried, trying; stop, stopped; make, making."""
    *first, last = word.split()
    forms = [re.escape(last) + _INFLECTED]
    if len(last) > 2 and last.endswith("e"):
        forms.append(re.escape(last[:-1]) + "(?:ing|ed|er|ers|est)")
    if len(last) > 2 and last.endswith("y"):
        forms.append(re.escape(last[:-1]) + "(?:ies|ied|ier|iest)")
    if len(last) > 2 and last[-1].isalpha():
        forms.append(re.escape(last + last[-1]) + "(?:ing|ed|er|ers|est)")
    return r"\s+".join([*map(re.escape, first), f"(?:{'|'.join(forms)})"]) + r"(?!\w)"


def _ends(node: Node, text: str, start: int, known: dict[tuple[int, int], frozenset[int]]) -> frozenset[int]:
    """The places at which a match of the node that begins at `start` can end. `known` keeps what was found, by node and place."""
    key = (id(node), start)
    if key not in known:
        known[key] = frozenset(_found(node, text, start, known))
    return known[key]


def _found(node: Node, text: str, start: int, known: dict[tuple[int, int], frozenset[int]]) -> Iterator[int]:
    match node:
        case Words():
            if found := node.compiled.match(text, start):
                yield found.end()
        case Either(nodes):
            for one in nodes:
                yield from _ends(one, text, start, known)
        case Maybe(inner):
            yield start
            yield from _ends(inner, text, start, known)
        case InContext(context, inner):
            if _anywhere(context, text, known):
                yield from _ends(inner, text, start, known)
        case Sequenced(nodes):
            places = {start}
            for number, one in enumerate(nodes):
                begun = places if number == 0 else {_after_whitespace(text, place) if place > start else place for place in places}
                places = {end for place in begun for end in _ends(one, text, place, known)}
            yield from places


def _anywhere(node: Node, text: str, known: dict[tuple[int, int], frozenset[int]]) -> bool:
    """Whether a match of the node begins anywhere in the text."""
    key = (id(node), -1)
    if key not in known:
        known[key] = frozenset({0} if any(_ends(node, text, place, known) for place in range(len(text))) else ())
    return bool(known[key])


def _after_whitespace(text: str, place: int) -> int:
    while place < len(text) and text[place].isspace():
        place += 1
    return place
