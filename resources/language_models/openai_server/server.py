"""A server that speaks the OpenAI API: its address and key, and how often and how long one question is tried.

What the server refuses of a request is learnt from its refusals, and left out of later requests.
"""

# pyright: reportAttributeAccessIssue=false
# Where the package `openai` is not installed, pyright takes this folder's openai.py for it.
import asyncio
import logging
import os
import random
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from resources.language_models.openai_server.accepts import MOST_LESSONS, Accepts, adapted, learnt
from resources.language_models.openai_server.connection import (
    BoundedClient,
    BrokenOff,
    ConnectionLost,
    ServerGone,
    ServerRefused,
    checked_url,
    quoted,
    read_json,
    why_unreached,
)
from resources.language_models.openai_server.context_refusals import exceeds_context
from resources.language_models.openai_server.error_within import error_within
from resources.language_models.openai_server.refusals import MAX_WAIT_SECONDS, REMEDIES, refusal_of, retry_after_seconds
from resources.language_models.openai_server.under_way import UnderWay
from resources.language_models.openai_server.way_there import Proxy, believed_certificates, is_local, proxy_to, refuse_unsendable_names
from resources.secrets import Address, Secrets, secrets_of

log = logging.getLogger(__name__)
MAX_BACKOFF_SECONDS = 60.0
MIN_UNANSWERED = 8  # so many questions in a row, or all that are under way at once, are given up before the batch is
LESSON_STATUS = frozenset({400, 404, 405, 413, 415, 422, 500, 501})
"""HTTP statuses of refusals of a part of the request; llama.cpp sends 500 for a chat template that refuses."""


@dataclass(frozen=True)
class Limits:
    """How much is asked of a server at once, how long an answer may take in seconds, and how often a question is tried again."""

    concurrency: int
    timeout_seconds: float
    max_retries: int
    max_connection_failures: int
    backoff_seconds: float


@dataclass(frozen=True)
class Refused:
    """The refusal of one question by the server, with the reason. `too_long` is the error of a prompt that the context does not hold."""

    problem: str
    too_long: Any = None


class Server:
    """One server. Nothing is sent on construction."""

    def __init__(self, base_url: str | None, api_key_env: str, chat: bool, limits: Limits) -> None:
        """`chat` False asks the completions endpoint. Without `base_url`, the environment's OPENAI_BASE_URL or OpenAI's own."""
        self._address = Address.of(checked_url(base_url or os.environ.get("OPENAI_BASE_URL") or "https://api.openai.com/v1"))
        self.url = self._address.bare
        """The address without its secret parts."""
        self._host = urlsplit(self.url).hostname or self.url
        self._api_key_env, self._limits = api_key_env, limits
        self._path = "/chat/completions" if chat else "/completions"
        self._accepts, self._lessons = Accepts(), 0
        self._proxy: Proxy | None = None

    async def answer(self, client: Any, under_way: UnderWay, body: dict[str, Any]) -> Any | Refused:
        """The server's answer, after as many tries as are needed and allowed; `Refused` with the problem where the server refuses this
        question.

        Raises `ServerRefused` where the server refuses all questions, and `ServerGone` where many questions in a row were given up.
        """
        import openai

        problem, attempt = "", 0
        while attempt <= self._limits.max_retries:
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
                problem = f"no reply within {self._limits.timeout_seconds:g} seconds"
            except BrokenOff as broken:
                status, told, headers, said = None, None, {}, ""
                problem = str(broken)
            except openai.APIStatusError as error:
                status, told, headers, said = error.status_code, error.body, error.response.headers, _server_text(error)
                problem = f"HTTP {status}: {said}"
            if status is not None:
                if exceeds_context(status, said, told):
                    return Refused(self.without_key(problem), told)
                if self._learnt(status, accepts, body, said):
                    continue
                refusal = refusal_of(status, told)
                if refusal == "all":
                    self._refuse_all(status, problem)
                if refusal == "question":
                    return Refused(self.without_key(problem))
                asked = retry_after_seconds(headers)
                if asked is not None and asked > MAX_WAIT_SECONDS:
                    problem += f" (it asks to wait {asked:,.0f} seconds)"
                elif asked is not None:
                    pause = asked + random.uniform(0, self._limits.backoff_seconds)
            attempt += 1
            if attempt <= self._limits.max_retries:
                await under_way.pause(min(pause, MAX_WAIT_SECONDS + self._limits.backoff_seconds))
        under_way.unanswered += 1
        problem = self.without_key(f"{problem} (tried {1 + self._limits.max_retries} times)")
        if under_way.unanswered >= max(MIN_UNANSWERED, self._limits.concurrency):
            raise ServerGone(
                f"the server at {self.url} has not answered the last {under_way.unanswered} questions, each given up after all its "
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
        log.warning("%s does not take all of a request (%s); asked again and from now on with %s", self.url, self.without_key(said), found)
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

        try:
            under_way.asking += 1
            async with asyncio.timeout(self._limits.timeout_seconds):
                response = await client.post(self._path, body=body, cast_to=httpx.Response)
        except openai.APITimeoutError as error:
            if "Connect" in type(error.__cause__).__name__:
                raise why_unreached(error, self.url) from None
            raise
        except openai.APIConnectionError as error:
            raise why_unreached(error, self.url) from None
        except openai.APIStatusError:
            under_way.failures = 0
            raise
        finally:
            under_way.asking -= 1
        under_way.failures = 0
        return read_json(response)

    def _refuse_gone(self, under_way: UnderWay, lost: ConnectionLost) -> None:
        if lost.lasting:
            raise ServerRefused(self.without_key(f"{self.url} cannot be asked{self._through()}: {lost}. {self.remedy()}"))
        if under_way.failures >= self._limits.max_connection_failures:
            raise ServerGone(
                f"the server at {self.url} is gone: {under_way.failures} connections in a row failed{self._through()}, the last since "
                f"{self.without_key(str(lost))}. "
                "Replies that came are kept. Start it again (or correct base_url) and run again: only the rest is asked."
            )

    def _refuse_all(self, status: int, problem: str) -> None:
        raise ServerRefused(
            self.without_key(
                f"{self.url} refuses to go on: {REMEDIES.get(status, 'it refuses every question')} ({problem}). Replies that came "
                f"are kept. {self.remedy()} Then run again: only the rest is asked."
            )
        )

    def _through(self) -> str:
        """The proxy of this batch, in words; empty without."""
        return "" if self._proxy is None else f" through {self._proxy.shown} (NO_PROXY={self._host} would go without)"

    def _backoff(self, attempt: int) -> float:
        """Seconds to wait before the next try: doubling, and drawn between half and all of the doubled time."""
        return min(MAX_BACKOFF_SECONDS, self._limits.backoff_seconds * 2**attempt) * random.uniform(0.5, 1.0)

    def client(self) -> Any:
        """A client for one batch."""
        import httpx
        from openai import AsyncOpenAI, Timeout

        seconds, to_connect = self._limits.timeout_seconds, min(10.0, self._limits.timeout_seconds)
        # openai takes clients of httpx too, but its types name the clients of httpx2 alone.
        address, key = self._address, self._key()
        self._proxy = proxy_to(self.url)
        self.secrets().hide_in_logs()
        refuse_unsendable_names()
        sign_in = None if address.user is None else httpx.BasicAuth(address.user, address.password)
        way = {"proxy": None if self._proxy is None else self._proxy.url, "verify": believed_certificates(self.url), "auth": sign_in}
        bounded = BoundedClient(httpx.Timeout(seconds, connect=to_connect), **way)
        timeout = Timeout(seconds, connect=to_connect)
        options: dict[str, Any] = {"http_client": bounded, "default_query": dict(address.query), "max_retries": 0}
        return AsyncOpenAI(api_key=key, base_url=address.bare, timeout=timeout, **options)

    def _key(self) -> str:
        """The key from the environment; a dummy for a server on this machine. Raises `ServerRefused` naming the variable."""
        key = os.environ.get(self._api_key_env, "").strip()
        if not key and not is_local(self._host) and self._address.user is None:
            raise ServerRefused(f"no key for {self.url}: the environment variable {self._api_key_env} is not set. Export it.")
        if not (key.isascii() and key.isprintable()):
            raise ServerRefused(
                f"the key in the environment variable {self._api_key_env} holds a character that no HTTP header may hold, such as a line "
                "break or a letter outside ASCII. Export the key alone."
            )
        return key or "none"

    def secrets(self) -> Secrets:
        """The key and the parts of the address that nobody may be told."""
        key, password = os.environ.get(self._api_key_env, "").strip(), "" if self._proxy is None else self._proxy.password
        return secrets_of(tuple(dict.fromkeys(filter(None, [key, password, *self._address.secrets]))))

    def without_key(self, text: str) -> str:
        """The text without the key, and without parts of the key that a server repeats."""
        return self.secrets().hide(text)

    def remedy(self) -> str:
        """What to look at where the server answers nothing."""
        return f"Check the model's name, base_url and the key in {self._api_key_env}."


def _server_text(error: Any) -> str:
    """The server's own message, shortened."""
    body = error.body if isinstance(error.body, dict) else {}
    return quoted(body.get("message") or error.response.text or "no message", 500)
