"""`/d/<dictionary>/<feature>/try` and `…/steer`: a feature on a reader's own text. The text goes along from feature to feature."""

import math
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from interp_assets.explorer.explorer import refused
from interp_assets.explorer.own_text import MOST_CHARACTERS, MOST_FACTOR, steered, tried
from interp_assets.explorer.requests import explorer_of, key_of, known_feature, page


def show(request: Request) -> Response:
    """The feature's activations on the text."""
    explorer, feature, text = explorer_of(request), request.path_params["feature"], text_of(request)
    record = known_feature(request)
    found = tried(explorer, record, feature, text) if text.strip() else None
    return page(request, "try.html", key=key_of(request), feature=feature, record=record, text=text, found=found, **steps(request))


def steer(request: Request) -> Response:
    """What the model writes after the text, clean and steered."""
    explorer, feature, text = explorer_of(request), request.path_params["feature"], text_of(request)
    record, factor = known_feature(request), factor_of(request)
    found = steered(explorer, record, feature, text, factor) if text.strip() else None
    values = {"key": key_of(request), "feature": feature, "record": record, "text": text, "found": found, "factor": factor}
    return page(request, "steer.html", **values, **steps(request))


def text_of(request: Request) -> str:
    """The text in the address; a page that says so where it is too long."""
    text = request.query_params.get("text", "").replace("\r\n", "\n")
    if len(text) > MOST_CHARACTERS:
        refused(f"The text has {len(text):,} characters; the explorer runs at most {MOST_CHARACTERS:,} through the model.")
    return text


def factor_of(request: Request) -> float:
    """How strongly to steer, in units of the feature's largest activation."""
    said = request.query_params.get("by", "1")
    try:
        factor = float(said)
    except ValueError:
        factor = math.nan
    if not abs(factor) <= MOST_FACTOR:
        refused(f"A feature is steered by {-MOST_FACTOR:g} to {MOST_FACTOR:g} times its largest activation, not by {said[:40]!r}.")
    return factor


def steps(request: Request) -> dict[str, Any]:
    """The features before and after, for walking on with the same text."""
    columns, feature = explorer_of(request).columns(key_of(request)), request.path_params["feature"]
    place = columns.place_of(feature) or 0
    after = int(columns.features[place + 1]) if place + 1 < len(columns.features) else None
    return {"before": int(columns.features[place - 1]) if place else None, "after": after}


AT = "/d/{model}/{layer}/{name}/{feature:number}"
ROUTES = (Route(f"{AT}/try", show), Route(f"{AT}/steer", steer))
