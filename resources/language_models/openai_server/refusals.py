"""The scope of a server's refusal (one question, all questions for a while, all questions for good), and the time to wait. Pure."""

import math
import time
from collections.abc import Mapping
from contextlib import suppress
from email.utils import parsedate_to_datetime
from typing import Any, Literal

RETRIED_STATUS = frozenset({408, 409, 425, 429})
MAX_WAIT_SECONDS = 60.0
"""Longest wait before a question is asked again, whatever the server asks for. Unit: seconds."""

REMEDIES = {
    401: "the key is wrong or was withdrawn",
    402: "there is no credit left",
    403: "the key may not use this model",
    407: "the proxy on the way wants a user and a password, which stand in its address: http://user:password@host:port",
    429: "the quota is used up",
}
_SPENT_CODES = frozenset({"insufficient_quota", "billing_hard_limit_reached", "billing_not_active", "account_deactivated"})

Refusal = Literal["question", "for_a_while", "all"]


def refusal_of(status: int, body: Any) -> Refusal:
    """The scope of a refusal: this "question" alone, "for_a_while" (asked again), or "all" questions.

    A 403 that says that a filter found something in the input is about the question: gateways send it so.
    """
    said = _error_of(body)
    if status == 429 and _SPENT_CODES & {said.get("code"), said.get("type")}:
        return "all"
    if status in RETRIED_STATUS or status >= 500:
        return "for_a_while"
    if status == 403 and _is_moderated(said):
        return "question"
    return "all" if status in (401, 402, 403, 407) else "question"


def retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait as the server asks (retry-after-ms, or Retry-After in seconds or as a date); None where it does not ask."""
    for name, per_second in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        with suppress(TypeError, ValueError):
            seconds = float(headers.get(name)) / per_second  # type: ignore[arg-type]
            if math.isfinite(seconds):
                return max(0.0, seconds)
    with suppress(TypeError, ValueError, OverflowError):
        return max(0.0, parsedate_to_datetime(headers.get("retry-after") or "").timestamp() - time.time())
    return None


def _error_of(body: Any) -> Mapping[str, Any]:
    """The error in a body, with codes as strings; empty where there is no error."""
    body = body.get("error", body) if isinstance(body, dict) else {}
    body = body if isinstance(body, dict) else {}
    return {name: value for name, value in body.items() if isinstance(name, str) and isinstance(value, str | dict)}


def _is_moderated(said: Mapping[str, Any]) -> bool:
    details = said.get("metadata")
    flagged = isinstance(details, dict) and ("reasons" in details or "flagged_input" in details)
    return flagged or said.get("code") in ("content_filter", "content_policy_violation", "moderation_blocked")
