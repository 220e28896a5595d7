"""The content of a row's field: text, a chat's messages, or token ids."""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from resources.corpus.interface import CorpusError

_ROLES = {
    **dict.fromkeys(("human", "prompter"), "user"),
    **dict.fromkeys(("gpt", "chatgpt", "bard", "bing", "bot", "model", "function_call"), "assistant"),
    **dict.fromkeys(("observation", "function"), "tool"),
}
"""Names of ShareGPT, OpenAssistant and Gemini for the roles that chat templates know."""

_ROLE_KEYS, _CONTENT_KEYS = ("role", "from"), ("content", "value", "text")
_LARGEST_ID = 1 << 62
MASK = "attention_mask"
"""Field beside a field of token ids: 0 for padding."""


@dataclass(frozen=True)
class Content:
    """One of the three contents; `messages` are (role, content). `text` is the text of the messages, for counting."""

    text: str = ""
    messages: tuple[tuple[str, str], ...] = ()
    token_ids: tuple[int, ...] | None = None


def content_of(value: Any, name: str, where: str, mask: Any = None) -> Content | None:
    """The content of a field, None for a null. `mask` is the field `attention_mask` beside it, which tells padding from ids.

    A text that is the JSON of a chat's messages is a chat. Raises `CorpusError` naming the type of a value that is none of the three.
    """
    if value is None:
        return None
    if isinstance(value, str):
        chat = _chat_in(value)
        if chat is None:
            return Content(value)
        value = chat
    if isinstance(value, Sequence) and len(value) == 1 and _is_ids(value[0]) and value[0]:
        value, mask = value[0], mask[0] if _is_ids(mask) is False and isinstance(mask, Sequence) and len(mask) == 1 else mask
    if _is_ids(value):
        return Content(token_ids=_without_padding(value, mask, name, where))
    if isinstance(value, Sequence) and all(isinstance(one, Mapping) for one in value):
        messages = tuple(_message(one, name, f"{where}, message {number}") for number, one in enumerate(value, 1))
        return Content("\n".join(content for _, content in messages), messages)
    raise CorpusError(
        f"{where} has {type(value).__name__} at {name!r}, not text: {str(value)[:60]!r}. Name a field of text, of messages (a list "
        "of objects with role and content), or of token ids (a list of whole numbers) after '#'."
    )


def mask_beside(record: Mapping[str, Any], name: str) -> Any:
    """The field `attention_mask` beside the field `name`; None where there is none."""
    if name in record:
        return record.get(MASK)
    inside: Any = record
    for part in name.split(".")[:-1]:
        inside = inside.get(part) if isinstance(inside, Mapping) else None
    return inside.get(MASK) if isinstance(inside, Mapping) else None


def _is_ids(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str) and all(type(one) is int for one in value)


def _without_padding(ids: Sequence[int], mask: Any, name: str, where: str) -> tuple[int, ...]:
    """The ids at which the mask is not 0. Raises `CorpusError` for labels, and for numbers that are no ids."""
    if wrong := next((one for one in ids if not -1 <= one < _LARGEST_ID), None):
        told = "-100 marks what a training leaves out of its labels: name the field of the inputs (input_ids)" if wrong == -100 else ""
        raise CorpusError(
            f"{where} has {wrong} at {name!r}, which is no token id. {told or 'Name a field of token ids, text or messages'} after '#'."
        )
    if not _is_ids(mask) or len(mask) != len(ids):
        return tuple(ids)
    return tuple(one for one, kept in zip(ids, mask, strict=True) if kept)


def _chat_in(text: str) -> list[dict[str, Any]] | None:
    """The messages whose JSON a text is; None for any other text."""
    if not text.lstrip().startswith("[") or not text.rstrip().endswith("}]"):
        return None
    with suppress(ValueError, RecursionError):
        found = json.loads(text)
        if all(isinstance(one, dict) and any(k in one for k in _ROLE_KEYS) and any(k in one for k in _CONTENT_KEYS) for one in found):
            return found
    return None


def _message(one: Mapping[str, Any], name: str, where: str) -> tuple[str, str]:
    """(role, content) of a message, by the names of the OpenAI API, ShareGPT or OpenAssistant.

    A content in parts gives the text of the parts with text. A call of a tool without content is an empty content.
    """
    role = next((one[key] for key in _ROLE_KEYS if one.get(key) is not None), None)
    key = next((key for key in _CONTENT_KEYS if one.get(key) is not None), next((key for key in _CONTENT_KEYS if key in one), None))
    content = "" if key is None and one.get("tool_calls") else None if key is None else _text_of(one[key])
    if not isinstance(role, str) or content is None:
        raise CorpusError(f"{where} at {name!r} is {str(dict(one))[:80]!r}: a message needs a role and a content, both text.")
    role = role.strip().lower()
    return _ROLES.get(role, role), content


def _text_of(content: Any) -> str | None:
    """The text of a message's content: a text, or parts of which some have text; None for anything else."""
    if content is None or isinstance(content, str):
        return content or ""
    if isinstance(content, Mapping):
        held = next((content[key] for key in ("text", "value", "content") if content.get(key) is not None), "")
        return _text_of(held)
    if isinstance(content, Sequence):
        texts = [_text_of(part) for part in content]
        return None if None in texts else "".join(filter(None, texts))
    return None
