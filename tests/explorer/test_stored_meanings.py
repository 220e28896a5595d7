"""The index of a dictionary's embedded explanations is made of what is stored, a batch at a time."""

import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow as pa

from interp_assets.explorer.meaning import BATCH_VECTORS, _arrays, meaning_index, rounded
from interp_assets.tables import EXPLANATION_EMBEDDINGS, SCHEMA_VERSION
from resources.store.lake import Lake

KEY, D = "m/0/a", 16


def test_vectors_of_many_batches_are_in_memory_once(tmp_path: Path) -> None:
    n = 8 * BATCH_VECTORS + 3
    made = np.random.default_rng(0).standard_normal((n, D), dtype=np.float32)
    vectors = (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float16)
    same = {"dictionary": KEY, "explanation_method": "max_act", "encoder": "e"}
    columns = {name: pa.DictionaryArray.from_arrays(np.zeros(n, np.int32), [value]) for name, value in same.items()}
    columns["feature"] = pa.array(np.arange(n, dtype=np.uint32))
    columns["explanation_id"] = pa.array([str(feature) for feature in range(n)])
    columns["vector"] = pa.ListArray.from_arrays(np.arange(n + 1, dtype=np.int32) * D, vectors.ravel())
    schema = EXPLANATION_EMBEDDINGS.schema
    rows = pa.table({field.name: columns[field.name].cast(field.type) for field in schema}, schema=schema)
    lake = Lake(str(tmp_path / "lake"), SCHEMA_VERSION)
    lake.write(EXPLANATION_EMBEDDINGS.name, {"dictionary": KEY}, schema, rows, "v1", row_group_rows=4096)
    index = meaning_index(lake, KEY)
    tracemalloc.start()
    _arrays(lake, {"dictionary": KEY}, n)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert index is not None
    codes, scales = rounded(vectors)
    assert np.array_equal(index.vectors, vectors) and np.array_equal(index.codes, codes) and np.array_equal(index.scales, scales)
    # A vector has 3 bytes a dimension, as stored and rounded, and a scale. A batch, an eighth of all, has 3 temporary floats beside.
    assert peak < n * D * (3 + 4 / D + 2.5), f"{peak / n / D:.1f} bytes a dimension"
