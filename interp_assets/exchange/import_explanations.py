"""Imports explanations that people or other tools wrote: from files into the lake, where the graph reads them.

There are two methods, kept apart everywhere: "human" for explanations by a person, "imported" for any other explanations.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa

from interp_assets.config.base import UserError, fingerprint
from interp_assets.config.records import DictionaryRecord
from interp_assets.domain.explaining import IMPORTED_METHODS
from interp_assets.domain.prompting.rendering import encodable
from interp_assets.reading.explanations import _partition
from interp_assets.tables import IMPORTED_EXPLANATIONS
from resources.formats.explanation_files import ExplanationFiles, open_explanations, read_explanations
from resources.formats.interface import NAMED_BAD_ROWS, BadRow, ExchangeError, StatedExplanation, content_hash
from resources.store.lake import Lake, Manifest

NOTHING_IMPORTED = "none"


@dataclass
class ReadExplanations:
    """The rows to keep, by feature, and the rows left out. `n_bad` counts rows that cannot be used; `bad` are the first of these.

    `not_selected` are sound rows of features that the record does not select; `by_others` counts rows of other authors where one author is
    asked for.
    """

    kept: dict[int, StatedExplanation] = field(default_factory=dict)
    bad: list[BadRow] = field(default_factory=list)
    n_bad: int = 0
    not_selected: list[StatedExplanation] = field(default_factory=list)
    by_others: Counter[str | None] = field(default_factory=Counter)


def imported_version(lake: Lake, dictionary: str, method: str) -> str:
    """Data version of the result of `read_imported`: over features and texts, not over authors and sources. "none" when nothing was
    imported."""
    manifest = lake.manifest(IMPORTED_EXPLANATIONS.name, _partition(dictionary, method))
    return manifest.data_version if manifest else NOTHING_IMPORTED


def import_explanations(
    lake: Lake,
    record: DictionaryRecord,
    path: Path,
    method: str,
    *,
    format_: str = "auto",
    author: str | None = None,
    hookpoint: str | None = None,
    max_bad_share: float = 0.01,
    append: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> Manifest:
    """Write the explanations at `path` as explanations of a dictionary by `method`, all or none of them, and return their manifest.

    They replace all explanations imported before under this method; with `append`, only explanations of the same features. `author` keeps
    the rows of one author; `hookpoint` is a hook point of a delphi run. `say` gets what was left out. Raises `ExchangeError` where the
    share of bad rows exceeds `max_bad_share`, or where no row is left.
    """
    assert method in IMPORTED_METHODS, method
    found = open_explanations(path, format_, hookpoint)
    say(f"reading {path} as {found.format}")
    read = _read(found, record, author)
    _say_left_out(read, record, author, say)
    _refuse_too_many_bad(read, record, path, author, max_bad_share)
    partition = _partition(record.key, method)
    old = lake.manifest(IMPORTED_EXPLANATIONS.name, partition) if append else None
    rows = {feature: _row(record.key, method, row, path) for feature, row in read.kept.items()}
    if old is not None:
        before = {row["feature"]: row for row in lake.read(IMPORTED_EXPLANATIONS.name, partition).to_pylist()}
        say(f"{len(before.keys() & rows.keys()):,} of the {len(before):,} explanations imported before are replaced, the rest stay")
        rows = {**before, **rows}
    table = pa.Table.from_pylist([rows[feature] for feature in sorted(rows)], schema=IMPORTED_EXPLANATIONS.schema)
    version = fingerprint(IMPORTED_EXPLANATIONS.name, method, [(feature, rows[feature]["explanation"]) for feature in sorted(rows)])
    inputs = {**(old.inputs if old else {}), path.name: content_hash(found.folder, found.files)}
    return lake.write(IMPORTED_EXPLANATIONS.name, partition, IMPORTED_EXPLANATIONS.schema, table, version, inputs)


def _read(found: ExplanationFiles, record: DictionaryRecord, author: str | None) -> ReadExplanations:
    """Every row of the files, sorted into rows to keep and rows left out."""
    read = ReadExplanations()
    selected = np.zeros(record.width, dtype=bool)
    selected[record.selected_features] = True
    for row in read_explanations(found, record.width):
        if isinstance(row, StatedExplanation):
            if author is not None and row.author != author:
                read.by_others[row.author] += 1
                continue
            if not selected[row.feature]:
                read.not_selected.append(row)
                continue
            if row.feature not in read.kept:
                read.kept[row.feature] = row
                continue
            first = read.kept[row.feature]
            by = f" by {first.author}" if first.author else ""
            row = BadRow(row.where, f"feature {row.feature} has an explanation{by} already, at {first.where}; allowed is one a feature")
        read.n_bad += 1
        read.bad += [row] if len(read.bad) < NAMED_BAD_ROWS else []
    return read


def _say_left_out(read: ReadExplanations, record: DictionaryRecord, author: str | None, say: Callable[[str], None]) -> None:
    for bad in read.bad:
        say(f"left out {bad.where}: {bad.problem}")
    if read.n_bad > len(read.bad):
        say(f"left out {read.n_bad - len(read.bad):,} more bad rows")
    if read.not_selected:
        first = read.not_selected[0]
        say(
            f"left out {len(read.not_selected):,} rows of features that the record does not select, the first at {first.where}: feature "
            f"{first.feature}; {record.key} selects {len(record.selected_features):,} of {record.width:,} (features: in its record)"
        )
    if read.by_others:
        say(f"left out {read.by_others.total():,} rows that are not by {author}")


def _refuse_too_many_bad(read: ReadExplanations, record: DictionaryRecord, path: Path, author: str | None, max_bad_share: float) -> None:
    total = len(read.kept) + len(read.not_selected) + read.n_bad
    if read.n_bad > max_bad_share * total:
        named = "".join(f"\n  {row.where}: {row.problem}" for row in read.bad)
        authors = sorted({row.author for row in read.kept.values() if row.author})
        choose = f" Rows are by {', '.join(authors[:8])}; for one author: --author {authors[0]!r}." if len(authors) > 1 else ""
        raise ExchangeError(
            f"{path}: {read.n_bad:,} of {total:,} rows are bad, allowed is a share of {max_bad_share:g}:{named}\nNothing was written. "
            f"Correct the file, or allow more: --max-bad-share 0.05.{choose}"
        )
    if not read.kept and author is not None and read.by_others:
        there = ", ".join(sorted({str(name) for name in read.by_others})[:8])
        raise UserError(f"{path} has no row by --author {author!r}; its rows are by {there}")
    if not read.kept:
        raise ExchangeError(
            f"{path} has no explanation of a feature that {record.key} selects ({total:,} rows read). Nothing was written. Name another "
            "file, or another --dictionary"
        )


def _row(dictionary: str, method: str, row: StatedExplanation, path: Path) -> Mapping[str, object]:
    place = row.where.removeprefix(f"{path.parent}/")
    return {
        "dictionary": dictionary, "explanation_method": method, "feature": row.feature,
        "explanation": encodable(row.text), "author": None if row.author is None else encodable(row.author),
        "source": encodable(f"{place} ({row.origin})" if row.origin else place),
    }  # fmt: skip
