"""Prompts of all explainers that ask for a tagged line: instructions, worked examples as turns of a conversation, then the question.

Worked examples are written by hand and equal for all features, so that they belong to the shared part of the prompt. arXiv 2410.13928 shows
three worked examples as turns of a conversation, and none for single tokens; arXiv 2501.08319 shows three inside the instructions.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from interp_assets.domain.bounds import Count, PositiveCount, Temperature
from interp_assets.domain.prompting.instructions import Instructed
from interp_assets.domain.prompting.prompts import Prompt, Turn
from interp_assets.domain.prompting.tagged_explanation import EXPLANATION_TAG


@dataclass(frozen=True)
class TaggedSettings(Instructed):
    """How an explainer asks for a tagged line."""

    few_shot: Count = 2
    """Worked examples before the question. Unit: examples, 0 to 3."""
    max_reply_tokens: PositiveCount = 100
    """Most tokens of a reply. Unit: tokens."""
    temperature: Temperature = 0.0
    """Temperature of the reply. Unit: temperature."""


@dataclass(frozen=True)
class WorkedExample:
    """A hand-written question about a feature, and its reply."""

    question: str
    reply: str


def tagged(explanation: str) -> str:
    """An explanation as a tagged line."""
    return f"{EXPLANATION_TAG} {explanation}"


def tagged_prompt(instructions: str, worked: Sequence[WorkedExample], question: str, settings: TaggedSettings) -> Prompt:
    """The question after the instructions and the worked examples, to be answered by one line that begins with the tag."""
    head: list[Turn] = [("system", instructions)]
    for example in worked[: settings.few_shot]:
        head.append(("user", example.question))
        head.append(("assistant", example.reply))
    return Prompt(
        messages=(*head, ("user", question)),
        shared_messages=len(head),
        max_reply_tokens=settings.max_reply_tokens,
        temperature=settings.temperature,
        line_prefix=EXPLANATION_TAG,
    )
