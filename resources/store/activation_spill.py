"""Activations on disk between harvest and lake: appended in row order, read back sorted, by feature range and group of whole features.

    spill = ActivationSpill(folder, {"sae": [0, 128, 256]}, context_tokens=256)
    for batch in subject.sparse_activations(rows, dictionaries, first_row=spill.rows_done):
        spill.append(batch.name, batch)
    for group in spill.sorted_groups("sae", 0):
        for feature, position, value in group.chunks():
            ...

While appending, memory is bounded by the buffer; while reading, by `sort_records` for each thread, whatever the number of activations: a
larger range is first split on disk into runs of features that fit. Several threads may read, each thread another range.
`rows_done.json` has the valid length of every file. Bytes that a crash left beyond it are cut off: a restart repeats at most the rows since
the last flush.
"""

import errno
import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from resources.store.stored_values import codes, decoded

if TYPE_CHECKING:
    from resources.subject.model import SparseBatch

RECORD = np.dtype([("feature", "<u4"), ("position", "<u4"), ("value", "<u2")])
MARKER = "rows_done.json"


class SpillError(ValueError):
    """A spill folder that does not fit the request, or that has no room left."""


Activations = tuple[np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True)
class SortedGroup:
    """All activations of the features in [first_feature, end_feature): `n` activations, in chunks sorted by feature then position.

    Each chunk is (feature uint32, position uint32 = row * context + place in the row, value float16 or, where that
    does not hold all of the chunk's, float32), three arrays of one length; a
    feature is in two chunks only where it is alone in its group. `chunks` may be called again.
    """

    first_feature: int
    end_feature: int
    n: int
    chunks: Callable[[], Iterator[Activations]]


class ActivationSpill:
    """Unsorted activations of some dictionaries, 10 bytes each, one file a feature range."""

    def __init__(
        self,
        folder: Path,
        bounds: Mapping[str, Sequence[int] | np.ndarray],
        context_tokens: int,
        buffer_bytes: int = 64 << 20,
        sort_records: int = 2 << 20,
    ) -> None:
        """Open or resume the spill in `folder`. Each thread that reads a range sorts at most `sort_records` activations (about 40 bytes
        each) at once.

        `bounds[name]` are ascending feature numbers: range i holds features in [bounds[i], bounds[i+1]); other features are dropped. The
        folder belongs to this object until `close`. Raises `SpillError` when another process holds the folder, or when it was made for
        other bounds or another context length.
        """
        self.folder = Path(folder)
        self.bounds = {name: np.asarray(edges, dtype=np.int64) for name, edges in bounds.items()}
        self.context_tokens = context_tokens
        self._buffer_bytes, self._sort_records = buffer_bytes, sort_records
        self._held: dict[tuple[str, int], list[np.ndarray]] = {}
        self._held_bytes = 0
        self._rows: dict[str, int] = {}
        self._names = {name: f"{number:03d}" for number, name in enumerate(sorted(self.bounds))}
        for name, edges in self.bounds.items():
            assert len(edges) > 1 and (np.diff(edges) >= 0).all(), f"bounds of {name} must ascend, got {edges.tolist()}"
        self._ranges = {name: _ranges(edges) for name, edges in self.bounds.items()}
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.close()
            raise SpillError(
                f"another run is harvesting the same activations into {self.folder}. Wait for it, then run again: it finds them there."
            ) from None
        self._resume()

    def __enter__(self) -> "ActivationSpill":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the folder to other processes; flushed activations stay in it. Nothing can be appended afterwards."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    @property
    def rows_done(self) -> int:
        """Rows that are safe on disk for every dictionary; a harvest continues with this row."""
        return self._rows_on_disk

    def append(self, name: str, batch: "SparseBatch") -> None:
        """Take one batch. Batches of one dictionary come in row order; rows below `rows_done` must not come again.

        Values are stored as `resources.store.stored_values` has them. Raises `ValueError` for one that is not finite.
        """
        ranges = self._ranges[name]
        order, starts = _dealt(ranges[np.minimum(batch.feature, len(ranges) - 1)], len(self.bounds[name]) - 1)
        records = np.empty(len(order), dtype=RECORD)
        records["feature"] = batch.feature[order]
        records["position"] = (batch.row.astype(np.uint64) * self.context_tokens + batch.position)[order]
        records["value"] = codes(batch.value)[order]
        assert not len(batch.row) or int(batch.row[-1] + 1) * self.context_tokens <= 1 << 32, "positions exceed 32 bits: fewer rows"
        for index, (first, end) in enumerate(pairwise(starts)):
            if first < end:
                self._held.setdefault((name, index), []).append(records[first:end])
        self._held_bytes += records.nbytes
        self._rows[name] = batch.rows_done
        if self._held_bytes >= self._buffer_bytes and len(set(self._rows.values())) == 1 and len(self._rows) == len(self.bounds):
            self.flush()

    def flush(self) -> None:
        """Write the buffer and advance `rows_done`. Call it once after the last batch; every dictionary must be at the same row.

        Raises `SpillError` when the disk is full; activations that were flushed before stay.
        """
        rows = set(self._rows.values()) if self._rows else {self._rows_on_disk}
        assert len(rows) == 1 and (not self._rows or len(self._rows) == len(self.bounds)), f"dictionaries at different rows: {self._rows}"
        with self._room_named():
            for (name, index), parts in self._held.items():
                path = self._path(name, index)
                with path.open("ab") as handle:
                    for part in parts:
                        handle.write(part.data)
                    handle.flush()
                    os.fsync(handle.fileno())
                self._sizes[path.name] = path.stat().st_size
            self._held, self._held_bytes = {}, 0
            self._rows_on_disk = rows.pop()
            self._write_marker()

    def sorted_groups(self, name: str, range_index: int) -> Iterator[SortedGroup]:
        """The groups of one range, in order of feature. Together they cover the range, also features that never fired.

        Only flushed activations are included. A group's chunks can be read until the next group is asked for. Raises `SpillError` when the
        disk is full.
        """
        low, high = (int(edge) for edge in self.bounds[name][range_index : range_index + 2])
        path = self._path(name, range_index)
        n = path.stat().st_size // RECORD.itemsize if path.is_file() else 0
        if n <= self._sort_records:
            yield SortedGroup(low, high, n, lambda: iter([_sorted(_records(path), low)] if n else []))
            return
        counts = np.zeros(high - low, dtype=np.int64)
        for part in _parts(path, self._sort_records):
            counts += np.bincount(part["feature"].astype(np.int64) - low, minlength=high - low)
        cuts = _cuts(counts, self._sort_records)
        folder = self.folder / f"{path.stem}.runs"
        shutil.rmtree(folder, ignore_errors=True)
        try:
            with self._room_named():
                folder.mkdir()
                _deal(path, folder, low, cuts, self._sort_records)
            for number, (first, end) in enumerate(pairwise(cuts)):
                run, n = folder / f"{number:06d}.bin", int(counts[first:end].sum())
                yield SortedGroup(low + int(first), low + int(end), n, partial(self._run_chunks, run, n, low, int(end - first)))
                run.unlink(missing_ok=True)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _run_chunks(self, run: Path, n: int, low: int, n_features: int) -> Iterator[Activations]:
        """The chunks of one run of `n` records. A feature alone in its run is in position order already. A run of silent features has no
        file."""
        if n_features > 1:
            yield from [_sorted(_records(run), low)] if n else []
            return
        for part in _parts(run, self._sort_records):
            yield part["feature"].copy(), part["position"].copy(), decoded(part["value"].copy())

    def remove(self) -> None:
        """Delete the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)

    @contextmanager
    def _room_named(self) -> Iterator[None]:
        """A block that writes: a full disk becomes a `SpillError` that says where and what to do."""
        try:
            yield
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise SpillError(
                f"no room left for activations under {self.folder} ({error.strerror}); {self._rows_on_disk} contexts are safe there. Make "
                f"room (an activation takes {RECORD.itemsize} bytes until it is sorted, twice as many meanwhile), or move INTERP_HOME, and "
                "run again: it continues."
            ) from error

    def _path(self, name: str, index: int) -> Path:
        return self.folder / f"{self._names[name]}-{index:05d}.bin"

    def _plan(self) -> dict[str, object]:
        return {
            "context_tokens": self.context_tokens,
            "bounds": {name: edges.tolist() for name, edges in sorted(self.bounds.items())},
        }

    def _write_marker(self) -> None:
        marker = {"plan": self._plan(), "rows_done": self._rows_on_disk, "sizes": self._sizes}
        aside = self.folder / f".{MARKER}"
        with aside.open("w", encoding="utf-8") as handle:
            json.dump(marker, handle)
            handle.flush()
            os.fsync(handle.fileno())
        aside.replace(self.folder / MARKER)

    def _resume(self) -> None:
        """Resume from the marker: files are cut to their recorded sizes, and files without a recorded size are removed."""
        path = self.folder / MARKER
        marker = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
        if marker is not None and marker["plan"] != self._plan():
            raise SpillError(f"{self.folder} holds a spill with other ranges or another context length. Delete it, or harvest elsewhere.")
        self._rows_on_disk: int = marker["rows_done"] if marker else 0
        self._sizes: dict[str, int] = marker["sizes"] if marker else {}
        for folder in self.folder.glob("*.runs"):
            shutil.rmtree(folder, ignore_errors=True)
        for file in self.folder.glob("*.bin"):
            if file.name not in self._sizes:
                file.unlink()
            elif file.stat().st_size > self._sizes[file.name]:
                os.truncate(file, self._sizes[file.name])


def _ranges(edges: np.ndarray) -> np.ndarray:
    """The range of every feature below the last edge; the number of ranges for a feature in no range."""
    index = np.searchsorted(edges, np.arange(edges[-1] + 1), side="right") - 1
    n = len(edges) - 1
    return np.where(index < 0, n, index).astype(np.min_scalar_type(n))


def _dealt(place: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """(order, starts): `order[starts[i] : starts[i + 1]]` are the indices where `place` is i, ascending, for i in 0..n-1; others are left
    out."""
    order = np.argsort(place.astype(np.min_scalar_type(n), copy=False), kind="stable")  # radix sort up to 16 bits, ten times as fast
    starts = np.searchsorted(place[order], np.arange(n + 1))
    return order[: starts[-1]], starts


def _records(path: Path) -> np.ndarray:
    return np.fromfile(path, dtype=RECORD)


def _parts(path: Path, size: int) -> Iterator[np.ndarray]:
    """The records of a file, `size` at a time; nothing for a file that does not exist."""
    n = path.stat().st_size // RECORD.itemsize if path.is_file() else 0
    for first in range(0, n, size):
        yield np.fromfile(path, dtype=RECORD, count=min(size, n - first), offset=first * RECORD.itemsize)


def _sorted(records: np.ndarray, low: int) -> Activations:
    """Records in position order, sorted by feature then position; `low` is the smallest possible feature."""
    # A stable sort by feature alone is enough. Split into columns first: gathering from unaligned records takes six times as long.
    feature, position, value = (np.ascontiguousarray(records[name]) for name in ("feature", "position", "value"))
    offset = feature - np.uint32(low)
    order = np.argsort(offset.astype(np.uint16) if len(offset) and int(offset.max()) < 1 << 16 else offset, kind="stable")
    return feature[order], position[order], decoded(value[order])


def _cuts(counts: np.ndarray, size: int) -> np.ndarray:
    """int64: places at which to cut features with these counts so that each run has at most `size`, or one feature."""
    cuts = [0]
    ends = np.cumsum(counts)
    while cuts[-1] < len(counts):
        before = ends[cuts[-1] - 1] if cuts[-1] else 0
        cuts.append(max(cuts[-1] + 1, int(np.searchsorted(ends, before + size, side="right"))))
    return np.asarray(cuts, dtype=np.int64)


def _deal(path: Path, folder: Path, low: int, cuts: np.ndarray, size: int) -> None:
    """Split the records of `path` into one file for each run of features, keeping their order."""
    for part in _parts(path, size):
        runs = np.searchsorted(cuts, part["feature"].astype(np.int64) - low, side="right") - 1
        order, starts = _dealt(runs, len(cuts) - 1)
        dealt = part.view(f"V{RECORD.itemsize}")[order]  # as plain bytes: records take five times as long
        for number, (first, end) in enumerate(pairwise(starts)):
            if first < end:
                with (folder / f"{number:06d}.bin").open("ab") as handle:
                    handle.write(dealt[first:end].data)
