"""Messages through a model's own chat template, with the template's own text told from the contents of the messages."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from resources.subject.rendering_time import TookTooLong, at_most

FIXED_DATE = "26 Jul 2024"
"""The date for templates that write a date, so that a prompt does not depend on the day: Llama 3.1's own default."""


LONGEST_RENDERING_SECONDS = 10.0
"""A template takes far less than a millisecond for a chat. Unit: seconds."""


class ChatTemplateError(ValueError):
    """The template refuses the messages. The message is the template's."""


def rendered(tokenizer: Any, messages: Sequence[Mapping[str, Any]], add_generation_prompt: bool) -> str:
    """The messages as the tokenizer's chat template writes them.

    Contents are given as texts, or as lists of one part of text to a template that writes contents in parts alone. Raises
    `ChatTemplateError` with the reason, whatever the template's code does: it is code of others.
    """
    given = [{**message, "content": _parts(message["content"])} for message in messages] if _takes_parts(tokenizer) else list(messages)
    return _written(tokenizer, given, add_generation_prompt)


def _written(tokenizer: Any, messages: Sequence[Mapping[str, Any]], add_generation_prompt: bool) -> str:
    try:
        with at_most(LONGEST_RENDERING_SECONDS):
            return tokenizer.apply_chat_template(
                list(messages),
                tokenize=False,
                add_generation_prompt=add_generation_prompt,
                strftime_now=_fixed_date,
                date_string=FIXED_DATE,
            )
    except TookTooLong as error:
        raise ChatTemplateError(f"it has not ended within {LONGEST_RENDERING_SECONDS:g} seconds") from error
    except Exception as error:
        said = " ".join(str(error).split())
        own = type(error).__module__.startswith("jinja2") and said
        raise ChatTemplateError(said if own else f"{type(error).__name__}: {said}".rstrip(": ")) from error


def _parts(content: Any) -> list[dict[str, Any]]:
    return [{"type": "text", "text": content}]


def _takes_parts(tokenizer: Any) -> bool:
    """Whether the chat template loses a content that is a text, and writes a content in parts. Found out once for each template."""
    template = str(tokenizer.chat_template)
    if template not in _IN_PARTS:
        name = stand_ins(1)[0]

        def writes(content: Any) -> bool:
            try:
                return name in _written(tokenizer, [{"role": "user", "content": content}], False)
            except ChatTemplateError:
                return False

        _IN_PARTS[template] = not writes(name) and writes(_parts(name))
    return _IN_PARTS[template]


_IN_PARTS: dict[str, bool] = {}


def stand_ins(n: int) -> list[str]:
    """Contents that no text has, and that a template does not treat by their words."""
    return [f"\U0010fffe{number}\U0010ffff" for number in range(n)]


def left_out(tokenizer: Any, messages: Sequence[Mapping[str, Any]], text: str) -> list[int]:
    """Numbers of the messages of which the template writes nothing into `text`, its rendering of the messages.

    A content that the template treats, such as by leaving out earlier thoughts, is not left out. Raises `ChatTemplateError`.
    """
    absent = [number for number, message in enumerate(messages) if str(message["content"]).strip() not in text]
    if not absent:
        return []
    names = stand_ins(len(messages))
    frame = rendered(tokenizer, [{**message, "content": name} for message, name in zip(messages, names, strict=True)], True)
    return [number for number in absent if names[number] not in frame]


OPENS_THOUGHT = re.compile(r"<((?:\w+:)?think(?:ing)?)>(\s*)\Z")


def end_of_thought(text: str) -> str:
    """The text that ends the thought at the end of a rendered chat, as with thinking turned off; empty for no thought."""
    found = OPENS_THOUGHT.search(text)
    return "" if found is None else ("\n" if "\n" in found[2] else "\n\n") + f"</{found[1]}>\n\n"


def _fixed_date(pattern: str) -> str:
    from datetime import date

    return date(2024, 7, 26).strftime(pattern)


def rendered_pieces(
    tokenizer: Any, messages: Sequence[Mapping[str, Any]], add_generation_prompt: bool
) -> list[tuple[str, int | None]] | None:
    """The rendered text in pieces: (text, number of the message with this content; None for the template's own text).

    The pieces are found by rendering stand-ins in the place of the contents. None where the template does not write the contents unchanged
    (whole or without outer whitespace) and in their order.
    """
    whole = rendered(tokenizer, messages, add_generation_prompt)
    names = stand_ins(len(messages))
    named = [{**message, "content": name} for message, name in zip(messages, names, strict=True)]
    contents = [str(message["content"]) for message in messages]
    try:
        frame = rendered(tokenizer, named, add_generation_prompt)
    except ChatTemplateError:
        frame = ""
    for texts in (contents, [content.strip() for content in contents]):
        pieces = _framed(frame, names, texts)
        if pieces is not None and "".join(text for text, _ in pieces) == whole:
            return pieces
    return None


def _framed(frame: str, names: Sequence[str], texts: Sequence[str]) -> list[tuple[str, int | None]] | None:
    """The frame's pieces with the texts in the place of the names; None where a name is missing or out of order."""
    pieces: list[tuple[str, int | None]] = []
    for number, (name, text) in enumerate(zip(names, texts, strict=True)):
        before, found, frame = frame.partition(name)
        if not found:
            return None
        pieces += [(before, None), (text, number)]
    return [(text, number) for text, number in [*pieces, (frame, None)] if text]


def found_pieces(tokenizer: Any, messages: Sequence[Mapping[str, Any]]) -> list[tuple[str, int | None]]:
    """The pieces of the rendered text where the template changes contents by their words (for instance leaves out earlier thoughts).

    Each content is looked for after the content before it. A content that is not found, or that is too short to be told from the template's
    own words, counts as the template's text.
    """
    whole = rendered(tokenizer, messages, add_generation_prompt=False)
    pieces: list[tuple[str, int | None]] = []
    for number, message in enumerate(messages):
        text = str(message["content"]).strip()
        before, found, after = whole.partition(text) if len(text) >= SHORTEST_FOUND else ("", "", "")
        if found:
            pieces += [(before, None), (text, number)]
            whole = after
    return [(text, number) for text, number in [*pieces, (whole, None)] if text]


SHORTEST_FOUND = 16
"""Fewest characters of a content that is looked for in a rendered text."""
