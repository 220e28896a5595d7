"""A column that came after the schema version is null in partitions that were written before it, whatever reads them."""

from pathlib import Path

import pyarrow as pa
import pytest

from interp_assets.assets.warehouse.duckdb_file import Warehouse
from interp_assets.config.keys import FEATURE_RANGE_KEYS, RangeKey, lake_partition
from interp_assets.config.registry import DictionaryRegistry
from interp_assets.reading.explanations import label_in, read_explanations
from interp_assets.reading.feature_rows import FeatureRows
from interp_assets.tables import EXPLANATIONS, SCHEMA_VERSION
from resources.store.lake import Lake
from resources.store.later_columns import has_later_columns, with_later_columns

KEY = "toy/09/dictionary"
SCHEMA = EXPLANATIONS.schema
BEFORE = pa.schema([field for field in SCHEMA if field.name not in ("label", "further_deals")])


def written(lake: Lake, method: str, number: int, schema: pa.Schema) -> None:
    key = RangeKey(KEY, FEATURE_RANGE_KEYS[number])
    row = {
        "dictionary": KEY, "feature_range": key.feature_range, "feature": number, "explanation_method": method, "outcome": "ok",
        "explanation": "days of the week; also months", "raw_reply": None, "replies": [], "donor_feature": None, "model": "",
        "prompt_version": "v", "label": "days of the week",
        "further_deals": None,
    }  # fmt: skip
    rows = pa.Table.from_pylist([{name: row[name] for name in schema.names}], schema=schema)
    lake.write(EXPLANATIONS.name, {"explanation_method": method, **lake_partition(key)}, schema, rows, "v")


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"), SCHEMA_VERSION)


@pytest.mark.parametrize(
    ("first", "second", "labels"),
    [
        (BEFORE, SCHEMA, [None, "days of the week"]),
        (SCHEMA, BEFORE, ["days of the week", None]),
        (BEFORE, BEFORE, [None, None]),
    ],
)
@pytest.mark.parametrize("copied", [False, True])
def test_sql_reads_partitions_of_both_kinds(
    lake: Lake, tmp_path: Path, first: pa.Schema, second: pa.Schema, labels: list[str | None], copied: bool
) -> None:
    written(lake, "max_act", 0, first)
    written(lake, "max_act", 1, second)
    house = Warehouse(tmp_path / "warehouse.duckdb", lake, DictionaryRegistry(tmp_path / "dictionaries"))
    if copied:
        assert house.copy() == 1
    answer = house.query("SELECT label, explanation_method FROM explanations ORDER BY feature").rows
    assert answer["label"].to_pylist() == labels
    overview = house.query("SELECT count(*) FROM explanations WHERE dictionary = 'toy/09/dictionary' AND label IS NULL").rows
    assert overview.to_pylist() == [{"count_star()": labels.count(None)}]
    house.build()
    with house.open() as connection:
        assert connection.execute("SELECT label FROM explanations ORDER BY feature").fetchall() == [(label,) for label in labels]


def test_readers_make_the_label_of_an_earlier_row(lake: Lake) -> None:
    written(lake, "max_act", 0, BEFORE)
    key = RangeKey(KEY, FEATURE_RANGE_KEYS[0])
    assert read_explanations(lake, key, "max_act")[0].text == "days of the week; also months"
    (row,) = FeatureRows(lake).of(EXPLANATIONS, {"explanation_method": "max_act", **lake_partition(key)}, 0)
    assert row["label"] is None and label_in(row) == "days of the week"


def test_only_later_columns_are_filled() -> None:
    rows = pa.table({"explanation": ["a"], "other": [1]})
    filled = with_later_columns(rows, SCHEMA)
    assert filled.column_names == ["explanation", "label", "further_deals", "other"]
    assert filled["label"].to_pylist() == filled["further_deals"].to_pylist() == [None]
    assert has_later_columns(SCHEMA) and not has_later_columns(BEFORE)
