"""The tokens of a request's prompt, for back ends that hold the tokenizer themselves."""

from typing import Any

from resources.language_models.interface import Request
from resources.language_models.tokens.folded_turns import folded


def prompt_token_ids(tokenizer: Any, request: Request) -> list[int]:
    """Token ids of a request and of the beginning that its reply is given, but for its suffix (see `suffix_tokens`).

    The chat template decides for instruct models, as `chat_text` applies it. Base models, which have none, get the messages' text,
    joined by empty lines, and one at its end unless a suffix goes on from it.
    """
    messages = [{"role": message.role, "content": message.content} for message in request.messages]
    if tokenizer.chat_template:
        text = chat_text(tokenizer, messages)
        question = tokenizer(text, add_special_tokens=False)["input_ids"]
    else:
        question = tokenizer("\n\n".join(message["content"] for message in messages) + ("" if request.suffix else "\n\n"))["input_ids"]
    return question + tokenizer(request.line_prefix, add_special_tokens=False)["input_ids"]


def chat_text(tokenizer: Any, messages: list[dict[str, str]]) -> str:
    """The chat in the words of the tokenizer's template, up to where the reply begins.

    Where the template refuses the system role, or writes nothing of its text, that text opens the first turn of the user.
    """
    from jinja2 import TemplateError

    system = [message["content"].strip() for message in messages if message["role"] == "system"]
    try:
        text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        if all(content in text for content in system):
            return text
    except TemplateError:
        if folded(messages) == messages:
            raise
    return tokenizer.apply_chat_template(folded(messages), tokenize=False, add_generation_prompt=True)
