"""Text in CSV files for spreadsheets: a field that would run as a formula gets an apostrophe in front, and reading removes the apostrophe.

See OWASP, CSV injection. Numbers stay numbers, also negative numbers. Lists and structures are JSON.

A spreadsheet takes a text such as `1/2/1999`, `MAR1`, `007` or `1e5` for a date or a number, keeps 15 digits of a number, and reads a file
without a byte order mark in the letters of its country. `excel_csv` writes a CSV that Excel opens without these losses.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from resources.formats.decimal_floats import decimal_frame
from resources.formats.json_text import finite

_UNSEEN = r"[\s\0\ufeff\u00ad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f]"
_BEGINS_FORMULA = r"[=+\-@\t\r|%\uff0b\uff0d\uff1d\uff20]"
_RUN_AS_FORMULA = re.compile(rf"'*{_UNSEEN}*{_BEGINS_FORMULA}")
_FORMULA_WITHIN = rf"(?! *[+-][\d.]+(?:[;,\t\r\n]|$))(?:(?![\t\r\n]){_UNSEEN}|')*[=+\-@\uff0b\uff0d\uff1d\uff20]"
_RUN_BEHIND_SEPARATOR = re.compile(rf"(?<=[;\t\r\n])(?={_FORMULA_WITHIN})")
"""Places in a text where a spreadsheet may begin a cell with a formula. Where numbers are written with commas, as in Germany, a
spreadsheet takes the semicolon for the separator, and then no quotes hold a text with a semicolon or a line's end together."""
_MARKED_BEHIND_SEPARATOR = re.compile(rf"(?<=[;\t\r\n])'(?={_FORMULA_WITHIN})")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_READ_AS_VALUE = re.compile(
    r"(?i)\s*(?:[(+\-]?\s*[.,$€£¥]?\s*\d[^\n\r]{0,40}|[^\W\d_]{3,10}[\s\-/.,]{0,2}\d{1,4}(?:[\s\-/.,]+\d{1,4})?|true|false)\s*"
)
"""Texts that spreadsheets read as a number, a date, a time, a share, an amount or a truth value, in any country's words for months."""

_SHORT_WHOLE = re.compile(r"0|-?[1-9]\d{0,14}")
"""Whole numbers that a spreadsheet shows as they are written."""

EXCEL_CELL, EXCEL_ROWS = 32_767, 1_048_576
"""Most characters of a cell in Excel (units of UTF-16), and rows of a sheet with the header."""

BYTE_ORDER_MARK = "\ufeff"

_MARKED = re.compile(rf"'(?='*{_UNSEEN}*{_BEGINS_FORMULA})")


def inert_cell(text: str) -> str:
    """The text as a field that a spreadsheet shows and does not run, whether it splits lines at commas, semicolons or tabs."""
    inner = _RUN_BEHIND_SEPARATOR.sub("'", text)
    return f"'{inner}" if _RUN_AS_FORMULA.match(text) and not _NUMBER.fullmatch(text) else inner


def written_cell(cell: str) -> str:
    """The original text of a field that `inert_cell` wrote."""
    inner = _MARKED_BEHIND_SEPARATOR.sub("", cell)
    return inner[1:] if _MARKED.match(inner) else inner


def csv_text(columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> str:
    """A CSV of these columns without formulas. A field with a comma, a quote or a line's end of any kind is quoted.

    Python's own writer leaves a lone carriage return unquoted, which every reader takes for the end of the row.
    """
    lines = [columns, *([cell_text(row[name]) for name in columns] for row in rows)]
    return "".join(",".join(map(_quoted, map(inert_cell, cells))) + "\n" for cells in lines)


def cell_text(value: object) -> str:
    """A value as text: lists and structures as JSON, truth values as `true` and `false`, bytes as hexadecimal digits, nothing for None."""
    if value is None:
        return ""
    if isinstance(value, bool | list | tuple | dict):
        return json.dumps(finite(value), ensure_ascii=False, default=str)
    return value.hex() if isinstance(value, bytes) else str(value)


def inert_csv(frame: Any) -> str:
    """A polars frame as CSV without formulas. Numbers and truth values stay, single precision at its own digits; every other value is text,
    lists and structures as JSON."""
    return _written(frame, inert_cell)


def excel_csv(frame: Any) -> tuple[str, list[str]]:
    """(CSV for Excel, notes on cells and rows that Excel cannot hold).

    The CSV has a byte order mark and no formulas. A text that looks like a number or a date, and a whole number of more than 15 digits, is
    written as `="…"`. A text too long for a cell is cut.
    """
    import polars as pl

    long = [name for name, type_ in frame.schema.items() if type_.is_integer() and (frame[name].cast(pl.Int128).abs() >= 10**15).any()]
    kept = frame.with_columns(pl.col(name).cast(pl.String) for name in long)
    n_cut = 0

    def excel_cell(text: str) -> str:
        nonlocal n_cut
        if len(text.encode("utf-16-le")) // 2 > EXCEL_CELL:
            n_cut += 1
            text = text.encode("utf-16-le")[: 2 * (EXCEL_CELL - 2)].decode("utf-16-le", "ignore") + "…"
        if _SHORT_WHOLE.fullmatch(text):
            return text
        return f'="{text.replace(chr(34), chr(34) * 2)}"' if _READ_AS_VALUE.fullmatch(text) else inert_cell(text)

    text = BYTE_ORDER_MARK + _written(kept, excel_cell)
    notes = [f"{n_cut:,} cells are cut: a cell of Excel holds {EXCEL_CELL:,} characters"] if n_cut else []
    if len(frame) >= EXCEL_ROWS:
        notes.append(f"Excel shows {EXCEL_ROWS - 1:,} of {len(frame):,} rows")
    return text, notes


def _written(frame: Any, cell: Callable[[str], str]) -> str:
    """A polars frame as CSV, `cell` being applied to each text and to the names of columns."""
    import polars as pl

    single = decimal_frame(frame)
    plain = [name for name, type_ in single.schema.items() if type_.is_numeric() or type_ == pl.Boolean]
    texts = [name for name in single.columns if name not in plain]
    flat = single.with_columns(
        pl.Series(name, [None if v is None else cell(cell_text(v)) for v in single[name].to_list()], dtype=pl.String) for name in texts
    )
    return flat.rename(cell).write_csv()


def _quoted(cell: str) -> str:
    return '"' + cell.replace('"', '""') + '"' if re.search(r'[",\r\n]', cell) else cell
