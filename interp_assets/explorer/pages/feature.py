"""`/d/<dictionary>/<feature>`: one feature whole."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from interp_assets.explorer.app import explorer_of, key_of, not_found, page
from interp_assets.explorer.feature_view import feature_view


def show(request: Request) -> Response:
    """The page of a feature."""
    explorer, key, number = explorer_of(request), key_of(request), request.path_params["feature"]
    record = explorer.record(key)
    columns = explorer.columns(key)
    place = columns.place_of(number)
    if place is None:
        there = f"{len(columns.features):,} features are known" if len(columns.features) else "nothing is known of its features yet"
        not_found(f"{key} has no feature {number} in the lake: {there}, of a width of {record.width:,}.")
    before = int(columns.features[place - 1]) if place else None
    after = int(columns.features[place + 1]) if place + 1 < len(columns.features) else None
    view = feature_view(explorer, record, columns, number)
    return page(request, "feature.html", key=key, record=record, feature=number, view=view, before=before, after=after)


ROUTES = (Route("/d/{model}/{layer}/{name}/{feature:int}", show),)
