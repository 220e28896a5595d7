"""`human_correlation_report`: does any scorer agree with people, how well, and which scorer agrees best? Tables, figures and one page."""

from pathlib import Path

import dagster as dg

from interp_assets.assets.human_correlation_report.correlations import CODE_VERSION, rated_scores, report_version, write_report
from interp_assets.assets.human_correlation_report.figures import figures, headline_rows, with_interval
from interp_assets.assets.human_correlation_report.page import ratings_by, report_markdown, report_text, write_page
from interp_assets.config.registry import DictionaryRegistry
from interp_assets.config.settings import PlatformSettings
from interp_assets.domain.ratings.human_correlation import HEADLINE, CorrelationReport, correlation_report
from interp_assets.domain.scoring import SCORERS
from interp_assets.orchestration.stage_progress import tell_begun
from interp_assets.reporting.materialisation import column_schema, markdown
from interp_assets.reporting.small_plots import small_intervals
from interp_assets.tables import HUMAN_CORRELATIONS
from resources.store.lake import Lake


@dg.asset(
    deps=["human_ratings", *(["scores", scorer.NAME] for scorer in SCORERS)],
    group_name="human_ratings",
    kinds={"python", "parquet"},
    owners=["team:interp"],
    code_version=CODE_VERSION,
    metadata={"dagster/column_schema": column_schema(HUMAN_CORRELATIONS.schema), "table": HUMAN_CORRELATIONS.name},
    check_specs=[
        dg.AssetCheckSpec(
            "correlations_are_in_their_intervals", asset="human_correlation_report", blocking=True,
            description="every value lies within its interval, and every correlation between -1 and 1",
        ),
        dg.AssetCheckSpec(
            "enough_is_rated", asset="human_correlation_report", description="some scorer's correlation with people could be computed"
        ),
    ],
)  # fmt: skip
def human_correlation_report(
    context: dg.AssetExecutionContext,
    lake: dg.ResourceParam[Lake],
    registry: dg.ResourceParam[DictionaryRegistry],
    settings: dg.ResourceParam[PlatformSettings],
    reports_folder: dg.ResourceParam[Path],
) -> dg.MaterializeResult:
    """How every scorer correlates with people's ratings, with intervals, the agreement among raters and the published values. One page."""
    tell_begun(context)
    version, inputs = report_version(lake, registry, settings.human_correlations)
    rated = rated_scores(lake, registry, settings.human_correlations)
    report = correlation_report(rated.items, settings.human_correlations)
    if not lake.is_current(HUMAN_CORRELATIONS.name, {}, version):
        write_report(lake, rated, report, version, inputs)
    text = report_text(rated, report, settings.human_correlations)
    drawn = figures(rated.items, report, ratings_by(rated))
    page = write_page(text, drawn, reports_folder / "human_correlations", version).relative_to(reports_folder.parent)
    context.log.info(text.ranking or text.rests_on[0])
    outside = [
        f"{row.scope} {row.scope_value} {row.scorer} {row.statistic}: {with_interval(row.estimate)}"
        for row in report.correlations
        if row.estimate.value is not None
        and ((row.statistic == HEADLINE and abs(row.estimate.value) > 1) or (row.estimate.ci_low or 0.0) > (row.estimate.ci_high or 0.0))
    ]
    people = rated.rater_kind == "human"
    return dg.MaterializeResult(
        metadata={
            "correlations": markdown(_correlations(report, ratings_by(rated))),
            "report": markdown(report_markdown(text, drawn, page)),
            "page_in_home": page.as_posix(),
            "rated_explanations": dg.MetadataValue.json(dict(rated.outcome_counts)),
            "ratings": len(rated.ratings),
            "ratings_are": rated.rater_kind if rated.ratings else "none yet",
        },
        data_version=dg.DataVersion(version),
        check_results=[
            dg.AssetCheckResult(check_name="correlations_are_in_their_intervals", passed=not outside, metadata={"outside": outside}),
            dg.AssetCheckResult(
                check_name="enough_is_rated", passed=people and bool(headline_rows(report)), severity=dg.AssetCheckSeverity.WARN,
                metadata={"what": text.rests_on[-1]},
            ),
        ],
    )  # fmt: skip


def _correlations(report: CorrelationReport, raters: str) -> str:
    """The headline correlation of every scorer in its interval, as a short image."""
    bars: list[tuple[str, float, float, float]] = []
    for row in headline_rows(report):
        value, low, high = row.estimate.value, row.estimate.ci_low, row.estimate.ci_high
        if value is not None and low is not None and high is not None:
            bars.append((row.scorer, value, low, high))
    return small_intervals({f"Spearman with {raters}": bars}, "correlation", "Which scorers follow the ratings?")
