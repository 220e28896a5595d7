"""`warehouse`: the DuckDB file over the lake. Its views show the partitions that were complete when the file was made."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

import dagster as dg
import duckdb

from interp_assets.assets.warehouse.duckdb_file import Warehouse
from interp_assets.domain.explaining import METHODS
from interp_assets.domain.prompting.rendering import escape_markdown
from interp_assets.domain.scoring import SCORERS
from interp_assets.orchestration.stage_progress import tell_begun
from interp_assets.reporting.materialisation import course_plot, markdown, scatter_plot, shown_number, table
from interp_assets.reporting.small_plots import small_plot
from interp_assets.tables import SCHEMA_VERSION

COURSE = """
SELECT series, explanation_method, step, mean, ci_low, ci_high FROM scores_over_checkpoints
WHERE scorer = 'detection' AND mean IS NOT NULL
  AND NOT starts_with(explanation_method::VARCHAR, 'shuffled') AND explanation_method <> 'constant'
"""
"""The course of detection, which is the headline where one scorer must stand for all."""

BEST_SCORES = ("fuzzing", "intervention, nats", "best scores of each feature")
DETECTION = ("step", "balanced accuracy", "detection over checkpoints")
"""The names of the axes, and the title."""
FLOORS = (0.5, 0.0)

HEADLINES = 40
"""Rows of headline scores that the asset's page shows."""

REPORTS = ("feature_matches", "score_stability", "scorer_validity", "human_correlation_report")


@dg.asset(
    deps=[*(["explanations", method] for method in METHODS), *(["scores", s.NAME] for s in SCORERS), *REPORTS],
    group_name="warehouse",
    kinds={"duckdb", "sql"},
    owners=["team:interp"],
    code_version=str(SCHEMA_VERSION),
    check_specs=[dg.AssetCheckSpec("every_view_answers", asset="warehouse")],
)
def warehouse(context: dg.AssetExecutionContext, warehouse_file: dg.ResourceParam[Warehouse]) -> dg.MaterializeResult:
    """DuckDB views over every table of the lake, and the questions in `sql/` as views. Open the file read-only, or use `interp query`.

    Small partitions are copied into one sorted file for each table and dictionary; only changed copies are made again. So queries over many
    features open few files.
    """
    tell_begun(context)
    made = warehouse_file.copy()
    views = warehouse_file.build()
    counts: list[tuple[str, int]] = []
    failed: dict[str, str] = {}
    with warehouse_file.open() as connection:
        for view in views:
            try:
                counts.append((view, connection.execute(f"SELECT count(*) FROM {view}").fetchall()[0][0]))
            except duckdb.Error as error:
                failed[view] = str(error)
        scores = connection.execute(
            "SELECT dictionary, scorer, explanation_method, n_features, median, median_ci_low, median_ci_high, floor "
            "FROM scores_by_method WHERE headline ORDER BY ALL"
        ).fetchall()
        pairs: dict[str, list[tuple[float, float]]] = defaultdict(list)
        for dictionary, *pair in connection.execute("SELECT dictionary, fuzzing, intervention FROM feature_quadrants").fetchall():
            pairs[dictionary].append((pair[0], pair[1]))
        courses: dict[str, list[tuple]] = defaultdict(list)
        for series, method, *point in connection.execute(COURSE).fetchall():
            courses[f"{series}, {method}"].append(tuple(point))
    context.log.info(f"{len(views)} views in {warehouse_file.path}; {made} copies made anew")
    header = ["dictionary", "score", "median, CI", "floor"]
    lines = [
        (dictionary, f"{scorer} of {method}, {n:,} features", _in_its_interval(*median), floor)
        for dictionary, scorer, method, n, *median, floor in scores[:HEADLINES]
    ]
    more = {"further_scores": f"{len(scores) - HEADLINES:,} rows: interp query scores_by_method"} if len(scores) > HEADLINES else {}
    return dg.MaterializeResult(
        metadata={
            "path_in_home": warehouse_file.path.name,
            "headline_scores": table(header, lines),
            **more,
            "intervention_against_fuzzing": markdown(small_plot(pairs, *BEST_SCORES, floors=FLOORS)),
            "scores_over_checkpoints": markdown(small_plot(_means(courses), *DETECTION, joined=True)),
            **_figures(pairs, courses),
            "rows": table(["view", "rows"], [(view, f"{rows:,}") for view, rows in counts if rows]),
            "empty_views": markdown(escape_markdown(", ".join(view for view, rows in counts if not rows)) or "*none*"),
        },
        check_results=[dg.AssetCheckResult(check_name="every_view_answers", passed=not failed, metadata={"failed": failed})],
    )


def _in_its_interval(value: float | None, low: float | None, high: float | None) -> str | None:
    if value is None or low is None or high is None:
        return None if value is None else shown_number(value)
    return f"{shown_number(value)}, {shown_number(low)} to {shown_number(high)}"


def _means(courses: Mapping[str, Sequence[tuple]]) -> dict[str, list[tuple[float, float]]]:
    """(step, mean) of each course, without the means' intervals."""
    return {name: [(step, mean) for step, mean, *_ in points] for name, points in courses.items()}


def _figures(pairs: Mapping[str, Sequence[tuple[float, float]]], courses: Mapping[str, Sequence[tuple]]) -> dict[str, dg.MetadataValue]:
    """The figures with their axes and intervals, which Dagster shows behind a button; none where there is nothing to draw."""
    found = {}
    if any(pairs.values()):
        found["intervention_against_fuzzing_figure"] = markdown(scatter_plot(pairs, *BEST_SCORES, floors=FLOORS))
    if any(courses.values()):
        found["scores_over_checkpoints_figure"] = markdown(course_plot(courses, *DETECTION))
    return found
