"""A dictionary's shards are written range by range, several at a time: the same files, and nothing left running where one fails."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from interp_assets.assets.activation_shards import shards
from interp_assets.assets.activation_shards.shards import ShardWriter, feature_edges
from interp_assets.config.keys import FEATURE_RANGE_KEYS, RangeKey, lake_partition
from interp_assets.config.records import DictionaryRecord, FeatureFile
from interp_assets.orchestration.stage import changed_inputs
from interp_assets.reading.activations import activations_in_order, activations_of
from interp_assets.reading.token_sample import TokenSample
from interp_assets.tables import ACTIVATIONS, FEATURE_STATISTICS, SCHEMA_VERSION
from resources.fakes import FakeTokenizer
from resources.progress import Progress
from resources.store.activation_spill import ActivationSpill, SortedGroup
from resources.store.lake import Lake
from resources.subject.model import SparseBatch

ROWS, CONTEXT, WIDTH = 40, 16, 80
RECORD = DictionaryRecord(key="fake/00/neurons", hook="blocks.0.mlp.hook_post", kind="neurons", width=WIDTH)
FAILING = 3


@pytest.fixture
def spill(tmp_path: Path) -> ActivationSpill:
    """A third of all values, in groups of at most 100."""
    rng = np.random.default_rng(0)
    made = ActivationSpill(tmp_path / "spill", {RECORD.key: feature_edges(RECORD)}, CONTEXT, sort_records=100)
    row, position, feature = np.nonzero(rng.random((ROWS, CONTEXT, WIDTH)) < 1 / 3)
    value = rng.gamma(2.0, 3.0, len(row)).astype(np.float32) + 0.01
    made.append(RECORD.key, SparseBatch(RECORD.key, row.astype("u4"), position.astype("u2"), feature.astype("u4"), value, ROWS))
    made.flush()
    return made


def writer(folder: Path) -> ShardWriter:
    tokens = np.random.default_rng(1).integers(3, 40, (ROWS, CONTEXT), dtype=np.int32)
    return ShardWriter(Lake(str(folder), SCHEMA_VERSION), RECORD, TokenSample("sample", tokens), FakeTokenizer(), "version", cap=120)


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.glob("**/*") if path.is_file()}


class FailingOnce:
    """A spill of which one range cannot be read, and the ranges before it take long; `begun` are the ranges that were asked for."""

    def __init__(self, spill: ActivationSpill) -> None:
        self._spill = spill
        self._failed = threading.Event()
        self.begun: list[int] = []

    def sorted_groups(self, name: str, range_index: int) -> Iterator[SortedGroup]:
        self.begun.append(range_index)
        if range_index == FAILING:
            self._failed.set()
            raise OSError("a bad block")
        for number, group in enumerate(self._spill.sorted_groups(name, range_index)):
            if number and range_index == FAILING - 1 and threading.current_thread() is not threading.main_thread():
                assert self._failed.wait(30)
                time.sleep(0.5)
            yield group


@pytest.mark.parametrize("n_threads", [2, 16])
def test_threads_leave_the_same_files(tmp_path: Path, spill: ActivationSpill, n_threads: int) -> None:
    writer(tmp_path / "one").write(spill)
    writer(tmp_path / "many").write(spill, n_threads)
    found = files(tmp_path / "many")
    assert found == files(tmp_path / "one")
    assert sum(name.endswith("part-0.parquet") for name in found) == 2 * len(FEATURE_RANGE_KEYS)


def test_what_activations_were_made_from_is_kept_and_a_change_of_it_is_named(tmp_path: Path, spill: ActivationSpill) -> None:
    chosen = tmp_path / "chosen.txt"
    chosen.write_text("\n".join(map(str, range(WIDTH))))
    record = RECORD.model_copy(update={"features": FeatureFile(file=str(chosen))})
    made = writer(tmp_path / "lake")
    replace(made, record=record).write(spill)
    assert changed_inputs(made.lake, record) == []
    chosen.write_text("3")
    (line,) = changed_inputs(made.lake, record)
    assert line.startswith(f"input changed: features {chosen} of {RECORD.key}") and "activation_shards was made from" in line


def test_ranges_are_written_side_by_side(tmp_path: Path, spill: ActivationSpill) -> None:
    met = threading.Barrier(4, timeout=30)

    class Meeting:
        """Goes on once four ranges have been begun."""

        def sorted_groups(self, name: str, range_index: int) -> Iterator[SortedGroup]:
            if range_index < met.parties:
                met.wait()
            return spill.sorted_groups(name, range_index)

    writer(tmp_path / "lake").write(Meeting(), met.parties)


@pytest.mark.parametrize(("n_threads", "complete"), [(1, [0, 1, 2]), (2, [0, 1])])
def test_where_a_range_fails_the_rest_is_left_and_a_rerun_completes_it(
    tmp_path: Path, spill: ActivationSpill, n_threads: int, complete: list[int]
) -> None:
    """With two threads the range before the failing one is under way when it fails, and left where it is."""
    before = set(threading.enumerate())
    failing, shard_writer = FailingOnce(spill), writer(tmp_path / "lake")
    with pytest.raises(OSError, match="a bad block"):
        shard_writer.write(failing, n_threads)
    assert set(threading.enumerate()) <= before and max(failing.begun) <= FAILING + 1
    lake = Lake(str(tmp_path / "lake"), SCHEMA_VERSION)
    for index, feature_range in enumerate(FEATURE_RANGE_KEYS):
        partition = lake_partition(RangeKey(RECORD.key, feature_range))
        found = [lake.is_current(table.name, partition, "version") for table in (ACTIVATIONS, FEATURE_STATISTICS)]
        assert found == [index in complete] * 2
    assert not list(tmp_path.glob("**/*.tmp"))
    shard_writer.write(spill, n_threads)
    writer(tmp_path / "undisturbed").write(spill)
    assert files(tmp_path / "lake") == files(tmp_path / "undisturbed")


def test_an_interrupt_is_heard_while_threads_write(tmp_path: Path, spill: ActivationSpill) -> None:
    """As Ctrl-C does it: the ranges under way stop at their next group, and nothing goes on behind."""
    asked: list[int] = []

    class Slow:
        def sorted_groups(self, name: str, range_index: int) -> Iterator[SortedGroup]:
            asked.append(range_index)
            if len(asked) == 2:
                os.kill(os.getpid(), signal.SIGINT)
            for group in spill.sorted_groups(name, range_index):
                yield group
                time.sleep(1.5)

    before = set(threading.enumerate())
    with pytest.raises(KeyboardInterrupt):
        writer(tmp_path / "lake").write(Slow(), 2)
    assert set(threading.enumerate()) <= before and sorted(asked) == [0, 1]
    assert not list(Lake(str(tmp_path / "lake"), SCHEMA_VERSION).manifests(ACTIVATIONS.name))


def test_an_interrupt_while_a_thread_is_started_leaves_no_thread(
    tmp_path: Path, spill: ActivationSpill, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a busy machine, where Ctrl-C finds the pool between the start of its second thread and the note of it."""
    asked: list[int] = []
    start, started = threading.Thread.start, []

    class Slow:
        def sorted_groups(self, name: str, range_index: int) -> Iterator[SortedGroup]:
            asked.append(range_index)
            for group in spill.sorted_groups(name, range_index):
                yield group
                time.sleep(0.5)

    def interrupted(thread: threading.Thread) -> None:
        start(thread)
        started.append(thread)
        if len(started) == 2:
            while len(asked) < 2:
                time.sleep(0.01)
            raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    before = set(threading.enumerate())
    with pytest.raises(KeyboardInterrupt):
        writer(tmp_path / "lake").write(Slow(), 2)
    assert set(threading.enumerate()) <= before and sorted(asked) == [0, 1]
    assert not list(Lake(str(tmp_path / "lake"), SCHEMA_VERSION).manifests(ACTIVATIONS.name))


def test_how_many_ranges_are_written_is_told(tmp_path: Path, spill: ActivationSpill, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "REPORT_SECONDS", 0.0)
    told: list[Progress] = []
    writer(tmp_path / "lake").write(spill, 2, told.append)
    assert [(progress.done, progress.total) for progress in told] == [(done, 16) for done in range(1, 17)]
    assert told[-1].eta_seconds == 0


def test_a_range_with_values_beyond_float16_is_float32_and_the_others_are_as_before(spill: ActivationSpill, tmp_path: Path) -> None:
    made = ActivationSpill(tmp_path / "large", {RECORD.key: feature_edges(RECORD)}, CONTEXT)
    row, place = np.uint32([0, 0, 1]), np.uint16([1, 2, 3])
    feature, value = np.uint32([0, 0, WIDTH - 1]), np.float32([2.0, 3e5, 1.0])
    made.append(RECORD.key, SparseBatch(RECORD.key, row, place, feature, value, ROWS))
    made.flush()
    lake_writer = writer(tmp_path / "lake")
    lake_writer.write(made)
    first, last = (RangeKey(RECORD.key, FEATURE_RANGE_KEYS[i]) for i in (0, -1))
    rows = lake_writer.lake.read(ACTIVATIONS.name, lake_partition(first))
    assert str(rows.schema.field("value").type) == "float"
    assert rows.column("value").to_pylist() == pytest.approx([2.0, 3e5], rel=2**-9)
    assert str(lake_writer.lake.read(ACTIVATIONS.name, lake_partition(last)).schema.field("value").type) == "halffloat"
    statistics = lake_writer.lake.read(FEATURE_STATISTICS.name, lake_partition(first), columns=["feature", "max_activation"])
    assert statistics.to_pylist()[0]["max_activation"] == pytest.approx(3e5, rel=2**-9)
    found = dict(activations_in_order(lake_writer.lake, first, RECORD.features_of(first)))
    assert found[0][1].tolist() == pytest.approx([2.0, 3e5], rel=2**-9)
    assert activations_of(lake_writer.lake, RECORD, [0, WIDTH - 1])[0][1].max() == pytest.approx(3e5, rel=2**-9)
