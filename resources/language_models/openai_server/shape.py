"""Checks that an answer is a completion, part by part, and finds the model that gave it. Pure."""

import re
from collections.abc import Mapping
from typing import Any

from resources.language_models.openai_server.connection import OddReply, quoted
from resources.subject.control_tokens import encodable


def checked_completion(content: Any, chat: bool) -> Mapping[str, Any]:
    """The answer itself. Raises `OddReply` naming and quoting the first part that does not fit a completion."""
    answer = _part(content, Mapping, "it")
    choices = _part(answer.get("choices"), list, "choices", answer)
    if not choices:
        raise _odd("choices is empty", answer)
    choice = _part(choices[0], Mapping, "choices[0]")
    message = _part(choice.get("message") if chat else choice.get("message") or {}, Mapping, "message")
    text = message.get("content") if chat else choice.get("text")
    if chat and isinstance(text, list) and text and all(isinstance(part, Mapping) and "type" in part for part in text):
        for part in text:  # text and thought in parts
            if part["type"] in ("text", "output_text"):
                _part(part.get("text"), str, "the text of a part", part)
    elif text is not None:
        _part(text, str, "content" if chat else "text")
    for name, value in (("finish_reason", choice.get("finish_reason")), ("refusal", message.get("refusal"))):
        if value is not None:
            _part(value, str, name)
    return answer


TAGS = re.compile(r"[-:](latest|free|beta|default)$")
"""Ends of a name that choose no other weights."""

VERSION = re.compile(r"v?\d{3,}(-\d+)*|v\d+(\.\d+)*(-\d{3,})*|\d\d-\d\d")
"""A date (2024-08-06, 0613, 05-20) or a revision (001, v2, v3-0324). One or two digits alone name a sibling: 4-1 is another model than
4."""


def other_model(content: Mapping[str, Any], asked: str) -> str | None:
    """The name of the model that answered, where it is another model than `asked`; None where it is the same, or not told.

    A dated or longer spelling of the name is the same model: gpt-x and gpt-x-2024-08-06, owner/model and model, model:tag, model and the
    file model.gguf, and model@revision, as `transformers serve` spells it.
    """
    said = content.get("model")
    if not isinstance(said, str) or not said.strip():
        return None
    mine, theirs = asked.lower(), said.strip().lower()
    spelled = {theirs, _short(theirs)}
    short = _short(mine)
    if mine in spelled or short in spelled:
        return None
    longer = (name[len(short) :] for name in spelled if name.startswith(short))
    same = any(rest[0] == "@" or (rest[0] in "-:" and _is_version(rest[1:])) for rest in longer if rest)
    return None if same else encodable(said)


def _short(name: str) -> str:
    """The name without its owner or folder, the ending of a file, and a tag that chooses nothing."""
    return TAGS.sub("", re.split(r"[/\\]", name.rstrip("/\\"))[-1].removesuffix(".gguf"))


def _is_version(text: str) -> bool:
    """Whether it is a date, a revision or a tag rather than the name of a sibling (mini, 70b-instruct, 1 behind a 4)."""
    return VERSION.fullmatch(text) is not None or text in ("latest", "free", "beta", "default")


def _part(value: Any, kind: type, name: str, whole: Any = None) -> Any:
    if not isinstance(value, kind):
        raise _odd(f"{name} is {'absent' if value is None else 'a ' + type(value).__name__}", value if whole is None else whole)
    return value


def _odd(what: str, content: Any) -> OddReply:
    return OddReply(f"the server's answer is not a completion: {what}: {quoted(content)}")
