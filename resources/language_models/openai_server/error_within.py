"""An error that a server sends with HTTP status 200, as gateways do where the model behind the gateway refuses. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from resources.subject.control_tokens import encodable

BROKEN_OFF = ("error", "abort", "aborted", "cancelled", "canceled", "insufficient_system_resource", "network_error", "timeout", "other")
"""Ends of a reply that its server broke off: vLLM and SGLang that shut down, DeepSeek without room, gateways. The text is a part of it."""
UNKNOWN_ERROR = 500  # an error without a code is asked again, as any failure of the server


@dataclass(frozen=True)
class ErrorWithin:
    """The error's proper status, its message, and the error itself."""

    status: int
    message: str
    body: Mapping[str, Any]


def error_within(content: Any) -> ErrorWithin | None:
    """The error in an answer; None in a completion. A choice may hold the error too, beside text that was written before the error."""
    if not isinstance(content, Mapping):
        return None
    error = content.get("error")
    choices = content.get("choices")
    if not error and isinstance(choices, list) and choices and isinstance(choices[0], Mapping):
        ended = str(choices[0].get("finish_reason")).lower()
        error = choices[0].get("error") or (ended in BROKEN_OFF and f"the model behind the server failed (finish_reason {ended})")
    elif not error and not choices and str(content.get("object")) == "error":
        error = content
    if not error:
        return None
    body = error if isinstance(error, Mapping) else {"message": str(error)}
    return ErrorWithin(_status_of(body), _message_of(body), body)


def _status_of(body: Mapping[str, Any]) -> int:
    for name in ("code", "status", "status_code", "type"):
        said = body.get(name)
        if isinstance(said, int | str) and not isinstance(said, bool) and str(said).isdecimal() and 400 <= int(said) < 600:
            return int(said)
    named = f"{body.get('code')} {body.get('type')} {body.get('message')}".lower()
    statuses = ((429, ("rate limit", "rate_limit", "too many requests", "overloaded", "quota")), (401, ("invalid_api_key", "unauthorized")),
                (400, ("invalid_request", "bad request", "bad_request", "badrequest")))  # fmt: skip
    return next((status for status, words in statuses if any(word in named for word in words)), UNKNOWN_ERROR)


def _message_of(body: Mapping[str, Any]) -> str:
    """The message, with the message of the server behind a gateway where the gateway passes it on."""
    details = body.get("metadata")
    raw = details.get("raw") if isinstance(details, Mapping) else None
    told = str(body.get("message") or body.get("detail") or body)
    return encodable(f"{told}: {raw}" if isinstance(raw, str) and raw not in told else told)
