"""Who may ask: the Host header, the token, and the headers that bind a browser to our own files."""

import hmac
import http.cookies
from urllib.parse import parse_qsl, urlencode

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from interp_assets.explorer.links import HOME

COOKIE = "interp_explorer"
LOCAL_HOSTS = ("127.0.0.1", "localhost", "[::1]")
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-src 'self'; frame-ancestors {ancestors}"
)
"""The Content-Security-Policy. No program and no style stands in a page itself, and nothing comes from elsewhere."""

HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",  # with none at all, a browser hides from us that a form came from our own page
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}
EMBEDDED = "/embed"
"""End of the addresses that other pages may show in a frame."""


class Guard:
    """Lets a request through to `app`: without a `token` where its Host header names this machine, with a token where it brings the token.

    A page of another site may point its own name at 127.0.0.1 (DNS rebinding): its requests come with its own name in the Host header, and
    without the token, which a browser sends to the name alone that it came from. The token comes as `?token=` once, and as a cookie from
    then on.
    """

    def __init__(self, app: ASGIApp, token: str | None = None) -> None:
        self._app, self._token = app, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        name, said = _host_name(headers.get("host", "")), headers.get("host", "")
        if self._token is None and name not in LOCAL_HOSTS:
            await PlainTextResponse(f"The explorer does not answer to the host {said!r}.", 421)(scope, receive, send)
            return
        if scope["method"] not in ("GET", "HEAD") and not _same_origin(headers, said):
            await PlainTextResponse("A page of another site may not write here.", 403)(scope, receive, send)
            return
        if self._token is not None and not self._knows(headers):
            await self._admitted(scope)(scope, receive, send)
            return
        framed = scope["path"].endswith(EMBEDDED)

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer = MutableHeaders(scope=message)
                answer["Content-Security-Policy"] = POLICY.format(ancestors="*" if framed else "'self'")
                for header, value in HEADERS.items():
                    answer[header] = value
            await send(message)

        await self._app(scope, receive, send_guarded)

    def _knows(self, headers: Headers) -> bool:
        """Whether the request's cookie is the token."""
        cookies = http.cookies.SimpleCookie()
        try:
            cookies.load(headers.get("cookie", ""))
        except http.cookies.CookieError:
            return False
        return COOKIE in cookies and _equal(cookies[COOKIE].value, self._token or "")

    def _admitted(self, scope: Scope) -> ASGIApp:
        """The answer to a request without cookie: its address again with the cookie, where it brings the token in its query."""
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        if not any(name == "token" and _equal(value, self._token or "") for name, value in query):
            return PlainTextResponse("Open the address with the token that `interp explore` printed.", 401)
        left = urlencode([pair for pair in query if pair[0] != "token"])
        path = "/" + scope["path"].lstrip("/\\") or HOME
        answer = RedirectResponse(f"{path}?{left}" if left else path, 303)
        answer.set_cookie(COOKIE, self._token or "", httponly=True, samesite="strict")
        return answer


def _host_name(said: str) -> str:
    """The name in a Host header, without its port."""
    name = said.rsplit(":", 1)[0] if said.rsplit(":", 1)[-1].isdigit() else said
    return name.lower()


def _same_origin(headers: Headers, said: str) -> bool:
    """Whether a writing request comes from a page of ours, by the headers that every browser sends along."""
    origin = headers.get("origin")
    site = headers.get("sec-fetch-site", "same-origin")
    return site in ("same-origin", "none") and (origin is None or origin.partition("://")[2] == said)


def _equal(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(errors="replace"), other.encode(errors="replace"))
