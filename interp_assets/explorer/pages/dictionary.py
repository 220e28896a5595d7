"""`/d/<dictionary>`: a dictionary's table of features with its filters, the distributions of its scores, and the table as CSV."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow.compute as pc
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from interp_assets.config.records import DictionaryRecord
from interp_assets.domain.explaining import control_of
from interp_assets.explorer.charts import cells, curves
from interp_assets.explorer.columns import FeatureColumns
from interp_assets.explorer.explorer import Explorer
from interp_assets.explorer.feature_table import QUADRANTS, STATES, TableQuery, found_places, rows_at, shown_scorers, table_page
from interp_assets.explorer.pages.home import dictionary_row
from interp_assets.explorer.readiness import NotReadYet
from interp_assets.explorer.requests import csv_headers, explorer_of, key_of, page
from interp_assets.explorer.shading import number
from resources.formats.spreadsheet_cells import csv_text

BINS = 32
CSV_ROWS = 5_000
CONTROL_KINDS = ("random_topk", "rotated_topk_neurons", "topk_neurons", "neurons")
"""Kinds of dictionaries that stand behind others of their layer, as in the view against_controls; the first that is there is drawn."""


@dataclass(frozen=True)
class Distribution:
    """How the scores of one scorer are distributed, and how they go with density."""

    scorer: str
    method: str
    n: int
    chart: Markup
    against_density: Markup


def show(request: Request) -> Response:
    """The page of a dictionary."""
    explorer, key = explorer_of(request), key_of(request)
    record, columns = explorer.record(key), explorer.columns(key)
    query = TableQuery.of(request.query_params, columns)
    return page(
        request, "dictionary.html", key=key, record=record, row=dictionary_row(explorer, record), columns=columns, query=query,
        found=table_page(columns, query), distributions=distributions(explorer, record, columns, query.method), states=STATES,
        quadrants=QUADRANTS, outcomes=sorted(one for one in pc.unique(columns.texts("outcome")).to_pylist() if one),
    )  # fmt: skip


def distributions(explorer: Explorer, record: DictionaryRecord, columns: FeatureColumns, method: str) -> list[Distribution]:
    """The distribution of the method's scores by each scorer, with its shuffled explanations and a control dictionary
    behind."""
    behind = control(explorer, record)
    states = columns.state, None if behind is None else (behind[0], behind[1].state)
    return explorer.kept(("distributions", record.key, method), states, lambda: _drawn(columns, method, behind))


def _drawn(columns: FeatureColumns, method: str, behind: tuple[str, FeatureColumns] | None) -> list[Distribution]:
    found = []
    for scorer in dict.fromkeys(scorer for scorer, one in columns.scored if one in (method, "none")):
        own = method if (scorer, method) in columns.scored else "none"
        name, span = f"score:{scorer}:{own}", columns.span_of(scorer)
        edges = np.linspace(*span, BINS + 1)
        series: list[tuple[str, Any, str]] = [(own, columns.counts(name, edges), "main")]
        if (scorer, beside := control_of(own) or "") in columns.scored:
            series.append((beside, columns.counts(f"score:{scorer}:{beside}", edges), "behind"))
        if behind is not None and (scorer, own) in behind[1].scored:
            series.append((behind[0], behind[1].counts(name, edges), "beyond"))
        n, floors = int(series[0][1].sum()), columns.numbers(f"floor:{scorer}:{own}")
        floor = float(np.nanmean(floors)) if not np.isnan(floors).all() else None
        title = f"{scorer} scores of {n:,} features by {own}" + "".join(f", behind them {one}" for one, _, _ in series[1:])
        densities = np.logspace(-6, 0, 25)
        plane = columns.plane("density", densities, name, np.linspace(*span, 17))
        ticks = [(place / 3, f"{100 * 10.0 ** (-6 + 2 * place):g} %") for place in range(4)]
        chart = cells(
            plane, ticks, [(0.0, number(span[0])), (1.0, number(span[1]))], f"Density of {n:,} features against their {scorer} score"
        )
        found.append(Distribution(scorer, own, n, curves(series, edges.tolist(), title, floor), chart))
    return found


def control(explorer: Explorer, record: DictionaryRecord) -> tuple[str, FeatureColumns] | None:
    """The plainest other dictionary of the same model and layer; None where there is none, or where it is not read yet."""
    records = explorer.home.registry.read_all()[0].values()
    beside = [one for one in records if one.key != record.key and one.key.split("/")[:2] == record.key.split("/")[:2]]
    for kind in CONTROL_KINDS:
        for one in beside:
            if one.kind == kind and record.kind not in CONTROL_KINDS[: CONTROL_KINDS.index(kind) + 1]:
                try:
                    return one.key, explorer.dictionaries.columns(one.key, patience=0.0)
                except NotReadYet:
                    return None
    return None


def as_csv(request: Request) -> Response:
    """The rows of the table that pass the filters, all pages of them."""
    explorer, key = explorer_of(request), key_of(request)
    explorer.record(key)
    columns = explorer.columns(key)
    query = TableQuery.of(request.query_params, columns)
    places, scorers = found_places(columns, query), shown_scorers(columns, query)
    header = ["dictionary", "feature", "density", "max_activation", "top_token", "outcome", "quadrant", "rating", "explanation_method"]
    header += ["label", "explanation", *scorers]

    def lines() -> Iterator[str]:
        for first in range(0, max(1, len(places)), CSV_ROWS):
            rows = rows_at(columns, query, places[first : first + CSV_ROWS])
            written = ({**row, "dictionary": key, "explanation_method": query.method, **_values(row)} for row in rows)
            text = csv_text(header, ({name: row.get(name) for name in header} for row in written))
            yield text if first == 0 else text.partition("\n")[2]

    headers = csv_headers(request, f"{key.replace('/', '_')}_features", key)
    return StreamingResponse(lines(), media_type="text/csv", headers=headers)


def _values(row: dict[str, Any]) -> dict[str, float | None]:
    return {scorer: value for scorer, (value, _) in row["scores"].items()}


AT = "/d/{model}/{layer}/{name}"
ROUTES = (Route(f"{AT}/features.csv", as_csv), Route(AT, show))
