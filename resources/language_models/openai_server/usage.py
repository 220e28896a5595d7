"""Tokens of a question and its reply: the server's counts where they are possible, else an estimate.

A budget has to hold even against a server that sends no counts, or nonsense. A text's tokens are estimated with the model's tokenizer where
the settings name it (option `tokenizer`), and from its bytes otherwise.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from resources.language_models.interface import Request
from resources.language_models.openai_server.connection import OddReply, quoted

BYTES_PER_TOKEN = 3.0
"""Bytes of a token for estimates. English prose has 4 to 4.5 bytes a token, code and lists about 3: estimates are rather too high."""

MESSAGE_TOKENS = 8
"""Tokens that a chat template puts around a message; few templates put more."""

MOST_TOKENS = 1_000_000
"""Most tokens of one question or one reply; a larger count is wrong. A server's system prompt and a model's thinking are below it."""

MOST_CHARACTERS_PER_TOKEN = 64
"""Most characters a token, on average over a question; a smaller count of tokens is wrong, since the longest tokens are rare."""

TokenCounter = Callable[[str], int]


@dataclass(frozen=True)
class Usage:
    """Tokens of one question and its reply; `is_estimate` says that the server's counts were absent or impossible."""

    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    is_estimate: bool = False


def bytes_estimate(text: str) -> int:
    """Estimated number of tokens of a text whose tokenizer is not known; rather too high."""
    return math.ceil(len(text.encode("utf-8", "surrogatepass")) / BYTES_PER_TOKEN)


def estimated_usage(request: Request, reply_text: str, count: TokenCounter = bytes_estimate) -> Usage:
    """An estimate of the tokens of a question and its reply, from their texts. A reply that is cut off or empty counts at least one
    token."""
    begun = request.suffix or request.line_prefix
    prompt = sum(count(message.content) + MESSAGE_TOKENS for message in request.messages) + (count(begun) if begun else 0)
    return Usage(prompt, 0, max(1, count(reply_text)) if reply_text else 1, True)


def read_usage(content: Mapping[str, Any], request: Request, reply_text: str, count: TokenCounter = bytes_estimate) -> Usage:
    """The server's counts where they are possible, an estimate where they are absent or impossible.

    Impossible are negative counts, counts above MOST_TOKENS, 0 for a text that is not empty, and less than a token for
    MOST_CHARACTERS_PER_TOKEN characters of the question. Raises `OddReply` where counts are no numbers.
    """
    usage = content.get("usage")
    if usage is None:
        return estimated_usage(request, reply_text, count)
    if not isinstance(usage, Mapping):
        raise OddReply(f"the server's answer is not a completion: usage is a {type(usage).__name__}: {quoted(usage)}")
    prompt, completion = _number(usage, "prompt_tokens"), _number(usage, "completion_tokens")
    details = usage.get("prompt_tokens_details")
    cached = _number(details, "cached_tokens") if isinstance(details, Mapping) else None
    characters_asked = sum(len(message.content) for message in request.messages)
    estimate = estimated_usage(request, reply_text, count)
    prompt_is_true = prompt is not None and 0 < prompt <= MOST_TOKENS and prompt * MOST_CHARACTERS_PER_TOKEN >= characters_asked
    completion_is_true = completion is not None and bool(reply_text) <= completion <= MOST_TOKENS
    prompt_tokens = prompt if prompt_is_true and prompt is not None else estimate.prompt_tokens
    return Usage(
        prompt_tokens,
        min(max(cached or 0, 0), prompt_tokens),
        completion if completion_is_true and completion is not None else estimate.completion_tokens,
        not (prompt_is_true and completion_is_true),
    )


def _number(counts: Mapping[str, Any], name: str) -> int | None:
    """A count; None where the count is absent or no finite number. Raises `OddReply` for a text or a list."""
    value = counts.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise OddReply(f"the server's answer is not a completion: usage.{name} is a {type(value).__name__}: {quoted(value)}")
    return int(value) if math.isfinite(value) else None


def tokenizer_counter(source: str) -> TokenCounter:
    """A function that counts a text's tokens with the tokenizer of `source`: an embedded model, a folder or a hub id. Raises
    `WeightsError`."""
    from resources.weights import load_hf_tokenizer, resolve_model_folder

    tokenizer = load_hf_tokenizer(resolve_model_folder(source))
    return lambda text: len(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])
