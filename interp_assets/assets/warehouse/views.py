"""The views of the warehouse: one SQL file a view, `sql/NN_name.sql`."""

from pathlib import Path

SQL_FOLDER = Path(__file__).parent / "sql"


def view_files() -> dict[str, Path]:
    """The SQL file of each view by view name, in the order in which the views can be created."""
    return {path.stem.split("_", 1)[1]: path for path in sorted(SQL_FOLDER.glob("[0-9][0-9]_*.sql"))}
