"""The platform's warehouse: which tables and dictionaries the DuckDB file shows."""

from dataclasses import asdict, dataclass
from pathlib import Path

import duckdb
import polars as pl
import pyarrow as pa

from interp_assets.asking.estimates import ESTIMATE, read_estimates
from interp_assets.config.registry import DictionaryRegistry
from interp_assets.tables import TABLES
from resources.store.duckdb_views import build_warehouse, open_warehouse
from resources.store.lake import Lake

DICTIONARIES_SCHEMA = pa.schema(
    [
        pa.field("dictionary", pa.string()),
        pa.field("model", pa.string()),
        pa.field("layer", pa.string()),
        pa.field("name", pa.string()),
        pa.field("kind", pa.string()),
        pa.field("hook", pa.string()),
        pa.field("source", pa.string()),
        pa.field("width", pa.int64()),
        pa.field("n_selected", pa.int64()),
        pa.field("n_tokens", pa.int64()),
        pa.field("cost_estimates", pa.list_(ESTIMATE)),
    ]
)


@dataclass(frozen=True)
class Warehouse:
    """The DuckDB file of one lake and registry."""

    path: Path
    lake: Lake
    registry: DictionaryRegistry

    def build(self) -> list[str]:
        """Names of its views, after rebuilding the file."""
        rows = []
        for key, record in self.registry.read_all()[0].items():
            model, layer, name = key.split("/")
            rows.append(
                {
                    "dictionary": key, "model": model, "layer": layer, "name": name, "kind": record.kind, "hook": record.hook,
                    "source": record.source, "width": record.width, "n_selected": len(record.selected_features),
                    "n_tokens": record.token_sample.n_tokens,
                    "cost_estimates": [asdict(one) for one in read_estimates(self.path.parent / "estimates", key)],
                }
            )  # fmt: skip
        # `pa.Table.from_pylist` would import pandas where it is installed.
        dictionaries = pl.DataFrame(rows, pl.Schema(DICTIONARIES_SCHEMA)).to_arrow().cast(DICTIONARIES_SCHEMA)
        return build_warehouse(self.path, self.lake, {table.name: table.schema for table in TABLES}, dictionaries)

    def open(self) -> duckdb.DuckDBPyConnection:
        """A read-only connection."""
        return open_warehouse(self.path, self.lake)
