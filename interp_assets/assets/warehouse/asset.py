"""`warehouse`: the DuckDB file over the lake. Its views show the partitions that were complete when the file was made."""

from collections import defaultdict

import dagster as dg
import duckdb

from interp_assets.assets.warehouse.duckdb_file import Warehouse
from interp_assets.domain.explaining import METHODS
from interp_assets.domain.scoring import SCORERS
from interp_assets.reporting.materialisation import course_plot, markdown, markdown_table, scatter_plot
from interp_assets.tables import SCHEMA_VERSION

COURSE = """
SELECT series, explanation_method, step, mean, ci_low, ci_high FROM scores_over_checkpoints
WHERE scorer = 'detection' AND mean IS NOT NULL
  AND NOT starts_with(explanation_method::VARCHAR, 'shuffled') AND explanation_method <> 'constant'
"""
"""The course of detection, which is the headline where one scorer must stand for all."""

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
            "SELECT dictionary, scorer, metric, explanation_method, n_features, median, ci_low, ci_high, floor "
            "FROM scores_by_method WHERE headline"
        ).fetchall()
        pairs: dict[str, list[tuple[float, float]]] = defaultdict(list)
        for dictionary, *pair in connection.execute("SELECT dictionary, fuzzing, intervention FROM feature_quadrants").fetchall():
            pairs[dictionary].append((pair[0], pair[1]))
        courses: dict[str, list[tuple]] = defaultdict(list)
        for series, method, *point in connection.execute(COURSE).fetchall():
            courses[f"{series}, {method}"].append(tuple(point))
    context.log.info(f"{len(views)} views in {warehouse_file.path}; {made} copies made anew")
    header = ["dictionary", "scorer", "metric", "explanation", "features", "median", "mean CI low", "mean CI high", "floor"]
    return dg.MaterializeResult(
        metadata={
            "path_in_home": warehouse_file.path.name,
            "rows": markdown(markdown_table(["view", "rows"], counts)),
            "headline_scores": markdown(markdown_table(header, scores)),
            "intervention_against_fuzzing": markdown(
                scatter_plot(pairs, "fuzzing", "intervention, nats", "best scores of each feature", floors=(0.5, 0.0))
            ),
            "scores_over_checkpoints": markdown(course_plot(courses, "step", "balanced accuracy", "detection over checkpoints")),
        },
        check_results=[dg.AssetCheckResult(check_name="every_view_answers", passed=not failed, metadata={"failed": failed})],
    )
