"""What must outlive a power cut is on the disk before its last name is given: `synced` hears which files are flushed there."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from resources.language_models.interface import ModelIdentity, Reply
from resources.language_models.reply_store import ReplyStore
from resources.store.activation_spill import ActivationSpill
from resources.store.lake import Lake
from resources.subject.model import SparseBatch


def test_a_partition_is_on_the_disk_before_its_manifest(tmp_path: Path, synced: list[str]) -> None:
    schema = pa.schema([("n", pa.int64())])
    Lake(str(tmp_path), 1).write("t", {"d": "a"}, schema, pa.table({"n": [1]}, schema=schema), "v")
    names = [Path(name).name for name in synced]
    rows, manifest = (next(i for i, name in enumerate(names) if part in name) for part in ("part-0.parquet", "manifest"))
    assert rows < manifest and all(Path(name).name.startswith(".") for name in synced[rows : manifest + 1])


def test_a_part_of_replies_is_on_the_disk(tmp_path: Path, synced: list[str]) -> None:
    store = ReplyStore(tmp_path)
    store.append("key", ModelIdentity("scripted", "one", "r"), Reply("yes", "stop", 1, 0, 1, 0.0))
    store.flush()
    assert any(Path(name).name.startswith(".part-") for name in synced)


def test_spilled_activations_are_on_the_disk_before_their_marker(tmp_path: Path, synced: list[str]) -> None:
    spill = ActivationSpill(tmp_path, {"d": np.arange(0, 17)}, 8)
    zeros = np.zeros(1, dtype="u4")
    spill.append("d", SparseBatch("d", zeros, zeros.astype("u2"), zeros, np.ones(1, dtype="f4"), 1))
    spill.flush()
    assert len(synced) == 2 and synced[0].endswith(".bin") and "rows_done" in synced[1]
