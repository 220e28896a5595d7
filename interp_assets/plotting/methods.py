"""How much explanations say of their own feature: mean lift over another feature's explanation, a panel a scorer."""

from typing import TYPE_CHECKING, Any

from interp_assets.plotting.drawing import legend_below, name_rows, offsets, panels, point, reference, title
from interp_assets.plotting.figure import Asked, Figure, Query, condition, judges, refuse_empty, span, words

if TYPE_CHECKING:
    import polars as pl

NAME = "methods"
SUBJECT = "explanation methods by their lift over another feature's explanation"

REFERENCE = "NOT starts_with(explanation_method::VARCHAR, 'shuffled')"
"""SQL that leaves out the methods that others are compared with: their lift is 0."""

NEEDS = (
    "needs lifts, and so scores of other features' explanations: ask for shuffled, or for shuffled_token_list and the like, under `stages: "
    "{explanations: …}`, and run interp backfill KEY, since interp run with --features leaves them out"
)


def figure(query: Query, asked: Asked) -> Figure:
    """The figure; its numbers are rows of the view leaderboard."""
    where = " AND ".join(
        (condition("dictionary", asked.dictionaries), condition("scorer", asked.scorers), condition("explanation_method", asked.methods))
    )
    rows = query(f"SELECT * FROM leaderboard WHERE {where} AND {REFERENCE} AND lift_over_shuffled IS NOT NULL")
    refuse_empty(rows, "leaderboard", asked, NEEDS)
    scorers = sorted(set(rows["scorer"]))
    of = f" of {rows['dictionary'][0]}" if rows["dictionary"].n_unique() == 1 else ""
    caption = (
        f"Mean lift of each explanation method{of} over another feature's explanation "
        f"by the same method on the same features, with 95 % intervals ({span(rows['n_features'].to_list())} features; none below 4). "
        f"At 0 an explanation says no more of its feature than of another. {judges(query, asked, scorers)}"
    )
    return Figure(caption, rows, lambda: _drawn(rows, scorers))


def _drawn(rows: "pl.DataFrame", scorers: list[str]) -> Any:
    import polars as pl

    dictionaries = sorted(set(rows["dictionary"]))
    parts = [rows.filter(pl.col("scorer") == scorer) for scorer in scorers]
    order = rows.group_by("explanation_method").agg(pl.col("lift_over_shuffled").mean()).sort("lift_over_shuffled", "explanation_method")
    ranked = order["explanation_method"].to_list()[::-1]  # one order for all panels: they are compared row by row
    names = [[method for method in ranked if method in set(part["explanation_method"])] for part in parts]
    drawn, axes = panels(scorers, [len(own) * (1 + 0.35 * (len(dictionaries) - 1)) for own in names])
    places = offsets(len(dictionaries))
    for one, scorer, part, methods in zip(axes, scorers, parts, names, strict=True):
        title(one, words(scorer))
        one.set_xlabel(f"lift in {words(part['metric'][0])}")
        reference(one, 0.0)
        for row in part.iter_rows(named=True):
            number = dictionaries.index(row["dictionary"])
            place = methods.index(row["explanation_method"]) + places[number]
            point(
                one,
                place,
                row["lift_over_shuffled"],
                row["lift_ci_low"],
                row["lift_ci_high"],
                number,
                row["dictionary"] if len(dictionaries) > 1 else None,
            )
    name_rows(axes, [[words(method) for method in own] for own in names])
    legend_below(drawn, axes)
    return drawn
