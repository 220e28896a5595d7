"""A Neuronpedia export: the windows that show each feature of one source, as JSON lines, 1,024 lines a batch.

    v1/gpt2-small/6-res-jb/activations/batch-0.jsonl.gz   {"index": "7", "tokens": ["The", " cat"], "values": [0, 2.5], "maxValue": 2.5,
                                                           "maxValueTokenIndex": 1, "binMin": 2, "binMax": 3, "binContains": 0.1, …}
    v1/gpt2-small/6-res-jb/features/batch-0.jsonl.gz      {"index": "7", "hookName": "blocks.6.hook_resid_pre", "maxActApprox": 2.5, …}
    v1/gpt2-small/6-res-jb/explanations/batch-0.jsonl.gz  {"modelId": "gpt2-small", "layer": "6-res-jb", "index": "7",
                                                           "description": "cats", "typeName": "np_max-act",
                                                           "explanationModelName": "gpt-4o-mini", …}

`binContains` -1 marks the top activations; all other windows were drawn from the bin binMin to binMax.
"""

import math
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeGuard

from resources.formats.interface import (
    NAMED_BAD_ROWS,
    BadRow,
    ExchangeError,
    StatedExplanation,
    json_lines,
    stated_explanation,
    whole_number,
)
from resources.subject.control_tokens import encodable

TOP_BIN = -1.0
ROUNDING = 1e-3
"""Values are rounded in exports: maxValue may differ from the largest value by this share."""


@dataclass(frozen=True)
class Activation:
    """One window: `tokens` and `values` of equal length; `bin_top` is the upper edge of its bin, infinite for a top activation."""

    number: int
    feature: int
    tokens: tuple[str, ...]
    values: tuple[float, ...]
    bin_top: float | None


@dataclass(frozen=True)
class Export:
    """One source's folder, with the files of its activations and features, by batch number."""

    folder: Path
    activation_files: tuple[Path, ...]
    feature_files: tuple[Path, ...]


@dataclass
class Findings:
    """The content of an export. `width` is the width that the caller gave, or one more than the largest feature."""

    width: int = 0
    windows: int = 0
    tokens: int = 0
    longest: int = 0
    silent: int = 0
    features: set[int] = field(default_factory=set)
    texts: set[str] = field(default_factory=set)
    n_bad: int = 0
    bad: list[BadRow] = field(default_factory=list)
    hook: str | None = None


def open_export(folder: Path) -> Export:
    """The export of one source in `folder`, or in the only such folder below it. Raises `ExchangeError` listing the folders found."""
    if not folder.is_dir():
        raise ExchangeError(f"there is no folder {folder}. Name the folder of one source, such as v1/gpt2-small/6-res-jb")
    found = [folder] if (folder / "activations").is_dir() else sorted(path.parent for path in folder.rglob("activations") if path.is_dir())
    if len(found) != 1:
        there = ", ".join(str(path.relative_to(folder)) for path in found) or "none (no folder below it has activations/)"
        raise ExchangeError(f"{folder} is not the folder of one source; it has {there}. Name one of them.")
    activations = _batches(found[0] / "activations")
    if not activations:
        raise ExchangeError(f"{found[0] / 'activations'} has no batch-N.jsonl.gz. Download the export again.")
    return Export(found[0], activations, _batches(found[0] / "features"))


def check_export(export: Export, width: int | None, max_bad_share: float) -> Findings:
    """Findings of one pass. `width` None stands for one more than the largest feature of the features' files, or else of the activations.

    Raises `ExchangeError` naming the first bad rows where their share exceeds `max_bad_share`, and where there is no good row.
    """
    findings = Findings()
    largest = -1
    for number, hook in _features(export):
        largest = max(largest, number)
        findings.hook = findings.hook or hook
    width = width or (largest + 1 if largest >= 0 else None)
    for row in read_windows(export, width):
        if isinstance(row, BadRow):
            findings.n_bad += 1
            findings.bad += [row] if len(findings.bad) < NAMED_BAD_ROWS else []
            continue
        findings.windows += 1
        findings.tokens += len(row.tokens)
        findings.longest = max(findings.longest, len(row.tokens))
        findings.silent += max(row.values) <= 0
        findings.features.add(row.feature)
        findings.texts.update(row.tokens)
    total = findings.windows + findings.n_bad
    if not findings.windows or findings.n_bad > max_bad_share * total:
        named = "".join(f"\n  {row.where}: {row.problem}" for row in findings.bad)
        raise ExchangeError(
            f"{export.folder}: {findings.n_bad:,} of {total:,} activations are bad, allowed is a share of {max_bad_share:g}:{named}\n"
            "Correct or download the files again, or allow more: --max-bad-share 0.05"
        )
    findings.width = width or max(findings.features) + 1
    return findings


def read_windows(export: Export, width: int | None) -> Iterator[Activation | BadRow]:
    """Every activation in file order; `number` counts the good rows. A row that is not sound comes as a `BadRow`.

    Unsound are: no JSON object, an index that is no number below `width`, tokens and values of different lengths or none, a value that is
    no finite number, a maxValue that is not the largest value, and a maxValueTokenIndex that is not the index of the largest value.
    """
    number = 0
    for file in export.activation_files:
        for row in read_batch(file, width, number):
            yield row
            number += isinstance(row, Activation)


def read_batch(file: Path, width: int | None, first_number: int = 0) -> Iterator[Activation | BadRow]:
    """Every activation of one file, as in `read_windows`; the first good row has the number `first_number`."""
    number = first_number
    for where, content in json_lines(file):
        row = _window(where, content, width, number)
        yield row
        number += isinstance(row, Activation)


def explanation_files(path: Path) -> tuple[Path, ...]:
    """The batches of explanations at `path`: a batch, their folder, or the folder of one source. Empty when there are none."""
    return (path,) if path.is_file() else _batches(path) or _batches(path / "explanations")


def read_explanations(files: Iterable[Path], width: int) -> Iterator[StatedExplanation | BadRow]:
    """Every explanation in file order, with the author `<typeName> <explanationModelName>`.

    Bad are the rows that `stated_explanation` refuses, lines that are no JSON object, and rows of another model or layer than the first
    row.
    """
    source = None
    for file in files:
        for where, content in json_lines(file):
            if not isinstance(content, dict):
                yield BadRow(where, f"not a JSON object: {str(content)[:60]!r}")
                continue
            own = f"{content.get('modelId')}/{content.get('layer')}"
            source = source or own
            if own != source:
                yield BadRow(where, f"modelId and layer {own}, after rows of {source}; allowed is one source")
                continue
            author = " ".join(str(content[name]) for name in ("typeName", "explanationModelName") if content.get(name))
            yield stated_explanation(where, content.get("index"), content.get("description"), width, author, own)


def _window(where: str, content: Any, width: int | None, number: int) -> Activation | BadRow:
    if not isinstance(content, dict):
        return BadRow(where, f"not a JSON object: {str(content)[:60]!r}")
    index, tokens, values = content.get("index"), content.get("tokens"), content.get("values")
    feature = whole_number(index)
    if feature is None or (width is not None and feature >= width):
        return BadRow(where, f"index {repr(index)[:60]}; allowed are 0 to {'any' if width is None else width - 1}")
    if not isinstance(tokens, list) or not isinstance(values, list) or len(tokens) != len(values) or not tokens:
        counts = [len(part) if isinstance(part, list) else 0 for part in (tokens, values)]
        return BadRow(where, f"{counts[0]} tokens and {counts[1]} values; allowed are equally many, at least one")
    if not all(isinstance(token, str) for token in tokens):
        return BadRow(where, "a token that is not text")
    if not all(_is_finite(value) for value in values):
        return BadRow(where, "a value that is no finite number")
    largest, place = content.get("maxValue"), content.get("maxValueTokenIndex")
    near = ROUNDING * max(abs(max(values)), 1.0)
    if not _is_finite(largest) or abs(largest - max(values)) > near:
        return BadRow(where, f"maxValue {largest!r}, but the largest value is {max(values)}")
    if not isinstance(place, int) or not 0 <= place < len(values) or values[place] < max(values) - near:
        return BadRow(where, f"maxValueTokenIndex {place!r}, but the largest value is at {values.index(max(values))}")
    top = TOP_BIN in (content.get("binContains"), content.get("binMax"))
    edge = content.get("binMax")
    bin_top = math.inf if top else float(edge) if _is_finite(edge) else None
    return Activation(number, feature, tuple(map(encodable, tokens)), tuple(map(float, values)), bin_top)


def _is_finite(value: object) -> TypeGuard[float]:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) <= sys.float_info.max  # NaN is not, nor is a whole number beyond what a float holds


def _features(export: Export) -> Iterator[tuple[int, str | None]]:
    """(index, name of the hook) of every feature. Raises `ExchangeError` for a row without an index."""
    for file in export.feature_files:
        for where, content in json_lines(file):
            if not isinstance(content, dict) or whole_number(content.get("index")) is None:
                raise ExchangeError(f"{where}: a feature without an index. Download the file again, or delete it and give --width.")
            yield int(str(content["index"])), content.get("hookName") or None


def _batches(folder: Path) -> tuple[Path, ...]:
    """The batch files of a folder by number; a file that exists with and without .gz is read once."""
    found: dict[int, Path] = {}
    for path in sorted(folder.glob("batch-*.jsonl*")):
        if match := re.fullmatch(r"batch-(\d+)\.jsonl(\.gz)?", path.name):
            found.setdefault(int(match[1]), path)
    return tuple(found[number] for number in sorted(found))
