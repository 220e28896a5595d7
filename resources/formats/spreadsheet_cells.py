"""Text in CSV files that spreadsheets open: a cell that one would run as a formula gets an apostrophe in front, which reading takes off.

See OWASP, CSV injection. Numbers stay numbers, negative ones too.
"""

import re
from collections.abc import Iterable, Mapping, Sequence

_RUN_AS_FORMULA = re.compile(r"'*\s*[=+\-@\t\r|%\uff0b\uff0d\uff1d\uff20]")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_MARKED = re.compile(r"'(?='*\s*[=+\-@\t\r|%\uff0b\uff0d\uff1d\uff20])")


def inert_cell(text: str) -> str:
    """The text as a spreadsheet shows it and does not run it."""
    return f"'{text}" if _RUN_AS_FORMULA.match(text) and not _NUMBER.fullmatch(text) else text


def written_cell(cell: str) -> str:
    """The text that `inert_cell` wrote as this cell."""
    return cell[1:] if _MARKED.match(cell) else cell


def csv_text(columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> str:
    """A CSV of these columns in which nothing is a formula; a cell that holds a comma, a quote or a line's end of any kind is quoted.

    Python's own writer leaves a lone carriage return unquoted, which every reader takes for the end of the row.
    """
    lines = [columns, *([str(row[name]) for name in columns] for row in rows)]
    return "".join(",".join(map(_quoted, map(inert_cell, cells))) + "\n" for cells in lines)


def _quoted(cell: str) -> str:
    return '"' + cell.replace('"', '""') + '"' if re.search(r'[",\r\n]', cell) else cell
