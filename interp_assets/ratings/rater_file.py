"""The file of one rater who rates in the explorer: `explorer-<rater>.csv` in the folder of rating files, where `human_ratings` reads it.

A file is replaced whole. Two processes that save at once wait for one another, so that neither loses the other's ratings.
"""

import contextlib
import fcntl
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from interp_assets.config.base import UserError
from interp_assets.domain.ratings.ratings import COLUMNS
from resources.formats.interface import ExchangeError
from resources.formats.rating_files import read_rating_rows
from resources.formats.spreadsheet_cells import csv_text
from resources.store.whole_files import write_whole

MOST_NAME = 100
Row = Mapping[str, str]


def checked_rater(rater: str | None) -> str | None:
    """The name without spaces around it. Raises `UserError` for a name that a rating file cannot hold on one line."""
    name = None if rater is None else rater.strip()
    if name is not None and (not name or len(name) > MOST_NAME or not name.isprintable()):
        raise UserError(f"--rater {rater!r}: a rater's name has 1 to {MOST_NAME} characters, all of which can be printed, such as ada")
    return name


def rater_file(folder: Path, rater: str) -> Path:
    """The path of a rater's file: readable letters of the name, and a digest that keeps apart names which differ elsewhere."""
    letters = re.sub(r"[^A-Za-z0-9]+", "-", rater).strip("-").lower()[:40] or "rater"
    return folder / f"explorer-{letters}-{hashlib.sha256(rater.encode(errors='surrogatepass')).hexdigest()[:6]}.csv"


def what_is_rated(row: Row) -> tuple[str, str, str, str]:
    """(dictionary, feature, explanation id, context): a rater gives one rating for each."""
    return row["dictionary"], row["feature"], row["explanation_id"], row.get("context", "")


def saved_ratings(folder: Path, rater: str) -> dict[tuple[str, str, str, str], dict[str, str]]:
    """The rows of a rater's file by what they rate; empty where there is none. Raises `ExchangeError` for a file that is no rating file,
    and for a line that cannot be read: the next saving would lose it."""
    path = rater_file(folder, rater)
    if not path.exists():
        return {}
    found = {}
    for row in read_rating_rows(path):
        if row.problem is not None or "\0" in "".join(map(str, row.fields.values())):
            raise ExchangeError(
                f"line {row.line} of {path} cannot be read: {row.problem or 'it holds NUL bytes'}. Correct the line or remove it, or move "
                "the file away"
            )
        fields = {name: row.fields.get(name, "") for name in COLUMNS}
        found[what_is_rated(fields)] = fields
    return found


def save_ratings(folder: Path, rater: str, rows: Sequence[Row]) -> Path:
    """Add rows of COLUMNS to a rater's file, in place of the rater's earlier ratings of the same, and return its path.

    Either all rows are in the file afterwards, or it is as it was.
    """
    path = rater_file(folder, rater)
    with locked(path):
        kept = saved_ratings(folder, rater)
        kept |= {what_is_rated(row): {name: row.get(name, "") for name in COLUMNS} | {"rater": rater} for row in rows}
        write_whole(path, csv_text(list(COLUMNS), kept.values()))
    return path


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds a lock that belongs to a path; another process that wants the same lock waits. A killed process holds nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f".{path.name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
