"""The explorer as a web application, and the parts that its pages share: who is explored, how a page is rendered, how a page refuses."""

import logging
import secrets
from collections.abc import Awaitable, Callable, Hashable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn, TypeVar
from urllib.parse import parse_qsl, quote, urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

from interp_assets.config.base import UserError
from interp_assets.config.keys import RangeKey
from interp_assets.config.records import DictionaryRecord
from interp_assets.domain.prompting.rendering import visible
from interp_assets.explorer import links
from interp_assets.explorer.columns import Dictionaries, FeatureColumns, NotReadYet
from interp_assets.explorer.guard import Guard
from interp_assets.explorer.model_desk import Busy, ModelDesk, StillWorking
from interp_assets.explorer.shading import count, number, score_text, shaded, share
from interp_assets.explorer.view_answers import ViewAnswers
from interp_assets.installation.home import Home
from interp_assets.reading.feature_rows import FeatureRows
from interp_assets.tables import EXPLANATION_EMBEDDINGS
from resources.dictionaries.interface import DictionaryError
from resources.model_provider import ModelProvider, RealModels
from resources.store.lake import LakeError
from resources.subject.hook_points import UnknownHook
from resources.weights import WeightsError

T = TypeVar("T")
log = logging.getLogger(__name__)
HERE = Path(__file__).parent
EXPORTED_GROUPS = 256
"""Row groups that an export keeps in memory: it goes from feature to feature, and neighbours share a row group."""

DAGSTER = "http://127.0.0.1:3000"


@dataclass(frozen=True)
class Explorer:
    """What the pages of one explorer read, and who sits before them. `rater` is the name under which ratings are kept; None: read only.
    `exported`: the pages are written into files, where nothing can be asked."""

    home: Home
    dagster: str = DAGSTER
    rater: str | None = None
    exported: bool = False
    provider: ModelProvider = field(default_factory=RealModels)

    @cached_property
    def rows(self) -> FeatureRows:
        """Rows of single features."""
        return FeatureRows(self.home.lake, kept_groups=EXPORTED_GROUPS if self.exported else 0)

    @cached_property
    def dictionaries(self) -> Dictionaries:
        """Columns of whole dictionaries."""
        return Dictionaries(self.home.warehouse, self.prepared)

    @cached_property
    def views(self) -> ViewAnswers:
        """Answers of the warehouse's views."""
        return ViewAnswers(self.home.warehouse, self.prepared)

    @property
    def prepared(self) -> Path:
        """Folder of what the explorer has prepared; all of it may be removed at any time."""
        return self.home.root / "warehouse" / "columns"

    def kept(self, key: Hashable, state: Hashable, make: Callable[[], T]) -> T:
        """What `make` gives, kept in memory under `key` until the state is another."""
        found = self._held.get(key)
        if found is None or found[0] != state:
            found = self._held[key] = (state, make())
        return found[1]

    @cached_property
    def _held(self) -> dict[Hashable, tuple[Hashable, Any]]:
        return {}

    def embedded_state(self, key: str) -> Hashable:
        """Names the content of a dictionary's embedded explanations; None where there are none."""
        manifest = self.home.lake.manifest(EXPLANATION_EMBEDDINGS.name, {"dictionary": key})
        return None if manifest is None else (manifest.data_version, manifest.footer_crc32)

    @cached_property
    def models(self) -> ModelDesk:
        """The subject model, dictionary and sentence encoder that pages need now and then."""
        return ModelDesk(self.provider, self.home.settings.sentence_encoder)

    def ask(self, key: Hashable, what: str, work: Callable[[], T]) -> T:
        """The answer of work with models; a page that waits, or says what is wrong, where there is none."""
        try:
            return self.models.ask(key, what, work)
        except (StillWorking, Busy) as error:
            waiting(str(error))
        except (UserError, DictionaryError, WeightsError, UnknownHook) as error:
            refused(str(error))

    def close(self) -> None:
        """End the threads, and free the models."""
        self.dictionaries.close()
        self.views.close()
        self.models.close()

    def dagster_partition(self, asset: str, where: RangeKey | str) -> str:
        """The address of a partition in Dagster."""
        return f"{self.dagster}/assets/{quote(asset)}?{urlencode({'view': 'partitions', 'partition': str(where)})}"

    def record(self, key: str) -> DictionaryRecord:
        """The record of a dictionary; a page that says so where there is none."""
        try:
            return self.home.registry.get(key)
        except (UserError, ValueError) as error:  # no key at all, or a key without a record
            not_found(str(error))

    def columns(self, key: str) -> FeatureColumns:
        """The columns of a dictionary; a page that waits where they are read for the first time."""
        try:
            return self.dictionaries.columns(key)
        except NotReadYet:
            waiting(f"The features of {key} are being read for the first time. This page opens as soon as they are.")


Posted = Callable[[Request, Mapping[str, str]], Response]
MOST_POSTED_BYTES = 200_000


def posted(answer: Posted) -> Callable[[Request], Awaitable[Response]]:
    """The endpoint of a form: `answer` gets its fields, and runs in a thread. Of a repeated field the last value counts."""

    async def endpoint(request: Request) -> Response:
        body = bytearray()
        async for piece in request.stream():
            body += piece
            if len(body) > MOST_POSTED_BYTES:
                raise HTTPException(413, f"A form has at most {MOST_POSTED_BYTES:,} bytes. Nothing was saved.")
        fields = dict(parse_qsl(body.decode(errors="replace"), keep_blank_values=True, max_num_fields=1000))
        return await run_in_threadpool(answer, request, fields)

    return endpoint


def make_app(explorer: Explorer, token: str | None = None) -> Starlette:
    """The application: all pages of PAGES behind the guard."""
    from interp_assets.explorer.pages import PAGES

    static = StaticFiles(directory=HERE / "static")
    middleware = [Middleware(Guard, token=token), Middleware(GZipMiddleware, minimum_size=1024, compresslevel=4)]
    errors: Mapping[Any, Any] = {HTTPException: _http_error, Waiting: _waiting, LakeError: _lake_error, Exception: _failure}
    routes = [route for one in PAGES for route in one.ROUTES]
    app = Starlette(routes=[*routes, Mount("/static", static)], middleware=middleware, exception_handlers=errors)
    app.state.explorer = explorer
    return app


def explorer_of(request: Request) -> Explorer:
    """What the pages read."""
    return request.app.state.explorer


def key_of(request: Request) -> str:
    """The dictionary's key in the address."""
    return "/".join(request.path_params[name] for name in ("model", "layer", "name"))


def known_feature(request: Request) -> DictionaryRecord:
    """The record of the dictionary in the address; a page that says so where the lake knows nothing of the feature in the address."""
    explorer, key, feature = explorer_of(request), key_of(request), request.path_params["feature"]
    record = explorer.record(key)
    columns = explorer.columns(key)
    if columns.place_of(feature) is None:
        there = f"{len(columns.features):,} features are known" if len(columns.features) else "nothing is known of its features yet"
        not_found(f"{key} has no feature {feature} in the lake: {there}, of a width of {record.width:,}.")
    return record


def page(request: Request, template: str, status: int = 200, **values: Any) -> HTMLResponse:
    """A page out of a template. `here` is its address, `explorer` is there for all templates."""
    explorer = explorer_of(request)
    query = f"?{request.url.query}" if request.url.query else ""
    shown = TEMPLATES.get_template(template).render(explorer=explorer, here=request.url.path + query, **values)
    return HTMLResponse(shown, status, headers={"Cache-Control": "no-cache"})


class Waiting(RuntimeError):
    """A page cannot be shown yet."""


def not_found(message: str) -> NoReturn:
    """Answer with a page that says what is not there."""
    raise HTTPException(404, message)


def refused(message: str) -> NoReturn:
    """Answer with a page that says what is wrong with what was asked."""
    raise HTTPException(400, message)


def waiting(message: str) -> NoReturn:
    """Answer with a page that says what it waits for, and asks again."""
    raise Waiting(message)


def _http_error(request: Request, error: Any) -> Response:
    status, detail = int(error.status_code), str(error.detail)
    titles = {404: "Not found", 400: "Not understood", 405: "Not allowed"}
    message = detail if detail not in ("Not Found", "Method Not Allowed") else f"There is no page {request.url.path}."
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


def _templates() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(HERE / "templates"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.globals.update(links=links, shaded=shaded)
    environment.filters.update(number=number, share=share, score=score_text, count=count, visible=visible)
    return environment


TEMPLATES = _templates()
