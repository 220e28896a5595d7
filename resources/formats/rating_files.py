"""Rows of rating files as text by column name, each with its line; the values are checked elsewhere.

csv     a header of `interp_assets.domain.ratings.ratings.COLUMNS`, in any order, then a row a rating
jsonl   one object a line with the same names
delphi  {"evaluations": {"<source>_<feature>": {"source", "feature", "explanation", "rating": 1 to 10, "time_spent"}}}, as the rating app
        of delphi saves them; entries are numbered from 1, and the number stands for the line

rows = read_rating_rows(Path("ratings.csv"))
"""

import csv
import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resources.formats.interface import ExchangeError, json_lines, opened_text
from resources.formats.spreadsheet_cells import written_cell

SUFFIXES = (".csv", ".csv.gz", ".jsonl", ".jsonl.gz", ".json", ".json.gz")
DELPHI_SCALE = ("1", "10")
NEEDED_COLUMNS = ("rater", "dictionary", "feature", "scale_min", "scale_max", "rating")
EXPLANATION_COLUMNS = ("explanation_id", "explanation_method", "explanation")


@dataclass(frozen=True)
class RatingRow:
    """One row: its line, its fields by lower-case column name, and the problem where it is no row at all."""

    line: int
    fields: Mapping[str, str]
    problem: str | None = None


def read_rating_rows(file: Path, rater: str = "", dictionaries: Mapping[str, str] | None = None) -> Iterator[RatingRow]:
    """Every row in file order. `rater` is filled in where a row names no rater, such as in files of delphi's app.

    `dictionaries` maps a dictionary's name in the file (the source, in delphi's files) to its key. The name "" gives the key of all rows;
    the file may then name at most one dictionary. Raises `ExchangeError` for a file that cannot be read or has no known form, and for a
    file that names several dictionaries where `dictionaries` has the name "".
    """
    suffix = file.name.removesuffix(".gz").rpartition(".")[2]
    reading = {"csv": _csv_rows, "jsonl": _json_rows, "json": _delphi_rows}.get(suffix)
    if reading is None:
        raise ExchangeError(f"the name of {file} does not say its format; ratings are in files that end in {', '.join(SUFFIXES)}")
    dictionaries = dictionaries or {}
    optional = {name for name, given in (("rater", rater), ("dictionary", dictionaries)) if given}
    named: set[str] = set()
    for row in reading(file, optional):
        fields = dict(row.fields)
        if rater and not fields.get("rater", "").strip():
            fields["rater"] = rater
        stated = fields.get("dictionary", "").strip()
        named.add(stated)
        if stated in dictionaries:
            fields["dictionary"] = dictionaries[stated]
        elif "" in dictionaries:
            fields["dictionary"] = dictionaries[""]
        if "" in dictionaries and len(named) > 1:
            raise ExchangeError(
                f"{file} is of several dictionaries: {', '.join(sorted(named))}. Give the key of each: --dictionary SOURCE=KEY, repeated"
            )
        yield RatingRow(row.line, fields, row.problem)


def _csv_rows(file: Path, optional: Collection[str]) -> Iterator[RatingRow]:
    with opened_text(file) as handle:
        reader = csv.reader(handle)
        header = [name.strip().lower() for name in next(reader, [])]
        missing = [name for name in NEEDED_COLUMNS if name not in header and name not in optional]
        if missing or not set(EXPLANATION_COLUMNS) & set(header):
            raise ExchangeError(
                f"{file} has the columns {header}; needed are {', '.join(NEEDED_COLUMNS)} and one of {', '.join(EXPLANATION_COLUMNS)}. "
                "Name them so in the first line, with commas between: `interp ratings columns` says what each holds"
            )
        before = reader.line_num
        for values in reader:
            line, before = before + 1, reader.line_num
            if not values:
                continue
            if len(values) != len(header):
                problem = f"{len(header)} fields, as many as the first line; text with a comma stands in double quotes"
                yield RatingRow(line, {"row": f"{len(values)} fields"}, problem)
                continue
            yield RatingRow(line, dict(zip(header, map(written_cell, values), strict=True)))


def _json_rows(file: Path, optional: Collection[str]) -> Iterator[RatingRow]:
    for where, row in json_lines(file):
        line = int(where.rpartition(" ")[2])
        if isinstance(row, dict):
            yield RatingRow(line, {str(name).lower(): _text(value) for name, value in row.items()})
        else:
            yield RatingRow(line, {"row": str(row)[:60]}, "a JSON object")


def _delphi_rows(file: Path, optional: Collection[str]) -> Iterator[RatingRow]:
    with opened_text(file) as handle:
        try:
            content = json.load(handle)
        except ValueError as error:
            raise ExchangeError(f"{file} is not JSON: {error}. Save it again, or name it .jsonl where it has an object a line") from None
    evaluations = content.get("evaluations") if isinstance(content, dict) else None
    if not isinstance(evaluations, dict):
        raise ExchangeError(f'{file} is not {{"evaluations": {{"<source>_<feature>": …}}}} as the rating app of delphi saves it')
    rater = _text(content.get("rater"))
    for number, (name, entry) in enumerate(evaluations.items(), 1):
        if not isinstance(entry, dict):
            yield RatingRow(number, {"row": f"{name}: {str(entry)[:60]}"}, "a JSON object")
            continue
        yield RatingRow(
            number,
            {
                "rater": rater,
                "dictionary": _text(entry.get("source")),
                "feature": _text(entry.get("feature")),
                "explanation": _text(entry.get("explanation")),
                "scale_min": DELPHI_SCALE[0],
                "scale_max": DELPHI_SCALE[1],
                "rating": _text(entry.get("rating")),
                "seconds": _text(entry.get("time_spent")),
                "source": name,
            },
        )


def _text(value: Any) -> str:
    """A JSON value in the form of a CSV field; empty for null."""
    return "" if value is None else value if isinstance(value, str) else json.dumps(value)
