"""`human_ratings`: people's ratings of explanations, read row by row from the files in `$INTERP_HOME/ratings`."""

from collections import Counter
from pathlib import Path

import dagster as dg

from interp_assets.config.registry import DictionaryRegistry
from interp_assets.domain.explaining import METHODS
from interp_assets.domain.prompting.rendering import escape_markdown
from interp_assets.orchestration.stage_progress import tell_begun
from interp_assets.ratings.files import CODE_VERSION, rateable, rating_files, read_ratings, write_ratings
from interp_assets.reporting.materialisation import column_schema, markdown, markdown_table, preview_table
from interp_assets.tables import HUMAN_RATINGS
from resources.store.lake import Lake

PREVIEWED = 20
"""Ratings that the preview shows."""


@dg.asset(
    deps=[["explanations", method] for method in METHODS],
    group_name="human_ratings",
    kinds={"python", "parquet"},
    owners=["team:interp"],
    code_version=CODE_VERSION,
    metadata={"dagster/column_schema": column_schema(HUMAN_RATINGS.schema), "table": HUMAN_RATINGS.name},
    check_specs=[
        dg.AssetCheckSpec(
            "every_row_is_a_rating", asset="human_ratings", description="no row of any file is rejected; see rejected_ratings"
        ),
        dg.AssetCheckSpec("raters_are_people", asset="human_ratings", description="none of the ratings was generated"),
    ],
)
def human_ratings(
    context: dg.AssetExecutionContext,
    lake: dg.ResourceParam[Lake],
    registry: dg.ResourceParam[DictionaryRegistry],
    ratings_folder: dg.ResourceParam[Path],
) -> dg.MaterializeResult:
    """Ratings of explanations from the files in `$INTERP_HOME/ratings`, on their own scales and from 0 to 1. Rejected rows are named."""
    tell_begun(context)
    files = rating_files(ratings_folder)
    read = read_ratings(files, rateable(lake, registry))
    manifest = write_ratings(lake, read)
    context.log.info(f"{len(read.ratings):,} ratings in {len(files)} files of {ratings_folder}, {len(read.rejections):,} rejections")
    for rejection in read.rejections:
        context.log.warning(f"rejected {rejection}")
    kinds = Counter(rating.rater_kind for rating in read.ratings)
    per_file = [(file.name, read.n_rows[file.name], read.unrated[file.name]) for file in files]
    preview = [
        (one.rater, one.dictionary, one.feature, escape_markdown(one.explained.text), one.context, f"{one.rating:g} of {one.scale_max:g}")
        for one in read.ratings[:PREVIEWED]
    ]
    rejected = [
        (one.place.file, one.place.line, one.column, escape_markdown(one.value), escape_markdown(one.allowed)) for one in read.rejections
    ]
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": manifest.rows,
            "ratings": dg.MetadataValue.json(dict(kinds)),
            "raters": len({rating.rater for rating in read.ratings}),
            "folder_in_home": ratings_folder.name,
            "files": markdown(markdown_table(["file", "rows", "not yet rated"], per_file)),
            "preview": markdown(preview_table(["rater", "dictionary", "feature", "explanation", "context", "rating"], preview)),
            "rejected": markdown(markdown_table(["file", "line", "column", "value", "allowed"], rejected)),
        },
        data_version=dg.DataVersion(manifest.data_version),
        check_results=[
            dg.AssetCheckResult(
                check_name="every_row_is_a_rating", passed=not read.rejections, severity=dg.AssetCheckSeverity.WARN,
                metadata={"rejections": len(read.rejections)},
            ),
            dg.AssetCheckResult(
                check_name="raters_are_people", passed=not kinds["generated"], severity=dg.AssetCheckSeverity.WARN,
                metadata={"generated": kinds["generated"]},
            ),
        ],
    )  # fmt: skip
