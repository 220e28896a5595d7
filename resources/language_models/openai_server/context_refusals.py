"""Refusals of a prompt that the model's context does not hold, in the words of many servers. Pure."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

_SAID = re.compile(
    r"context.?(length|size|window)|context_length_exceeded|exceed_context|max_?(seq|model|sequence)_?len|"
    r"model_max_length|prompt is too long|"
    r"(prompt|input).{0,30}(too long|too many tokens|exceed)|(input|prompt).{0,4} (token|length).{0,60}(exceed|longer|maximum|limit)|"
    r"inputs?.{0,4} tokens.{0,12}\+.{0,12}max_(new_)?tokens|reduce the length of|max_(completion_)?tokens.{0,40}got -\d|"
    r"exceeds? the maximum number of (input )?tokens",
    re.I | re.S,
)
STATUS = frozenset({400, 413, 422, 500, 501})
"""HTTP statuses of such refusals; llama.cpp and engines behind gateways send 500, which would else be asked again in vain."""


def exceeds_context(status: int, said: str, body: Any) -> bool:
    """Whether a server refuses a question because its prompt, with room for the reply, is longer than the model's context."""
    return status in STATUS and _SAID.search(" ".join([said, *_fields(body, str)])) is not None


def context_problem(problem: str, body: Any, estimated_tokens: int) -> str:
    """The reason for an error reply: the server's words with its numbers, of which some servers send a part beside the message.

    Where the server names fewer than two numbers, the estimated length of the prompt is added.
    """
    told = problem
    beside = [field for field in _fields(body, int) if field.rpartition(" ")[2] not in problem]
    if beside:
        told += f" ({', '.join(beside)})"
    if len(set(re.findall(r"\d{2,}", re.sub(r"HTTP \d+", "", told)))) < 2:
        told += f" (the prompt has about {estimated_tokens:,} tokens)"
    return f"the prompt does not fit into the model's context: {told}; show fewer examples"


def _fields(body: Any, kind: type) -> Iterator[str]:
    """The names and values of an error's own fields, but for the message."""
    error = body.get("error", body) if isinstance(body, Mapping) else {}
    for name, value in error.items() if isinstance(error, Mapping) else ():
        if name not in ("message", "code", "status") and isinstance(value, kind) and not isinstance(value, bool):
            yield f"{name} {value}"
        elif kind is str and name == "code" and isinstance(value, str):
            yield value
