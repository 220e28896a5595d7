"""A question to a language model, as the pure code plans it: turns, how many of them are shared, and the shape of the reply."""

from dataclasses import dataclass
from typing import Literal

Role = Literal["system", "user", "assistant"]
Turn = tuple[Role, str]


@dataclass(frozen=True)
class Prompt:
    """One question to a language model.

    The first `shared_messages` turns (instructions and worked examples) are the same in every prompt of the method, so a back end
    can compute them once. `answer_count` n asks for a bracketed list of n answers 0 or 1; None asks for free text.
    `line_prefix` says that the reply should be one line that begins so: a back end that can continue a given beginning does.
    """

    messages: tuple[Turn, ...]
    shared_messages: int
    answer_count: int | None
    max_reply_tokens: int
    temperature: float = 0.0
    line_prefix: str = ""

    def __post_init__(self) -> None:
        assert 0 <= self.shared_messages <= len(self.messages), (self.shared_messages, len(self.messages))
        assert self.messages, "a prompt has at least one message"
        assert self.answer_count is None or self.answer_count > 0, self.answer_count
