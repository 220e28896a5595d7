"""Text in CSV files for spreadsheets: a field that would run as a formula gets an apostrophe in front, and reading removes the apostrophe.

See OWASP, CSV injection. Numbers stay numbers, also negative numbers.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

_RUN_AS_FORMULA = re.compile(r"'*\s*[=+\-@\t\r|%\uff0b\uff0d\uff1d\uff20]")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_MARKED = re.compile(r"'(?='*\s*[=+\-@\t\r|%\uff0b\uff0d\uff1d\uff20])")


def inert_cell(text: str) -> str:
    """The text as a field that a spreadsheet shows and does not run."""
    return f"'{text}" if _RUN_AS_FORMULA.match(text) and not _NUMBER.fullmatch(text) else text


def written_cell(cell: str) -> str:
    """The original text of a field that `inert_cell` wrote."""
    return cell[1:] if _MARKED.match(cell) else cell


def csv_text(columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> str:
    """A CSV of these columns without formulas. A field with a comma, a quote or a line's end of any kind is quoted.

    Python's own writer leaves a lone carriage return unquoted, which every reader takes for the end of the row.
    """
    lines = [columns, *([str(row[name]) for name in columns] for row in rows)]
    return "".join(",".join(map(_quoted, map(inert_cell, cells))) + "\n" for cells in lines)


def inert_csv(frame: Any) -> str:
    """A polars frame as CSV without formulas. Numbers and truth values stay; every other value is text, lists and structures too."""
    import polars as pl

    plain = [name for name, type_ in frame.schema.items() if type_.is_numeric() or type_ == pl.Boolean]
    texts = [name for name in frame.columns if name not in plain]
    flat = frame.with_columns(
        pl.Series(name, [None if v is None else inert_cell(str(v)) for v in frame[name].to_list()], dtype=pl.String) for name in texts
    )
    return flat.rename(inert_cell).write_csv()


def _quoted(cell: str) -> str:
    return '"' + cell.replace('"', '""') + '"' if re.search(r'[",\r\n]', cell) else cell
