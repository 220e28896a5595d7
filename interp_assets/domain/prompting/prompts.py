"""Questions of the pure code: a prompt for a language model, texts to compare by a sentence encoder, or windows to match by a machine."""

from dataclasses import dataclass
from typing import Literal

Role = Literal["system", "user", "assistant"]
Turn = tuple[Role, str]


@dataclass(frozen=True)
class Choices:
    """The reply must be a bracketed list of `count` entries, each one of `options`, such as `[1, 0, 1]`."""

    count: int
    options: tuple[str, ...] = ("0", "1")

    def __post_init__(self) -> None:
        assert self.count > 0, self.count


@dataclass(frozen=True)
class SuffixChoices:
    """Each `placeholder` in a prompt's suffix is a question of its own: how likely is every option in the place of the placeholder?"""

    placeholder: str
    options: tuple[str, ...]


@dataclass(frozen=True)
class Prompt:
    """One question to a language model.

    The first `shared_messages` turns (instructions and worked examples, for instance) are equal in other prompts of the batch, so that a
    back end can compute them once. The reply is free text unless `choices` or `json_schema` (canonical JSON text) gives its form. With a
    `line_prefix` the reply should be one line that begins with this prefix; a back end that can continue a given beginning continues the
    prefix. `seed` matters only above temperature 0.

    With a `suffix` the model writes nothing (`max_reply_tokens` 0): the question is how likely the suffix is as the reply, token by token.
    With `suffix_choices` the question is how likely each option is at each placeholder of the suffix.
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
class Matching:
    """A question that no model answers: which tokens of each window does a machine-readable explanation speak of?

    `windows` are the texts of the windows' tokens. `marks` says of each token whether it is marked; without marks the whole window counts.
    """

    explanation: str
    windows: tuple[tuple[str, ...], ...]
    marks: tuple[tuple[bool, ...], ...] | None = None


@dataclass(frozen=True)
class Comparison:
    """A question to a sentence encoder: the cosine of every one of `queries` with every one of `texts`."""

    queries: tuple[str, ...]
    texts: tuple[str, ...]
