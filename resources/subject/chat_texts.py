"""Messages through a model's own chat template, with the template's own text told from the contents of the messages."""

from collections.abc import Mapping, Sequence
from typing import Any

FIXED_DATE = "26 Jul 2024"
"""The date for templates that write a date, so that a prompt does not depend on the day: Llama 3.1's own default."""


class ChatTemplateError(ValueError):
    """The template refuses the messages. The message is the template's."""


def rendered(tokenizer: Any, messages: Sequence[Mapping[str, Any]], add_generation_prompt: bool) -> str:
    """The messages as the tokenizer's chat template writes them. Raises `ChatTemplateError` with the template's message."""
    from jinja2.exceptions import TemplateError

    try:
        return tokenizer.apply_chat_template(
            list(messages), tokenize=False, add_generation_prompt=add_generation_prompt, strftime_now=_fixed_date, date_string=FIXED_DATE
        )
    except (TemplateError, TypeError, KeyError) as error:
        raise ChatTemplateError(str(error) or type(error).__name__) from error


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
    names = [f"\U0010fffe{number}\U0010ffff" for number in range(len(messages))]
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
