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
import os
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Literal
from urllib.parse import urlsplit

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
from resources.language_models.openai_server.accepts import MOST_LESSONS, Accepts, adapted, learnt
from resources.language_models.openai_server.arrivals import Arrivals, taken_from
from resources.language_models.openai_server.background import Background
from resources.language_models.openai_server.connection import (
    BoundedClient,
    BrokenOff,
    ConnectionLost,
    OddReply,
    ServerGone,
    ServerRefused,
    checked_url,
    quoted,
    read_json,
    why_unreached,
)
from resources.language_models.openai_server.context_refusals import context_problem, exceeds_context
from resources.language_models.openai_server.error_within import error_within
from resources.language_models.openai_server.refusals import MAX_WAIT_SECONDS, REMEDIES, refusal_of, retry_after_seconds
from resources.language_models.openai_server.shape import checked_completion
from resources.language_models.openai_server.suffixes import SuffixUnread, before_placeholders, spelled_beginnings, spelling_text
from resources.language_models.openai_server.under_way import NotTriedAgain, UnderWay
from resources.language_models.openai_server.usage import bytes_estimate, estimated_usage, tokenizer_counter
from resources.language_models.openai_server.wire import Dialect, Offer, Structured, as_text, payload, prompt_places, read_reply
from resources.secrets import Address, Secrets, secrets_of

log = logging.getLogger(__name__)
LOCAL_HOSTS = ("127.0.0.1", "localhost", "::1")
MAX_BACKOFF_SECONDS = 60.0
MIN_UNANSWERED = 8  # so many questions in a row, or all that are under way at once, are given up before the batch is
LESSON_STATUS = frozenset({400, 404, 405, 413, 415, 422, 500, 501})
"""HTTP statuses of refusals of a part of the request; llama.cpp sends 500 for a chat template that refuses."""

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
        self._address = Address.of(checked_url(base_url or os.environ.get("OPENAI_BASE_URL") or "https://api.openai.com/v1"))
        self.base_url = self._shown_url = self._address.bare
        self._host = urlsplit(self.base_url).hostname or self.base_url
        how = ("" if chat else "-completions") + ("" if structured == "auto" else f"-{structured}")
        how += f"-thinking{thinking_tokens}" if thinking_tokens else ""
        how += "-" + hashlib.sha256(json.dumps(extra_body, sort_keys=True).encode()).hexdigest()[:8] if extra_body else ""
        self._identity = ModelIdentity("openai", model, ("@".join(filter(None, (revision, identity))) or UNVERSIONED) + how)
        self._dialect = Dialect(model, chat, max_tokens_field, thinking_tokens, dict(extra_body or {}))
        self._accepts, self._lessons = Accepts(), 0
        self._api_key_env, self._concurrency, self._timeout_seconds = api_key_env, concurrency, timeout_seconds
        self._max_retries, self._max_connection_failures, self._backoff_seconds = max_retries, max_connection_failures, backoff_seconds
        self._tokenizer, self._refuse_other_models, self._counter = tokenizer, refuse_other_models, bytes_estimate
        self._structured: Structured | Literal["auto"] = structured
        self._offer: Offer | None = None
        self._beginnings: dict[SuffixChoices | None, dict[str, tuple[str, ...]]] = {}

    def __repr__(self) -> str:
        return f"OpenAIModel(model={self._identity.model!r}, base_url={self._shown_url!r})"

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
        async with self._client() as client:
            under_way = UnderWay()
            question = Request(PROBE, max_reply_tokens=16, reply_format=ChoiceList(2, ("7", "3")))

            async def shown(request: Request, offer: Offer) -> Reply:
                return await self._reply(client, under_way, request, offer, counted=False)

            plain = await shown(Request(PROBE, max_reply_tokens=1, reply_format=FreeText()), Offer())
            if plain.error:
                raise ServerRefused(
                    f"{self._shown_url} does not answer for model {self._identity.model!r}: {plain.error}. {self._remedy()}"
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
                    async with self._client() as client:
                        content = await self._content(client, UnderWay(), payload(probe, Offer(), self._dialect))
                    if isinstance(content, Refused):
                        raise SuffixUnread(content.problem)
                    places = prompt_places(checked_completion(content, self._dialect.chat))
                    known[before] = spelled_beginnings(places, choices, before)
                except UnsupportedRequest:
                    raise
                except (SuffixUnread, OddReply, LookupError, TypeError, ValueError, AttributeError) as error:
                    told = f"{self._shown_url} does not tell how it spells the options {choices.options}: {error}"
                    raise ServerRefused(self._without_key(told)) from None

    async def _lists_logprobs(self, client: Any, under_way: UnderWay, question: Request) -> bool:
        """Whether the server sends log-probabilities of a reply's tokens when asked for them."""
        with suppress(OddReply, LookupError, TypeError, AttributeError):
            content = await self._content(client, under_way, payload(question, Offer(logprobs=True), self._dialect))
            return not isinstance(content, Refused) and bool(content["choices"][0]["logprobs"])
        return False

    async def _answer_all(self, requests: Sequence[Request], offer: Offer, arrivals: Arrivals, under_way: UnderWay) -> None:
        """Put (index, reply) of every request into `arrivals`; `concurrency` requests at a time, begun in order.

        At most `concurrency` replies wait to be taken, so that few further requests are sent once the consumer stops. Raises what ended
        the batch after the last reply.
        """
        todo = iter(enumerate(requests))
        async with self._client() as client, asyncio.TaskGroup() as group:

            async def work() -> None:
                for index, request in todo:
                    while len(arrivals) >= self._concurrency:
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
                        log.warning(WAITED_FOR, self._shown_url, under_way.asking, self._timeout_seconds)

            for _ in range(min(self._concurrency, len(requests))):
                group.create_task(worked())
        if under_way.cause is not None:
            raise under_way.cause

    async def _reply(self, client: Any, under_way: UnderWay, request: Request, offer: Offer, counted: bool = True) -> Reply:
        """One reply; an error reply when the server refuses this request, or when its answer is no completion.

        An answer has to be paid for even if it is unreadable, so an error reply counts its tokens too. Without `counted` the server's own
        counts are ignored.
        """
        try:
            content = await self._content(client, under_way, payload(request, offer, self._dialect))
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
                f"{self._shown_url} answers as {quoted(reply.other_model)!r} for model {self._identity.model!r}, and `refuse_other_models` "
                "is set. Correct the model's name, or leave that option out."
            )
        return reply

    def _without_key_in(self, reply: Reply) -> Reply:
        """The reply where no field repeats the key."""
        other = self._without_key(reply.other_model) if reply.other_model else reply.other_model
        return replace(reply, text=self._secrets().hide_in_reply(reply.text), other_model=other)

    def _told(self, refused: "Refused", request: Request) -> str:
        """The reason for an error reply to a refused question."""
        if refused.too_long is None:
            return refused.problem
        return self._without_key(
            context_problem(refused.problem, refused.too_long, estimated_usage(request, "", self._counter).prompt_tokens)
        )

    def _unreadable(self, request: Request, problem: str) -> Reply:
        used = estimated_usage(request, "", self._counter)
        error = self._without_key(problem)
        return replace(_error_reply(error), prompt_tokens=used.prompt_tokens, completion_tokens=1, tokens_are_estimated=True)

    async def _content(self, client: Any, under_way: UnderWay, body: dict[str, Any]) -> "Any | Refused":
        """The server's answer, after as many tries as are needed and allowed; `Refused` with the problem where the server refuses this
        question.

        Raises `ServerRefused` where the server refuses all questions, and `ServerGone` where many questions in a row were given up.
        """
        import openai

        problem, attempt = "", 0
        while attempt <= self._max_retries:
            pause, accepts = self._backoff(attempt), self._accepts
            try:
                content = await self._reached(client, under_way, adapted(body, accepts))
                within = error_within(content)
                if within is None:
                    under_way.unanswered = 0
                    return content
                status, told, headers, said = within.status, within.body, {}, quoted(within.message, 500)
                problem = f"HTTP 200 with error {status} inside: {said}"
            except (openai.APITimeoutError, TimeoutError):
                status, told, headers, said = None, None, {}, ""
                problem = f"no reply within {self._timeout_seconds:g} seconds"
            except BrokenOff as broken:
                status, told, headers, said = None, None, {}, ""
                problem = str(broken)
            except openai.APIStatusError as error:
                status, told, headers, said = error.status_code, error.body, error.response.headers, _server_text(error)
                problem = f"HTTP {status}: {said}"
            if status is not None:
                if exceeds_context(status, said, told):
                    return Refused(self._without_key(problem), told)
                if self._learnt(status, accepts, body, said):
                    continue
                refusal = refusal_of(status, told)
                if refusal == "all":
                    self._refuse_all(status, problem)
                if refusal == "question":
                    return Refused(self._without_key(problem))
                asked = retry_after_seconds(headers)
                if asked is not None and asked > MAX_WAIT_SECONDS:
                    problem += f" (it asks to wait {asked:,.0f} seconds)"
                elif asked is not None:
                    pause = asked + random.uniform(0, self._backoff_seconds)
            attempt += 1
            if attempt <= self._max_retries:
                await under_way.pause(min(pause, MAX_WAIT_SECONDS + self._backoff_seconds))
        under_way.unanswered += 1
        problem = self._without_key(f"{problem} (tried {1 + self._max_retries} times)")
        if under_way.unanswered >= max(MIN_UNANSWERED, self._concurrency):
            raise ServerGone(
                f"the server at {self._shown_url} has not answered the last {under_way.unanswered} questions, each given up after all its "
                f"tries: {problem}. Replies that came are kept. Run again when it answers: only the rest is asked."
            )
        return Refused(problem)

    def _learnt(self, status: int, accepts: Accepts, body: dict[str, Any], said: str) -> bool:
        """Whether the question is worth asking again at once: a refusal, of this or another question, told what the server accepts."""
        if self._accepts != accepts:
            return adapted(body, self._accepts) != adapted(body, accepts)
        found = learnt(accepts, adapted(body, accepts), said) if status in LESSON_STATUS else None
        if found is None or self._lessons >= MOST_LESSONS:
            return False
        self._accepts, self._lessons = found, self._lessons + 1
        log.warning(
            "%s does not take all of a request (%s); asked again and from now on with %s", self._shown_url, self._without_key(said), found
        )
        return True

    async def _reached(self, client: Any, under_way: UnderWay, body: dict[str, Any]) -> dict[str, Any]:
        """The server's answer; waits as long as the connection is allowed to be away. Raises `ServerGone` when the connection does not come
        back."""
        while True:
            under_way.refuse_further_try()
            if under_way.failures:
                async with under_way.gate:
                    if under_way.failures:
                        await under_way.pause(self._backoff(under_way.failures - 1))
                        try:
                            return await self._send(client, under_way, body)
                        except ConnectionLost as lost:
                            under_way.failures += 1
                            self._refuse_gone(under_way, lost)
                continue
            try:
                return await self._send(client, under_way, body)
            except ConnectionLost as lost:
                under_way.failures = max(under_way.failures, 1)
                self._refuse_gone(under_way, lost)

    async def _send(self, client: Any, under_way: UnderWay, body: dict[str, Any]) -> Any:
        """The server's answer to one try, as JSON. Any answer, also an error, sets the count of failed connections back.

        Raises `TimeoutError` where the whole answer does not come in time, and `OddReply` where the answer is no JSON.
        """
        import httpx
        import openai

        path = "/chat/completions" if self._dialect.chat else "/completions"
        try:
            under_way.asking += 1
            async with asyncio.timeout(self._timeout_seconds):
                response = await client.post(path, body=body, cast_to=httpx.Response)
        except openai.APITimeoutError as error:
            if "Connect" in type(error.__cause__).__name__:
                raise why_unreached(error, self.base_url) from None
            raise
        except openai.APIConnectionError as error:
            raise why_unreached(error, self.base_url) from None
        except openai.APIStatusError:
            under_way.failures = 0
            raise
        finally:
            under_way.asking -= 1
        under_way.failures = 0
        return read_json(response)

    def _refuse_gone(self, under_way: UnderWay, lost: ConnectionLost) -> None:
        if lost.lasting:
            raise ServerRefused(self._without_key(f"{self._shown_url} cannot be asked: {lost}. {self._remedy()}"))
        if under_way.failures >= self._max_connection_failures:
            raise ServerGone(
                f"the server at {self._shown_url} is gone: {under_way.failures} connections in a row failed, the last since "
                f"{self._without_key(str(lost))}. "
                "Replies that came are kept. Start it again (or correct base_url) and run again: only the rest is asked."
            )

    def _refuse_all(self, status: int, problem: str) -> None:
        raise ServerRefused(
            self._without_key(
                f"{self._shown_url} refuses to go on: {REMEDIES.get(status, 'it refuses every question')} ({problem}). Replies that came "
                f"are kept. {self._remedy()} Then run again: only the rest is asked."
            )
        )

    def _backoff(self, attempt: int) -> float:
        """Seconds to wait before the next try: doubling, and drawn between half and all of the doubled time."""
        return min(MAX_BACKOFF_SECONDS, self._backoff_seconds * 2**attempt) * random.uniform(0.5, 1.0)

    def _client(self) -> Any:
        """A client for one batch."""
        import httpx
        from openai import AsyncOpenAI, Timeout

        seconds, to_connect = self._timeout_seconds, min(10.0, self._timeout_seconds)
        # openai takes clients of httpx too, but its types name the clients of httpx2 alone.
        address, key = self._address, self._key()
        self._secrets().hide_in_logs()
        sign_in = None if address.user is None else httpx.BasicAuth(address.user, address.password)
        bounded = BoundedClient(httpx.Timeout(seconds, connect=to_connect), auth=sign_in)
        timeout = Timeout(seconds, connect=to_connect)
        options: dict[str, Any] = {"http_client": bounded, "default_query": dict(address.query), "max_retries": 0}
        return AsyncOpenAI(api_key=key, base_url=address.bare, timeout=timeout, **options)

    def _key(self) -> str:
        """The key from the environment; a dummy for a server on this machine. Raises `ServerRefused` naming the variable."""
        key = os.environ.get(self._api_key_env, "").strip()
        if not key and self._host not in LOCAL_HOSTS and self._address.user is None:
            raise ServerRefused(f"no key for {self._shown_url}: the environment variable {self._api_key_env} is not set. Export it.")
        if not (key.isascii() and key.isprintable()):
            raise ServerRefused(
                f"the key in the environment variable {self._api_key_env} holds a character that no HTTP header may hold, such as a line "
                "break or a letter outside ASCII. Export the key alone."
            )
        return key or "none"

    def _secrets(self) -> Secrets:
        """The key and the parts of the address that nobody may be told."""
        return secrets_of(tuple(dict.fromkeys(filter(None, [os.environ.get(self._api_key_env, "").strip(), *self._address.secrets]))))

    def _without_key(self, text: str) -> str:
        """The text without the key, and without parts of the key that a server repeats."""
        return self._secrets().hide(text)

    def _remedy(self) -> str:
        return f"Check the model's name, base_url and the key in {self._api_key_env}."


@dataclass(frozen=True)
class Refused:
    """The refusal of one question by the server, with the reason. `too_long` is the error of a prompt that the context does not hold."""

    problem: str
    too_long: Any = None


def _error_reply(error: str) -> Reply:
    return Reply("", "error", 0, 0, 0, 0.0, error=error)


def _server_text(error: Any) -> str:
    """The server's own message, shortened."""
    body = error.body if isinstance(error.body, dict) else {}
    return quoted(body.get("message") or error.response.text or "no message", 500)
