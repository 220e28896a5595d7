"""The views of the warehouse: one SQL file a view, `sql/NN_name.sql`; and which views' rows can be kept unit by unit."""

from functools import lru_cache
from pathlib import Path

SQL_FOLDER = Path(__file__).parent / "sql"

UNITS = {
    "dictionary": "dictionary",
    "layer": "split_part(dictionary, '/', 1) || '/' || split_part(dictionary, '/', 2)",
    "kind of a layer": "model || '/' || layer || '/' || kind",
    "series": "series",
}
"""Units of views, with the SQL of a row's unit. A unit's rows come from the partitions and records of its own dictionaries alone."""

KEPT_BY = {
    "outcomes": "dictionary",
    "lift_over_shuffled": "dictionary",
    "scores_by_method": "dictionary",
    "leaderboard": "dictionary",
    "estimated_scores": "dictionary",
    "success_by_method": "dictionary",
    "feature_overview": "dictionary",
    "against_controls": "layer",
    "matches_by_dictionary_pair": "dictionary",
    "scorer_sanity_checks": "dictionary",
    "score_stability": "dictionary",
    "cost_by_dictionary": "dictionary",
    "scorer_agreement": "dictionary",
    "scores_by_layer": "kind of a layer",
    "scores_over_checkpoints": "series",
    "hardest_features": "dictionary",
    "disagreements": "dictionary",
    "single_token_features": "dictionary",
    "dead_and_dense_features": "dictionary",
    "feature_quadrants": "dictionary",
    "output_features": "dictionary",
    "intervention_against_fuzzing": "dictionary",
}
"""The unit by which a view's rows are kept. Views that are not here are worked out for each question."""


def answered_by(file: Path) -> str:
    """What a view answers: the comment at the beginning of its file, on one line."""
    lines: list[str] = []
    for line in file.read_text().splitlines():
        if not line.startswith("--"):
            break
        lines.append(line.removeprefix("--").strip())
    return " ".join(lines)


def view_files() -> dict[str, Path]:
    """The SQL file of each view by view name, in the order in which the views can be created."""
    return dict(_found(SQL_FOLDER))


@lru_cache(maxsize=256)
def view_sql(file: Path) -> str:
    """The SQL of a view's file, which is read once."""
    return file.read_text()


def order_of(file: Path) -> str:
    """The columns by which a view orders its rows."""
    return view_sql(file).rstrip().rpartition("\nORDER BY ")[2]


@lru_cache(maxsize=8)
def _found(folder: Path) -> tuple[tuple[str, Path], ...]:
    return tuple((path.stem.split("_", 1)[1], path) for path in sorted(folder.glob("[0-9][0-9]_*.sql")))
