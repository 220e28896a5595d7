"""What the pure code asks of models: a question to a language model, or texts to compare by a sentence encoder."""

from dataclasses import dataclass
from typing import Literal

Role = Literal["system", "user", "assistant"]
Turn = tuple[Role, str]


@dataclass(frozen=True)
class Choices:
    """The reply is to be a bracketed list of `count` of `options`, such as `[1, 0, 1]`."""

    count: int
    options: tuple[str, ...] = ("0", "1")

    def __post_init__(self) -> None:
        assert self.count > 0, self.count


@dataclass(frozen=True)
class SuffixChoices:
    """Each `placeholder` in a prompt's suffix is a question of its own: how likely is every option in its place?"""

    placeholder: str
    options: tuple[str, ...]


@dataclass(frozen=True)
class Prompt:
    """One question to a language model.

    The first `shared_messages` turns (instructions and worked examples, say) are the same in other prompts of the batch, so that a back
    end can compute them once. The reply is free text unless `choices` or `json_schema` (canonical JSON text) says what it must be.
    `line_prefix` says that it should be one line that begins so: a back end that can continue a given beginning does. `seed` matters
    above temperature 0 alone.

    With a `suffix` nothing is to be written (`max_reply_tokens` 0): the question is how likely that text is as the reply, token by token,
    and with `suffix_choices` what else could stand at its placeholders.
    """

    messages: tuple[Turn, ...]
    shared_messages: int
    max_reply_tokens: int
    choices: Choices | None = None
    json_schema: str | None = None
    temperature: float = 0.0
    seed: int = 0
    line_prefix: str = ""
    suffix: str = ""
    suffix_choices: SuffixChoices | None = None

    def __post_init__(self) -> None:
        assert 0 <= self.shared_messages <= len(self.messages), (self.shared_messages, len(self.messages))
        assert self.messages, "a prompt has at least one message"
        assert self.choices is None or self.json_schema is None, "a reply has one form"


@dataclass(frozen=True)
class Comparison:
    """A question to a sentence encoder: the cosine of every one of `queries` with every one of `texts`."""

    queries: tuple[str, ...]
    texts: tuple[str, ...]
