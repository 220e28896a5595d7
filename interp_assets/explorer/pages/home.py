"""`/`: every dictionary with what is known of it."""

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from interp_assets.config.records import DictionaryRecord
from interp_assets.domain.explaining import BASELINES, control_of
from interp_assets.domain.statistics.intervals import mean_interval
from interp_assets.explorer.charts import score_strip
from interp_assets.explorer.columns import DENSE, FeatureColumns
from interp_assets.explorer.explorer import Explorer
from interp_assets.explorer.readiness import NotReadYet
from interp_assets.explorer.requests import explorer_of, page
from interp_assets.explorer.runs_in_hand import runs_in_hand

SHOWN_FIRST = ("fuzzing", "detection", "simulation", "embedding", "intervention")
"""Scorers in the order in which a row shows them; others follow by name."""


@dataclass(frozen=True)
class HeadlineScore:
    """The mean score of a dictionary's explanations by one scorer, beside the floor and the control of the method on the same features."""

    scorer: str
    method: str
    n_features: int
    mean: float | None
    low: float | None
    high: float | None
    floor: float | None
    shuffled: float | None
    strip: Markup


@dataclass(frozen=True)
class DictionaryRow:
    """One dictionary on the home page; `n_known` features have been looked at, of `n_selected`. None where it is being read."""

    record: DictionaryRecord
    n_known: int | None
    n_explained: int
    n_dead: int
    n_dense: int
    scores: tuple[HeadlineScore, ...]

    @property
    def model(self) -> str:
        """The first part of the key."""
        return self.record.key.split("/")[0]

    @property
    def layer(self) -> str:
        """The second part of the key."""
        return self.record.key.split("/")[1]

    @property
    def name(self) -> str:
        """The last part of the key."""
        return self.record.key.split("/")[2]


def show(request: Request) -> Response:
    """The home page."""
    explorer = explorer_of(request)
    records, broken = explorer.home.registry.read_all()
    rows = [dictionary_row(explorer, record) for record in sorted(records.values(), key=lambda record: natural(record.key))]
    models: dict[str, list[DictionaryRow]] = {}
    for row in rows:
        models.setdefault(row.model, []).append(row)
    waiting = any(row.n_known is None for row in rows)
    return page(request, "home.html", models=models, broken=broken, waiting=waiting, runs=runs_in_hand(explorer.home.dagster))


def dictionary_row(explorer: Explorer, record: DictionaryRecord) -> DictionaryRow:
    """What the home page says of a dictionary. A dictionary that is being read for the first time is shown without numbers."""
    try:
        columns = explorer.dictionaries.columns(record.key, patience=0.2)
    except NotReadYet:
        return DictionaryRow(record, None, 0, 0, 0, ())
    return explorer.kept(("row", record.key), (columns.state, record), lambda: counted_row(record, columns))


def counted_row(record: DictionaryRecord, columns: FeatureColumns) -> DictionaryRow:
    """What the home page says of a dictionary whose columns are read."""
    explained = np.zeros(len(columns.features), dtype=bool)
    for method in columns.methods:
        if method not in BASELINES:
            explained |= columns.texts(f"explanation:{method}").is_valid().to_numpy()
    density = columns.numbers("density")
    with np.errstate(invalid="ignore"):
        dense = int((density > DENSE).sum())
    return DictionaryRow(
        record,
        len(columns.features),
        int(explained.sum()),
        int((columns.numbers("firing_count") == 0).sum()),
        dense,
        headline_scores(columns),
    )


def headline_scores(columns: FeatureColumns) -> tuple[HeadlineScore, ...]:
    """For each scorer the mean of its method that scored most features, in the order of SHOWN_FIRST."""
    found: dict[str, HeadlineScore] = {}
    for scorer, method in columns.scored:
        if method in BASELINES:
            continue
        values = columns.numbers(f"score:{scorer}:{method}")
        known = ~np.isnan(values)
        n = int(known.sum())
        if scorer in found and found[scorer].n_features >= n:
            continue
        mean = mean_interval(values[known])
        beside = columns.numbers(f"score:{scorer}:{control_of(method)}")[known]
        floors = columns.numbers(f"floor:{scorer}:{method}")[known]
        found[scorer] = HeadlineScore(
            scorer, method, n, mean.value, mean.ci_low, mean.ci_high, _mean(floors), _mean(beside),
            score_strip(mean.value, mean.ci_low, mean.ci_high, _mean(floors), _mean(beside), columns.span_of(scorer)),
        )  # fmt: skip
    order = {name: place for place, name in enumerate(SHOWN_FIRST)}
    return tuple(sorted(found.values(), key=lambda score: (order.get(score.scorer, len(order)), score.scorer)))


def natural(text: str) -> list[Any]:
    """A key that sorts numbers in texts as numbers: layer 9 before layer 10."""
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"(\d+)", text) if part]


def _mean(values: np.ndarray) -> float | None:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else None


ROUTES = (Route("/", show),)
