"""The interface of all back ends of language models: an immutable `Request` in, a typed `Reply` out.

A back end is any object with the members of `LanguageModel`. It never guesses: an ability that it lacks (log-probabilities,
a constrained reply) is missing from `capabilities`, and `refuse_unsupported` names the ability before a single request is sent.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Protocol

Role = Literal["system", "user", "assistant"]
FinishReason = Literal["stop", "length", "error"]
Capability = Literal["answer_probabilities", "structured_reply", "json_reply", "prompt_logprobs"]


@dataclass(frozen=True)
class Message:
    """One turn of a chat."""

    role: Role
    content: str


@dataclass(frozen=True)
class FreeText:
    """Any text."""

    kind: Literal["free_text"] = "free_text"


@dataclass(frozen=True)
class ChoiceList:
    """A bracketed list of exactly `count` answers out of `options`, such as `[1, 0, 1]`, or for one answer `[3]`.

    Back ends with `structured_reply` constrain decoding to this list. Back ends with `answer_probabilities` return, for each answer, the
    probability of every option given the earlier answers as they stand in the reply.

    An option is spelled as the tokenizer spells it in such a list. Its probability is the product of the probabilities of its tokens. Each
    of these is renormalised over the tokens that the list allows there: tokens that continue an option with the same beginning and, where
    an option ends, the comma or bracket after it. So for "1" and "10", P(1) = P("1") P("," | "1") and P(10) = P("1") P("0" | "1").

    Back ends that hold the tokenizer always have these probabilities. A server lists only a few alternatives a token: the probabilities are
    exact where its list decides them (an option outside the list counts as 0), and None where the list does not.
    """

    count: int
    options: tuple[str, ...] = ("0", "1")
    kind: Literal["choice_list"] = "choice_list"

    @property
    def regex(self) -> str:
        """Regular expression that matches exactly the legal replies."""
        one = "(" + "|".join(re.sub(r"([\\.^$*+?{}\[\]|()])", r"\\\1", option) for option in self.options) + ")"
        return r"\[" + ", ".join([one] * self.count) + r"\]"


@dataclass(frozen=True)
class JsonReply:
    """A JSON value that satisfies `schema` (a JSON schema, kept as its canonical JSON text so that it can be hashed).

    Back ends with `json_reply` constrain decoding to the schema; for other back ends the reply is free text and may be no such value.
    """

    schema: str
    kind: Literal["json"] = "json"


ReplyFormat = FreeText | ChoiceList | JsonReply


@dataclass(frozen=True)
class SuffixChoices:
    """Asks, at each occurrence of `placeholder` in a request's suffix, for the probability of every option in its place.

    The first tokens of the options are compared at the beginning of the placeholder, so these tokens have to differ. A back end refuses
    options that its tokenizer begins alike. Take a placeholder that occurs nowhere else in the suffix: occurrences are found from left to
    right.
    """

    placeholder: str
    options: tuple[str, ...]

    def __post_init__(self) -> None:
        assert self.placeholder and self.options and all(self.options), (self.placeholder, self.options)


@dataclass(frozen=True)
class Request:
    """One question. Equal requests to equal models are the same question and are asked once.

    `shared_messages` counts the leading messages that other requests of the batch repeat word for word; it is a hint for prefix caching,
    and no part of the question's identity. `line_prefix` asks for a reply of one line with this beginning. A back end that can continue a
    given beginning does so and stops at the line's end (the reply's text includes the prefix); other back ends ask as usual. `seed` matters
    only at a temperature above 0.

    `suffix` is a given beginning of the reply whose tokens' log-probabilities are asked for. It stands after the generation prompt of a
    chat model, and directly after the last message's text of a base model. Its tokens are never merged with the tokens before it.
    Generation goes on after the suffix, and the reply's text is only the generated text; with 0 `max_reply_tokens` nothing is generated.
    `suffix_choices` asks for the probabilities of options at places in the suffix.
    """

    messages: tuple[Message, ...]
    max_reply_tokens: int
    temperature: float = 0.0
    seed: int = 0
    stop: tuple[str, ...] = ()
    reply_format: ReplyFormat = field(default_factory=FreeText)
    suffix: str = ""
    suffix_choices: SuffixChoices | None = None
    line_prefix: str = ""
    shared_messages: int = 0

    def __post_init__(self) -> None:
        assert self.max_reply_tokens > 0 or (self.max_reply_tokens == 0 and self.suffix), f"{self.max_reply_tokens} tokens and no suffix"
        assert self.suffix or self.suffix_choices is None, "choices in a suffix need one"
        assert not (self.suffix and self.line_prefix), "a reply begins with a suffix or a line prefix, not with both"


@dataclass(frozen=True)
class Reply:
    """One answer, with its cost.

    `answer_probabilities[i][j]` is the probability of option j at answer i of a `ChoiceList` (None where the back end has none).
    `suffix_logprobs` is the natural-log probability of each token of the request's suffix given all before it (None without a suffix);
    `suffix_choices[i][j]` the probability of option j at occurrence i of the placeholder, renormalised over the options, everything
    before it as written, the placeholders too (None where not asked for). Counts are tokens, the suffix's among the prompt's; `seconds` is
    the wall time attributed to this request (a batch's time divided among its requests). `error` is set exactly when `finish_reason`
    is "error". `tokens_are_estimated` says that the server's counts were absent or impossible; `other_model` is the name of the model
    that answered where that is none of the asked one's.
    """

    text: str
    finish_reason: FinishReason
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    seconds: float
    answer_probabilities: tuple[tuple[float, ...], ...] | None = None
    suffix_logprobs: tuple[float, ...] | None = None
    suffix_choices: tuple[tuple[float, ...], ...] | None = None
    error: str | None = None
    tokens_are_estimated: bool = False
    other_model: str | None = None

    def content(self) -> dict[str, Any]:
        """The fields by name, as the reply store keeps them: without rare fields that this reply does not have."""
        rare = {"tokens_are_estimated": False, "other_model": None}
        return {name: value for name, value in asdict(self).items() if name not in rare or value != rare[name]}


@dataclass(frozen=True)
class ModelIdentity:
    """The identity of the weights that answered: a part of every request's content address.

    `revision` is a hash or version, never "latest". For a server that states no revision, it is UNVERSIONED followed by the way of asking.
    """

    backend: str
    model: str
    revision: str


UNVERSIONED = "unversioned"
"""Revision of a model behind a server that states no revision."""


LINGER_SECONDS = 2.0
"""So long the questions under way may still be answered after an interrupt, or after an error of the caller."""


class NoMoreQuestions(Exception):
    """Thrown into the iterator of `LanguageModel.ask` by a caller that asks no more. A back end whose replies are paid for begins no
    further question, and goes on for at most `seconds` with the replies that are under way, and before them once more with the reply that
    it has yielded last, which the caller may not have; every other back end lets it through."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds


class LanguageModel(Protocol):
    """A back end. `ask` yields (index into requests, reply) in the order in which replies are ready; every index exactly once, unless
    `NoMoreQuestions` ends it."""

    @property
    def identity(self) -> ModelIdentity: ...

    @property
    def capabilities(self) -> frozenset[Capability]: ...

    def ask(self, requests: Sequence[Request]) -> Iterator[tuple[int, Reply]]: ...

    def close(self) -> None: ...


class UnsupportedRequest(ValueError):
    """A request needs an ability that its back end does not have."""


def earlier_identities(identity: ModelIdentity, known: Iterable[ModelIdentity]) -> list[ModelIdentity]:
    """The identities among `known` that earlier releases gave this model: they have the server's address where there is no revision."""
    if not identity.revision.startswith(UNVERSIONED):
        return []
    how = identity.revision.removeprefix(UNVERSIONED)
    return [
        one for one in known
        if (one.backend, one.model) == (identity.backend, identity.model)
        and one.revision.startswith(f"{UNVERSIONED}@") and _asked_how(one.revision) == how
    ]  # fmt: skip


def _asked_how(revision: str) -> str:
    """The end of a revision of an earlier release, after the address: the way of asking."""
    found = re.search(r"(-completions)?(-(vllm|json_schema|off))?$", revision)
    return found.group() if found else ""


def request_key(identity: ModelIdentity, request: Request) -> str:
    """Content address of a question: 64 hex digits of SHA-256 over the model's identity and every field that shapes the reply."""
    content = asdict(request)
    del content["shared_messages"]
    if request.temperature == 0:
        del content["seed"]
    payload = {"model": asdict(identity), "request": content}
    return hashlib.sha256(json.dumps(payload, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def refuse_missing(model: LanguageModel, needed: Iterable[Capability], why: str) -> None:
    """Raise `UnsupportedRequest` naming the abilities among `needed` that the model does not offer, and `why` they are needed."""
    if missing := sorted(set(needed) - model.capabilities):
        raise UnsupportedRequest(
            f"{model.identity.backend} model {model.identity.model} does not offer {', '.join(missing)}, which {why} asks for; it offers "
            f"{', '.join(sorted(model.capabilities)) or 'plain text only'}. Use another back end or model "
            "(see docs/language-models.md), or do without."
        )


def refuse_unsupported(model: LanguageModel, requests: Iterable[Request]) -> None:
    """Raise `UnsupportedRequest` naming abilities that the requests need and `model` does not offer.

    Constrained replies are used where the model offers them. Elsewhere they are not needed: a parser finds replies of another form.
    """
    if any(request.suffix for request in requests):
        refuse_missing(model, ["prompt_logprobs"], "a request for a given text's log-probabilities")


def too_long(prompt_tokens: int, reply_tokens: int, longest: int) -> Reply:
    """The error reply to a prompt that the model's context does not hold."""
    problem = f"the prompt's {prompt_tokens} tokens and a reply of up to {reply_tokens} exceed the model's {longest}; show fewer examples"
    return Reply("", "error", 0, 0, 0, 0.0, error=problem)
