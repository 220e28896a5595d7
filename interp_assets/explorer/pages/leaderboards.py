"""`/leaderboards`: views of the warehouse as pages, each with its SQL and as CSV."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from interp_assets.assets.warehouse.views import answered_by, view_files
from interp_assets.explorer import links
from interp_assets.explorer.charts import score_strip
from interp_assets.explorer.explorer import Explorer, not_found, refused, waiting
from interp_assets.explorer.readiness import NotReadYet
from interp_assets.explorer.requests import csv_headers, explorer_of, page
from interp_assets.explorer.shading import number
from resources.formats.decimal_floats import computed_table, decimal_table
from resources.formats.spreadsheet_cells import cell_text, csv_text

GROUPS = {
    "Explainers": ("leaderboard", "success_by_method", "hardest_features"),
    "Scorers": ("scores_by_method", "against_controls", "scorer_sanity_checks"),
    "Agreement": ("scorer_agreement", "disagreements", "intervention_against_fuzzing"),
    "Correlation with people": ("scorers_against_people", "scorers_that_differ"),
    "Across dictionaries": ("scores_by_layer", "scores_over_checkpoints", "matches_by_dictionary_pair"),
    "Cost and outcomes": ("cost_by_method", "cost_by_dictionary", "outcomes"),
}
"""Views under the question that they answer; views that are not named here stand under FURTHER."""

FURTHER = "Further views"

DRAWN = {
    "leaderboard": ("mean", "ci_low", "ci_high", "floor"),
    "scores_by_method": ("mean", "ci_low", "ci_high", "floor"),
    "success_by_method": ("rate", "ci_low", "ci_high", "floor"),
    "against_controls": ("difference", "ci_low", "ci_high", None),
    "scorers_against_people": ("spearman", "ci_low", "ci_high", None),
    "scorers_that_differ": ("difference", "ci_low", "ci_high", None),
    "scores_by_layer": ("mean", "ci_low", "ci_high", "floor"),
    "scores_over_checkpoints": ("mean", "ci_low", "ci_high", "floor"),
    "scorer_agreement": ("spearman", None, None, None),
}
"""Columns that are drawn beside a row: value, interval and floor."""

SIGNED = ("against_controls", "scorers_against_people", "scorers_that_differ", "scorer_agreement")
"""Views whose drawn values are differences or correlations, from -1 to 1."""

MOST_ROWS = 2_000
SHOWN = 100


@dataclass(frozen=True)
class Cell:
    """One value of a table: its text, whether it is a number, and where it leads to."""

    text: str
    numeric: bool = False
    link: str | None = None


@dataclass(frozen=True)
class ViewTable:
    """The rows of a view as they are shown, with a drawing beside each row where there is something to draw."""

    name: str
    answers: str
    more: str
    sql: str
    drawn_before: int
    header: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    strips: tuple[Markup | None, ...]
    n_found: int
    dictionaries: tuple[str, ...]

    @property
    def is_drawn(self) -> bool:
        """Whether any row has a drawing."""
        return any(self.strips)


def grouped() -> dict[str, list[str]]:
    """Every view of the warehouse, by group."""
    there = list(view_files())
    groups = {title: [name for name in names if name in there] for title, names in GROUPS.items()}
    return {**groups, FURTHER: [name for name in there if not any(name in names for names in groups.values())]}


def index(request: Request) -> Response:
    """What can be asked, by group."""
    files = view_files()
    groups = {title: [(name, first_sentence(answered_by(files[name]))) for name in names] for title, names in grouped().items()}
    return page(request, "leaderboards.html", groups=groups)


def show(request: Request) -> Response:
    """The page of a view."""
    explorer, name = explorer_of(request), known_view(request)
    asked = request.query_params
    table = view_table(explorer, name, asked.get("dictionary", ""), _page_number(asked.get("page", "1")))
    return page(
        request, "leaderboard.html", table=table, only=asked.get("dictionary", ""), page_number=_page_number(asked.get("page", "1"))
    )


def as_csv(request: Request) -> Response:
    """All rows of a view, up to MOST_ROWS."""
    explorer, name = explorer_of(request), known_view(request)
    rows = chosen_rows(view_rows(explorer, name), request.query_params.get("dictionary", ""))
    text = csv_text(rows.column_names, computed_table(rows).to_pylist())
    return Response(text, media_type="text/csv", headers=csv_headers(request, name))


def known_view(request: Request) -> str:
    """The view in the address; a page that names all views where there is none."""
    name = request.path_params["view"]
    if name not in (there := view_files()):
        not_found(f"There is no leaderboard {name[:60]}. There are {', '.join(there)}.")
    return name


def view_rows(explorer: Explorer, name: str) -> pa.Table:
    """The rows of a view, in its own order; a page that waits, or says what is wrong, where there are none."""
    try:
        answer = explorer.views.answer(f"SELECT * FROM {name} LIMIT {MOST_ROWS}")
    except NotReadYet:
        waiting(f"The warehouse is asked for {name}. This page opens as soon as it has answered.")
    if answer.problem is not None:
        refused(f"The warehouse cannot answer {name}: {answer.problem}")
    return answer.rows


def chosen_rows(rows: pa.Table, dictionary: str) -> pa.Table:
    """The rows of one dictionary; all rows without a dictionary, or in a view that has no dictionaries."""
    if not dictionary or "dictionary" not in rows.column_names:
        return rows
    return rows.filter(pc.equal(rows["dictionary"].cast(pa.string()), dictionary))


def view_table(explorer: Explorer, name: str, dictionary: str = "", page_number: int = 1) -> ViewTable:
    """One page of the rows of a view."""
    rows = view_rows(explorer, name)
    dictionaries = pc.unique(rows["dictionary"].cast(pa.string())).to_pylist() if "dictionary" in rows.column_names else []
    chosen = chosen_rows(rows, dictionary)
    shown = chosen.slice((page_number - 1) * SHOWN, SHOWN)
    header = tuple(column for column in shown.column_names if not (dictionary and column == "dictionary"))
    numeric = {field.name for field in shown.schema if pa.types.is_floating(field.type) or pa.types.is_integer(field.type)}
    found = decimal_table(shown).to_pylist()
    file = view_files()[name]
    answers, value = answered_by(file).replace("`", ""), DRAWN.get(name, ("",))[0]
    first = first_sentence(answers)
    return ViewTable(
        name, first, answers[len(first) :].strip(), file.read_text(), header.index(value) if value in header else -1, header,
        tuple(tuple(cell(row, column, column in numeric) for column in header) for row in found),
        strips(name, found), len(chosen), tuple(sorted(one for one in dictionaries if one)),
    )  # fmt: skip


def cell(row: dict[str, Any], column: str, numeric: bool) -> Cell:
    """A value of a row as it is shown; a dictionary and a feature lead to their pages."""
    value = row[column]
    if value is None:
        return Cell("–", numeric)
    if column in ("dictionary", "other_dictionary"):
        return Cell(str(value), False, links.dictionary(str(value)))
    if column == "feature" and row.get("dictionary"):
        return Cell(str(value), True, links.feature(str(row["dictionary"]), int(value)))
    if isinstance(value, bool):
        return Cell("yes" if value else "no")
    if isinstance(value, int | float):
        return Cell(f"{value:,}" if isinstance(value, int) else in_column(value), True)
    return Cell(cell_text(value))


def in_column(value: float) -> str:
    """A number with three digits behind the point where it is of the size of a score, so that a column of scores stands straight."""
    return f"{value:.3f}".replace("-", "−") if 0.001 <= abs(value) < 10 else number(value)


def drawn(name: str, row: dict[str, Any]) -> tuple[float | None, ...]:
    """Value, ends of the interval and floor that are drawn beside a row; all None in a view that has nothing to draw."""
    return tuple(None if column is None else row.get(column) for column in DRAWN.get(name, (None,) * 4))


def strips(name: str, rows: Sequence[dict[str, Any]]) -> tuple[Markup | None, ...]:
    """The drawing of each row, None where it has no value. Rows of one scorer are drawn on the same line."""
    spans: dict[Any, tuple[float, float]] = {}
    for row in rows:
        low, high = spans.get(row.get("scorer"), (-1.0 if name in SIGNED else 0.0, 1.0))
        ends = [end for end in drawn(name, row)[:3] if end is not None]
        spans[row.get("scorer")] = min(low, *ends, 1.0), max(high, *ends, 0.0)
    control = 0.0 if name in SIGNED else None
    found = [(drawn(name, row), spans[row.get("scorer")]) for row in rows]
    return tuple(None if one[0] is None else score_strip(*one, control, span) for one, span in found)  # type: ignore[arg-type]


def first_sentence(text: str) -> str:
    """A text up to the end of its first sentence."""
    first, stop, _ = text.partition(". ")
    return first + "." if stop else text


def _page_number(text: str) -> int:
    return max(1, int(text)) if text.isdecimal() and len(text) < 9 else 1


ROUTES = (Route("/leaderboards", index), Route("/leaderboards/{view}.csv", as_csv), Route("/leaderboards/{view}", show))
