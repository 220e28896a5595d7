"""The `openai` back end: any server that speaks the OpenAI chat or completions API: `vllm serve`, gateways, hosted APIs.

    explainer: {backend: openai, model: my-model, options: {base_url: "http://127.0.0.1:8000/v1", concurrency: 64}}

A few cheap requests before the first batch find out what a server offers (structured replies, log-probabilities). The key is
read from the environment when a batch starts, and is in no attribute, error or log line.
"""

# pyright: reportAttributeAccessIssue=false
# Where the package `openai` is not installed, pyright takes this folder's openai.py for it.
import asyncio
import hashlib
import json
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Literal

from resources.language_models.interface import (
    UNVERSIONED,
    Capability,
    ChoiceList,
    FreeText,
    Message,
    ModelIdentity,
    Reply,
    Request,
    SuffixChoices,
    UnsupportedRequest,
    refuse_unsupported,
)
from resources.language_models.openai_server.arrivals import Arrivals, taken_from
from resources.language_models.openai_server.background import Background
from resources.language_models.openai_server.connection import (
    OddReply,
    ServerGone,
    ServerRefused,
    quoted,
)
from resources.language_models.openai_server.context_refusals import context_problem
from resources.language_models.openai_server.server import Limits, Refused, Server
from resources.language_models.openai_server.shape import checked_completion
from resources.language_models.openai_server.suffixes import SuffixUnread, before_placeholders, spelled_beginnings, spelling_text
from resources.language_models.openai_server.under_way import NotTriedAgain, UnderWay
from resources.language_models.openai_server.usage import bytes_estimate, estimated_usage, tokenizer_counter
from resources.language_models.openai_server.wire import Dialect, Offer, Structured, as_text, payload, prompt_places, read_reply

log = logging.getLogger(__name__)
UNTAKEN_PAUSE_SECONDS = 0.005
WAITED_FOR = "%s: no further question is asked; the answers to the %d that it is answering are waited for, for at most %g seconds"
PROBE = (Message("user", "Say hello."),)


class OpenAIModel:
    """A model behind an OpenAI-compatible server. Nothing is sent on construction."""

    def __init__(
        self,
        model: str,
        revision: str | None = None,
        base_url: str | None = None,
        api_key_env: str = "OPENAI_API_KEY",
        concurrency: int = 64,
        timeout_seconds: float = 120.0,
        max_retries: int = 6,
        structured: Literal["auto"] | Structured = "auto",
        chat: bool = True,
        max_connection_failures: int = 6,
        backoff_seconds: float = 0.5,
        max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens",
        tokenizer: str | None = None,
        refuse_other_models: bool = False,
        thinking_tokens: int = 0,
        extra_body: Mapping[str, Any] | None = None,
        identity: str | None = None,
    ) -> None:
        """`chat` False talks to a base model through the completions endpoint. A request is sent at most 1 + `max_retries` times.

        After `max_connection_failures` connections in a row have failed, `ServerGone` ends the batch. `revision` is part of the reply
        store's addresses: give one where the server's weights can change under one name. `identity` names what answers where the model's
        name does not: two servers that call different weights by one name, or one model by two. The address is no part of the identity.
        `timeout_seconds` is for a whole reply, from the question to its last byte. `tokenizer` (an embedded model, a folder or a hub id)
        estimates the tokens that a server does not count. `refuse_other_models` ends the batch at the first answer under another model's
        name, which is otherwise noted and kept.

        A model that thinks needs room for it: `thinking_tokens` more than the answer's. `extra_body` goes into every request, such as
        {"reasoning_effort": "low"} or {"chat_template_kwargs": {"enable_thinking": False}}. What the server refuses of a request (a system
        role, the temperature, many alternatives a token) is learnt from its refusals and left out.
        """
        limits = Limits(concurrency, timeout_seconds, max_retries, max_connection_failures, backoff_seconds)
        self._server, self._limits = Server(base_url, api_key_env, chat, limits), limits
        self.base_url = self._server.url
        how = ("" if chat else "-completions") + ("" if structured == "auto" else f"-{structured}")
        how += f"-thinking{thinking_tokens}" if thinking_tokens else ""
        how += "-" + hashlib.sha256(json.dumps(extra_body, sort_keys=True).encode()).hexdigest()[:8] if extra_body else ""
        self._identity = ModelIdentity("openai", model, ("@".join(filter(None, (revision, identity))) or UNVERSIONED) + how)
        self._dialect = Dialect(model, chat, max_tokens_field, thinking_tokens, dict(extra_body or {}))
        self._tokenizer, self._refuse_other_models, self._counter = tokenizer, refuse_other_models, bytes_estimate
        self._structured: Structured | Literal["auto"] = structured
        self._offer: Offer | None = None
        self._beginnings: dict[SuffixChoices | None, dict[str, tuple[str, ...]]] = {}

    def __repr__(self) -> str:
        return f"OpenAIModel(model={self._identity.model!r}, base_url={self.base_url!r})"

    @property
    def identity(self) -> ModelIdentity:
        """The model with its revision and the site's name for it, where they are given; the way of asking is a part of the revision."""
        return self._identity

    @property
    def capabilities(self) -> frozenset[Capability]:
        """The abilities that the server was found to offer; the server is asked on first use."""
        offer = self._offered()
        found: dict[Capability, bool] = {
            "answer_probabilities": offer.logprobs, "structured_reply": offer.structured != "off",
            "json_reply": offer.structured != "off", "prompt_logprobs": offer.prompt_logprobs,
        }  # fmt: skip
        return frozenset(name for name, offered in found.items() if offered)

    def close(self) -> None:
        """Nothing to free: connections live as long as a batch."""

    def ask(self, requests: Sequence[Request]) -> Iterator[tuple[int, Reply]]:
        """Replies as they come, with at most `concurrency` requests under way. `seconds` of a reply is the time since the reply before it.

        Raises `UnsupportedRequest` before anything is asked, `ServerRefused` for a wrong key or model, `ServerGone` when the server is
        gone: both after the replies to the questions that the server was answering. So does an interrupt, for at most LINGER_SECONDS.
        `NoMoreQuestions` thrown into the iterator ends it in the same way. Closing the iterator cancels the requests under way.
        """
        if not requests:
            return
        requests = [as_text(request) for request in requests]
        offer = self._offered()
        refuse_unsupported(self, requests)
        if self._tokenizer and self._counter is bytes_estimate:
            self._counter = tokenizer_counter(self._tokenizer)
        Background(self._learn_beginnings(requests)).result()
        arrivals, under_way = Arrivals(), UnderWay()
        batch = Background(self._answer_all(requests, offer, arrivals, under_way), on_end=lambda: arrivals.put(None))
        try:
            yield from taken_from(arrivals, batch, under_way)
        finally:
            batch.cancel()
        batch.result()

    def _offered(self) -> Offer:
        """The abilities that the server offers; found out once."""
        offer = self._offer or Background(self._probe()).result()
        self._offer = offer
        return offer

    async def _probe(self) -> Offer:
        """Find out by asking: an ability counts when the reply shows it, not when the server only accepts the option."""
        async with self._server.client() as client:
            under_way = UnderWay()
            question = Request(PROBE, max_reply_tokens=16, reply_format=ChoiceList(2, ("7", "3")))

            async def shown(request: Request, offer: Offer) -> Reply:
                return await self._reply(client, under_way, request, offer, counted=False)

            plain = await shown(Request(PROBE, max_reply_tokens=1, reply_format=FreeText()), Offer())
            if plain.error:
                raise ServerRefused(
                    f"{self.base_url} does not answer for model {self._identity.model!r}: {plain.error}. {self._server.remedy()}"
                )
            structured: Structured = "off" if self._structured == "auto" else self._structured
            if self._structured == "auto":
                ways: tuple[Structured, ...] = ("vllm", "json_schema")
                for way in ways:
                    reply = await shown(question, Offer(structured=way))
                    if re.fullmatch(r"\[[73], [73]\]", reply.text):
                        structured = way
                        break
            prompt = await shown(replace(question, suffix="Hello there", max_reply_tokens=0, reply_format=FreeText()), Offer())
            is_vllm = prompt.suffix_logprobs is not None
            return Offer(structured, await self._lists_logprobs(client, under_way, question), is_vllm, continues=is_vllm)

    async def _learn_beginnings(self, requests: Sequence[Request]) -> None:
        """Find out which tokens begin the options of suffix choices, from a prompt that spells the options: one question for each set of
        options.

        Raises `UnsupportedRequest` for options that begin alike, and `ServerRefused` where the server does not tell.
        """
        asked: dict[SuffixChoices, dict[str, None]] = {}
        for request in requests:
            if request.suffix_choices:
                asked.setdefault(request.suffix_choices, {}).update(before_placeholders(request))
        for choices, befores in asked.items():
            known = self._beginnings.setdefault(choices, {})
            for before in [before for before in befores if before not in known]:
                probe = Request(PROBE, 0, suffix=spelling_text(choices, before)[0])
                try:
                    async with self._server.client() as client:
                        content = await self._server.answer(client, UnderWay(), payload(probe, Offer(), self._dialect))
                    if isinstance(content, Refused):
                        raise SuffixUnread(content.problem)
                    places = prompt_places(checked_completion(content, self._dialect.chat))
                    known[before] = spelled_beginnings(places, choices, before)
                except UnsupportedRequest:
                    raise
                except (SuffixUnread, OddReply, LookupError, TypeError, ValueError, AttributeError) as error:
                    told = f"{self.base_url} does not tell how it spells the options {choices.options}: {error}"
                    raise ServerRefused(self._server.without_key(told)) from None

    async def _lists_logprobs(self, client: Any, under_way: UnderWay, question: Request) -> bool:
        """Whether the server sends log-probabilities of a reply's tokens when asked for them."""
        with suppress(OddReply, LookupError, TypeError, AttributeError):
            content = await self._server.answer(client, under_way, payload(question, Offer(logprobs=True), self._dialect))
            return not isinstance(content, Refused) and bool(content["choices"][0]["logprobs"])
        return False

    async def _answer_all(self, requests: Sequence[Request], offer: Offer, arrivals: Arrivals, under_way: UnderWay) -> None:
        """Put (index, reply) of every request into `arrivals`; `concurrency` requests at a time, begun in order.

        At most `concurrency` replies wait to be taken, so that few further requests are sent once the consumer stops. Raises what ended
        the batch after the last reply.
        """
        todo = iter(enumerate(requests))
        async with self._server.client() as client, asyncio.TaskGroup() as group:

            async def work() -> None:
                for index, request in todo:
                    while len(arrivals) >= self._limits.concurrency:
                        await under_way.pause(UNTAKEN_PAUSE_SECONDS)
                    under_way.refuse_further_try()
                    arrivals.put((index, await self._reply(client, under_way, request, offer)))

            async def worked() -> None:
                try:
                    await work()
                except NotTriedAgain:
                    pass
                except (ServerRefused, ServerGone) as error:
                    if under_way.end(error) and under_way.asking:
                        log.warning(WAITED_FOR, self.base_url, under_way.asking, self._limits.timeout_seconds)

            for _ in range(min(self._limits.concurrency, len(requests))):
                group.create_task(worked())
        if under_way.cause is not None:
            raise under_way.cause

    async def _reply(self, client: Any, under_way: UnderWay, request: Request, offer: Offer, counted: bool = True) -> Reply:
        """One reply; an error reply when the server refuses this request, or when its answer is no completion.

        An answer has to be paid for even if it is unreadable, so an error reply counts its tokens too. Without `counted` the server's own
        counts are ignored.
        """
        try:
            content = await self._server.answer(client, under_way, payload(request, offer, self._dialect))
            if isinstance(content, Refused):
                return _error_reply(self._told(content, request))
            if not counted and isinstance(content, dict):
                content = {**content, "usage": None}
            beginnings = self._beginnings.get(request.suffix_choices)
            reply = read_reply(content, request, offer, self._dialect, beginnings, self._counter, answer_needed=counted)
            reply = self._without_key_in(reply)
        except OddReply as error:
            return self._unreadable(request, str(error))
        except SuffixUnread as error:
            return self._unreadable(request, str(error))
        except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError) as error:
            return self._unreadable(request, f"the server's answer is not a completion ({type(error).__name__}: {error})")
        if reply.other_model and self._refuse_other_models:
            raise ServerRefused(
                f"{self.base_url} answers as {quoted(reply.other_model)!r} for model {self._identity.model!r}, and `refuse_other_models` "
                "is set. Correct the model's name, or leave that option out."
            )
        return reply

    def _without_key_in(self, reply: Reply) -> Reply:
        """The reply where no field repeats the key."""
        other = self._server.without_key(reply.other_model) if reply.other_model else reply.other_model
        return replace(reply, text=self._server.secrets().hide_in_reply(reply.text), other_model=other)

    def _told(self, refused: Refused, request: Request) -> str:
        """The reason for an error reply to a refused question."""
        if refused.too_long is None:
            return refused.problem
        return self._server.without_key(
            context_problem(refused.problem, refused.too_long, estimated_usage(request, "", self._counter).prompt_tokens)
        )

    def _unreadable(self, request: Request, problem: str) -> Reply:
        used = estimated_usage(request, "", self._counter)
        error = self._server.without_key(problem)
        return replace(_error_reply(error), prompt_tokens=used.prompt_tokens, completion_tokens=1, tokens_are_estimated=True)


def _error_reply(error: str) -> Reply:
    return Reply("", "error", 0, 0, 0, 0.0, error=error)
