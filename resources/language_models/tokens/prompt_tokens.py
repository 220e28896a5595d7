"""The tokens of a request's prompt, for back ends that hold the tokenizer themselves.

The content of messages is text: the string `<|im_end|>` in a window for a judge is spelt out, and only the chat template ends a turn.
"""

from typing import Any

from resources.language_models.interface import Request
from resources.language_models.tokens.folded_turns import folded
from resources.subject.chat_texts import ChatTemplateError, rendered, rendered_pieces
from resources.subject.control_tokens import disarmed, encodable, text_encoder


def prompt_token_ids(tokenizer: Any, request: Request) -> list[int]:
    """Token ids of a request and of the given beginning of its reply, without its suffix (see `suffix_tokens`).

    The chat template decides for instruct models, see `accepted_messages`. Base models, which have none, get the messages' text,
    joined by empty lines, and one at its end unless a suffix goes on from it.
    """
    messages = [{"role": message.role, "content": encodable(message.content)} for message in request.messages]
    if tokenizer.chat_template:
        question = _chat_ids(tokenizer, accepted_messages(tokenizer, messages))
    else:
        text = "\n\n".join(message["content"] for message in messages) + ("" if request.suffix else "\n\n")
        question = _base_ids(tokenizer, text)
    return question + text_ids(tokenizer, request.line_prefix)


def text_ids(tokenizer: Any, text: str) -> list[int]:
    """Token ids of a text by itself, none of them a control token."""
    return text_encoder(tokenizer).encode(tokenizer, text)


def accepted_messages(tokenizer: Any, messages: list[dict[str, str]]) -> list[dict[str, str]]:
    """The messages as the tokenizer's chat template takes them.

    Where the template refuses the system role, or leaves out its text, the system text is put before the user's first turn. Raises
    `ChatTemplateError` where the template refuses the messages without a system role too.
    """
    system = [message["content"].strip() for message in messages if message["role"] == "system"]
    try:
        text = rendered(tokenizer, messages, add_generation_prompt=True)
        if all(content in text for content in system):
            return messages
    except ChatTemplateError:
        if folded(messages) == messages:
            raise
    return folded(messages)


def _chat_ids(tokenizer: Any, messages: list[dict[str, str]]) -> list[int]:
    encoder = text_encoder(tokenizer)
    if any(encoder.has_control(message["content"]) for message in messages):
        pieces = rendered_pieces(tokenizer, messages, add_generation_prompt=True)
        if pieces is not None:
            return encoder.encode_pieces(tokenizer, [(text, number is None) for text, number in pieces])[0]
        messages = [{**message, "content": encoder.disarmed(disarmed(message["content"]))} for message in messages]
    text = rendered(tokenizer, messages, add_generation_prompt=True)
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def _base_ids(tokenizer: Any, text: str) -> list[int]:
    """The text's ids with the special tokens that the tokenizer puts around any text."""
    encoder = text_encoder(tokenizer)
    if not encoder.has_control(text):
        return tokenizer(text)["input_ids"]
    bare, whole = tokenizer("a", add_special_tokens=False)["input_ids"], tokenizer("a")["input_ids"]
    first = next(i for i in range(len(whole)) if whole[i : i + len(bare)] == bare)
    return [*whole[:first], *encoder.encode(tokenizer, text), *whole[first + len(bare) :]]
