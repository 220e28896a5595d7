"""Activations on their way to disk: appended in row order, cut by feature range, read back sorted one range at a time.

    spill = ActivationSpill(folder, {"sae": [0, 128, 256]}, context_tokens=256)
    for batch in subject.sparse_activations(rows, dictionaries, first_row=spill.rows_done):
        spill.append(batch.name, batch)
    feature, position, value = spill.sorted_range("sae", 0)

Memory is bounded by the buffer while appending and by one range while reading. `rows_done.json` names how much of every file counts;
what a crash left behind it is cut off, so a restart repeats at most the rows since the last flush.
"""

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from resources.subject import SparseBatch

RECORD = np.dtype([("feature", "<u4"), ("position", "<u4"), ("value", "<f2")])
MARKER = "rows_done.json"
SMALLEST_VALUE = np.finfo(np.float16).smallest_subnormal
LARGEST_VALUE = np.finfo(np.float16).max


class SpillError(ValueError):
    """A spill folder that does not belong to what is asked of it."""


class ActivationSpill:
    """Unsorted activations of some dictionaries, 10 bytes each, one file a feature range."""

    def __init__(self, folder: Path, bounds: Mapping[str, Sequence[int]], context_tokens: int, buffer_bytes: int = 64 << 20) -> None:
        """Open or resume the spill in `folder`.

        `bounds[name]` are ascending feature numbers: range i holds features in [bounds[i], bounds[i+1]); others are dropped. Raises
        `SpillError` when the folder was made for other bounds or another context.
        """
        self.folder = Path(folder)
        self.bounds = {name: np.asarray(edges, dtype=np.int64) for name, edges in bounds.items()}
        self.context_tokens = context_tokens
        self._buffer_bytes = buffer_bytes
        self._held: dict[tuple[str, int], list[np.ndarray]] = {}
        self._held_bytes = 0
        self._rows: dict[str, int] = {}
        self._names = {name: f"{number:03d}" for number, name in enumerate(sorted(self.bounds))}
        for name, edges in self.bounds.items():
            assert len(edges) > 1 and (np.diff(edges) >= 0).all(), f"bounds of {name} must ascend, got {edges.tolist()}"
        self.folder.mkdir(parents=True, exist_ok=True)
        self._resume()

    @property
    def rows_done(self) -> int:
        """Rows that are safe on disk for every dictionary; a harvest continues with this row."""
        return self._rows_on_disk

    def append(self, name: str, batch: "SparseBatch") -> None:
        """Take one batch. Batches of one dictionary come in row order; those below `rows_done` must not come again.

        Values are stored as float16: clipped to its range from below and above, so that what fired is never stored as zero.
        """
        edges = self.bounds[name]
        records = np.empty(len(batch.feature), dtype=RECORD)
        records["feature"] = batch.feature
        records["position"] = batch.row.astype(np.uint64) * self.context_tokens + batch.position
        records["value"] = np.clip(batch.value, SMALLEST_VALUE, LARGEST_VALUE)
        assert not len(batch.row) or int(batch.row[-1] + 1) * self.context_tokens <= 1 << 32, "positions exceed 32 bits: fewer rows"
        place = np.searchsorted(edges, batch.feature.astype(np.int64), side="right") - 1
        order = np.argsort(place, kind="stable")
        starts = np.searchsorted(place[order], np.arange(len(edges)))
        for index in range(len(edges) - 1):
            part = records[order[starts[index] : starts[index + 1]]]
            if len(part):
                self._held.setdefault((name, index), []).append(part)
                self._held_bytes += part.nbytes
        self._rows[name] = batch.rows_done
        if self._held_bytes >= self._buffer_bytes and len(set(self._rows.values())) == 1 and len(self._rows) == len(self.bounds):
            self.flush()

    def flush(self) -> None:
        """Write what is held and move `rows_done` on. Call it once after the last batch; every dictionary must be at the same row."""
        rows = set(self._rows.values()) if self._rows else {self._rows_on_disk}
        assert len(rows) == 1 and (not self._rows or len(self._rows) == len(self.bounds)), f"dictionaries at different rows: {self._rows}"
        for (name, index), parts in self._held.items():
            path = self._path(name, index)
            with path.open("ab") as handle:
                for part in parts:
                    handle.write(part.tobytes())
                handle.flush()
                os.fsync(handle.fileno())
            self._sizes[path.name] = path.stat().st_size
        self._held, self._held_bytes = {}, 0
        self._rows_on_disk = rows.pop()
        self._write_marker()

    def sorted_range(self, name: str, range_index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(feature uint32, position uint32 = row * context + place in the row, value float16) of one range, by feature then position.

        Only what was flushed is there. A range in which nothing fired gives three empty arrays.
        """
        assert 0 <= range_index < len(self.bounds[name]) - 1, f"range {range_index} of {len(self.bounds[name]) - 1} of {name}"
        path = self._path(name, range_index)
        records = np.fromfile(path, dtype=RECORD) if path.is_file() else np.empty(0, dtype=RECORD)
        # Each file is already in position order, so a stable sort by feature alone is enough.
        order = np.argsort(records["feature"], kind="stable")
        return records["feature"][order], records["position"][order], records["value"][order]

    def remove(self) -> None:
        """Delete the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)

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
        """Take up what the marker vouches for: files are cut to their recorded sizes, those it does not know are removed."""
        path = self.folder / MARKER
        marker = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
        if marker is not None and marker["plan"] != self._plan():
            raise SpillError(f"{self.folder} holds a spill with other ranges or another context length. Delete it, or harvest elsewhere.")
        self._rows_on_disk: int = marker["rows_done"] if marker else 0
        self._sizes: dict[str, int] = marker["sizes"] if marker else {}
        for file in self.folder.glob("*.bin"):
            if file.name not in self._sizes:
                file.unlink()
            elif file.stat().st_size > self._sizes[file.name]:
                os.truncate(file, self._sizes[file.name])
