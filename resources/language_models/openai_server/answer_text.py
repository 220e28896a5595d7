"""The text of an answer, separated from the thought before it. A thought alone is no answer. Pure."""

from collections.abc import Mapping
from typing import Any

ROOM = "give it room for thought (option `thinking_tokens`), or turn thinking off (option `extra_body`)"


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
    return "".join(texts), "".join(thoughts)


def without_an_answer(text: str | None, thought: str, finish_reason: str | None, completion_tokens: int) -> str | None:
    """The reason why a reply is no answer, although the server sent it as an answer; None for an answer, also for an empty answer."""
    if text:
        return None
    if finish_reason == "length":
        return f"the reply was cut at {completion_tokens:,} tokens before the answer began; {ROOM}"
    if thought.strip():
        return f"the reply is thought alone, without an answer ({len(thought):,} characters of thought); {ROOM}"
    if text is None and finish_reason in ("tool_calls", "function_call"):
        return "the model called a tool instead of answering"
    return "the answer has no text: its content is null" if text is None else None
