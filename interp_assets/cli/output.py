"""How the command line prints a table of rows."""

from enum import StrEnum
from typing import Any

import typer


class OutputFormat(StrEnum):
    """How `interp query` prints."""

    table = "table"
    csv = "csv"
    json = "json"


def print_frame(frame: Any, output: OutputFormat, limit: int) -> None:
    """Print a polars frame as a table, CSV without formulas, or JSON."""
    import polars as pl

    from resources.formats.spreadsheet_cells import inert_cell

    if output is OutputFormat.json:
        typer.echo(frame.write_json())
    elif output is OutputFormat.csv:
        numbers = [name for name, type_ in frame.schema.items() if type_.is_numeric() or type_ == pl.Boolean]
        texts = [name for name in frame.columns if name not in numbers]
        flat = frame.with_columns(
            pl.Series(name, [None if v is None else inert_cell(str(v)) for v in frame[name].to_list()], dtype=pl.String) for name in texts
        )
        typer.echo(flat.rename(inert_cell).write_csv(), nl=False)
    else:
        shown = frame if limit == 0 else frame.head(limit)
        with pl.Config(
            tbl_rows=-1,
            tbl_cols=-1,
            tbl_width_chars=200,
            fmt_str_lengths=70,
            tbl_hide_dataframe_shape=True,
            tbl_hide_column_data_types=True,
        ):
            typer.echo(shown)
        if len(shown) < len(frame):
            typer.echo(f"{len(shown)} of {len(frame)} rows; --limit 0 prints all")
