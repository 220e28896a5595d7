"""One feature's rows are read out of the row groups that hold the feature."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from small_home import filled

from interp_assets.reading.feature_rows import FeatureRows
from interp_assets.tables import EXPLANATIONS, SCHEMA_VERSION, VOCABULARY_PROJECTIONS
from resources.store.lake import Lake

TABLE = VOCABULARY_PROJECTIONS
WHERE = {"dictionary": "a/0/b", "feature_range": "00of16"}


def write(lake: Lake, n_features: int, token: str) -> None:
    """Five rows a feature, ten in a row group."""
    rows: list[dict[str, Any]] = [
        {**WHERE, "feature": f, "side": "promoted", "rank": rank, "token_id": 1, "token": f"{token}{f}", "logit": 1.0, "outcome": "ok"}
        for f in range(n_features)
        for rank in range(5)
    ]
    lake.write(TABLE.name, WHERE, TABLE.schema, pa.Table.from_pylist(rows, schema=TABLE.schema), token, row_group_rows=10)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """A lake with forty features."""
    made = Lake(str(tmp_path / "lake"), SCHEMA_VERSION)
    write(made, 40, "old")
    return made


def test_a_feature_has_its_own_rows_alone(lake: Lake) -> None:
    rows = FeatureRows(lake).of(TABLE, WHERE, 7, ["rank", "token"])
    assert rows == [{"rank": rank, "token": "old7"} for rank in range(5)]
    assert FeatureRows(lake).of(TABLE, WHERE, 40) == [] and FeatureRows(lake).of(TABLE, {**WHERE, "feature_range": "01of16"}, 7) == []


def test_only_the_row_group_of_the_feature_is_read(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[list[int]] = []
    whole = pq.ParquetFile.read_row_groups
    monkeypatch.setattr(
        pq.ParquetFile, "read_row_groups", lambda self, groups, *a, **k: read.append(groups) or whole(self, groups, *a, **k)
    )
    FeatureRows(lake).of(TABLE, WHERE, 7)
    assert read == [[3]]  # rows 35 to 39 of the file


def test_a_replaced_partition_is_read_anew_and_a_withdrawn_one_not_at_all(lake: Lake) -> None:
    rows = FeatureRows(lake)
    assert rows.of(TABLE, WHERE, 7, ["token"])[0] == {"token": "old7"}
    write(lake, 8, "new")
    assert rows.of(TABLE, WHERE, 7, ["token"]) == [{"token": "new7"}] * 5
    assert rows.of(TABLE, WHERE, 9) == []
    lake.discard(TABLE.name, WHERE)
    assert rows.of(TABLE, WHERE, 7) == []


def test_a_file_that_is_not_the_manifests_is_not_read(lake: Lake) -> None:
    part = Path(lake.path(TABLE.name, WHERE)) / "part-0.parquet"
    pq.write_table(pq.read_table(part, partitioning=None).slice(0, 10), part)
    assert FeatureRows(lake).of(TABLE, WHERE, 1) == []


def test_a_lake_that_is_no_folder_is_read_by_its_file_system(lake: Lake) -> None:
    remote = Lake(f"file://{lake.root}", SCHEMA_VERSION)
    remote.is_local = False
    assert FeatureRows(remote).of(TABLE, WHERE, 7, ["token"]) == [{"token": "old7"}] * 5


def test_a_column_that_came_later_is_null_in_earlier_files(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path), SCHEMA_VERSION)
    earlier, where = EXPLANATIONS.schema.remove(EXPLANATIONS.schema.get_field_index("label")), {"explanation_method": "max_act", **WHERE}
    row = filled(EXPLANATIONS, {**where, "feature": 3, "outcome": "ok", "explanation": "a"})
    lake.write(EXPLANATIONS.name, where, earlier, pa.Table.from_pylist([row], schema=earlier), "1")
    for rows in (FeatureRows(lake), FeatureRows(lake, kept_groups=4)):
        assert rows.of(EXPLANATIONS, where, 3, ["explanation", "label"]) == [{"explanation": "a", "label": None}]
