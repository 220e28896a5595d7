"""The spill equals a dense reference, also across a crash."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from resources.store.activation_spill import ActivationSpill, SpillError
from resources.store.stored_values import LARGEST_FLOAT16, codes, decoded, stored_values
from resources.subject.model import SparseBatch

ROWS, CONTEXT, WIDTH, BATCH = 12, 8, 30, 3
BOUNDS = {"a": [0, 10, 11, 30], "b": [5, 20]}


def dense(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    values = rng.random((ROWS, CONTEXT, WIDTH)).astype(np.float32) * 5
    return np.where(rng.random(values.shape) < 0.1, values, 0)


DENSE = {"a": dense(0), "b": dense(1)}


def batch(name: str, start: int) -> SparseBatch:
    part = DENSE[name][start : start + BATCH]
    row, position, feature = np.nonzero(part)
    return SparseBatch(
        name, (row + start).astype("u4"), position.astype("u2"), feature.astype("u4"), part[row, position, feature], start + BATCH
    )


def filled(folder: Path, buffer_bytes: int = 1 << 30, sort_records: int = 1 << 20) -> ActivationSpill:
    """A spill of all of DENSE."""
    spill = ActivationSpill(folder, BOUNDS, CONTEXT, buffer_bytes, sort_records)
    for start in range(0, ROWS, BATCH):
        for name in BOUNDS:
            spill.append(name, batch(name, start))
    spill.flush()
    return spill


def whole_range(spill: ActivationSpill, name: str, index: int) -> list[np.ndarray]:
    """A range put together from its groups, which must be whole, in order and without a gap."""
    low, high = BOUNDS[name][index : index + 2]
    chunks, edge = [], low
    for group in spill.sorted_groups(name, index):
        assert (group.first_feature == edge and group.end_feature > group.first_feature) or low == high
        parts = list(group.chunks())
        assert sum(len(part[0]) for part in parts) == group.n == sum(len(part[0]) for part in group.chunks())
        assert all(((part[0] >= group.first_feature) & (part[0] < group.end_feature)).all() for part in parts)
        edge = group.end_feature
        chunks += parts
    assert edge == high
    empty = [np.empty(0, dtype) for dtype in ("u4", "u4", "f2")]
    return [
        np.concatenate([none, *arrays]) for none, arrays in zip(empty, zip(*chunks, strict=True) if chunks else ((), (), ()), strict=True)
    ]


def check(spill: ActivationSpill) -> None:
    for name, edges in BOUNDS.items():
        for index, (low, high) in enumerate(pairwise(edges)):
            flat = DENSE[name].reshape(-1, WIDTH)[:, low:high].T
            feature, position = np.nonzero(flat)
            found = whole_range(spill, name, index)
            np.testing.assert_array_equal(found[0], feature + low)
            np.testing.assert_array_equal(found[1], position)
            np.testing.assert_array_equal(found[2], stored_values(flat[feature, position]))
            assert [array.dtype for array in found] == [np.uint32, np.uint32, np.float16]


def check_continued(folder: Path) -> None:
    """A spill whose first batch is safe goes on from there and ends as the dense reference."""
    again = ActivationSpill(folder, BOUNDS, CONTEXT)
    assert again.rows_done == BATCH
    for start in range(again.rows_done, ROWS, BATCH):
        for name in BOUNDS:
            again.append(name, batch(name, start))
    again.flush()
    check(again)


@pytest.mark.parametrize("sort_records", [1, 7, 40, 1 << 20])
@pytest.mark.parametrize("buffer_bytes", [1, 1 << 30])
def test_equals_the_dense_reference(tmp_path: Path, buffer_bytes: int, sort_records: int) -> None:
    spill = filled(tmp_path, buffer_bytes, sort_records)
    assert spill.rows_done == ROWS
    check(spill)


@pytest.mark.parametrize("sort_records", [1, 3, 100])
def test_silent_features_between_dense_ones_have_groups_of_nothing(tmp_path: Path, sort_records: int) -> None:
    spill = ActivationSpill(tmp_path, {"a": [0, 12]}, CONTEXT, sort_records=sort_records)
    feature = np.repeat(np.array([3, 8, 11], dtype="u4"), [5, 1, 5])
    position = np.concatenate([np.arange(5), [2], np.arange(5)])
    order = np.lexsort((feature, position))
    at = position[order].astype("u2")
    spill.append("a", SparseBatch("a", np.zeros(11, dtype="u4"), at, feature[order], np.ones(11, dtype="f4"), 1))
    spill.flush()
    groups = [(group, [(f.tolist(), p.tolist()) for f, p, _ in group.chunks()]) for group in spill.sorted_groups("a", 0)]
    assert [groups[0][0].first_feature, *(group.end_feature for group, _ in groups)] == sorted(
        {0, 12, *(g.first_feature for g, _ in groups)}
    )
    found = [(f, p) for _, chunks in groups for fs, ps in chunks for f, p in zip(fs, ps, strict=True)]
    assert found == list(zip(feature.tolist(), position.tolist(), strict=True))


def test_a_sort_that_fails_leaves_nothing_beside_the_spill(tmp_path: Path) -> None:
    spill = filled(tmp_path, sort_records=7)
    before = {path.name for path in tmp_path.iterdir()}
    groups = spill.sorted_groups("a", 0)
    next(groups)
    assert {path.name for path in tmp_path.iterdir()} == before | {"000-00000.runs"}
    groups.close()  # as when what reads them fails
    assert {path.name for path in tmp_path.iterdir()} == before
    (tmp_path / "000-00002.runs").mkdir()  # of a run that was killed there
    spill.close()
    ActivationSpill(tmp_path, BOUNDS, CONTEXT).close()
    assert {path.name for path in tmp_path.iterdir()} == before


def test_a_restart_cuts_off_what_the_crash_left(tmp_path: Path) -> None:
    spill = ActivationSpill(tmp_path, BOUNDS, CONTEXT)
    for name in BOUNDS:
        spill.append(name, batch(name, 0))
    spill.flush()
    with next(iter(tmp_path.glob("*.bin"))).open("ab") as handle:
        handle.write(b"torn")
    (tmp_path / "001-00009.bin").write_bytes(b"unknown")
    spill.close()
    check_continued(tmp_path)


def test_tiny_and_huge_values_stay_positive_and_finite(tmp_path: Path) -> None:
    spill = ActivationSpill(tmp_path, {"a": [0, 2]}, CONTEXT)
    one = np.zeros(2, dtype="u4")
    spill.append("a", SparseBatch("a", one, one.astype("u2"), np.arange(2, dtype="u4"), np.array([1e-20, 1e20], dtype="f4"), 1))
    spill.flush()
    ((_, _, value),) = next(spill.sorted_groups("a", 0)).chunks()
    assert (value > 0).all() and np.isfinite(value).all()


def test_other_ranges_in_the_same_folder_are_refused(tmp_path: Path) -> None:
    with ActivationSpill(tmp_path, BOUNDS, CONTEXT) as spill:
        spill.flush()
    with pytest.raises(SpillError):
        ActivationSpill(tmp_path, {"a": [0, 30]}, CONTEXT)


def test_an_interrupted_sort_begins_anew(tmp_path: Path) -> None:
    spill = filled(tmp_path, sort_records=7)
    groups = spill.sorted_groups("a", 0)
    next(groups), next(groups)
    spill.close()
    check(ActivationSpill(tmp_path, BOUNDS, CONTEXT, sort_records=7))
    assert not list(tmp_path.glob("*.runs"))


def test_a_full_disk_is_named_and_the_harvest_continues_where_it_was_safe(tmp_path: Path) -> None:
    spill = ActivationSpill(tmp_path, BOUNDS, CONTEXT)
    for name in BOUNDS:
        spill.append(name, batch(name, 0))
    spill.flush()
    for name in BOUNDS:
        spill.append(name, batch(name, BATCH))
    full = tmp_path / "000-00002.bin"
    kept = full.read_bytes()
    full.unlink()
    full.symlink_to("/dev/full")  # the kernel's full device: every write says that there is no space
    with pytest.raises(SpillError, match=r"no room left .* 3 contexts are safe .*INTERP_HOME"):
        spill.flush()
    full.unlink()
    full.write_bytes(kept)
    spill.close()
    check_continued(tmp_path)


def test_a_folder_belongs_to_one_run_at_a_time(tmp_path: Path) -> None:
    with ActivationSpill(tmp_path, BOUNDS, CONTEXT), pytest.raises(SpillError, match="another run is harvesting"):
        ActivationSpill(tmp_path, BOUNDS, CONTEXT)
    ActivationSpill(tmp_path, BOUNDS, CONTEXT).close()


def test_stored_values_are_rounded_to_nine_significant_bits() -> None:
    # 1 + k/1024 are float16's own steps above 1; every fourth is kept, halves go to the even one.
    steps = 1 + np.arange(13) / 1024
    assert ((stored_values(steps).astype(float) - 1) * 1024).tolist() == [0, 0, 0, 4, 4, 4, 8, 8, 8, 8, 8, 12, 12]
    values = np.geomspace(1e-4, 6e4, 10_000)
    assert np.max(np.abs(stored_values(values).astype(float) / values - 1)) <= 2**-9 + 2**-11
    assert (np.diff(stored_values(values).astype(float)) >= 0).all()
    assert (stored_values(stored_values(values).astype(np.float32)) == stored_values(values)).all()


def test_values_beyond_float16_are_stored_as_float32_to_nine_significant_bits() -> None:
    large = np.float32([1e5, 2e5, 3e5, 65_505, 1e20, np.finfo(np.float32).max])
    found = stored_values(large)
    assert found.dtype == np.float32 and np.isfinite(found).all()
    np.testing.assert_allclose(found, large, rtol=2**-9)
    # 65,536 (1 + k/1024): halves of a step of 4 go to the even one, as below.
    steps = np.float32(65_536) * (1 + np.arange(13, dtype=np.float32) / 1024)
    assert ((stored_values(steps).astype(float) / 65_536 - 1) * 1024).tolist() == [0, 0, 0, 4, 4, 4, 8, 8, 8, 8, 8, 12, 12]
    assert stored_values(np.float32([LARGEST_FLOAT16])).tolist() == [65_408.0]
    mixed = stored_values(np.float32([1.0, 1e5, 2.0]))
    assert mixed.dtype == np.float32 and mixed[[0, 2]].tolist() == [1.0, 2.0]
    every = np.float32(2.0) ** np.random.default_rng(0).uniform(-14, 127, 20_000).astype(np.float32)
    np.testing.assert_allclose(decoded(codes(every)), every, rtol=2**-9 + 2**-11)
    assert (np.diff(decoded(codes(np.sort(every)))) >= 0).all()


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_a_value_that_is_not_finite_is_refused(wrong: float) -> None:
    with pytest.raises(ValueError, match=r"1 NaN and 0|0 NaN and 1"):
        stored_values(np.float32([1.0, wrong]))


def test_a_spill_gives_large_values_back(tmp_path: Path) -> None:
    """Feature 1 goes beyond float16 and features 0 and 2 do not: the chunk that holds feature 1 is float32."""
    feature, value = np.uint32([0, 1, 2, 0, 1]), np.float32([1.5, 3e5, 2.5, 0.5, 1e6])
    batch = SparseBatch("sae", np.zeros(5, np.uint32), np.arange(5, dtype=np.uint16), feature, value, 1)
    for sort_records in (100, 2):  # at once, and dealt out in runs
        with ActivationSpill(tmp_path / str(sort_records), {"sae": [0, 3]}, 8, sort_records=sort_records) as spill:
            spill.append("sae", batch)
            spill.flush()
            chunks = [chunk for group in spill.sorted_groups("sae", 0) for chunk in group.chunks()]
        found = {int(f): v for fs, _, vs in chunks for f, v in zip(fs[::-1], vs[::-1].tolist(), strict=True)}
        assert found[0] == 1.5 and found[2] == 2.5
        assert found[1] == pytest.approx(3e5, rel=2**-9)
