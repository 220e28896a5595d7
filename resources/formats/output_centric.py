"""Results in the layout of arXiv 2501.08319: a CSV with a row a feature, and three columns for each method that described it.

    Layer,Feature,MaxAct Description,MaxAct Input Success,MaxAct Output Success,VocabProj Description,VocabProj Input Success,…
    20-res-16k,7,words for cats,True,False,felines,1,

A method may lack a success column, and a field may be empty: then the success is unknown. Other columns are not read. Files
whose names end in .gz are decompressed.

    found = open_results(Path("results.csv"), layer=None)
    rows = list(read_results(found, width=16_384))
"""

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from resources.formats.interface import BadRow, ExchangeError, opened_text

DESCRIPTION, INPUT_SUCCESS, OUTPUT_SUCCESS = "Description", "Input Success", "Output Success"
TRUTHS = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False, "": None}
ALLOWED = "allowed are True, False, 1, 0, or nothing"


@dataclass(frozen=True)
class ResultsFile:
    """A file of results: its methods with the column number of each of their parts, and the layer of the wanted rows.

    `unread` are the names of the columns that belong to no method.
    """

    file: Path
    n_columns: int
    layer_column: int
    feature_column: int
    methods: dict[str, dict[str, int]]
    layer: str
    unread: tuple[str, ...]


@dataclass(frozen=True)
class StatedSuccess:
    """One method's description of a feature, with its success by inputs and by outputs; None where the file does not say."""

    where: str
    feature: int
    method: str
    text: str
    input_success: bool | None
    output_success: bool | None


@dataclass(frozen=True)
class ResultsRow:
    """A sound row: each method's description and successes of its feature; empty where no method has a description."""

    where: str
    feature: int
    stated: tuple[StatedSuccess, ...]


def open_results(file: Path, layer: str | None) -> ResultsFile:
    """The results in `file` for the layer of this name; None where the file has only one layer.

    Raises `ExchangeError` for a file without the columns of at least one method, or without rows of the layer.
    """
    if not file.is_file():
        raise ExchangeError(f"there is no file {file}. Name a CSV of results.")
    with opened_text(file) as handle:
        reader = csv.reader(handle)
        header = [name.strip() for name in next(reader, [])]
        found = _columns(file, header)
        layers = sorted({fields[found.layer_column].strip() for fields in reader if len(fields) == len(header)} - {""})
    if layer is None and len(layers) > 1:
        raise ExchangeError(f"{file} has results of the layers {layers}. Name the dictionary's: --layer {layers[0]!r}.")
    if layer is not None and layer not in layers:
        raise ExchangeError(f"{file} has no row of the layer {layer!r}; it has {layers}. Name one of them: --layer")
    return replace(found, layer=layer if layer is not None else layers[0] if layers else "")


def read_results(found: ResultsFile, width: int) -> Iterator[ResultsRow | BadRow]:
    """Every row of the layer in file order, for a dictionary of `width` features; a row that is not sound comes as a `BadRow`.

    A bad row names each of its wrong fields: column, value and what was allowed. Rows of other layers are skipped.
    """
    with opened_text(found.file) as handle:
        reader = csv.reader(handle)
        next(reader, None)
        before = reader.line_num
        for fields in reader:
            where, before = f"{found.file} line {before + 1}", reader.line_num
            if not fields:
                continue
            if len(fields) != found.n_columns:
                yield BadRow(where, f"{len(fields)} fields, but {found.n_columns} columns; text with a comma stands in double quotes")
                continue
            layer = fields[found.layer_column].strip()
            if layer == found.layer or not layer:
                yield _row(found, where, [field.strip() for field in fields], width)


def _columns(file: Path, header: list[str]) -> ResultsFile:
    """The file as its header describes it; the layer is left open."""
    lower = [name.lower() for name in header]
    if repeated := sorted({name for name, low in zip(header, lower, strict=True) if name and lower.count(low) > 1}):
        raise ExchangeError(f"{file} has the columns {repeated} more than once. Leave one of each.")
    if missing := [name for name in ("Layer", "Feature") if name.lower() not in lower]:
        raise ExchangeError(
            f"{file} has no column {missing[0]!r}; its columns are {header}. Name it so in the first line, with commas between."
        )
    methods: dict[str, dict[str, int]] = {}
    unread: list[str] = []
    for place, name in enumerate(header):
        part = re.fullmatch(rf"(.*\S)\s+({DESCRIPTION}|{INPUT_SUCCESS}|{OUTPUT_SUCCESS})", name, re.IGNORECASE)
        if part:
            methods.setdefault(part[1], {})[part[2].title()] = place
        elif name.lower() not in ("layer", "feature"):
            unread.append(name)
    if not methods:
        raise ExchangeError(f"{file} has no column '<method> {DESCRIPTION}', such as 'MaxAct {DESCRIPTION}'; its columns are {header}.")
    for method, parts in methods.items():
        if DESCRIPTION not in parts:
            raise ExchangeError(
                f"{file} says how {method!r} succeeded and has no column '{method} {DESCRIPTION}'. Add it, or correct its name."
            )
    return ResultsFile(file, len(header), lower.index("layer"), lower.index("feature"), methods, "", tuple(unread))


def _row(found: ResultsFile, where: str, fields: list[str], width: int) -> ResultsRow | BadRow:
    wrong: list[str] = []
    feature = fields[found.feature_column]
    if not fields[found.layer_column]:
        wrong.append("column 'Layer': ''; allowed is the name of a layer")
    if not re.fullmatch(r"[0-9]{1,12}", feature) or int(feature) >= width:
        wrong.append(f"column 'Feature': {feature!r}; allowed are 0 to {width - 1}")
    cells: list[tuple[str, str, dict[str, bool | None]]] = []
    for method, parts in found.methods.items():
        successes: dict[str, bool | None] = {}
        for part in (INPUT_SUCCESS, OUTPUT_SUCCESS):
            value = fields[parts[part]] if part in parts else ""
            if value.lower() not in TRUTHS:
                wrong.append(f"column '{method} {part}': {value!r}; {ALLOWED}")
            successes[part] = TRUTHS.get(value.lower())
        text = fields[parts[DESCRIPTION]]
        if not text and any(success is not None for success in successes.values()):
            wrong.append(f"column '{method} {DESCRIPTION}': ''; allowed is text that is not empty, since its success is stated")
        if text:
            cells.append((method, text, successes))
    if wrong:
        return BadRow(where, "; ".join(wrong))
    stated = (StatedSuccess(where, int(feature), method, text, s[INPUT_SUCCESS], s[OUTPUT_SUCCESS]) for method, text, s in cells)
    return ResultsRow(where, int(feature), tuple(stated))
