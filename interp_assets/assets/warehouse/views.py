"""The views of the warehouse: one SQL file a view, `sql/NN_name.sql`."""

from pathlib import Path

SQL_FOLDER = Path(__file__).parent / "sql"


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
    return {path.stem.split("_", 1)[1]: path for path in sorted(SQL_FOLDER.glob("[0-9][0-9]_*.sql"))}
