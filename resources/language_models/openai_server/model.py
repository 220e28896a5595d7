"""The `openai` back end: any server that speaks the OpenAI chat or completions API: `vllm serve`, gateways, hosted APIs.

    explainer: {backend: openai, model: my-model, options: {base_url: "http://127.0.0.1:8000/v1", concurrency: 64}}

What a server offers (structured replies, log-probabilities) is found out by a few cheap requests before the first batch. The key is
read from the environment when a batch starts and stands in no attribute, error or log line.
"""

# pyright: reportAttributeAccessIssue=false
# Where the package `openai` is not installed, pyright takes this folder's openai.py for it.
import asyncio
import os
import queue
import random
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from email.utils import parsedate_to_datetime
from typing import Any, Literal
from urllib.parse import urlsplit

from resources.language_models.interface import (
    Capability,
    ChoiceList,
    FreeText,
    Message,
    ModelIdentity,
    Reply,
    Request,
    SuffixChoices,
    refuse_unsupported,
)
from resources.language_models.openai_server.background import Background
from resources.language_models.openai_server.suffixes import SuffixUnread, before_placeholders, spelled_beginnings, spelling_text
from resources.language_models.openai_server.wire import Dialect, Offer, Structured, payload, prompt_places, read_reply

LOCAL_HOSTS = ("127.0.0.1", "localhost", "::1")
MAX_BACKOFF_SECONDS = 60.0
RETRIED_STATUS = frozenset({408, 409, 425, 429})
PROBE = (Message("user", "Say hello."),)


class ServerGone(ConnectionError):
    """The server stopped answering. Replies that came before are kept; the same call asks only the rest."""


class ServerRefused(RuntimeError):
    """The server answers, but not to us: a wrong key or an unknown model."""


@dataclass
class _Circuit:
    """Consecutive connection failures of a batch. While there are any, one request at a time tries, with growing pauses."""

    failures: int = 0
    gate: asyncio.Lock = field(default_factory=asyncio.Lock)


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
    ) -> None:
        """`chat` False speaks to a base model through the completions endpoint. A request is sent at most 1 + `max_retries` times.

        After `max_connection_failures` connections in a row have failed, `ServerGone` ends the batch. `revision` is part of the reply
        store's addresses: give one where the server's weights can change under one name.
        """
        self.base_url = base_url or os.environ.get("OPENAI_BASE_URL") or "https://api.openai.com/v1"
        where = urlsplit(self.base_url)
        self._host = where.hostname or self.base_url
        self._shown_url = where._replace(netloc=where.netloc.rpartition("@")[2]).geturl()
        how = ("" if chat else "-completions") + ("" if structured == "auto" else f"-{structured}")
        self._identity = ModelIdentity("openai", model, (revision or f"unversioned@{where.netloc.rpartition('@')[2]}") + how)
        self._dialect = Dialect(model, chat, max_tokens_field)
        self._api_key_env, self._concurrency, self._timeout_seconds = api_key_env, concurrency, timeout_seconds
        self._max_retries, self._max_connection_failures, self._backoff_seconds = max_retries, max_connection_failures, backoff_seconds
        self._structured: Structured | Literal["auto"] = structured
        self._offer: Offer | None = None
        self._beginnings: dict[SuffixChoices | None, dict[str, tuple[str, ...]]] = {}

    def __repr__(self) -> str:
        return f"OpenAIModel(model={self._identity.model!r}, base_url={self._shown_url!r})"

    @property
    def identity(self) -> ModelIdentity:
        """The model and its revision, or the server's host where none is given; how it is asked is part of the revision."""
        return self._identity

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What the server was found to offer; asks it on first use."""
        offer = self._offered()
        found: dict[Capability, bool] = {
            "answer_probabilities": offer.logprobs, "structured_reply": offer.structured != "off",
            "json_reply": offer.structured != "off", "prompt_logprobs": offer.prompt_logprobs,
        }  # fmt: skip
        return frozenset(name for name, offered in found.items() if offered)

    def close(self) -> None:
        """Nothing to free: connections live as long as a batch."""

    def ask(self, requests: Sequence[Request]) -> Iterator[tuple[int, Reply]]:
        """Replies as they come, at most `concurrency` requests under way. `seconds` of a reply is the time since the one before it.

        Raises `UnsupportedRequest` before anything is asked, `ServerRefused` for a wrong key or model, `ServerGone` when the server is.
        Closing the iterator cancels what is under way.
        """
        if not requests:
            return
        offer = self._offered()
        refuse_unsupported(self, requests)
        Background(self._learn_beginnings(requests)).result()
        replies: queue.SimpleQueue[tuple[int, Reply] | None] = queue.SimpleQueue()
        batch = Background(self._answer_all(requests, offer, replies), on_end=lambda: replies.put(None))
        last = time.perf_counter()
        try:
            while (item := replies.get()) is not None:
                now = time.perf_counter()
                yield item[0], replace(item[1], seconds=now - last)
                last = now
        finally:
            batch.cancel()
        batch.result()

    def _offered(self) -> Offer:
        """What the server offers: found out once."""
        offer = self._offer or Background(self._probe()).result()
        self._offer = offer
        return offer

    async def _probe(self) -> Offer:
        """Find out by asking: a feature counts when the reply shows it, not when the server merely swallows the option."""
        async with self._client() as client:
            circuit = _Circuit()
            question = Request(PROBE, max_reply_tokens=16, reply_format=ChoiceList(2, ("7", "3")))

            async def shown(request: Request, offer: Offer) -> Reply:
                return await self._reply(client, circuit, request, offer)

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
            return Offer(structured, await self._lists_logprobs(client, circuit, question), is_vllm, continues=is_vllm)

    async def _learn_beginnings(self, requests: Sequence[Request]) -> None:
        """Find out which tokens begin the options of suffix choices, from a prompt that spells them: a question for each set of options.

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
                async with self._client() as client:
                    content = await self._content(client, _Circuit(), payload(probe, Offer(), self._dialect))
                try:
                    if isinstance(content, str):
                        raise SuffixUnread(content)
                    known[before] = spelled_beginnings(prompt_places(content), choices, before)
                except SuffixUnread as error:
                    told = f"{self._shown_url} does not tell how it spells the options {choices.options}: {error}"
                    raise ServerRefused(self._without_key(told)) from None

    async def _lists_logprobs(self, client: Any, circuit: _Circuit, question: Request) -> bool:
        """Whether the server sends log-probabilities of a reply's tokens when asked for them."""
        import openai

        with suppress(openai.APIStatusError, openai.APITimeoutError, KeyError, IndexError, TypeError):
            content = await self._reached(client, circuit, payload(question, Offer(logprobs=True), self._dialect))
            return bool(content["choices"][0]["logprobs"])
        return False

    async def _answer_all(self, requests: Sequence[Request], offer: Offer, replies: "queue.SimpleQueue[Any]") -> None:
        """Put (index, reply) of every request, `concurrency` at a time, in order of starting."""
        todo = iter(enumerate(requests))
        circuit = _Circuit()
        async with self._client() as client, asyncio.TaskGroup() as group:

            async def work() -> None:
                for index, request in todo:
                    replies.put((index, await self._reply(client, circuit, request, offer)))

            for _ in range(min(self._concurrency, len(requests))):
                group.create_task(work())

    async def _reply(self, client: Any, circuit: _Circuit, request: Request, offer: Offer) -> Reply:
        """One reply; an error reply when the server refuses this request, or its answer is none."""
        content = await self._content(client, circuit, payload(request, offer, self._dialect))
        if isinstance(content, str):
            return _error_reply(content)
        try:
            return read_reply(content, request, offer, self._dialect, self._beginnings.get(request.suffix_choices))
        except SuffixUnread as error:
            return _error_reply(self._without_key(str(error)))
        except (KeyError, IndexError, TypeError, ValueError) as error:
            return _error_reply(self._without_key(f"the server's answer is not a completion ({type(error).__name__}: {error})"))

    async def _content(self, client: Any, circuit: _Circuit, body: dict[str, Any]) -> dict[str, Any] | str:
        """The server's answer, after as many tries as it takes or is allowed; what is wrong where it refuses."""
        import openai

        problem = ""
        for attempt in range(1 + self._max_retries):
            try:
                return await self._reached(client, circuit, body)
            except openai.APITimeoutError:
                problem, pause = f"no reply within {self._timeout_seconds:g} seconds", self._backoff(attempt)
            except openai.APIStatusError as error:
                problem = f"HTTP {error.status_code}: {_server_text(error)}"
                if error.status_code not in RETRIED_STATUS and error.status_code < 500:
                    return self._without_key(problem)
                asked = _retry_after(error.response.headers)
                pause = self._backoff(attempt) if asked is None else asked + random.uniform(0, self._backoff_seconds)
            except ValueError as error:
                return self._without_key(f"the server's answer is not a completion ({type(error).__name__}: {error})")
            if attempt < self._max_retries:
                await asyncio.sleep(pause)
        return self._without_key(f"{problem} (tried {1 + self._max_retries} times)")

    async def _reached(self, client: Any, circuit: _Circuit, body: dict[str, Any]) -> dict[str, Any]:
        """The server's answer, however long the connection takes to come back. Raises `ServerGone` when it does not."""
        while True:
            if circuit.failures:
                async with circuit.gate:
                    if circuit.failures:
                        await asyncio.sleep(self._backoff(circuit.failures - 1))
                        with suppress(_ConnectionLost):
                            return await self._send(client, circuit, body)
                        circuit.failures += 1
                        self._refuse_gone(circuit)
                continue
            try:
                return await self._send(client, circuit, body)
            except _ConnectionLost:
                circuit.failures = max(circuit.failures, 1)
                self._refuse_gone(circuit)

    async def _send(self, client: Any, circuit: _Circuit, body: dict[str, Any]) -> dict[str, Any]:
        """The server's answer to one try. Any answer, an error too, closes the circuit."""
        import openai

        path = "/chat/completions" if self._dialect.chat else "/completions"
        try:
            content = await client.post(path, body=body, cast_to=object)
        except openai.APITimeoutError as error:
            if "Connect" in type(error.__cause__).__name__:
                raise _ConnectionLost from None
            raise
        except openai.APIConnectionError:
            raise _ConnectionLost from None
        except openai.APIStatusError:
            circuit.failures = 0
            raise
        circuit.failures = 0
        return content

    def _refuse_gone(self, circuit: _Circuit) -> None:
        if circuit.failures >= self._max_connection_failures:
            raise ServerGone(
                f"the server at {self._shown_url} is gone: {circuit.failures} connections in a row failed. Replies that came are kept. "
                "Start it again (or correct base_url) and run again: only the rest is asked."
            )

    def _backoff(self, attempt: int) -> float:
        """Seconds to wait before the next try: doubling, jittered between half and all of it."""
        return min(MAX_BACKOFF_SECONDS, self._backoff_seconds * 2**attempt) * random.uniform(0.5, 1.0)

    def _client(self) -> Any:
        """A client for one batch."""
        from openai import AsyncOpenAI, Timeout

        timeout = Timeout(self._timeout_seconds, connect=min(10.0, self._timeout_seconds))
        return AsyncOpenAI(api_key=self._key(), base_url=self.base_url, timeout=timeout, max_retries=0)

    def _key(self) -> str:
        """The key from the environment; a dummy for a server on this machine. Raises `ServerRefused` naming the variable."""
        key = os.environ.get(self._api_key_env)
        if not key and self._host not in LOCAL_HOSTS:
            raise ServerRefused(f"no key for {self._shown_url}: the environment variable {self._api_key_env} is not set. Export it.")
        return key or "none"

    def _without_key(self, text: str) -> str:
        """The text with the key, or what a server echoes of it, taken out."""
        key = os.environ.get(self._api_key_env)
        text = text.replace(key, "<key>") if key else text
        return re.sub(r"\b(?:sk-|Bearer )[\w*.-]+", "<key>", text)

    def _remedy(self) -> str:
        return f"Check the model's name, base_url and the key in {self._api_key_env}."


class _ConnectionLost(Exception):
    """No connection, or one that broke."""


def _error_reply(error: str) -> Reply:
    return Reply("", "error", 0, 0, 0, 0.0, error=error)


def _server_text(error: Any) -> str:
    """The server's own message, shortened."""
    body = error.body if isinstance(error.body, dict) else {}
    return str(body.get("message") or error.response.text or "no message")[:500]


def _retry_after(headers: Any) -> float | None:
    """Seconds that the server asks to wait (Retry-After in seconds or as a date, or retry-after-ms); None when it does not."""
    with suppress(TypeError, ValueError):
        return float(headers.get("retry-after-ms")) / 1000
    value = headers.get("retry-after")
    with suppress(TypeError, ValueError):
        return max(0.0, float(value))
    with suppress(TypeError, ValueError):
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    return None
