"""The report on human correlation reads the scores of rated features alone."""

import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow as pa

from interp_assets.assets.human_correlation_report.correlations import _scores
from interp_assets.config.keys import RangeKey, lake_partition
from interp_assets.tables import SCHEMA_VERSION, SCORES
from resources.store.lake import Lake

KEY, N = RangeKey("m/0/a", "00of16"), 20_000


def test_scores_of_features_that_nobody_rated_become_no_objects(tmp_path: Path) -> None:
    lake, schema, none = Lake(str(tmp_path / "lake"), SCHEMA_VERSION), SCORES.schema, pa.nulls(2 * N)
    values = np.linspace(0, 1, 2 * N)
    given = {
        "dictionary": KEY.dictionary, "feature_range": KEY.feature_range, "scorer": "detection", "metric": "m", "outcome": "ok",
        "explanation_method": "max_act", "explanation_id": "x",
    }  # fmt: skip
    columns: dict[str, pa.Array] = {name: pa.array([value] * (2 * N)) for name, value in given.items()}
    columns["feature"] = pa.array(np.repeat(np.arange(N, dtype=np.uint32), 2))
    columns["headline"] = pa.array(np.tile([True, False], N))
    columns["value"] = pa.array(values, mask=np.arange(2 * N) == 14)
    filled = [columns.get(field.name, none if field.nullable else pa.array(np.zeros(2 * N, np.int8))) for field in schema]
    rows = pa.table([column.cast(field.type) for column, field in zip(filled, schema, strict=True)], schema=schema)
    lake.write(SCORES.name, {"scorer": "detection", **lake_partition(KEY)}, schema, rows, "v1")
    rated = {(KEY.dictionary, 3), (KEY.dictionary, 7), ("m/0/b", 5)}
    _scores(lake, [KEY], rated)  # with its imports
    tracemalloc.start()
    found = _scores(lake, [KEY], rated)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found == {(KEY.dictionary, 3, "max_act"): {"detection": values[6]}}, "the score of feature 7 is null"
    assert peak < 200 * N, f"{peak / N:.0f} bytes a feature"
