"""`/report`: how the scorers agree with the people who rated, out of the tables of the correlation report."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from interp_assets.explorer.charts import cells, score_strip
from interp_assets.explorer.explorer import Explorer, refused, waiting
from interp_assets.explorer.readiness import NotReadYet
from interp_assets.explorer.requests import explorer_of, page
from interp_assets.explorer.shading import number

RATED = """SELECT rater_kind::VARCHAR AS rater_kind, rater, count(*) AS n_ratings, count(DISTINCT explanation_id) AS n_explanations,
  avg(normalised) AS mean FROM human_ratings GROUP BY ALL ORDER BY rater_kind DESC, rater"""
REJECTED = "SELECT count(*) AS n FROM rejected_ratings"
AGAINST = "SELECT * FROM scorers_against_people ORDER BY rater_kind, scorer"
DIFFER = "SELECT * FROM scorers_that_differ"
AGREEMENT = """SELECT rater_kind::VARCHAR AS rater_kind, measure::VARCHAR AS measure, rater, value, ci_low, ci_high, n_raters,
  n_explanations, outcome::VARCHAR AS outcome FROM rater_agreement ORDER BY measure, rater"""
POINTS = "SELECT rating, scores FROM rated_explanations_scored WHERE rating IS NOT NULL"


@dataclass(frozen=True)
class ScorerAgainstPeople:
    """One scorer: the row of the view scorers_against_people, its interval, and its scores against the ratings."""

    row: dict[str, Any]
    strip: Markup
    plane: Markup | None


def show(request: Request) -> Response:
    """The page of the report."""
    explorer = explorer_of(request)
    raters, rejected, rows, differ, agreement, points = (
        _rows(explorer, sql) for sql in (RATED, REJECTED, AGAINST, DIFFER, AGREEMENT, POINTS)
    )
    scorers = [
        ScorerAgainstPeople(
            row, score_strip(row["spearman"], row["ci_low"], row["ci_high"], None, 0.0, (-1, 1)), plane(row["scorer"], points)
        )
        for row in rows
    ]
    strips = [score_strip(row["value"], row["ci_low"], row["ci_high"], None, 0.0, (-1, 1)) for row in agreement]
    return page(
        request, "report.html", raters=raters, n_rejected=rejected[0]["n"] if rejected else 0, scorers=scorers, differ=differ,
        agreement=list(zip(agreement, strips, strict=True)), generated=any(row["rater_kind"] == "generated" for row in rows),
    )  # fmt: skip


def interval(row: dict[str, Any], name: str) -> Markup:
    """A correlation with its interval on a line from -1 to 1."""
    return score_strip(row[name], row["ci_low"], row["ci_high"], None, 0.0, (-1, 1))


def plane(scorer: str, points: list[dict[str, Any]]) -> Markup | None:
    """Ratings upwards against a scorer's scores across; None where no rated explanation has a score of this scorer."""
    found = [(dict(point["scores"] or {}).get(scorer), point["rating"]) for point in points]
    pairs = np.array([pair for pair in found if pair[0] is not None], dtype=float).reshape(-1, 2)
    if not len(pairs):
        return None
    low, high = min(0.0, float(pairs[:, 0].min())), max(1.0, float(pairs[:, 0].max()))
    counts = np.histogram2d(pairs[:, 0], pairs[:, 1], (np.linspace(low, high, 25), np.linspace(0, 1, 13)))[0].astype(int)
    ticks = [(0.0, number(low)), (1.0, number(high))]
    return cells(counts, ticks, [(0.0, "0"), (1.0, "1")], f"Mean ratings of {len(pairs):,} explanations against their {scorer} score")


def _rows(explorer: Explorer, sql: str) -> list[dict[str, Any]]:
    try:
        answer = explorer.views.answer(sql)
    except NotReadYet:
        waiting("The tables of the report are being read. This page opens as soon as they are.")
    if answer.problem is not None:
        refused(f"The warehouse cannot answer: {answer.problem}")
    return answer.rows.to_pylist()


ROUTES = (Route("/report", show),)
