"""The content of a row's field: text, a chat's messages, or token ids."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from resources.corpus.interface import CorpusError

_ROLES = {"human": "user", "gpt": "assistant"}  # the names of ShareGPT


@dataclass(frozen=True)
class Content:
    """One of the three contents; `messages` are (role, content). `text` is the text of the messages, for counting."""

    text: str = ""
    messages: tuple[tuple[str, str], ...] = ()
    token_ids: tuple[int, ...] | None = None


def content_of(value: Any, name: str, where: str) -> Content | None:
    """The content of a field, None for a null. Raises `CorpusError` naming the type of a value that is none of the three."""
    if value is None:
        return None
    if isinstance(value, str):
        return Content(value)
    if isinstance(value, Sequence) and all(isinstance(one, int) and not isinstance(one, bool) for one in value):
        return Content(token_ids=tuple(value))
    if isinstance(value, Sequence) and all(isinstance(one, Mapping) for one in value):
        messages = tuple(_message(one, name, f"{where}, message {number}") for number, one in enumerate(value, 1))
        return Content("\n".join(content for _, content in messages), messages)
    raise CorpusError(
        f"{where} has {type(value).__name__} at {name!r}, not text: {str(value)[:60]!r}. Name a field of text, of messages (a list "
        "of objects with role and content), or of token ids (a list of whole numbers) after '#'."
    )


def _message(one: Mapping[str, Any], name: str, where: str) -> tuple[str, str]:
    """(role, content) of a message. A content in parts gives the text of the parts with text. ShareGPT's `from` and `value` are read
    too."""
    role = one.get("role", one.get("from"))
    content = one["content"] if "content" in one else one.get("value")
    if isinstance(content, Sequence) and not isinstance(content, str):
        content = "".join(str(part.get("text") or "") for part in content if isinstance(part, Mapping))
    if not isinstance(role, str) or not (content is None or isinstance(content, str)):
        raise CorpusError(f"{where} at {name!r} is {str(dict(one))[:80]!r}: a message needs a role and a content, both text.")
    return _ROLES.get(role, role), content or ""
