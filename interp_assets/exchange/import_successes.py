"""Imports successes of descriptions from another tool's results; views show our own successes beside the imported ones."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa

from interp_assets.config.base import fingerprint
from interp_assets.config.records import DictionaryRecord
from interp_assets.domain.prompting.rendering import encodable
from interp_assets.tables import IMPORTED_SUCCESSES
from resources.formats.interface import NAMED_BAD_ROWS, BadRow, ExchangeError, content_hash
from resources.formats.output_centric import ResultsFile, StatedSuccess, open_results, read_results
from resources.store.lake import Lake, Manifest


def import_successes(
    lake: Lake,
    record: DictionaryRecord,
    file: Path,
    *,
    layer: str | None = None,
    max_bad_share: float = 0.0,
    say: Callable[[str], None] = lambda line: None,
) -> Manifest:
    """Write the successes of a dictionary's descriptions in `file` to the lake, all or none of them, and return their manifest.

    They replace the successes imported before. `layer` is the name of the dictionary's layer in the file. `say` gets what was left out.
    Raises `ExchangeError` where the share of bad rows exceeds `max_bad_share`, naming the bad rows, up to ten, and where no row is left.
    """
    found = open_results(file, layer)
    say(f"reading the layer {found.layer} of {file}: {', '.join(found.methods)}")
    if found.unread:
        say(f"not read: the columns {', '.join(found.unread)}")
    stated = _read(found, record, max_bad_share, say)
    rows = [
        {
            "dictionary": record.key, "explanation_method": one.method, "feature": one.feature, "explanation": encodable(one.text),
            "input_success": one.input_success, "output_success": one.output_success, "source": one.where.removeprefix(f"{file.parent}/"),
        }
        for one in sorted(stated, key=lambda one: (one.method, one.feature))
    ]  # fmt: skip
    table = pa.Table.from_pylist(rows, schema=IMPORTED_SUCCESSES.schema)
    version = fingerprint(IMPORTED_SUCCESSES.name, rows)
    inputs = {file.name: content_hash(file.parent, [file])}
    return lake.write(IMPORTED_SUCCESSES.name, {"dictionary": record.key}, IMPORTED_SUCCESSES.schema, table, version, inputs)


def _read(found: ResultsFile, record: DictionaryRecord, max_bad_share: float, say: Callable[[str], None]) -> list[StatedSuccess]:
    """The sound rows about features that the record selects."""
    selected = np.zeros(record.width, dtype=bool)
    selected[record.selected_features] = True
    first: dict[int, str] = {}
    stated: list[StatedSuccess] = []
    bad: list[BadRow] = []
    n_rows, n_not_selected = 0, 0
    for row in read_results(found, record.width):
        n_rows += 1
        if not isinstance(row, BadRow) and row.feature in first:
            row = BadRow(row.where, f"column 'Feature': {row.feature} has a row already, at {first[row.feature]}; allowed is one a feature")
        if isinstance(row, BadRow):
            bad.append(row)
            continue
        first[row.feature] = row.where
        n_not_selected += not selected[row.feature]
        stated += row.stated if selected[row.feature] else ()
    named = [f"{row.where}: {row.problem}" for row in bad[:NAMED_BAD_ROWS]]
    named += [f"{len(bad) - NAMED_BAD_ROWS:,} more bad rows"] if len(bad) > NAMED_BAD_ROWS else []
    if len(bad) > max_bad_share * n_rows:
        raise ExchangeError(
            f"{found.file}: {len(bad):,} of {n_rows:,} rows are bad, allowed is a share of {max_bad_share:g}:"
            + "".join(f"\n  {line}" for line in named)
            + "\nNothing was written. Correct the file, or leave such rows out: --max-bad-share 0.05."
        )
    for line in named:
        say(f"left out {line}")
    if n_not_selected:
        say(f"left out {n_not_selected:,} rows of features that the record of {record.key} does not select")
    if not stated:
        raise ExchangeError(
            f"{found.file} has no description of a feature that {record.key} selects ({n_rows:,} rows read). Nothing was written. Name "
            "another file, another --layer or another --dictionary"
        )
    return stated
