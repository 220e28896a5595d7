"""The lake: whole partitions or none."""

import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from resources.lake import Lake, LakeError

SCHEMA = pa.schema([pa.field("feature", pa.uint32()), pa.field("value", pa.float32())])
CELL = {"dictionary": "m/09/a", "feature_range": "00of16"}


def rows(*features: int) -> pa.Table:
    return pa.table({"feature": features, "value": [0.5] * len(features)}, schema=SCHEMA)


def test_what_is_written_comes_back_with_its_manifest(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path), 1)
    manifest = lake.write("t", CELL, SCHEMA, rows(1, 2, 3), "v1", {"up": "u1"})
    assert (manifest.rows, manifest.inputs) == (3, {"up": "u1"})
    assert lake.read("t", CELL).column("feature").to_pylist() == [1, 2, 3]
    assert lake.is_current("t", CELL, "v1") and not lake.is_current("t", CELL, "v2")
    assert (tmp_path / "t" / "dictionary=m%2F09%2Fa" / "feature_range=00of16" / "part-0.parquet").exists()


def test_rows_come_in_batches_and_a_missing_partition_is_named(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path), 1)
    lake.write("t", CELL, SCHEMA, rows(1, 2, 3, 4, 5), "v1")
    batches = list(lake.batches("t", CELL, ["feature"], 2))
    assert [batch.column("feature").to_pylist() for batch in batches] == [[1, 2], [3, 4], [5]] and batches[0].num_columns == 1
    with pytest.raises(LakeError, match="no complete u"):
        next(lake.batches("u", CELL))


def test_no_rows_is_a_complete_partition(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path), 1)
    assert lake.write("t", CELL, SCHEMA, rows(), "v1").rows == 0
    assert lake.read("t", CELL).num_rows == 0


def test_a_writer_killed_in_the_middle_leaves_no_complete_partition(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path), 1)
    lake.write("t", CELL, SCHEMA, rows(1), "v1")

    def dying() -> Iterator[pa.Table]:
        yield rows(7)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        lake.write("t", CELL, SCHEMA, dying(), "v2")
    assert lake.manifest("t", CELL) is None
    with pytest.raises(LakeError, match="m/09/a"):
        lake.read("t", CELL)
    assert [Path(folder).name for folder in lake.incomplete()] == ["feature_range=00of16"]
    part = tmp_path / "t" / "dictionary=m%2F09%2Fa" / "feature_range=00of16" / "part-0.parquet"
    assert pq.read_table(part, partitioning=None).column("feature").to_pylist() == [1]  # the old rows, never half of the new ones
    lake.write("t", CELL, SCHEMA, rows(7), "v2")
    assert lake.incomplete() == []


def test_identical_writes_leave_identical_bytes(tmp_path: Path) -> None:
    written = []
    for name in ("a", "b"):
        lake = Lake(str(tmp_path / name), 1)
        lake.write("t", CELL, SCHEMA, rows(1, 2), "v1")
        written.append({p.relative_to(tmp_path / name): p.read_bytes() for p in (tmp_path / name).rglob("*") if p.is_file()})
    assert written[0] == written[1]


def test_a_store_of_another_schema_version_is_refused_with_both_versions(tmp_path: Path) -> None:
    Lake(str(tmp_path), 1)
    with pytest.raises(LakeError, match=r"version 1.*version 2.*INTERP_HOME"):
        Lake(str(tmp_path), 2)


def test_a_partition_of_another_schema_version_is_refused(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path), 1)
    lake.write("t", CELL, SCHEMA, rows(1), "v1")
    path = Path(lake.path("t", CELL)) / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema_version": 0}))
    with pytest.raises(LakeError, match="schema version 0"):
        lake.manifest("t", CELL)


def test_the_same_code_writes_to_an_object_store(tmp_path: Path) -> None:
    lake = Lake("memory://lake-test", 1)
    lake.write("t", CELL, SCHEMA, rows(4), "v1")
    assert Lake("memory://lake-test", 1).read("t", CELL).column("feature").to_pylist() == [4]
    assert len(list(lake.manifests("t"))) == 1
