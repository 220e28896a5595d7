"""Requests to an OpenAI-compatible server and its answers as plain mappings: `payload` and `read_reply`. Pure.

There are three ways to ask for a structured reply: "vllm" (`structured_outputs`, a regular expression or JSON schema), "json_schema"
(`response_format`, the list wrapped in an object because hosted APIs want an object at the top), and "off" (the prompt alone).
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from resources.language_models.interface import ChoiceList, JsonReply, Reply, Request
from resources.language_models.openai_server.answer_text import end_of, refusal_within, text_and_thought, without_an_answer
from resources.language_models.openai_server.shape import checked_completion, other_model
from resources.language_models.openai_server.suffixes import Beginnings, is_logprob, read_suffix
from resources.language_models.openai_server.usage import TokenCounter, bytes_estimate, read_usage
from resources.language_models.tokens.answer_places import answer_probabilities
from resources.subject.control_tokens import disarmed, encodable

Structured = Literal["vllm", "json_schema", "off"]
TOP_LOGPROBS = 20
COMPLETION_LOGPROBS = 5  # the most that the completions endpoint of hosted APIs gives
JSON_ANSWER_TOKENS = 5  # of a list's reply, beside the option itself, for each answer


@dataclass(frozen=True)
class Offer:
    """The abilities that a server was found to offer. Only vLLM's server offers `continues` and `prompt_logprobs`."""

    structured: Structured = "off"
    logprobs: bool = False
    prompt_logprobs: bool = False
    continues: bool = False


@dataclass(frozen=True)
class Dialect:
    """How to talk to a server: model name, chat or plain completions, the field that bounds the reply, the tokens of thought that a reply
    may have besides, and fields that every request has."""

    model: str
    chat: bool = True
    max_tokens_field: str = "max_tokens"
    thinking_tokens: int = 0
    extra_body: Mapping[str, Any] = field(default_factory=dict)


def as_text(request: Request) -> Request:
    """The request with spaces in the strings of control tokens in all its texts: a server would take such a string for the token."""
    messages = tuple(replace(message, content=disarmed(message.content)) for message in request.messages)
    return replace(request, messages=messages, suffix=disarmed(request.suffix), line_prefix=disarmed(request.line_prefix))


def payload(request: Request, offer: Offer, dialect: Dialect) -> dict[str, Any]:
    """Body of the request, as JSON values."""
    body: dict[str, Any] = {"model": dialect.model, "temperature": request.temperature, **_question(request, offer, dialect)}
    body[dialect.max_tokens_field if dialect.chat else "max_tokens"] = _reply_tokens(request, offer, dialect)
    if request.temperature > 0:
        body["seed"] = request.seed
    stop = [*request.stop, "\n"] if request.line_prefix else list(request.stop)
    if stop:
        body["stop"] = stop
    if request.suffix:
        body["prompt_logprobs"] = TOP_LOGPROBS if request.suffix_choices else 0
    if isinstance(request.reply_format, ChoiceList) and offer.logprobs:
        body |= {"logprobs": True, "top_logprobs": TOP_LOGPROBS} if dialect.chat else {"logprobs": COMPLETION_LOGPROBS}
    return body | _structure(request, offer) | dict(dialect.extra_body)


def read_reply(
    content: Any,
    request: Request,
    offer: Offer,
    dialect: Dialect,
    beginnings: Beginnings | None = None,
    count: TokenCounter = bytes_estimate,
    answer_needed: bool = True,
) -> Reply:
    """The reply in a server's answer. Its `seconds` are 0: only the sender knows them.

    `beginnings` belong to the request's suffix choices; `count` estimates tokens where the server does not count them. An error reply
    stands for a reply that a filter cut, that the model refused, or (unless not `answer_needed`) that ended before an answer began. Raises
    `SuffixUnread` where the server's tokens do not spell the suffix, and `OddReply` for an answer that is no completion.
    """
    content = checked_completion(content, dialect.chat)
    choice = content["choices"][0]
    message = choice.get("message") or {}
    written, thought = text_and_thought(message) if dialect.chat else (choice.get("text"), "")
    raw = encodable(written or "")
    used = read_usage(content, request, raw, count)
    counts: dict[str, Any] = {
        "prompt_tokens": used.prompt_tokens, "cached_tokens": used.cached_tokens, "completion_tokens": used.completion_tokens,
        "seconds": 0.0, "tokens_are_estimated": used.is_estimate, "other_model": other_model(content, dialect.model),
    }  # fmt: skip
    end = end_of(choice.get("finish_reason"))
    refusal = refusal_within(message) or (end == "content_filter" and "stopped by the server's content filter")
    if refusal:
        return Reply(raw, "error", **counts, error=encodable(f"the model refused: {refusal}"))
    missing = without_an_answer(written, thought, end, used.completion_tokens, message.get("tool_calls"))
    if missing and answer_needed and request.max_reply_tokens:
        return Reply("", "error", **counts, error=missing)
    text = _before_stops(_unwrapped(raw, request) if offer.structured == "json_schema" else raw, request)
    continued = request.line_prefix if _continued(request, offer, dialect) else ""
    logprobs, choices = read_suffix(prompt_places(content), request, beginnings or {})
    return Reply(
        text=continued + text if request.max_reply_tokens else "",
        finish_reason="length" if end == "length" and request.max_reply_tokens else "stop",
        **counts,
        answer_probabilities=_probabilities(choice.get("logprobs"), request, dialect),
        suffix_logprobs=logprobs,
        suffix_choices=choices,
    )


def prompt_places(content: Mapping[str, Any]) -> list[dict[str, Any] | None] | None:
    """The server's log-probabilities of each token of the prompt: at the top of a chat's answer, in the choice of a completion's; None
    without."""
    return content.get("prompt_logprobs") or content["choices"][0].get("prompt_logprobs")


def _question(request: Request, offer: Offer, dialect: Dialect) -> dict[str, Any]:
    """The messages, or for a base model their text, with the beginning of the reply where the server can continue it."""
    if not dialect.chat:
        text = "\n\n".join(message.content for message in request.messages)
        return {"prompt": text + (request.suffix or "\n\n" + request.line_prefix)}
    messages = [{"role": message.role, "content": message.content} for message in request.messages]
    if not _continued(request, offer, dialect):
        return {"messages": messages}
    begun = {"role": "assistant", "content": request.suffix or request.line_prefix}
    return {"messages": [*messages, begun], "continue_final_message": True, "add_generation_prompt": False}


def _continued(request: Request, offer: Offer, dialect: Dialect) -> bool:
    return bool(request.suffix) or (bool(request.line_prefix) and (offer.continues or not dialect.chat))


def most_reply_tokens(request: Request, thinking_tokens: int = 0) -> int:
    """The most tokens of the reply and its thought that any server is allowed, whatever abilities the server offers."""
    return _reply_tokens(request, Offer(structured="json_schema"), Dialect("", thinking_tokens=thinking_tokens))


def _reply_tokens(request: Request, offer: Offer, dialect: Dialect) -> int:
    """Bound on the tokens of the reply and its thought, at least 1. A constrained list is not cut short by a bound for the bare list."""
    room = dialect.thinking_tokens if request.max_reply_tokens else 0
    return room + _answer_tokens(request, offer)


def _answer_tokens(request: Request, offer: Offer) -> int:
    form = request.reply_format
    if isinstance(form, ChoiceList) and offer.structured != "off" and request.max_reply_tokens:
        return max(request.max_reply_tokens, (JSON_ANSWER_TOKENS + max(map(len, form.options))) * (form.count + 2))
    return max(1, request.max_reply_tokens)


def _structure(request: Request, offer: Offer) -> dict[str, Any]:
    """The constraint on the reply in the fields of the server; empty for free text."""
    form = request.reply_format
    if offer.structured == "off" or not isinstance(form, ChoiceList | JsonReply):
        return {}
    if offer.structured == "vllm":
        return {"structured_outputs": {"regex": form.regex} if isinstance(form, ChoiceList) else {"json": json.loads(form.schema)}}
    schema = _choice_schema(form) if isinstance(form, ChoiceList) else json.loads(form.schema)
    return {"response_format": {"type": "json_schema", "json_schema": {"name": "reply", "strict": True, "schema": schema}}}


def _choice_schema(choices: ChoiceList) -> dict[str, Any]:
    """JSON schema of {"answers": [option, …]}; options that are whole numbers are numbers, as in the bare list."""
    whole = all(option.lstrip("-").isdecimal() for option in choices.options)
    one = {"enum": [int(option) if whole else option for option in choices.options], "type": "integer" if whole else "string"}
    answers = {"type": "array", "items": one, "minItems": choices.count, "maxItems": choices.count}
    return {"type": "object", "properties": {"answers": answers}, "required": ["answers"], "additionalProperties": False}


def _unwrapped(raw: str, request: Request) -> str:
    """The bare list `[1, 0]` of a wrapped list; any other text unchanged."""
    if not isinstance(request.reply_format, ChoiceList):
        return raw
    try:
        return "[" + ", ".join(str(answer) for answer in json.loads(raw)["answers"]) + "]"
    except (ValueError, KeyError, TypeError):
        return raw


def _probabilities(logprobs: Mapping[str, Any] | None, request: Request, dialect: Dialect) -> tuple[tuple[float, ...], ...] | None:
    """Answer probabilities from the tokens' log-probabilities, where the server sent log-probabilities."""
    if not logprobs or not isinstance(request.reply_format, ChoiceList):
        return None
    if dialect.chat:
        places = logprobs.get("content") or []
        tokens = [place["token"] for place in places]
        listed = [_alternatives([*(place.get("top_logprobs") or []), place]) for place in places]
    else:
        tokens = logprobs.get("tokens") or []
        tops = logprobs.get("top_logprobs") or [{}] * len(tokens)
        listed = [_alternatives([{"token": token, "logprob": value} for token, value in (place or {}).items()]) for place in tops]
    if not all(isinstance(token, str) for token in tokens) or len(listed) != len(tokens):
        return None
    return answer_probabilities(tokens, listed, request.reply_format)


def _alternatives(listed: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Token text -> log-probability; of two tokens with the same text the likelier. Nulls, NaNs and values above 0 are left out."""
    found: dict[str, float] = {}
    for one in listed:
        token, value = one.get("token"), one.get("logprob")
        if isinstance(token, str) and value is not None and is_logprob(value):
            found[token] = max(float(value), found.get(token, -math.inf))
    return found


def _before_stops(text: str, request: Request) -> str:
    """The text up to the first stop string, where the request to the server had no stop strings."""
    places = [place for stop in request.stop if (place := text.find(stop)) >= 0]
    return text[: min(places)] if places else text
