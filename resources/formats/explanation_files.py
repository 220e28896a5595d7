"""Explanations in a file or folder, one a feature, each with its file and line.

    csv          a header with feature and explanation, perhaps author and source, then a row a feature; other columns are not read
    jsonl        {"feature": 7, "explanation": "words for cats", "author": "Ada", "source": "pilot study"}, a line a feature
    json         {"7": "words for cats", "9": "numbers in dates"}, one object: the form of released explanations
    neuronpedia  explanations/batch-N.jsonl.gz of one source: see `resources.formats.neuronpedia`
    delphi       explanations/<hook point>_latent<feature>.txt of a run: see `resources.formats.delphi_results`

    found = open_explanations(Path("labels.csv"), "auto", None)
    rows = list(read_explanations(found, width=2048))

Files whose names end in .gz are decompressed.
"""

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from resources.formats import delphi_results, neuronpedia
from resources.formats.interface import BadRow, ExchangeError, StatedExplanation, json_lines, opened_text, stated_explanation

FORMATS = ("csv", "jsonl", "neuronpedia", "delphi", "json")
FOLDER_FORMATS = ("neuronpedia", "delphi")
NEEDED_COLUMNS = ("feature", "explanation")


@dataclass(frozen=True)
class ExplanationFiles:
    """The place of explanations: their format, and the files in reading order, all below `folder`."""

    format: str
    folder: Path
    files: tuple[Path, ...]


def open_explanations(path: Path, format_: str, hookpoint: str | None) -> ExplanationFiles:
    """The explanations at `path`, in one of FORMATS; "auto" finds the format. Nothing is read yet but the beginning of a .jsonl file.

    `hookpoint` names a hook point in a delphi folder. Raises `ExchangeError` where there are no explanations, or their format cannot be
    told.
    """
    if not path.exists():
        raise ExchangeError(
            f"there is no file or folder {path}. Name a file of explanations, or a folder of a Neuronpedia export or delphi run."
        )
    format_ = _format_of(path) if format_ == "auto" else format_
    assert format_ in FORMATS, format_
    if path.is_dir() and format_ not in FOLDER_FORMATS:
        raise ExchangeError(
            f"{path} is a folder, but explanations as {format_} are one file. Name the file, or one of the formats {FOLDER_FORMATS}."
        )
    if format_ == "delphi" and not path.is_dir():
        raise ExchangeError(f"{path} is a file, but explanations as delphi are a folder of them. Name the folder, such as results/run.")
    if hookpoint is not None and format_ != "delphi":
        raise ExchangeError(f"{path} has explanations as {format_}, which name no hook points: leave out --hookpoint {hookpoint}.")
    if format_ == "delphi":
        files = delphi_results.explanation_files(path, hookpoint)
    else:
        files = neuronpedia.explanation_files(path) if format_ == "neuronpedia" else (path,)
    if not files:
        raise ExchangeError(f"{path} has no explanations/batch-N.jsonl.gz. Download the export again, or name another folder.")
    return ExplanationFiles(format_, path if path.is_dir() else path.parent, files)


def read_explanations(found: ExplanationFiles, width: int) -> Iterator[StatedExplanation | BadRow]:
    """Every row in file order, for a dictionary of `width` features; a row that is not sound comes as a `BadRow`.

    Raises `ExchangeError` for a file that is not of its format at all.
    """
    if found.format == "neuronpedia":
        return neuronpedia.read_explanations(found.files, width)
    if found.format == "delphi":
        return delphi_results.read_explanations(found.files, width)
    read = {"csv": _csv_rows, "jsonl": _json_rows, "json": _object_entries}[found.format]
    return read(found.files[0], width)


def _format_of(path: Path) -> str:
    if path.is_dir():
        if neuronpedia.explanation_files(path):
            return "neuronpedia"
        if delphi_results.has_explanations(path):
            return "delphi"
        raise ExchangeError(
            f"{path} has neither explanations/batch-N.jsonl.gz (Neuronpedia) nor explanations/<hook point>_latent<feature>.txt (delphi). "
            "Name the folder of one source or run."
        )
    suffix = Path(path.name.removesuffix(".gz")).suffix.removeprefix(".")
    if suffix == "jsonl":
        first = next(islice(json_lines(path), 1), ("", {}))[1]
        return "neuronpedia" if isinstance(first, dict) and "description" in first and "explanation" not in first else "jsonl"
    if suffix not in ("csv", "json"):
        raise ExchangeError(f"the name of {path} does not say its format (.csv, .jsonl and .json do). Name it: --format csv")
    return suffix


def _csv_rows(file: Path, width: int) -> Iterator[StatedExplanation | BadRow]:
    with opened_text(file) as handle:
        reader = csv.reader(handle)
        header = [name.strip().lower() for name in next(reader, [])]
        if not set(NEEDED_COLUMNS) <= set(header):
            raise ExchangeError(
                f"{file} has the columns {header}; needed are {NEEDED_COLUMNS}. Name them so in the first line, with commas between."
            )
        before = reader.line_num
        for fields in reader:
            where, before = f"{file} line {before + 1}", reader.line_num
            if not fields:
                continue
            if len(fields) != len(header):
                yield BadRow(where, f"{len(fields)} fields, but {len(header)} columns; text with a comma stands in double quotes")
                continue
            row = dict(zip(header, fields, strict=True))
            yield stated_explanation(where, row["feature"], row["explanation"], width, row.get("author"), row.get("source"))


def _json_rows(file: Path, width: int) -> Iterator[StatedExplanation | BadRow]:
    for where, row in json_lines(file):
        if isinstance(row, dict):
            yield stated_explanation(where, row.get("feature"), row.get("explanation"), width, row.get("author"), row.get("source"))
        else:
            yield BadRow(where, f"not a JSON object: {str(row)[:60]!r}")


def _object_entries(file: Path, width: int) -> Iterator[StatedExplanation | BadRow]:
    """Entries of the one object, also entries with equal keys."""

    def pairs(entries: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
        return entries

    with opened_text(file) as handle:
        try:
            entries = json.load(handle, object_pairs_hook=pairs)
        except ValueError as error:
            raise ExchangeError(f"{file} is not JSON: {error}. Download it again, or name its format: --format jsonl") from None
    if not isinstance(entries, list) or not all(isinstance(entry, tuple) for entry in entries):
        raise ExchangeError(
            f'{file} is not one JSON object such as {{"7": "words for cats"}}. Write it so, or name its format: --format jsonl'
        )
    for number, (feature, text) in enumerate(entries, 1):
        yield stated_explanation(f"{file} entry {number}", feature, text, width)
