"""What a query pays before it reads rows: a look at the manifests of a million features, and questions about one feature.

    python benchmarks/look.py [--quick] [--dictionaries 61]

Writes small partitions of ten tables for each of 16 feature ranges of every dictionary (61 of 16,384 features: 9,760 partitions), and asks
as `interp query` does, in one process after its imports: first with the index of the lake lost, then with the index, then with copies.
Times are of a core, in milliseconds. The last line is one JSON object.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars  # noqa: F401  (loaded here, not in the first question)
import pyarrow as pa

from interp_assets.config.keys import FEATURE_RANGE_KEYS
from interp_assets.config.records import DictionaryRecord
from interp_assets.installation.home import Home
from interp_assets.tables import TABLES, Table

WIDTH = 16_384
NAMES = (
    "feature_statistics", "vocabulary_projections", "token_changes", "feature_examples", "examples", "explanations", "trials", "verdicts",
    "scores", "ledger",
)  # fmt: skip
FIRST_COLUMN = {"scorer": "detection", "explanation_method": "max_act", "asset": "scores"}
A_ROW_A_FEATURE = ("feature_statistics", "feature_examples", "explanations", "scores")
QUESTIONS = {
    "constant": "SELECT 1",
    "one_feature_of_a_table": "SELECT * FROM scores WHERE dictionary = 'm/00/x' AND feature = 500",
    "one_feature_of_five_tables": "SELECT * FROM feature_overview WHERE dictionary = 'm/00/x' AND feature = 500",
}


def column(field: pa.Field, values: dict[str, Any], features: np.ndarray) -> pa.Array:
    """A column without content: what `values` says, the feature's number, null, or the least of its type."""
    n, kind = len(features), field.type
    if field.name in values:
        return pa.array([values[field.name]] * n).cast(kind)
    if field.name == "feature":
        return pa.array(features).cast(kind)
    if field.nullable or not (pa.types.is_string(kind) or pa.types.is_dictionary(kind) or pa.types.is_list(kind)):
        return pa.nulls(n, kind) if field.nullable else pa.array([0] * n).cast(kind)
    return pa.array([[]] * n, kind) if pa.types.is_list(kind) else pa.array(["x"] * n).cast(kind)


def write(home: Home, table: Table, dictionary: str) -> None:
    """The partitions of a table for a dictionary."""
    a_range = WIDTH // len(FEATURE_RANGE_KEYS)
    for number, feature_range in enumerate(FEATURE_RANGE_KEYS):
        values = {**FIRST_COLUMN, "dictionary": dictionary, "feature_range": feature_range}
        features = np.arange(a_range * number, a_range * number + (a_range if table.name in A_ROW_A_FEATURE else 64))
        partition = {name: values[name] for name in table.partition_columns}
        rows = pa.table([column(field, values, features) for field in table.schema], schema=table.schema)
        home.lake.write(table.name, partition, table.schema, rows, "v1")


def asked(root: Path, sql: str, rows: int = 1) -> float:
    """Milliseconds of a core that a question takes a warehouse that knows nothing but what is on disk."""
    warehouse = Home(root, str(root / "lake")).warehouse
    started = time.process_time()
    found = warehouse.query(sql).rows.num_rows
    taken = 1000 * (time.process_time() - started)
    assert found == rows, f"{found} rows for {sql}"
    return taken


def main() -> None:
    """Write the lake, ask, and print the table and the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dictionaries", type=int, default=61)
    parser.add_argument("--quick", action="store_true", help="three dictionaries")
    given = parser.parse_args()
    n = 3 if given.quick else given.dictionaries
    figures: dict[str, float] = {"features": n * WIDTH, "partitions": n * len(FEATURE_RANGE_KEYS) * len(NAMES)}
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        home = Home(root, str(root / "lake"))
        for number in range(n):
            record = DictionaryRecord(key=f"m/{number:02d}/x", hook="blocks.0.mlp.hook_post", kind="neurons", width=WIDTH)
            home.registry.write(record)
            for table in TABLES:
                if table.name in NAMES:
                    write(home, table, record.key)
        asked(root, QUESTIONS["constant"])  # what DuckDB sets up once a process
        for label, sql in QUESTIONS.items():
            figures[f"{label}_without_index_ms"] = asked(root, sql)
            figures[f"{label}_with_index_ms"] = min(asked(root, sql) for _ in range(3))
        started = time.process_time()
        home.warehouse.copy()
        figures["copies_core_seconds"] = time.process_time() - started
        for label, sql in QUESTIONS.items():
            figures[f"{label}_with_copies_ms"] = min(asked(root, sql) for _ in range(3))
    shown = {name: round(value, 1) for name, value in figures.items()}
    for name, value in shown.items():
        print(f"{name:>45}  {value:,}")
    print(json.dumps(shown))


if __name__ == "__main__":
    main()
