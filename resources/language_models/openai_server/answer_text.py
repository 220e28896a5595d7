"""The text of an answer, separated from the thought before it. A thought alone is no answer. Pure."""

from collections.abc import Mapping
from typing import Any

ROOM = "give it room for thought (option `thinking_tokens`), or turn thinking off (option `extra_body`)"

ENDS = {
    "length": ("max_tokens", "max_output_tokens", "model_length", "max_length"),
    "content_filter": (
        "content-filter", "safety", "recitation", "blocklist", "prohibited_content", "spii", "sensitive", "refusal", "guardrail_intervened",
    ),
    "tool_calls": ("function_call", "tool_use", "malformed_function_call", "unexpected_tool_call"),
}  # fmt: skip
"""How a reply ended in OpenAI's words, and the words of Gemini, Anthropic, Mistral, Bedrock and Zhipu that gateways hand on."""


def end_of(finish_reason: str | None) -> str | None:
    """How a reply ended, in OpenAI's words where they are known."""
    said = finish_reason.lower() if finish_reason else finish_reason
    return next((name for name, words in ENDS.items() if said in words), said)


def refusal_within(message: Mapping[str, Any]) -> str | None:
    """The refusal in a chat's message, also where it is a part of the content beside no text; None without."""
    parts = message.get("content")
    of_parts = [part for part in parts if isinstance(part, Mapping)] if isinstance(parts, list) else []
    said = [str(part.get("refusal") or "") for part in of_parts if part.get("type") == "refusal"]
    return message.get("refusal") or ("".join(said) if any(said) and not text_and_thought(message)[0] else None)


def text_and_thought(message: Mapping[str, Any]) -> tuple[str | None, str]:
    """(text, thought) of a chat's message; the text is None where the message has no text.

    Servers send thought beside the text (`reasoning_content`, `reasoning`), or both as parts of one content.
    """
    content = message.get("content")
    thought = str(message.get("reasoning_content") or message.get("reasoning") or "")
    if not isinstance(content, list):
        return content, thought
    texts, thoughts = [], [thought]
    for part in content:
        kind, said = part.get("type"), part.get("text")
        if kind in ("text", "output_text") and isinstance(said, str):
            texts.append(said)
        elif kind in ("thinking", "reasoning"):
            thoughts.append(str(part.get("thinking") or part.get("reasoning") or said or ""))
    return "".join(texts) if texts else None, "".join(thoughts)


def without_an_answer(text: str | None, thought: str, end: str | None, completion_tokens: int, calls: object = None) -> str | None:
    """The reason why a reply is no answer, although the server sent it as an answer; None for an answer, also for an empty answer.

    `calls` are calls of tools beside the text.
    """
    if text:
        return None
    if end == "length":
        return f"the reply was cut at {completion_tokens:,} tokens before the answer began; {ROOM}"
    if thought.strip():
        return f"the reply is thought alone, without an answer ({len(thought):,} characters of thought); {ROOM}"
    if end == "tool_calls" or calls:
        return "the model called a tool instead of answering"
    return "the answer has no text: its content is null" if text is None else None
