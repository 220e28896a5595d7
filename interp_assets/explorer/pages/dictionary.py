"""`/d/<dictionary>`: a dictionary's table of features."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from interp_assets.explorer.app import explorer_of, key_of, page
from interp_assets.explorer.feature_table import TableQuery, table_page
from interp_assets.explorer.pages.home import dictionary_row


def show(request: Request) -> Response:
    """The page of a dictionary."""
    explorer, key = explorer_of(request), key_of(request)
    record, columns = explorer.record(key), explorer.columns(key)
    query = TableQuery.of(request.query_params, columns)
    return page(
        request, "dictionary.html", key=key, record=record, row=dictionary_row(explorer, record), columns=columns, query=query,
        found=table_page(columns, query),
    )  # fmt: skip


ROUTES = (Route("/d/{model}/{layer}/{name}", show),)
