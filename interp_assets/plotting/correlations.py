"""Spearman correlation of each scorer with ratings, beside the published values."""

from typing import TYPE_CHECKING, Any

from interp_assets.plotting.drawing import legend_below, name_rows, panels, point, reference, title
from interp_assets.plotting.figure import COLOURS, Asked, Figure, Query, condition, judges, refuse_empty, span, words

if TYPE_CHECKING:
    import polars as pl

NAME = "correlations"
SUBJECT = "scorers' correlations with ratings, beside the published values"
PUBLISHED = "arXiv 2410.13928"

NEEDS = "needs ratings that people gave: interp ratings template, or interp explore --rater NAME"


def figure(query: Query, asked: Asked) -> Figure:
    """The figure; its numbers are rows of the table human_correlations with the published values: over all ratings, or those of each
    dictionary."""
    scope = f"scope = 'dictionary' AND {condition('scope_value', asked.dictionaries)}" if asked.dictionaries else "scope = 'all'"
    rows = query(
        "SELECT c.rater_kind::VARCHAR AS rater_kind, c.scope_value, c.scorer::VARCHAR AS scorer, c.value AS spearman, c.ci_low, c.ci_high, "
        "c.n_explanations, c.n_features, c.smallest_detectable, p.published_spearman FROM human_correlations c LEFT JOIN (SELECT DISTINCT "
        "scorer, published_spearman FROM scorers_against_people) p ON p.scorer = c.scorer::VARCHAR "
        f"WHERE {scope} AND statistic = 'spearman' AND c.value IS NOT NULL AND {condition('c.scorer', asked.scorers)} ORDER BY ALL"
    )
    refuse_empty(rows, "human_correlations", asked, NEEDS)
    scorers = sorted(set(rows["scorer"]))
    n, n_features = span(rows["n_explanations"].to_list()), span(rows["n_features"].to_list()).removeprefix("n = ")
    raters = " and ".join("people" if kind == "human" else "a generator, not people" for kind in sorted(set(rows["rater_kind"])))
    caption = (
        f"Spearman correlation of each scorer's headline with mean ratings of {raters}, 95 % bootstrap intervals over features ({n} "
        f"explanations of {n_features} features). Diamonds: values of {PUBLISHED}. Rows are in the order of names: overlapping intervals "
        f"are no ranking. {judges(query, asked, scorers)}"
    )
    return Figure(caption, rows, lambda: _drawn(rows, scorers))


def _drawn(rows: "pl.DataFrame", scorers: list[str]) -> Any:
    import polars as pl

    groups = sorted(set(zip(rows["rater_kind"], rows["scope_value"], strict=True)))
    titles = [scope or ("ratings of people" if kind == "human" else "generated ratings") for kind, scope in groups]
    drawn, axes = panels(titles, [len(scorers)] * len(groups))
    for one, name, (kind, scope) in zip(axes, titles, groups, strict=True):
        part = rows.filter((pl.col("rater_kind") == kind) & (pl.col("scope_value") == scope))
        title(one, name)
        one.set_xlabel("Spearman correlation")
        reference(one, 0.0)
        for row in part.iter_rows(named=True):
            place = scorers.index(row["scorer"])
            point(one, place, row["spearman"], row["ci_low"], row["ci_high"], 0, "here")
            if row["published_spearman"] is not None:
                shape = {"color": "none", "markeredgecolor": COLOURS[1], "markersize": 4.5, "linestyle": "none", "zorder": 5}
                one.plot([row["published_spearman"]], [place], "D", label=PUBLISHED, **shape)
    name_rows(axes, [[words(scorer) for scorer in scorers]] * len(axes))
    legend_below(drawn, axes)
    return drawn
