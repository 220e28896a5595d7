"""The tokens of a request's prompt, for back ends that hold the tokenizer themselves.

The content of messages is text: the string `<|im_end|>` in a window for a judge is spelt out, and only the chat template ends a turn.
"""

from typing import Any

from resources.language_models.interface import ChoiceList, Reply, Request
from resources.language_models.tokens.folded_turns import folded
from resources.subject.chat_texts import ChatTemplateError, end_of_thought, left_out, rendered, rendered_pieces
from resources.subject.control_tokens import disarmed, encodable, text_encoder


def prompt_token_ids(tokenizer: Any, request: Request, thinking_tokens: int = 0) -> list[int]:
    """Token ids of a request and of the given beginning of its reply, without its suffix (see `suffix_tokens`).

    The chat template decides for instruct models, see `accepted_messages`. Base models, which have none, get the messages' text,
    joined by empty lines, and one at its end unless a suffix goes on from it. A thought that the template begins is ended at once, so that
    the answer is no part of it; only a free text with `thinking_tokens` has room for the thought (`begun_thought`).
    """
    messages = [{"role": message.role, "content": encodable(message.content)} for message in request.messages]
    if tokenizer.chat_template:
        question = _chat_ids(tokenizer, accepted_messages(tokenizer, messages), _has_room(request, thinking_tokens))
    else:
        text = "\n\n".join(message["content"] for message in messages) + ("" if request.suffix else "\n\n")
        question = _base_ids(tokenizer, text)
    return question + text_ids(tokenizer, request.line_prefix)


def text_ids(tokenizer: Any, text: str) -> list[int]:
    """Token ids of a text by itself, none of them a control token."""
    return text_encoder(tokenizer).encode(tokenizer, text)


def accepted_messages(tokenizer: Any, messages: list[dict[str, str]]) -> list[dict[str, str]]:
    """The messages as the tokenizer's chat template takes them.

    Where the template refuses the messages, or leaves out a text, the system text is put before the user's first turn, and adjacent turns
    of one role become one turn. Raises `ChatTemplateError` where the template refuses the messages then too, or leaves out a text.
    """
    other, absent = folded(messages), []
    try:
        absent = left_out(tokenizer, messages, rendered(tokenizer, messages, add_generation_prompt=True))
        if not absent:
            return messages
    except ChatTemplateError:
        if other == messages:
            raise
    if other != messages:
        messages, absent = other, left_out(tokenizer, other, rendered(tokenizer, other, add_generation_prompt=True))
    if absent:
        raise ChatTemplateError(f"it leaves out the text of a turn (role {messages[absent[0]]['role']})")
    return messages


def begun_thought(tokenizer: Any, request: Request, thinking_tokens: int) -> str:
    """The tag of a thought that the template begins and that the reply goes on with; empty for none. It stands before the reply's text."""
    if not opens_thought(tokenizer) or not _has_room(request, thinking_tokens):
        return ""
    return "<think>\n"


def opens_thought(tokenizer: Any) -> bool:
    """Whether the template's generation prompt begins a thought."""
    if not getattr(tokenizer, "chat_template", None):
        return False
    try:
        return bool(end_of_thought(rendered(tokenizer, [{"role": "user", "content": "a"}], add_generation_prompt=True)))
    except ChatTemplateError:
        return False


def takes_chats(tokenizer: Any) -> bool:
    """Whether the template takes the plainest chat: a refusal of another chat is then a refusal of that chat alone."""
    try:
        return bool(accepted_messages(tokenizer, [{"role": "user", "content": "a"}]))
    except ChatTemplateError:
        return False


def refused_by_template(error: ChatTemplateError) -> Reply:
    """The error reply to a question that the chat template refuses."""
    return Reply("", "error", 0, 0, 0, 0.0, error=f"the model's chat template refuses the question: {error}")


def _has_room(request: Request, thinking_tokens: int) -> bool:
    """Whether the reply has room for a thought before its answer."""
    free = request.max_reply_tokens > 0 and not isinstance(request.reply_format, ChoiceList)
    return bool(free and thinking_tokens and not request.suffix and not request.line_prefix)


def _chat_ids(tokenizer: Any, messages: list[dict[str, str]], thinks: bool) -> list[int]:
    encoder = text_encoder(tokenizer)
    if any(encoder.has_control(message["content"]) for message in messages):
        pieces = rendered_pieces(tokenizer, messages, add_generation_prompt=True)
        if pieces is not None:
            end = "" if thinks else end_of_thought("".join(text for text, _ in pieces))
            pieces = [*pieces, (end, None)] if end else pieces
            return encoder.encode_pieces(tokenizer, [(text, number is None) for text, number in pieces])[0]
        messages = [{**message, "content": encoder.disarmed(disarmed(message["content"]))} for message in messages]
    text = rendered(tokenizer, messages, add_generation_prompt=True)
    return tokenizer(text if thinks else text + end_of_thought(text), add_special_tokens=False)["input_ids"]


def _base_ids(tokenizer: Any, text: str) -> list[int]:
    """The text's ids with the special tokens that the tokenizer puts around any text."""
    encoder = text_encoder(tokenizer)
    if not encoder.has_control(text):
        return tokenizer(text)["input_ids"]
    bare, whole = tokenizer("a", add_special_tokens=False)["input_ids"], tokenizer("a")["input_ids"]
    first = next(i for i in range(len(whole)) if whole[i : i + len(bare)] == bare)
    return [*whole[:first], *encoder.encode(tokenizer, text), *whole[first + len(bare) :]]
