"""The vectors of a token sample's cells are read into one array."""

import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from interp_assets.reading import embeddings
from interp_assets.tables import DICTIONARY_EMBEDDINGS, SCHEMA_VERSION, WINDOW_EMBEDDINGS
from resources.store.lake import Lake

KEY, D, N = "m/0/a", 16, 70_001


@pytest.mark.parametrize(("limit", "kind"), [(1 << 30, np.float32), (0, np.float16)], ids=["small", "large"])
def test_vectors_are_in_memory_once_and_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int, kind: type) -> None:
    monkeypatch.setattr(embeddings, "FLOAT32_BYTES", limit)
    monkeypatch.setattr(embeddings, "BATCH_CELLS", 8_192)
    lake = Lake(str(tmp_path / "lake"), SCHEMA_VERSION)
    vectors = np.random.default_rng(0).standard_normal((N, D)).astype(np.float16)
    lists = pa.ListArray.from_arrays(np.arange(N + 1, dtype=np.int32) * D, vectors.ravel())
    schema = WINDOW_EMBEDDINGS.schema
    address = pa.DictionaryArray.from_arrays(np.zeros(N, np.int32), ["v1"]).cast(schema.field("embeddings").type)
    rows = pa.table({"embeddings": address, "cell": np.arange(N, dtype=np.uint32), "vector": lists}, schema=schema)
    lake.write(WINDOW_EMBEDDINGS.name, {"embeddings": "v1"}, schema, rows, "v1", row_group_rows=4096)
    use = {
        "dictionary": KEY, "sample": "s", "embeddings": "v1", "encoder": "e", "window_tokens": 8, "n_cells": N, "outcome": "ok"
    }  # fmt: skip
    one = pa.Table.from_pylist([use], schema=DICTIONARY_EMBEDDINGS.schema)
    lake.write(DICTIONARY_EMBEDDINGS.name, {"dictionary": KEY}, DICTIONARY_EMBEDDINGS.schema, one, "v1")
    embeddings.read_embeddings(lake, KEY, 8)  # with its imports
    tracemalloc.start()
    found = embeddings.read_embeddings(lake, KEY, 8)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.dtype == kind and np.array_equal(found, vectors.astype(kind))
    assert peak < 1.3 * found.nbytes, f"{peak / found.nbytes:.2f} of the array"
