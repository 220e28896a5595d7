"""What moves a score: the shares of its variance of the feature, the draw, the explanation and the judge, a panel a scorer."""

from typing import TYPE_CHECKING, Any

from interp_assets.plotting.drawing import legend_below, name_rows, panels, title
from interp_assets.plotting.figure import COLOURS, Asked, Figure, Query, condition, judges, refuse_empty, short_names, span, words

if TYPE_CHECKING:
    import polars as pl

NAME = "stability"
SUBJECT = "shares of the variance of scores by feature, draw, explanation and judge"
SHARES = {"icc": "the feature", "draw_share": "the draw of windows", "explanation_share": "the explanation", "judge_share": "the judge"}

NEEDS = "needs scores taken again: set stages: {stability: …}, and run interp backfill KEY"


def figure(query: Query, asked: Asked) -> Figure:
    """The figure; its numbers are rows of the view score_stability."""
    where = " AND ".join(
        (condition("dictionary", asked.dictionaries), condition("scorer", asked.scorers), condition("explanation_method", asked.methods))
    )
    rows = query(f"SELECT * FROM score_stability WHERE icc IS NOT NULL AND {where}")
    refuse_empty(rows, "score_stability", asked, NEEDS)
    scorers = sorted(set(rows["scorer"]))
    of = f" of {rows['dictionary'][0]}" if rows["dictionary"].n_unique() == 1 else ""
    caption = (
        f"Shares of the variance of one feature's headline score{of}, with windows drawn, explanations written and judgements made again "
        f"({span(rows['n_features'].to_list())} features). Lines: 95 % intervals of the feature's share, ICC(1). "
        f"{judges(query, asked, scorers)}"
    )
    return Figure(caption, rows, lambda: _drawn(rows, scorers))


def _drawn(rows: "pl.DataFrame", scorers: list[str]) -> Any:
    import polars as pl

    dictionaries = sorted(set(rows["dictionary"]))
    short = short_names(dictionaries)
    drawn, axes = panels(scorers, [1.4 * len(dictionaries)] * len(scorers))
    for one, scorer in zip(axes, scorers, strict=True):
        title(one, words(scorer))
        one.set_xlabel("share of the variance")
        for row in rows.filter(pl.col("scorer") == scorer).iter_rows(named=True):
            place, left = dictionaries.index(row["dictionary"]), 0.0
            for number, (column, name) in enumerate(SHARES.items()):
                one.barh(place, row[column], left=left, height=0.62, color=COLOURS[number], alpha=0.85, label=name)
                left += row[column]
            if row["icc_low"] is not None:
                one.plot([row["icc_low"], row["icc_high"]], [place, place], color="#1b1d20", linewidth=1.6, solid_capstyle="butt")
        one.set_xlim(0, 1)
    name_rows(axes, [[short[dictionary] for dictionary in dictionaries]] * len(scorers))
    legend_below(drawn, axes)
    return drawn
