"""`/d/<dictionary>/<feature>`: one feature whole, and the same as JSON and as a frame for other pages."""

from typing import Any

import numpy as np
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from interp_assets.config.keys import lake_partition
from interp_assets.domain.explaining import METHODS
from interp_assets.domain.scoring import SCORERS
from interp_assets.explorer.explorer import Explorer
from interp_assets.explorer.feature_view import feature_view, range_of
from interp_assets.explorer.requests import explorer_of, key_of, known_feature, page
from interp_assets.ratings.notes import Note, UnreadNotes, files_set_aside, notes_on
from interp_assets.tables import (
    EXAMPLES,
    EXPLANATIONS,
    FEATURE_EXAMPLES,
    FEATURE_MATCHES,
    FEATURE_NEIGHBOURS,
    FEATURE_STATISTICS,
    SCORES,
    STEERED_TEXTS,
    STEERING,
    TOKEN_CHANGES,
    VOCABULARY_PROJECTIONS,
    Table,
)
from resources.formats.decimal_floats import decimal_table, holds_single

RANGED = (
    FEATURE_STATISTICS, FEATURE_EXAMPLES, VOCABULARY_PROJECTIONS, TOKEN_CHANGES, STEERING, STEERED_TEXTS, EXAMPLES,
)  # fmt: skip
WHOLE = (FEATURE_NEIGHBOURS, FEATURE_MATCHES)
SINGLE = {table.name for table in (*RANGED, *WHOLE, EXPLANATIONS, SCORES) if holds_single(table.schema)}


def show(request: Request) -> Response:
    """The page of a feature."""
    return page(request, "feature.html", **feature_values(request))


def embed(request: Request) -> Response:
    """The feature without the frame of a page, for an `<iframe>` in another page."""
    return page(request, "embed.html", **feature_values(request))


def as_json(request: Request) -> Response:
    """All rows of a feature, by table, as they are in the lake; under `left_out` the dictionary's partitions that cannot be read, if
    any."""
    explorer, key, number = explorer_of(request), key_of(request), request.path_params["feature"]
    known_feature(request)
    rows = _finite(all_rows(explorer, key, number))
    missing = explorer.left_out(key)
    return JSONResponse({**rows, "left_out": missing} if missing else rows)


def all_rows(explorer: Explorer, key: str, feature: int) -> dict[str, Any]:
    """Every row of a feature by table; tables by scorer and method are lists over all of them."""
    where = lake_partition(range_of(explorer.record(key), feature))

    def rows(table: Table, partition: dict[str, str]) -> list[dict[str, Any]]:
        if table.name not in SINGLE:
            return explorer.rows.of(table, partition, feature)
        return decimal_table(explorer.rows.table(table, partition, feature)).to_pylist()

    found: dict[str, Any] = {"dictionary": key, "feature": feature}
    found |= {table.name: rows(table, where) for table in RANGED}
    found |= {table.name: rows(table, {"dictionary": key}) for table in WHOLE}
    found[EXPLANATIONS.name] = [
        {"explanation_method": method, **row} for method in METHODS for row in rows(EXPLANATIONS, {"explanation_method": method, **where})
    ]
    found[SCORES.name] = [{"scorer": one.NAME, **row} for one in SCORERS for row in rows(SCORES, {"scorer": one.NAME, **where})]
    return found


def feature_values(request: Request) -> dict[str, Any]:
    """What the templates of a feature show."""
    explorer, key, number = explorer_of(request), key_of(request), request.path_params["feature"]
    record = known_feature(request)
    columns = explorer.columns(key)
    place = columns.place_of(number) or 0
    before = int(columns.features[place - 1]) if place else None
    after = int(columns.features[place + 1]) if place + 1 < len(columns.features) else None
    view = feature_view(explorer, record, columns, number)
    notes, unread = _notes(explorer, record.key, number)
    return {
        "key": key, "record": record, "feature": number, "view": view, "before": before, "after": after, "notes": notes,
        "unread_notes": unread,
    }  # fmt: skip


def _notes(explorer: Explorer, key: str, feature: int) -> tuple[list[Note], list[str]]:
    """The notes on a feature, and a message for each file of notes that cannot be read."""
    folder = explorer.home.notes
    aside = [f"{path} is damaged, and was set aside when a later note was saved" for path in files_set_aside(folder, key, feature)]
    try:
        return notes_on(folder, key, feature), aside
    except UnreadNotes as error:
        return [], [str(error), *aside]


def _finite(value: Any) -> Any:
    """The same with null for numbers that JSON cannot write."""
    if isinstance(value, dict):
        return {name: _finite(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


AT = "/d/{model}/{layer}/{name}/{feature:number}"
ROUTES = (Route(AT, show), Route(f"{AT}.json", as_json), Route(f"{AT}/embed", embed))
