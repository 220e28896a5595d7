"""Exports a view or table of the warehouse as CSV."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from interp_assets.config.base import UserError
from interp_assets.config.nearest import nearest_hint
from interp_assets.tables import TABLES
from resources.formats.answer_frames import frame_of
from resources.formats.decimal_floats import computed_table
from resources.formats.spreadsheet_cells import excel_csv, inert_csv
from resources.store.whole_files import write_whole


@dataclass(frozen=True)
class ExportedView:
    """The CSV, its number of rows, and notes on what is missing from it."""

    text: str
    rows: int
    notes: list[str]


def export_csv(query: Callable[[str], Any], views: Sequence[str], view: str, out: Path | None = None, excel: bool = False) -> ExportedView:
    """The view as CSV without formulas, written to `out` whole or not at all where it is given. With `excel`, the CSV is one that Excel
    opens without loss.

    `query` answers SQL with rows and notes, as the warehouse does. Raises `UserError` for a name that is not among `views`, for a view
    without rows, and for a file that is there.
    """
    if view not in views:
        raise UserError(f"no view is called {view!r}{nearest_hint(view, views)}; views are {', '.join(views)}. SQL is for `interp query`")
    if out is not None and out.exists():
        raise UserError(f"{out} is there already. Name another file, or remove it first")
    answer = query(f"SELECT * FROM {view}")
    frame = frame_of(answer.rows if view in {table.name for table in TABLES} else computed_table(answer.rows))
    if not len(frame):
        raise UserError(f"{view} has no rows, and nothing was written. `interp backfill KEY` makes what its rows are made of")
    text, notes = excel_csv(frame) if excel else (inert_csv(frame), [])
    made = ExportedView(text, len(frame), [*answer.notes, *notes])
    if out is not None:
        write_whole(out, made.text)
    return made
