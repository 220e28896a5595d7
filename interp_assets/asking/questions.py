"""A question to a language model, with the address of its reply."""

from dataclasses import dataclass

from interp_assets.domain.prompting.prompts import Prompt
from resources.language_models.ask_all import Source
from resources.language_models.interface import ChoiceList, FreeText, JsonReply, Message, Reply, ReplyFormat, Request, SuffixChoices


@dataclass(frozen=True)
class Question:
    """One planned prompt, with the feature and the method that it asks about."""

    feature: int
    explanation_method: str
    prompt: Prompt


@dataclass(frozen=True)
class Answer:
    """A question with its reply, the content address and the source of the reply, and the model that gave it.

    `shareable` is the share of the prompt that stands at the beginning of an earlier prompt of the same batch.
    """

    question: Question
    reply: Reply
    key: str
    source: Source
    model: str
    shareable: float = 0.0


def request_of(prompt: Prompt) -> Request:
    """The request to a back end for a prompt of the domain."""
    reply_format: ReplyFormat = FreeText()
    if prompt.choices is not None:
        reply_format = ChoiceList(prompt.choices.count, prompt.choices.options)
    elif prompt.json_schema is not None:
        reply_format = JsonReply(prompt.json_schema)
    choices = prompt.suffix_choices
    return Request(
        messages=tuple(Message(role, content) for role, content in prompt.messages),
        max_reply_tokens=prompt.max_reply_tokens,
        temperature=prompt.temperature,
        seed=prompt.seed,
        reply_format=reply_format,
        line_prefix=prompt.line_prefix,
        shared_messages=prompt.shared_messages,
        suffix=prompt.suffix,
        suffix_choices=None if choices is None else SuffixChoices(choices.placeholder, choices.options),
    )
