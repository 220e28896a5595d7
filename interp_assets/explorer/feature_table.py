"""The table of features of a dictionary: filters, order and page, over columns in memory."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow.compute as pc

from interp_assets.domain.explaining import BASELINES, METHODS
from interp_assets.explorer.columns import FeatureColumns

PAGE_ROWS = 50
SORTS = ("feature", "density", "max_activation", "top_token_share", "n_windows", "rating")


@dataclass(frozen=True)
class TableQuery:
    """What is asked of the table. `sort` is one of SORTS or `score:<scorer>:<method>`."""

    method: str
    sort: str = "feature"
    descending: bool = False
    page: int = 1

    @classmethod
    def of(cls, asked: Mapping[str, str], columns: FeatureColumns) -> "TableQuery":
        """The query in an address; what cannot be understood is as if it were not there."""
        methods = [method for method in METHODS if method in columns.methods]
        usual = next((method for method in methods if method not in BASELINES), methods[0] if methods else "")
        sort = asked.get("sort", "feature").removeprefix("-")
        sorts = {*SORTS, *(f"score:{scorer}:{method}" for scorer, method in columns.scored)}
        page = asked.get("page", "1")
        return cls(
            asked["method"] if asked.get("method") in methods else usual,
            sort if sort in sorts else "feature",
            asked.get("sort", "").startswith("-"),
            max(1, int(page)) if page.isdecimal() and len(page) < 10 else 1,
        )

    def with_(self, **changes: Any) -> str:
        """The query of an address that asks for something else."""
        from urllib.parse import urlencode

        one = replace(self, **{"page": 1, **changes})
        values = {"method": one.method, "sort": ("-" if one.descending else "") + one.sort, "page": one.page if one.page > 1 else None}
        return urlencode({name: value for name, value in values.items() if value})

    def sorted_by(self, name: str) -> str:
        """The query that sorts by a column, or turns its order around where it sorts by it already. Numbers begin with the largest."""
        return self.with_(sort=name, descending=not self.descending if name == self.sort else name != "feature")


@dataclass(frozen=True)
class TablePage:
    """A page of the table: `n_found` features pass the filters; `scorers` are the columns of scores."""

    rows: list[dict[str, Any]]
    n_found: int
    n_pages: int
    scorers: tuple[str, ...]


def table_page(columns: FeatureColumns, query: TableQuery) -> TablePage:
    """The rows of one page."""
    places = order(columns, query, np.arange(len(columns.features)))
    n_pages = max(1, -(-len(places) // PAGE_ROWS))
    page = min(query.page, n_pages)
    shown = places[(page - 1) * PAGE_ROWS : page * PAGE_ROWS]
    scorers = tuple(scorer for scorer, method in columns.scored if method in (query.method, "none"))
    return TablePage(list(rows_at(columns, query, shown, scorers)), len(places), n_pages, scorers)


def order(columns: FeatureColumns, query: TableQuery, places: np.ndarray) -> np.ndarray:
    """Places in the order asked for; features without the number come last, and equal numbers in the order of features."""
    if query.sort == "feature":
        return places[::-1] if query.descending else places
    values = columns.numbers(query.sort)[places]
    return places[np.argsort(-values if query.descending else values, kind="stable")]


def rows_at(columns: FeatureColumns, query: TableQuery, places: np.ndarray, scorers: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    """The cells of some rows."""
    texts = {}
    for name in ("top_token", "outcome", "quadrant", f"explanation:{query.method}"):
        texts[name] = pc.take(columns.texts(name), places).to_pylist() if name in columns.table.column_names else [None] * len(places)
    for row, place in enumerate(places.tolist()):
        scores = {}
        for scorer in scorers:
            method = query.method if (scorer, query.method) in columns.scored else "none"
            values = [columns.numbers(f"{part}:{scorer}:{method}")[place] for part in ("score", "floor")]
            scores[scorer] = tuple(None if np.isnan(value) else float(value) for value in values)
        yield {
            "feature": int(columns.features[place]),
            "density": _or_none(columns.numbers("density")[place]),
            "max_activation": _or_none(columns.numbers("max_activation")[place]),
            "top_token": texts["top_token"][row],
            "outcome": texts["outcome"][row],
            "quadrant": texts["quadrant"][row],
            "explanation": texts[f"explanation:{query.method}"][row],
            "rating": _or_none(columns.numbers("rating")[place]),
            "scores": scores,
        }


def _or_none(value: Any) -> float | None:
    return None if np.isnan(value) else float(value)
