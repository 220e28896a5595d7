"""The HTTP client of one batch, with bounds on replies and redirects, and the reason where a server was not reached."""

import json
import socket
import ssl
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx

from resources.secrets import without_credentials

MAX_REPLY_BYTES = 64 << 20
MAX_QUOTED = 200
LIKE = "http://127.0.0.1:8000/v1"


class ServerGone(ConnectionError):
    """The server stopped answering. Replies that came before are kept; the same call asks only the rest."""


class ServerRefused(RuntimeError):
    """The server answers, but refuses all our requests: a wrong key, no credit, an unknown model, an impossible address."""


class ConnectionLost(Exception):
    """No connection, or a connection that broke. `lasting` says that further tries cannot help."""

    def __init__(self, why: str, lasting: bool = False) -> None:
        super().__init__(why)
        self.lasting = lasting


class BrokenOff(Exception):
    """The server began to answer and closed the connection before the end."""


class OddReply(ValueError):
    """The server's answer is no completion."""


class _Misdirected(httpx.RequestError):
    """A redirect that is not followed."""


def checked_url(base_url: str) -> str:
    """`base_url` without a slash at its end. Raises `ServerRefused` naming the fault of an address that no server can have."""
    shown = without_credentials(base_url)
    try:
        where = urlsplit(base_url)
        host, _ = where.hostname, where.port
    except ValueError:
        raise ServerRefused(f"base_url {shown!r} is not an address: host or port are not spelled so. It looks like {LIKE}") from None
    if where.scheme not in ("http", "https") or not host or base_url != base_url.strip():
        found = f"begins with {where.scheme}:" if where.scheme else "has no scheme"
        raise ServerRefused(
            f"base_url {shown!r} is not the address of a server: it {found if host is None or where.scheme else 'is not spelled so'}. "
            f"It begins with http:// or https:// and names a host, such as {LIKE}"
        )
    if where.fragment or "#" in base_url:
        raise ServerRefused(f"base_url {shown!r} goes on with a #, and no server sees what stands behind it. It looks like {LIKE}")
    return base_url.rstrip("/")


class BoundedClient(httpx.AsyncClient):
    """Reads replies of at most `max_bytes` after decompression; a larger reply raises `OddReply`.

    A redirect is followed as long as the request is sent along and stays encrypted. Proxy and certificates are as they are given, and
    never of the environment.
    """

    def __init__(
        self,
        timeout: httpx.Timeout,
        max_bytes: int = MAX_REPLY_BYTES,
        auth: httpx.BasicAuth | None = None,
        *,
        proxy: str | None = None,
        verify: ssl.SSLContext | bool = True,
    ) -> None:
        super().__init__(
            timeout=timeout, auth=auth, follow_redirects=True, max_redirects=5, event_hooks={"request": [self._refuse_misdirected]},
            limits=httpx.Limits(max_connections=1000, max_keepalive_connections=100), proxy=proxy, verify=verify, trust_env=False,
        )  # fmt: skip
        self._max_bytes = max_bytes

    async def send(self, request: httpx.Request, **options: Any) -> httpx.Response:
        """The response, read whole."""
        request.extensions = {**request.extensions, "asked_url": request.url}
        response = await super().send(request, **{**options, "stream": True})
        content = bytearray()
        try:
            async for piece in response.aiter_bytes():
                content += piece
                if len(content) > self._max_bytes:
                    begins = quoted(bytes(content[:MAX_QUOTED]))
                    raise OddReply(f"the server's answer is larger than {self._max_bytes:,} bytes; it begins {begins}")
        except (httpx.RemoteProtocolError, httpx.ReadError):
            raise BrokenOff(f"the server's answer broke off after {len(content):,} bytes") from None
        except httpx.DecodingError as error:
            raise OddReply(f"the server's answer is packed in a way that cannot be read: {quoted(str(error))}") from None
        finally:
            if unread_bytes(response):
                # The server sent more than one answer: over the same connection the next question would get the rest.
                await response.extensions["network_stream"].aclose()
            await response.aclose()
        headers = [(name, value) for name, value in response.headers.raw if name.lower() not in _OF_THE_TRANSPORT]
        return httpx.Response(response.status_code, headers=headers, content=bytes(content), request=request, history=response.history)

    async def _refuse_misdirected(self, request: httpx.Request) -> None:
        asked: httpx.URL = request.extensions.get("asked_url", request.url)
        if request.method != "POST":
            raise _Misdirected(f"it redirects to {bare(request.url)}, and the question is lost on the way: set base_url to that address")
        if asked.scheme == "https" and request.url.scheme != "https":
            raise _Misdirected(f"it redirects to {bare(request.url)}, which is not encrypted: the question and the key stay here")


_OF_THE_TRANSPORT = frozenset({b"content-encoding", b"content-length", b"transfer-encoding"})


def unread_bytes(response: httpx.Response) -> bytes:
    """What came behind an answer that was read whole, before anything was asked over the same connection."""
    stream: Any = response.stream
    for name in ("_stream", "_httpcore_stream", "_stream", "_connection", "_h11_state"):  # httpx has no other way to them
        stream = getattr(stream, name, None)
    trailing = getattr(stream, "trailing_data", None)
    return trailing[0] if trailing else b""


def read_json(response: httpx.Response) -> Any:
    """The JSON value of a response, whatever type its header names. Raises `OddReply` quoting a response that is no JSON."""
    try:
        return json.loads(response.content)
    except (ValueError, RecursionError) as error:
        kind = response.headers.get("content-type", "no content type")
        raise OddReply(f"the server's answer is not JSON ({kind}; {type(error).__name__}): {quoted(response.content)}") from None


def quoted(content: Any, most: int = MAX_QUOTED) -> str:
    """The response as one line of at most `most` characters."""
    if isinstance(content, bytes):
        text = content[: 4 * most].decode("utf-8", "backslashreplace")
    else:
        text = content if isinstance(content, str) else repr(content)
    line = " ".join(text[: 4 * most].split()).encode("utf-8", "backslashreplace").decode()  # half a character cannot be kept
    return line if len(line) <= most else line[: most - 1] + "…"


def bare(url: httpx.URL | str) -> str:
    """A URL without the user, the password and the query, which may hold a key."""
    where = urlsplit(str(url))
    return where._replace(netloc=where.netloc.rpartition("@")[2], query="", fragment="").geturl()


def why_unreached(error: BaseException, base_url: str) -> ConnectionLost:
    """The reason why `base_url` was not reached: a misspelled name, a closed port, TLS where there is none, a dead redirect."""
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, _Misdirected):
            return ConnectionLost(str(cause), lasting=True)
    why, lasting = _kind(causes)
    here = httpx.URL(base_url)
    for cause in causes:
        there: Any = getattr(getattr(cause, "_request", None), "url", None)  # `request` itself raises where there is none
        if isinstance(there, httpx.URL) and (there.scheme, there.host, there.port) != (here.scheme, here.host, here.port):
            return ConnectionLost(f"it redirects to {bare(there)}, and there {why}", lasting)
    return ConnectionLost(why, lasting)


def _kind(causes: list[BaseException]) -> tuple[str, bool]:
    """The first known cause in words, and whether it is lasting."""
    for cause in causes:
        if isinstance(cause, socket.gaierror):
            return f"the name is not known (DNS: {cause.strerror or cause})", False
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"its certificate is not accepted ({cause.verify_message})", True
        if isinstance(cause, ssl.SSLError):
            plain = "WRONG_VERSION_NUMBER" in str(cause) or "RECORD_LAYER" in str(cause) or "HTTP_REQUEST" in str(cause)
            advice = "it does not speak TLS there: try http:// in base_url" if plain else "TLS failed"
            return f"{advice} ({cause.reason or cause})", True
        if isinstance(cause, ConnectionRefusedError):
            return "nothing listens there (connection refused)", False
        if isinstance(cause, httpx.TooManyRedirects):
            return "it redirects in a circle", True
        if isinstance(cause, httpx.UnsupportedProtocol | httpx.InvalidURL):
            return f"it redirects to an address that cannot be followed ({cause})", True
        if isinstance(cause, httpx.ConnectTimeout):
            return "no connection came about in time", False
        if isinstance(cause, httpx.ProxyError):
            return f"the proxy does not lead there ({quoted(str(cause) or 'no reason')})", False
        if isinstance(cause, httpx.RemoteProtocolError):
            return f"it hung up, or does not speak HTTP ({quoted(str(cause))})", False
        if isinstance(cause, httpx.ReadError | httpx.WriteError | httpx.CloseError):
            return f"it hung up, or does not speak HTTP ({quoted(str(cause) or type(cause).__name__)})", False
    return f"the connection broke ({type(causes[0].__cause__ or causes[0]).__name__})", False


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The exception and all exceptions that led to it, also in groups; each once."""
    waiting, seen = [error], set()
    while waiting:
        one = waiting.pop(0)
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        waiting += [one.__cause__, one.__context__, *(one.exceptions if isinstance(one, BaseExceptionGroup) else ())]
