"""The limits of a server, learnt from its refusals, and requests adapted to these limits. Pure.

Servers differ in what they refuse: a system role, temperature 0, more than five alternatives a token, replies shorter than 16 tokens, a
seed. A refusal says so in words. `learnt` reads the words, and `adapted` changes the body of every request accordingly.
"""

import re
from dataclasses import dataclass, replace
from typing import Any

from resources.language_models.tokens.folded_turns import folded

SMALLEST_ALTERNATIVES = (5, 1)
"""Numbers of alternatives to try where a refusal does not name the server's maximum."""

MOST_LESSONS = 10


@dataclass(frozen=True)
class Accepts:
    """The limits of a server. None is no limit; `renamed_max_tokens` is the field for the length of a reply where the server wants another
    field."""

    system_role: bool = True
    temperature: bool = True
    seed: bool = True
    stop: bool = True
    logprobs: bool = True
    most_alternatives: int | None = None
    least_reply_tokens: int | None = None
    most_reply_tokens: int | None = None
    renamed_max_tokens: str | None = None


_MAX_TOKENS = ("max_tokens", "max_completion_tokens")
_UNKNOWN = (
    r"not supported|unsupported|does ?n[o']t support|not support|unknown|unrecognized|unexpected|not permitted|not allowed|extra|invalid"
)
_ROLES = re.compile(
    r"system (role|message|prompt)s? .{0,20}(not|un)|roles must alternate|only .{0,40}roles? (are|is) supported|"
    r"(role|value).{0,30}['\"`]?system['\"`]?.{0,30}(not|invalid|unsupported|unexpected)|"
    r"(unexpected|invalid|unsupported|unknown) .{0,20}role|(not|n't) support.{0,20}system",
    re.I | re.S,
)
_FIXED = r"only|must|should|positive|deprecated|greater|less|fixed|default"


def learnt(accepts: Accepts, body: dict[str, Any], refusal: str) -> Accepts | None:
    """The limits after a refusal of `body`; None where the refusal names nothing that can be met."""
    told = refusal.lower()
    found = accepts
    if _ROLES.search(told) and any(message["role"] == "system" for message in body.get("messages", ())):
        found = replace(found, system_role=False)
    elif "logprobs" in told and "logprobs" in body and "prompt_logprobs" not in told:
        found = _fewer_alternatives(found, body, told)
    elif re.search(r"max_?(completion_|output_|new_)?_?tokens", told) and "context" not in told:
        found = _other_length(found, body, told)
    else:
        for name, how in (("temperature", f"{_UNKNOWN}|{_FIXED}"), ("seed", _UNKNOWN), ("stop", f"{_UNKNOWN}|at most|too many|maximum")):
            if name in body and re.search(rf"\b{name}\b.{{0,80}}({how})|({how}).{{0,80}}\b{name}\b", told, re.S):
                found = replace(found, **{name: False})
                break
    return None if found == accepts else found


def adapted(body: dict[str, Any], accepts: Accepts) -> dict[str, Any]:
    """The body of a request within the limits of the server."""
    body = dict(body)
    if not accepts.system_role and "messages" in body:
        body["messages"] = folded(body["messages"])
    for name in ("temperature", "seed", "stop"):
        if not getattr(accepts, name):
            body.pop(name, None)
    if not accepts.logprobs:
        body.pop("logprobs", None)
        body.pop("top_logprobs", None)
    elif accepts.most_alternatives is not None:
        name = _alternatives_field(body)
        if name in body:
            body[name] = min(body[name], accepts.most_alternatives)
    for name in [name for name in _MAX_TOKENS if name in body]:
        tokens = max(body.pop(name), accepts.least_reply_tokens or 0)
        body[accepts.renamed_max_tokens or name] = min(tokens, accepts.most_reply_tokens or tokens)
    return body


def _alternatives_field(body: dict[str, Any]) -> str:
    return "top_logprobs" if "top_logprobs" in body else "logprobs"


def _fewer_alternatives(accepts: Accepts, body: dict[str, Any], told: str) -> Accepts:
    """The limits with the number of alternatives that the refusal names; else with the next smaller number to try, and at last without
    alternatives."""
    asked = int(body[_alternatives_field(body)])
    named = [number for number in _numbers(told) if 0 < number < asked]
    fewer = named or [number for number in SMALLEST_ALTERNATIVES if number < asked]
    unknown = re.search(_UNKNOWN.replace("|invalid", ""), told) and not named
    if unknown or not fewer:
        return replace(accepts, logprobs=False)
    return replace(accepts, most_alternatives=max(fewer))


def _other_length(accepts: Accepts, body: dict[str, Any], told: str) -> Accepts:
    """The limits with the field, or the least or most reply tokens, that the refusal names."""
    name = next((name for name in _MAX_TOKENS if name in body), None)
    if name is None:
        return accepts
    other = _MAX_TOKENS[1 - _MAX_TOKENS.index(name)]
    if re.search(rf"(use|instead|replaced by).{{0,40}}{other}", told) or (
        name in told and re.search(_UNKNOWN.replace("|invalid", ""), told)
    ):
        return accepts if accepts.renamed_max_tokens else replace(accepts, renamed_max_tokens=other)
    asked, numbers = int(body[name]), _numbers(told)
    larger, smaller = [number for number in numbers if number > asked], [number for number in numbers if 1 < number < asked]
    if larger and re.search(r"at least|below|minimum|>=|greater|less than the|too (small|low)|valid range", told):
        return replace(accepts, least_reply_tokens=min(larger))
    if smaller and re.search(r"at most|above|maximum|<=|less than|exceed|greater than|too (large|high|many)|valid range", told):
        return replace(accepts, most_reply_tokens=max(smaller))
    return accepts


def _numbers(text: str) -> list[int]:
    return [int(number) for number in re.findall(r"(?<![\w.])\d{1,9}(?![\w]|\.\d)", text)]
