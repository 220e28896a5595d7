"""The headline scores of every feature by explanation method: a panel a scorer, medians with their intervals over faint features."""

from typing import TYPE_CHECKING, Any

from interp_assets.domain.explaining import BASELINES
from interp_assets.plotting.drawing import legend_below, name_rows, offsets, panels, point, reference, strip, title
from interp_assets.plotting.figure import Asked, Figure, Query, condition, judges, refuse_empty, span, words

if TYPE_CHECKING:
    import polars as pl

NAME = "scores"
SUBJECT = "headline scores of features, by explanation method"
WITHOUT = "no explanation read"

NEEDS = "needs scores of explanations, baselines apart: interp backfill KEY, or interp run KEY --features firing:10"


def figure(query: Query, asked: Asked) -> Figure:
    """The figure; its numbers are rows of the view scores_by_method."""
    import polars as pl

    where = f"headline AND {condition('dictionary', asked.dictionaries)} AND {condition('scorer', asked.scorers)}"
    methods = condition("explanation_method", (*asked.methods, "none") if asked.methods else ())
    summed = query(f"SELECT * FROM scores_by_method WHERE {where} AND {methods} AND n_features > 0")
    refuse_empty(summed, "scores_by_method", asked, NEEDS)
    values = query(
        "SELECT dictionary::VARCHAR AS dictionary, scorer::VARCHAR AS scorer, explanation_method::VARCHAR AS explanation_method, "
        f"list(value ORDER BY feature) AS values FROM scores WHERE {where} AND {methods} AND value IS NOT NULL GROUP BY ALL"
    )
    every = {row[:3]: row[3] for row in values.rows()}
    n_rows = dict(summed.group_by("scorer").agg(pl.col("explanation_method").n_unique()).rows())
    scorers = sorted(n_rows, key=lambda scorer: (-n_rows[scorer], scorer))
    of = f" of {summed['dictionary'][0]}" if summed["dictionary"].n_unique() == 1 else ""
    caption = (
        f"Headline scores{of}: faint dots are features, large marks medians with their 95 % intervals between order statistics "
        f"({span(summed['n_features'].to_list())} features a row; none below 6). Dashed: what a judge that reads nothing reaches. "
        f"{judges(query, asked, scorers)}"
    )
    return Figure(caption, summed, lambda: _drawn(summed, every, scorers))


def _drawn(summed: "pl.DataFrame", every: dict[tuple[Any, ...], list[float]], scorers: list[str]) -> Any:
    import polars as pl

    dictionaries = sorted(set(summed["dictionary"]))
    parts = [summed.filter(pl.col("scorer") == scorer) for scorer in scorers]
    rows = [sorted(set(part["explanation_method"]), key=lambda m: (m in BASELINES, m)) for part in parts]
    high = 1 + 0.55 * (len(dictionaries) - 1)
    drawn, axes = panels(scorers, [len(own) * high for own in rows])
    places = offsets(len(dictionaries))
    for one, scorer, part, methods in zip(axes, scorers, parts, rows, strict=True):
        title(one, words(scorer))
        one.set_xlabel(words(part["metric"][0]))
        for row in part.iter_rows(named=True):
            number = dictionaries.index(row["dictionary"])
            place = methods.index(row["explanation_method"]) + places[number]
            values = every.get((row["dictionary"], scorer, row["explanation_method"]), [])
            strip(one, place, values, 0.5 / len(dictionaries), number, seed=number)
            point(
                one,
                place,
                row["median"],
                row["median_ci_low"],
                row["median_ci_high"],
                number,
                row["dictionary"] if len(dictionaries) > 1 else None,
            )
        floors = part["floor"].drop_nulls()
        if len(floors):
            reference(one, float(floors.mean()), "a judge that reads nothing")  # type: ignore[arg-type]
    name_rows(axes, [[WITHOUT if method == "none" else words(method) for method in own] for own in rows])
    legend_below(drawn, axes)
    return drawn
