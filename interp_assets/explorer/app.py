"""The explorer as a web application, and the parts that its pages share: who is explored, how a page is rendered, how a page refuses."""

import logging
import secrets
from collections.abc import Mapping
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from interp_assets.explorer import links
from interp_assets.explorer.explorer import Explorer, Waiting
from interp_assets.explorer.guard import Guard
from interp_assets.explorer.pages import PAGES
from interp_assets.explorer.requests import HERE, page
from resources.store.lake import LakeError

log = logging.getLogger(__name__)


def make_app(explorer: Explorer, token: str | None = None) -> Starlette:
    """The application: all pages of PAGES behind the guard."""
    static = StaticFiles(directory=HERE / "static")
    middleware = [Middleware(Guard, token=token), Middleware(GZipMiddleware, minimum_size=1024, compresslevel=4)]
    if explorer.absence is None or explorer.home.lake.loss is not None:
        middleware.append(Middleware(HomeThere, explorer=explorer))
    errors: Mapping[Any, Any] = {HTTPException: _http_error, Waiting: _waiting, LakeError: _lake_error, Exception: _failure}
    routes = [route for one in PAGES for route in one.ROUTES]
    app = Starlette(routes=[*routes, Mount("/static", static)], middleware=middleware, exception_handlers=errors)
    app.state.explorer = explorer
    return app


class HomeThere:
    """Answers every page with a message while the home, or its lake, is not where it was at the start: an empty home would look as if
    nothing had been made."""

    def __init__(self, app: ASGIApp, explorer: Explorer) -> None:
        self._app, self._explorer = app, explorer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        missing = self._explorer.absence if scope["type"] == "http" and not scope["path"].startswith("/static/") else None
        if missing is None:
            await self._app(scope, receive, send)
            return
        message = f"{missing} is not there: the home was moved or removed, or its disk is not mounted. Pages open again once it is back."
        answer = page(Request(scope), "message.html", 503, title="The home is gone", message=message, retry=5)
        await answer(scope, receive, send)


def _http_error(request: Request, error: Any) -> Response:
    status, detail = int(error.status_code), str(error.detail)
    titles = {404: "Not found", 400: "Not understood", 405: "Not allowed"}
    pages = f"The page of a dictionary is {links.dictionary('KEY')}, of a feature {links.feature('KEY', 404)}."
    none = f"There is no page {request.url.path}. {pages}"
    message = detail if detail not in ("Not Found", "Method Not Allowed") else none
    return page(request, "message.html", status, title=titles.get(status, "Not possible"), message=message, retry=None)


def _waiting(request: Request, error: Exception) -> Response:
    answer = page(request, "message.html", 503, title="One moment", message=str(error), retry=1)
    answer.headers["Retry-After"] = "1"
    return answer


def _lake_error(request: Request, error: Exception) -> Response:
    return page(request, "message.html", 503, title="The lake cannot be read", message=str(error), retry=None)


def _failure(request: Request, error: Exception) -> Response:
    """A fault of ours: the log has the traceback under a number, and the page has the number."""
    mark = secrets.token_hex(4)
    log.error(f"{mark} {request.method} {request.url.path}", exc_info=error)
    message = f"This page failed: {type(error).__name__}. The explorer's own output says more under {mark}."
    return page(request, "message.html", 500, title="A fault", message=message, retry=None)
