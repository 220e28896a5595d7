"""What every page needs of a request: the explorer, the dictionary and the feature in its address, forms, and the templates."""

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.concurrency import run_in_threadpool
from starlette.convertors import Convertor, register_url_convertor
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from interp_assets.config.records import DictionaryRecord
from interp_assets.domain.prompting.rendering import visible
from interp_assets.explorer import links
from interp_assets.explorer.explorer import Explorer, not_found
from interp_assets.explorer.shading import code, count, number, score_text, shaded, share, token_text

HERE = Path(__file__).parent

Posted = Callable[[Request, Mapping[str, str]], Response]
MOST_POSTED_BYTES = 200_000
MOST_FIELDS = 1_000


class Number(Convertor[int]):
    """A whole number in an address, as `{feature:number}`. A longer number is no number of anything, and its address no page."""

    regex = "[0-9]{1,40}"

    def convert(self, value: str) -> int:
        """The number."""
        return int(value)

    def to_string(self, value: int) -> str:
        """The number as it stands in an address."""
        return str(value)


register_url_convertor("number", Number())


def posted(answer: Posted) -> Callable[[Request], Awaitable[Response]]:
    """The endpoint of a form: `answer` gets its fields, and runs in a thread. Of a repeated field the last value counts."""

    async def endpoint(request: Request) -> Response:
        body = bytearray()
        async for piece in request.stream():
            body += piece
            if len(body) > MOST_POSTED_BYTES:
                raise HTTPException(413, f"A form has at most {MOST_POSTED_BYTES:,} bytes. Nothing was saved.")
        try:
            fields = dict(parse_qsl(body.decode(errors="replace"), keep_blank_values=True, max_num_fields=MOST_FIELDS))
        except ValueError:
            raise HTTPException(413, f"A form has at most {MOST_FIELDS:,} fields. Nothing was saved.") from None
        return await run_in_threadpool(answer, request, fields)

    return endpoint


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


def csv_headers(request: Request, name: str, key: str | None = None) -> dict[str, str]:
    """Headers of a CSV file of this name. Where partitions are left out, the file's name says so, and a header names them."""
    missing = explorer_of(request).left_out(key)
    file = f"{name}-incomplete.csv" if missing else f"{name}.csv"
    said = "; ".join(f"{path}: {why}" for path, why in missing.items()).encode("ascii", "replace").decode()
    more = {"X-Left-Out": " ".join(said[:2_000].split())} if missing else {}
    return {"Content-Disposition": f'attachment; filename="{file}"', **more}


def page(request: Request, template: str, status: int = 200, **values: Any) -> HTMLResponse:
    """A page out of a template. `here` is its address, `explorer` is there for all templates, and so is `left_out`, the partitions that
    cannot be read."""
    explorer = explorer_of(request)
    query = f"?{request.url.query}" if request.url.query else ""
    missing = explorer.left_out(values.get("key") or (key_of(request) if "layer" in request.scope.get("path_params", {}) else None))
    shown = TEMPLATES.get_template(template).render(explorer=explorer, here=request.url.path + query, left_out=missing, **values)
    return HTMLResponse(shown, status, headers={"Cache-Control": "no-cache"})


def _templates() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.globals.update(links=links, shaded=shaded)
    environment.filters.update(number=number, share=share, score=score_text, count=count, code=code, visible=visible, token=token_text)
    return environment


TEMPLATES = _templates()
