"""The table of features of a dictionary: filters, order and page, over columns in memory."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from interp_assets.domain.explaining import BASELINES, METHODS
from interp_assets.explorer.columns import DENSE, FeatureColumns
from resources.formats.decimal_floats import decimal_array

PAGE_ROWS = 50
SORTS = ("feature", "density", "max_activation", "top_token_share", "n_windows", "rating")
STATES = ("alive", "dead", "dense", "explained", "unexplained")
NUMBERS = ("density_from", "density_to", "least", "most", "rating_from", "first", "last")
QUADRANTS = ("both", "input_only", "output_only", "neither")


@dataclass(frozen=True)
class TableQuery:
    """What is asked of the table. `sort` is one of SORTS or `score:<scorer>:<method>`; `by` is such a score, from `least` to `most`.
    Densities are shares of tokens; `first` and `last` bound the features' own numbers. Empty texts and None ask for nothing."""

    method: str
    sort: str = "feature"
    descending: bool = False
    page: int = 1
    state: str = ""
    outcome: str = ""
    quadrant: str = ""
    token: str = ""
    density_from: float | None = None
    density_to: float | None = None
    by: str = ""
    least: float | None = None
    most: float | None = None
    rating_from: float | None = None
    first: float | None = None
    last: float | None = None

    @classmethod
    def of(cls, asked: Mapping[str, str], columns: FeatureColumns) -> "TableQuery":
        """The query in an address; what cannot be understood is as if it were not there."""
        methods = [method for method in METHODS if method in columns.methods]
        usual = next((method for method in methods if method not in BASELINES), methods[0] if methods else "")
        scores = {f"score:{scorer}:{method}" for scorer, method in columns.scored}
        sort, page = asked.get("sort", "feature").removeprefix("-"), asked.get("page", "1")
        numbers = {
            name: _number(asked.get(name, "")) for name in ("density_from", "density_to", "least", "most", "rating_from", "first", "last")
        }
        return cls(
            method=asked["method"] if asked.get("method") in methods else usual,
            sort=sort if sort in {*SORTS, *scores} else "feature",
            descending=asked.get("sort", "").startswith("-"),
            page=max(1, int(page)) if page.isdecimal() and page.isascii() and len(page) < 10 else 1,
            state=_among(asked.get("state"), STATES),
            outcome=asked.get("outcome", "")[:64],
            quadrant=_among(asked.get("quadrant"), QUADRANTS),
            token=asked.get("token", "")[:200],
            by=_among(asked.get("by"), scores),
            **numbers,  # type: ignore[arg-type]
        )

    @property
    def filters(self) -> dict[str, Any]:
        """The filters that are set, by name."""
        left = ("method", "sort", "descending", "page")
        return {name: value for name, value in asdict(self).items() if name not in left and value not in ("", None)}

    def with_(self, **changes: Any) -> str:
        """The query of an address that asks for something else."""
        one = replace(self, **{"page": 1, **changes})
        values = {**asdict(one), "sort": ("-" if one.descending else "") + one.sort, "page": one.page if one.page > 1 else None}
        del values["descending"]
        return urlencode(
            {name: value for name, value in values.items() if value not in ("", None) and (name, value) != ("sort", "feature")}
        )

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
    places = found_places(columns, query)
    n_pages = max(1, -(-len(places) // PAGE_ROWS))
    page = min(query.page, n_pages)
    shown = places[(page - 1) * PAGE_ROWS : page * PAGE_ROWS]
    return TablePage(list(rows_at(columns, query, shown)), len(places), n_pages, shown_scorers(columns, query))


def shown_scorers(columns: FeatureColumns, query: TableQuery) -> tuple[str, ...]:
    """Scorers that have judged the method that is shown, or the features themselves."""
    return tuple(dict.fromkeys(scorer for scorer, method in columns.scored if method in (query.method, "none")))


def found_places(columns: FeatureColumns, query: TableQuery) -> np.ndarray:
    """Places of the features that pass the filters, in the order asked for."""
    asked = ("places", query.method, query.sort, query.descending, *query.filters.items())
    return columns.once(asked, lambda: _found_places(columns, query))


def _found_places(columns: FeatureColumns, query: TableQuery) -> np.ndarray:
    ordered = columns.order(query.sort, query.descending)
    passing = _passing(columns, query)
    return ordered if passing is None else ordered[passing[ordered]]


def _passing(columns: FeatureColumns, query: TableQuery) -> np.ndarray | None:
    """[n] bool: features that pass all filters; None where there is no filter."""
    masks: list[np.ndarray] = []
    for name, low, high in (
        ("density", query.density_from, query.density_to), (query.by, query.least, query.most), ("rating", query.rating_from, None),
        ("feature", query.first, query.last),
    ):  # fmt: skip
        values = columns.numbers(name) if name and (low is not None or high is not None) else np.zeros(0)
        if len(values):
            masks += [values >= low] if low is not None else []
            masks += [values <= high] if high is not None else []
    if query.state:
        masks.append(_in_state(columns, query))
    for name in ("outcome", "quadrant"):
        if wanted := getattr(query, name):
            masks.append(_true(pc.equal(columns.texts(name), wanted)))
    if query.token:
        masks.append(_true(pc.match_substring(columns.texts("top_token"), query.token, ignore_case=True)))
    return np.logical_and.reduce(masks) if masks else None


def _in_state(columns: FeatureColumns, query: TableQuery) -> np.ndarray:
    if query.state in ("explained", "unexplained"):
        name = f"explanation:{query.method}"
        there = (
            columns.texts(name).is_valid().to_numpy() if name in columns.table.column_names else np.zeros(len(columns.features), dtype=bool)
        )
        return there if query.state == "explained" else ~there
    if query.state == "dense":
        return columns.numbers("density") > DENSE
    dead = columns.numbers("firing_count") == 0
    return dead if query.state == "dead" else ~dead


def rows_at(columns: FeatureColumns, query: TableQuery, places: np.ndarray) -> Iterator[dict[str, Any]]:
    """The cells of some rows; each score with its floor."""
    names = ("top_token", "outcome", "quadrant", f"explanation:{query.method}", f"label:{query.method}")
    texts = {name: columns.texts(name).take(pa.array(places)).to_pylist() for name in names if name in columns.table.column_names}
    numbers = {name: decimal_array(columns.numbers(name)[places]) for name in ("density", "max_activation", "rating")}
    scores = {}
    for scorer in shown_scorers(columns, query):
        method = query.method if (scorer, query.method) in columns.scored else "none"
        scores[scorer] = [decimal_array(columns.numbers(f"{part}:{scorer}:{method}")[places]) for part in ("score", "floor")]
    for row, place in enumerate(places.tolist()):
        yield {
            "feature": int(columns.features[place]),
            **{name: _or_none(values[row]) for name, values in numbers.items()},
            **{name.partition(":")[0]: values[row] for name, values in texts.items()},
            "scores": {scorer: tuple(_or_none(part[row]) for part in parts) for scorer, parts in scores.items()},
        }


def _true(found: pa.ChunkedArray) -> np.ndarray:
    return pc.fill_null(found, False).to_numpy()


def _among(asked: str | None, known: Any) -> str:
    return asked if asked is not None and asked in known else ""


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if np.isfinite(value) else None


def _or_none(value: Any) -> float | None:
    return None if np.isnan(value) else float(value)
