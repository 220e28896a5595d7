"""The lake on a real S3 protocol: whole partitions or none, two hosts at once, damage, and the warehouse over it."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from servers import BUCKET

from interp_assets.assets.warehouse.duckdb_file import Warehouse
from interp_assets.assets.warehouse.views import view_files
from interp_assets.config.records import DictionaryRecord
from interp_assets.config.registry import DictionaryRegistry
from interp_assets.tables import SCHEMA_VERSION, SCORES, TABLES
from resources.store import part_damage
from resources.store.lake import CorruptPartition, Lake, LakeError

pytestmark = pytest.mark.deploy
SCHEMA = pa.schema([pa.field("feature", pa.uint32()), pa.field("value", pa.float32())])
CELL = {"dictionary": "m/09/a", "feature_range": "00of16"}


@pytest.fixture
def url(s3: dict[str, str], request: pytest.FixtureRequest) -> str:
    """A prefix of the bucket that no other test writes to."""
    return f"s3://{BUCKET}/{request.node.name.replace('[', '-').rstrip(']')}"


def rows(*features: int) -> pa.Table:
    return pa.table({"feature": features, "value": [0.5] * len(features)}, schema=SCHEMA)


def objects(lake: Lake) -> list[str]:
    """Names of the objects of the one partition."""
    return sorted(path.rsplit("/", 1)[1] for path in lake.fs.find(lake.path("t", CELL)))


def test_what_is_written_comes_back_on_another_host(url: str) -> None:
    lake, other = Lake(url, 1), Lake(url, 1)
    manifest = lake.write("t", CELL, SCHEMA, rows(1, 2, 3), "v1", {"up": "u1"})
    assert other.manifest("t", CELL) == manifest and other.read("t", CELL).equals(rows(1, 2, 3))
    assert [batch.num_rows for batch in other.batches("t", CELL, ["feature"], 2)] == [2, 1]
    assert other.read("t", CELL, filters=[("feature", "=", 2)]).column("feature").to_pylist() == [2]
    lake.write("t", CELL, SCHEMA, rows(4), "v2")
    assert other.is_current("t", CELL, "v2") and other.read("t", CELL).equals(rows(4))
    assert [manifest.rows for manifest in other.manifests("t")] == [1]
    assert objects(lake) == ["manifest.json", "part-0.parquet"] and lake.incomplete() == []
    assert lake.url == url and lake.relative_path("t", CELL) == "t/dictionary=m%2F09%2Fa/feature_range=00of16"


def test_a_partition_of_many_upload_parts_is_whole(url: str) -> None:
    lake, rng = Lake(url, 1), np.random.default_rng(0)
    tables = [pa.table({"feature": rng.integers(0, 1 << 31, 1 << 20), "value": rng.random(1 << 20)}).cast(SCHEMA) for _ in range(8)]
    manifest = lake.write("t", CELL, SCHEMA, iter(tables), "v1")
    assert manifest.bytes > lake.fs.default_block_size, "one upload part"
    lake.verify(manifest)
    assert lake.read("t", CELL).equals(pa.concat_tables(tables).combine_chunks())


def test_until_it_is_committed_nobody_sees_it_and_a_failure_leaves_the_old(url: str) -> None:
    lake, other = Lake(url, 1), Lake(url, 1)
    lake.write("t", CELL, SCHEMA, rows(1), "v1")

    def dying() -> Iterator[pa.Table]:
        yield rows(7)
        assert other.read("t", CELL).equals(rows(1))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        lake.write("t", CELL, SCHEMA, dying(), "v2")
    assert (
        lake.is_current("t", CELL, "v1") and lake.read("t", CELL).equals(rows(1)) and objects(lake) == ["manifest.json", "part-0.parquet"]
    )
    assert [u for u in lake.fs.list_multipart_uploads(BUCKET) if url.rsplit("/", 1)[1] in u["Key"]] == []


KILLED = """
import os, signal, sys
import pyarrow as pa
from resources.store.lake import Lake
from resources.store.whole_files import Upload

step, calls = int(sys.argv[2]), 0
lake = Lake(sys.argv[1], 1)

def counted(work):
    def call(*arguments, **options):
        global calls
        calls += 1
        if calls == step:
            os.kill(os.getpid(), signal.SIGKILL)
        return work(*arguments, **options)
    return call

Upload.finish, Upload.place = counted(Upload.finish), counted(Upload.place)
lake.fs.rm_file, lake.fs.pipe_file = counted(lake.fs.rm_file), counted(lake.fs.pipe_file)
schema = pa.schema([pa.field("feature", pa.uint32()), pa.field("value", pa.float32())])
rows = pa.table({"feature": [7], "value": [0.5]}, schema=schema)
lake.write("t", {"dictionary": "m/09/a", "feature_range": "00of16"}, schema, rows, "v2")
print(calls, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_killed_at_any_step_a_partition_is_the_old_the_new_or_missing_and_the_next_write_mends_it(url: str) -> None:
    def killed_at(root: str, step: int) -> str:
        command = [sys.executable, "-c", KILLED, root, str(step)]
        result = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True)
        assert result.returncode == -signal.SIGKILL, result.stderr
        return result.stdout

    Lake(f"{url}/whole", 1).write("t", CELL, SCHEMA, rows(1), "v1")
    n_steps = int(killed_at(f"{url}/whole", 0))
    assert n_steps == 5  # finish, no withdrawn manifest, the manifest, the part in place, the manifest
    seen = []
    for step in range(1, n_steps + 2):
        lake = Lake(f"{url}/{step}", 1)
        lake.write("t", CELL, SCHEMA, rows(1), "v1")
        killed_at(f"{url}/{step}", step)
        manifest = lake.manifest("t", CELL)
        seen.append(manifest and manifest.data_version)
        if manifest:
            assert lake.read("t", CELL).column("feature").to_pylist() == [{"v1": 1, "v2": 7}[manifest.data_version]]
        else:
            with pytest.raises(LakeError, match="no complete t"):
                lake.read("t", CELL)
            assert len(lake.incomplete()) == 1
        lake.write("t", CELL, SCHEMA, rows(9), "v3")
        assert lake.read("t", CELL).equals(rows(9)) and lake.incomplete() == []
    assert seen == ["v1", "v1", "v1", None, None, "v2"]


def test_of_two_writers_at_once_none_vouches_for_the_other_ones_file(url: str) -> None:
    ours, theirs = Lake(url, 1), Lake(url, 1)
    with ours.writer("t", CELL, SCHEMA) as slow:
        slow.add(rows(1, 2))
        put, placed = ours.files.put, theirs.write

        def between(path: str, content: bytes) -> None:
            placed("t", CELL, SCHEMA, rows(7), "theirs")  # after our part is in place, before our manifest is
            put(path, content)

        ours.files.put = between  # type: ignore[method-assign]
        slow.commit("ours")
    with pytest.raises(CorruptPartition, match=r"part-0.parquet is not what was written"):
        theirs.read("t", CELL)
    assert theirs.manifest("t", CELL) is None
    theirs.write("t", CELL, SCHEMA, rows(7), "theirs")
    assert theirs.read("t", CELL).equals(rows(7)) and objects(theirs) == ["manifest.json", "part-0.parquet"]


@pytest.mark.parametrize("place", [0.02, 0.6, 1.0])
def test_a_flipped_byte_is_found_and_withdrawn(url: str, place: float) -> None:
    lake = Lake(url, 1)
    manifest = lake.write("t", CELL, SCHEMA, rows(*range(5000)), "v1")
    part = f"{lake.path('t', CELL)}/part-0.parquet"
    content = bytearray(lake.fs.cat_file(part))
    content[min(int(len(content) * place), len(content) - 1)] ^= 0x10
    lake.fs.pipe_file(part, bytes(content))
    with pytest.raises(CorruptPartition, match="is damaged"):
        lake.verify(manifest)
    assert lake.manifest("t", CELL) is None and objects(lake) == ["manifest.withdrawn.json", "part-0.parquet"]


def test_a_store_that_refuses_or_is_gone_damages_nothing(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lake = Lake(url, 1)
    lake.write("t", CELL, SCHEMA, rows(1), "v1")

    def expired(*arguments: object) -> int:
        raise PermissionError("The provided token has expired.")

    with monkeypatch.context() as patch:
        patch.setattr(part_damage, "footer_crc32", expired)
        with pytest.raises(PermissionError, match="expired"):
            lake.read("t", CELL)
    assert lake.read("t", CELL).equals(rows(1))


def test_a_bucket_that_is_not_there_and_a_server_that_does_not_answer_are_named(s3: dict[str, str]) -> None:
    with pytest.raises(LakeError, match=r"s3://no-such-bucket/lake cannot be reached .*Does the bucket exist"):
        Lake("s3://no-such-bucket/lake", 1)
    opening = "try: Lake('s3://interp/lake', 1)\nexcept Exception as e: print(type(e).__name__, e)"
    code = f"from resources.store.lake import Lake\n{opening}"
    environment = {**os.environ, "AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_MAX_ATTEMPTS": "1"}
    command = [sys.executable, "-c", code]
    said = subprocess.run(command, env=environment, cwd=Path(__file__).parents[2], capture_output=True, text=True).stdout
    assert said.startswith("LakeError the lake at s3://interp/lake cannot be reached") and "AWS_ENDPOINT_URL" in said


def test_the_warehouse_answers_over_s3_without_an_extension(url: str, tmp_path: Path) -> None:
    registry = DictionaryRegistry(tmp_path / "dictionaries")
    registry.write(DictionaryRecord(key="m/09/sae", hook="h", kind="neurons", width=8))
    house = Warehouse(tmp_path / "warehouse.duckdb", Lake(url, SCHEMA_VERSION), registry)
    house.build()
    with house.open() as connection:
        for view in (*(table.name for table in TABLES), *view_files()):
            assert connection.execute(f"SELECT count(*) FROM {view}").fetchone() == (0,), view
    row = {
        "dictionary": "m/09/sae", "feature_range": "00of16", "explanation_method": "max_act", "scorer": "detection",
        "metric": "balanced_accuracy", "headline": True, "floor": 0.5, "n_positive": 5, "n_negative": 5, "n_unanswered": 0, "outcome": "ok",
    }  # fmt: skip
    table = pa.Table.from_pylist([{**row, "feature": i, "value": v} for i, v in enumerate((0.6, 0.8, 1.0))], schema=SCORES.schema)
    house.lake.write(SCORES.name, {"scorer": "detection", **CELL}, SCORES.schema, table, "v")
    house.build()
    with house.open() as connection:
        assert connection.execute("SELECT n_features, median FROM scores_by_method").fetchall() == [(3, 0.8)]
        assert connection.execute("SELECT count(*) FROM duckdb_extensions() WHERE loaded AND extension_name = 'httpfs'").fetchone() == (0,)
