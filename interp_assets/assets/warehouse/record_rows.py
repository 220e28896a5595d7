"""The table `dictionaries` of the warehouse: one registered dictionary a row."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa

from interp_assets.asking.estimates import ESTIMATE, read_estimates
from interp_assets.config.records import DictionaryRecord
from interp_assets.config.registry import DictionaryRegistry

DICTIONARIES_SCHEMA = pa.schema(
    [
        pa.field("dictionary", pa.string()),
        pa.field("model", pa.string()),
        pa.field("layer", pa.string()),
        pa.field("name", pa.string()),
        pa.field("kind", pa.string()),
        pa.field("control", pa.string()),
        pa.field("hook", pa.string()),
        pa.field("source", pa.string()),
        pa.field("width", pa.int64()),
        pa.field("n_selected", pa.int64()),
        pa.field("n_tokens", pa.int64()),
        pa.field("series", pa.string()),
        pa.field("step", pa.int64()),
        pa.field("cost_estimates", pa.list_(ESTIMATE)),
    ]
)


@dataclass(frozen=True)
class RecordRows:
    """The rows by dictionary, the same as a table, and the error of each record that cannot be read."""

    rows: dict[str, dict[str, Any]]
    table: pa.Table
    broken: dict[str, str]


class RecordTable:
    """The table of a registry's records and of the estimates in a folder; made again only when one of them has changed."""

    def __init__(self, registry: DictionaryRegistry, estimates: Path) -> None:
        self._registry, self._estimates = registry, estimates
        self._made: tuple[Mapping[str, DictionaryRecord], int, RecordRows] | None = None

    def read(self) -> RecordRows:
        """The rows as they are now: the same object while nothing changes."""
        records, broken = self._registry.read_all()
        changed = self._estimates.stat().st_mtime_ns if self._estimates.is_dir() else 0
        if self._made is not None:
            before, changed_before, rows = self._made
            same = before.keys() == records.keys() and all(before[key] is record for key, record in records.items())
            if same and changed == changed_before and rows.broken == broken:
                return rows
        rows = {key: _row(key, record, self._estimates) for key, record in records.items()}
        # `pa.Table.from_pylist` would import pandas where it is installed.
        table = pl.DataFrame(list(rows.values()), pl.Schema(DICTIONARIES_SCHEMA)).to_arrow().cast(DICTIONARIES_SCHEMA)
        self._made = records, changed, RecordRows(rows, table, broken)
        return self._made[2]


def _row(key: str, record: DictionaryRecord, estimates: Path) -> dict[str, Any]:
    model, layer, name = key.split("/")
    return {
        "dictionary": key, "model": model, "layer": layer, "name": name, "kind": record.kind, "control": record.control,
        "hook": record.hook, "source": record.source, "width": record.width, "n_selected": record.n_selected,
        "n_tokens": record.token_sample.n_tokens, "series": record.checkpoint and record.checkpoint.series,
        "step": record.checkpoint and record.checkpoint.step, "cost_estimates": [asdict(one) for one in read_estimates(estimates, key)],
    }  # fmt: skip
