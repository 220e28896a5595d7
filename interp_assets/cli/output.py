"""How the command line prints a table of rows."""

import os
import shutil
import sys
from enum import StrEnum
from typing import Any

import typer


class OutputFormat(StrEnum):
    """How `interp query` prints."""

    table = "table"
    csv = "csv"
    json = "json"


NARROWEST, WIDEST = 8, 70
"""Bounds on the characters of a text column in a terminal; texts are cut at the end."""


def columns_of_terminal() -> int | None:
    """Width of the terminal that is printed to; None where it is none."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def print_frame(frame: Any, output: OutputFormat, limit: int, wide: bool = False, total: int | None = None, is_all: bool = True) -> None:
    """Print a polars frame as a table, CSV without formulas, or JSON. `total` is the number of rows, where the frame has only the first;
    without `is_all` there may be more.

    In a terminal, a table has the columns that fit its width unless it is `wide`, and goes to the pager where it is too long.
    """
    if output is OutputFormat.json:
        from polars import selectors

        typer.echo(frame.with_columns(selectors.binary().bin.encode("hex")).write_json())
    elif output is OutputFormat.csv:
        from resources.formats.spreadsheet_cells import inert_csv

        typer.echo(inert_csv(frame), nl=False)
    else:
        columns = columns_of_terminal()
        shown = _obeyed_by_no_terminal(frame if limit == 0 else frame.head(limit))
        text, hidden = _table(shown, wide, columns)
        total = len(frame) if total is None else total
        if len(shown) < total:
            text += f"\n{len(shown)} of {total} rows; --limit 0 prints all" if is_all else f"\n{len(shown)} rows of {total:,} or more"
        if hidden:
            text += f"\n{len(hidden)} more columns ({', '.join(hidden)}); --wide prints all"
        if columns is not None and text.count("\n") >= shutil.get_terminal_size().lines:
            import pydoc

            os.environ.setdefault("LESS", "-FRSX")
            pydoc.pager(text + "\n")
        else:
            typer.echo(text)


def _obeyed_by_no_terminal(frame: Any) -> Any:
    """The frame with a sign for each character of its texts that a terminal would obey: escapes, turned directions, line separators."""
    import polars as pl

    from interp_assets.domain.prompting.rendering import visible

    def plain(text: str) -> str:
        return "\n".join(map(visible, text.split("\n")))

    texts = [name for name, type_ in frame.schema.items() if type_ == pl.String]
    return frame.with_columns(
        pl.Series(name, [None if text is None else plain(text) for text in frame[name].to_list()], dtype=pl.String) for name in texts
    )


def _table(frame: Any, wide: bool, columns: int | None) -> tuple[str, list[str]]:
    """The table as text, and the names of the columns that do not fit."""
    import polars as pl

    hidden: list[str] = []
    text_length, width = (1_000_000, -1) if wide else (WIDEST, 200)
    if columns is not None and not wide:
        shown, text_length = fitting(frame, columns)
        hidden, width = [name for name in frame.columns if name not in shown], columns
        frame = frame.select(shown)
    with pl.Config(
        tbl_rows=-1,
        tbl_cols=-1,
        tbl_width_chars=width,
        fmt_str_lengths=text_length,
        tbl_hide_dataframe_shape=True,
        tbl_hide_column_data_types=True,
    ):
        return str(frame), hidden


def fitting(frame: Any, columns: int) -> tuple[list[str], int]:
    """(names of the leading columns that fit into so many characters, most characters of a text in them). Texts are cut before columns are
    left out; the first column is always shown."""
    from rich.cells import cell_len  # a letter of Chinese or Japanese is two columns wide

    needed = {name: max([len(name), *(cell_len(_cell(value)) for value in frame[name].to_list())]) for name in frame.columns}
    longest_name = max(map(len, needed), default=0)  # polars cuts names at the length of texts
    for length in (WIDEST, 40, 24, NARROWEST):
        length = max(length, longest_name)
        if len(shown := _leading(needed, columns, length)) == len(needed):
            return shown, length
    length = max(24, longest_name)
    return _leading(needed, columns, length), length


def _leading(needed: dict[str, int], columns: int, text_length: int) -> list[str]:
    """The leading columns that fit where texts are cut at `text_length` characters and an ellipsis; at least one."""
    taken, shown = 1, []
    for name, characters in needed.items():
        taken += max(min(characters, text_length + 1), len(name)) + 3
        if taken > columns and shown:
            break
        shown.append(name)
    return shown


def _cell(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
