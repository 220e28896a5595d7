"""The lake: whole partitions or none."""

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest.mock import MagicMock

import numpy as np
import pyarrow as pa
import pytest

from resources.store.lake import CorruptPartition, Lake, LakeError

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


def test_a_partition_that_goes_while_they_are_listed_is_left_out(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path), 1)
    cells = [{**CELL, "feature_range": f"{number:02d}of16"} for number in range(3)]
    for cell in cells:
        lake.write("t", cell, SCHEMA, rows(1), "v1")
    listed = lake.manifests("t")
    assert next(listed).partition == cells[0]
    lake.discard("t", cells[1])
    assert [manifest.partition for manifest in listed] == [cells[2]]


@pytest.mark.parametrize("name", ["lake", "we[i]rd*?"])
def test_what_holds_rows_is_told_from_what_is_empty_or_another_dictionarys(tmp_path: Path, name: str) -> None:
    lake = Lake(str(tmp_path / name), 1)
    ours = {"dictionary": CELL["dictionary"]}
    assert not lake.holds_rows("t", ours)
    lake.write("t", {**CELL, "dictionary": "m/09/ab"}, SCHEMA, rows(1), "v1")
    lake.write("t", CELL, SCHEMA, rows(), "v1")
    assert not lake.holds_rows("t", ours) and lake.holds_rows("t", {}) and len(list(lake.manifests("t"))) == 2
    lake.discard("t", CELL)
    assert lake.holds_rows("t", ours) and len(lake.incomplete()) == 1, "what is left without a manifest may be anything"
    lake.write("t", CELL, SCHEMA, rows(2, 3), "v2")
    assert lake.holds_rows("t", ours) and not lake.incomplete()


def folder_of(lake: Lake) -> Path:
    return Path(lake.path("t", CELL))


def test_a_writer_that_fails_in_the_middle_leaves_the_old_partition(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path), 1)
    lake.write("t", CELL, SCHEMA, rows(1), "v1")

    def dying() -> Iterator[pa.Table]:
        yield rows(7)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        lake.write("t", CELL, SCHEMA, dying(), "v2")
    assert lake.is_current("t", CELL, "v1") and lake.read("t", CELL).column("feature").to_pylist() == [1]
    assert sorted(path.name for path in folder_of(lake).iterdir()) == ["manifest.json", "part-0.parquet"]


KILLED = """
import os, signal, sys
import pyarrow as pa
from resources.store import lake_files, whole_files
from resources.store.lake import Lake

step = int(sys.argv[2])
calls = 0

def counted(work):
    def call(*arguments, **options):
        global calls
        calls += 1
        if calls == step:
            os.kill(os.getpid(), signal.SIGKILL)
        return work(*arguments, **options)
    return call

class Dying:
    def __getattr__(self, name):
        return counted(getattr(real, name)) if name in ("mv", "rm_file") else getattr(real, name)

lake = Lake(sys.argv[1], 1)
lake_files.sync = whole_files.sync = counted(whole_files.sync)
lake.files.fs = Dying()
real = Lake(sys.argv[1], 1).fs
schema = pa.schema([pa.field("feature", pa.uint32()), pa.field("value", pa.float32())])
rows = pa.table({"feature": [7], "value": [0.5]}, schema=schema)
lake.write("t", {"dictionary": "m/09/a", "feature_range": "00of16"}, schema, rows, "v2")
print(calls)
"""


def write_killed_at(root: Path, step: int) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", KILLED, str(root), str(step)]
    return subprocess.run(command, cwd=Path(__file__).parents[3], capture_output=True, text=True)


def test_killed_at_any_step_a_partition_is_the_old_the_new_or_missing_and_the_next_write_mends_it(tmp_path: Path) -> None:
    Lake(str(tmp_path / "whole"), 1).write("t", CELL, SCHEMA, rows(1), "v1")
    whole = write_killed_at(tmp_path / "whole", 0)
    n_steps = int(whole.stdout)
    assert n_steps >= 5, whole.stderr
    seen = set()
    for step in range(1, n_steps + 1):
        lake = Lake(str(tmp_path / str(step)), 1)
        lake.write("t", CELL, SCHEMA, rows(1), "v1")
        assert write_killed_at(tmp_path / str(step), step).returncode == -signal.SIGKILL
        manifest = lake.manifest("t", CELL)
        seen.add(manifest.data_version if manifest else None)
        if manifest:
            assert lake.read("t", CELL).column("feature").to_pylist() == [{"v1": 1, "v2": 7}[manifest.data_version]]
        else:
            with pytest.raises(LakeError, match="no complete t"):
                lake.read("t", CELL)
            assert [Path(folder).name for folder in lake.incomplete()] == ["feature_range=00of16"]
        lake.write("t", CELL, SCHEMA, rows(9), "v3")
        assert lake.read("t", CELL).column("feature").to_pylist() == [9] and lake.incomplete() == []
        assert sorted(path.name for path in folder_of(lake).iterdir()) == ["manifest.json", "part-0.parquet"]
    assert seen == {"v1", None, "v2"}


def test_two_writers_of_one_partition_leave_the_whole_of_one(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path), 1)

    def write(number: int) -> None:
        lake.write("t", CELL, SCHEMA, rows(*[number] * (number + 1)), f"v{number}")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, [number % 8 for number in range(64)]))
    manifest = lake.require("t", CELL)
    number = int(manifest.data_version[1:])
    assert lake.read("t", CELL).column("feature").to_pylist() == [number] * manifest.rows == [number] * (number + 1)


@pytest.mark.parametrize("place", [0.02, 0.3, 0.6, 0.9, 0.97, 1.0])
def test_a_flipped_byte_is_found_named_and_withdrawn_and_the_next_write_mends_it(tmp_path: Path, place: float) -> None:
    lake = Lake(str(tmp_path), 1)
    rng = np.random.default_rng(0)
    table = pa.table({"feature": rng.integers(0, 1 << 31, 5000), "value": rng.random(5000)}).cast(SCHEMA)
    manifest = lake.write("t", CELL, SCHEMA, table, "v1", row_group_rows=1000)
    part = folder_of(lake) / "part-0.parquet"
    content = bytearray(part.read_bytes())
    content[min(int(len(content) * place), len(content) - 1)] ^= 0x10
    part.write_bytes(content)
    with pytest.raises(CorruptPartition, match=r"t for dictionary m/09/a, feature_range 00of16 is damaged .*materialise"):
        lake.verify(manifest)
    assert not lake.is_current("t", CELL, "v1") and lake.incomplete()
    with pytest.raises(LakeError, match="no complete t"):
        lake.read("t", CELL)
    lake.write("t", CELL, SCHEMA, table, "v1")
    assert lake.read("t", CELL).equals(table) and lake.incomplete() == []


def test_a_partition_is_found_by_its_manifest_whatever_the_order_of_its_columns(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path), 1)
    lake.write("t", {"scorer": "a", **CELL}, SCHEMA, rows(1), "v1")
    (manifest,) = lake.manifests("t")
    lake.verify(manifest)
    assert lake.read("t", manifest.partition).equals(rows(1))


def test_a_lost_file_counts_as_missing(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path), 1)
    lake.write("t", CELL, SCHEMA, rows(1), "v1")
    (folder_of(lake) / "part-0.parquet").unlink()
    with pytest.raises(CorruptPartition, match="damaged"):
        lake.read("t", CELL)
    assert lake.manifest("t", CELL) is None


def test_a_full_disk_is_named_and_what_was_complete_stays(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path), 1)
    lake.write("t", CELL, SCHEMA, rows(1), "v1")
    open_file = lake.fs.open
    lake.files.fs = MagicMock(wraps=lake.fs)
    # The real full device of the kernel: every write to it says that there is no space.
    lake.fs.open = lambda path, mode="rb": open_file("/dev/full" if mode == "wb" else path, mode)
    with pytest.raises(LakeError, match=r"no room left while writing t for dictionary m/09/a.*INTERP_LAKE"):
        lake.write("t", CELL, SCHEMA, rows(*range(100_000)), "v2")
    fresh = Lake(str(tmp_path), 1)
    assert fresh.is_current("t", CELL, "v1") and fresh.read("t", CELL).num_rows == 1


def test_identical_writes_leave_identical_bytes(tmp_path: Path) -> None:
    written = []
    for name in ("a", "b"):
        lake = Lake(str(tmp_path / name), 1)
        lake.write("t", CELL, SCHEMA, rows(1, 2), "v1")
        written.append({p.relative_to(tmp_path / name): p.read_bytes() for p in (tmp_path / name).rglob("*") if p.is_file()})
    assert written[0] == written[1]


def test_a_store_of_another_schema_version_is_refused_with_both_versions(tmp_path: Path) -> None:
    Lake(str(tmp_path), 1).write("t", CELL, SCHEMA, rows(1), "v1")
    with pytest.raises(LakeError, match=r"version 1.*version 2.*INTERP_HOME"):
        Lake(str(tmp_path), 2)


def test_a_partition_of_another_schema_version_is_refused(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path), 1)
    lake.write("t", CELL, SCHEMA, rows(1), "v1")
    path = Path(lake.path("t", CELL)) / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema_version": 0}))
    with pytest.raises(LakeError, match=r"manifest\.json vouches for nothing: it was written under schema version 0.*again"):
        lake.require("t", CELL)
    assert lake.manifest("t", CELL) is None and list(lake.manifests("t")) == []
    lake.write("t", CELL, SCHEMA, rows(2), "v1")
    assert lake.read("t", CELL).equals(rows(2))


def test_the_same_code_writes_to_an_object_store(tmp_path: Path) -> None:
    lake = Lake("memory://lake-test", 1)
    lake.write("t", CELL, SCHEMA, rows(4), "v1")
    assert Lake("memory://lake-test", 1).read("t", CELL).column("feature").to_pylist() == [4]
    assert len(list(lake.manifests("t"))) == 1


def test_a_lake_is_made_at_the_first_write_and_not_before(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path / "home" / "lake"), 1)
    assert lake.manifest("t", CELL) is None and list(lake.manifests("t")) == [] and lake.incomplete() == []
    assert not (tmp_path / "home").exists()
    lake.write("t", CELL, SCHEMA, rows(1), "v1")
    assert Lake(str(tmp_path / "home" / "lake"), 1).read("t", CELL).num_rows == 1


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda text: "", "it is empty"),
        (lambda text: text[: len(text) // 2], "cut off or damaged"),
        (lambda text: text.replace('"rows": 1', '"rows": 999999'), "checksum does not fit"),
        (lambda text: text.replace('"v1"', '"v2"'), "checksum does not fit"),
        (lambda text: text.replace('"bytes"', '"byte"'), "it has no bytes"),
        (lambda text: text.replace('"rows": 1', '"rows": true'), "its rows is"),
        (lambda text: "[1, 2]", "it holds a list"),
        (lambda text: "\x00" * 40, "cut off or damaged"),
        (lambda text: text.replace("00of16", "01of16"), "checksum does not fit"),
    ],
)
def test_a_manifest_that_is_not_what_was_written_vouches_for_nothing_and_spoils_nothing_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, spoil: Callable[[str], str], problem: str
) -> None:
    lake = Lake(str(tmp_path), 1)
    other = {**CELL, "feature_range": "01of16"}
    lake.write("t", CELL, SCHEMA, rows(1), "v1")
    lake.write("t", other, SCHEMA, rows(2), "v1")
    path = folder_of(lake) / "manifest.json"
    path.write_text(spoil(path.read_text()))
    assert not lake.is_current("t", CELL, "v1") and [one.partition for one in lake.manifests("t")] == [other]
    assert str(path) in caplog.text and problem in caplog.text
    with pytest.raises(
        LakeError, match=rf"manifest\.json vouches for nothing: .*{problem}.*materialise the asset that writes t there again"
    ):
        lake.read("t", CELL)
    lake.write("t", CELL, SCHEMA, rows(3), "v1")
    assert lake.read("t", CELL).equals(rows(3))


def test_a_manifest_without_a_checksum_of_an_earlier_release_counts_and_its_rows_are_compared(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path), 1)
    lake.write("t", CELL, SCHEMA, rows(1, 2), "v1")
    path = folder_of(lake) / "manifest.json"
    earlier = {name: value for name, value in json.loads(path.read_text()).items() if not name.endswith(("manifest_crc32", "file_crc32"))}
    path.write_text(json.dumps(earlier))
    assert lake.read("t", CELL).num_rows == 2
    path.write_text(json.dumps(earlier | {"rows": 999_999}))
    with pytest.raises(CorruptPartition, match="2 rows, and 999,999 in its manifest"):
        lake.read("t", CELL)
    assert lake.manifest("t", CELL) is None


def test_a_partition_that_was_copied_under_another_name_does_not_count(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path), 1)
    lake.write("t", CELL, SCHEMA, rows(1), "v1")
    shutil.copytree(folder_of(lake), folder_of(lake).with_name("feature_range=01of16"))
    with pytest.raises(LakeError, match="it is the manifest of t for dictionary m/09/a, feature_range 00of16"):
        lake.require("t", {**CELL, "feature_range": "01of16"})


@pytest.mark.parametrize("marker", [None, "", "{", "[]", '{"schema_version": null}', '{"schema_version": "1"}'])
def test_a_lost_marker_is_written_again_where_the_manifests_agree_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, marker: str | None
) -> None:
    Lake(str(tmp_path), 1).write("t", CELL, SCHEMA, rows(1), "v1")
    path = tmp_path / "lake.json"
    if marker is None:
        path.unlink()
    else:
        path.write_text(marker)
    with pytest.raises(LakeError, match=r"lake\.json .*schema version 1; this code reads and writes version 2"):
        Lake(str(tmp_path), 2)
    assert Lake(str(tmp_path), 1).read("t", CELL).num_rows == 1
    assert json.loads(path.read_text()) == {"schema_version": 1} and str(path) in caplog.text


def test_a_lake_that_may_not_be_opened_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LakeError, match=r"cannot be opened .*INTERP_HOME or INTERP_LAKE"):
        Lake(str(tmp_path / "file"), 1)


def test_a_reader_beside_two_writers_gets_the_rows_of_one_and_withdraws_nothing(tmp_path: Path) -> None:
    def write(n: int) -> None:
        Lake(str(tmp_path), 1).write("t", CELL, SCHEMA, rows(*range(n)), f"v{n}")

    def keep_writing(n: int) -> None:
        while time.monotonic() < end:
            write(n)

    write(10)
    end = time.monotonic() + 1.5
    lake, read = Lake(str(tmp_path), 1), 0
    with ThreadPoolExecutor(2) as writers:
        writing = [writers.submit(keep_writing, n) for n in (10, 700)]
        while not all(one.done() for one in writing):
            assert lake.read("t", CELL).num_rows in (10, 700)
            read += 1
        for one in writing:
            one.result()
    assert read > 3
