"""The tokens of a request's prompt, for back ends that hold the tokenizer themselves."""

from typing import Any

from resources.language_models.interface import Request


def prompt_token_ids(tokenizer: Any, request: Request) -> list[int]:
    """Token ids of a request and of the beginning that its reply is given, but for its suffix (see `suffix_tokens`).

    The chat template decides for instruct models; base models, which have none, get the messages' text, joined by empty lines, and one at
    its end unless a suffix goes on from it.
    """
    messages = [{"role": message.role, "content": message.content} for message in request.messages]
    if tokenizer.chat_template:
        text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        question = tokenizer(text, add_special_tokens=False)["input_ids"]
    else:
        question = tokenizer("\n\n".join(message["content"] for message in messages) + ("" if request.suffix else "\n\n"))["input_ids"]
    return question + tokenizer(request.line_prefix, add_special_tokens=False)["input_ids"]
