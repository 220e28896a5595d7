"""What a run of a few features says of features that have no examples."""

from pathlib import Path

import pyarrow as pa

from interp_assets.config.feature_lists import parse_features
from interp_assets.config.keys import FEATURE_RANGE_KEYS, RangeKey, lake_partition
from interp_assets.config.records import DictionaryRecord
from interp_assets.single_features.without_examples import lines_without_examples
from interp_assets.tables import FEATURE_EXAMPLES, SCHEMA_VERSION
from resources.store.lake import Lake

RECORD = DictionaryRecord(key="a/0/neurons", kind="topk_neurons", hook="blocks.1.mlp.hook_post", width=64, k=4)


def test_features_without_examples_are_named_with_the_reason(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path / "lake"), SCHEMA_VERSION)
    assert lines_without_examples(lake, RECORD, None) == []
    for name, outcomes in zip(FEATURE_RANGE_KEYS, (["dead"] * 7, ["ok", "too_few_windows"]), strict=False):
        first = 0 if name == FEATURE_RANGE_KEYS[0] else 10
        given = {"feature": list(range(first, first + len(outcomes))), "outcome": outcomes}
        schema = FEATURE_EXAMPLES.schema
        empty = {field.name: [0 if pa.types.is_integer(field.type) else ""] * len(outcomes) for field in schema if not field.nullable}
        columns = {field.name: {**empty, **given}.get(field.name, [None] * len(outcomes)) for field in schema}
        rows = pa.table({field.name: pa.array(columns[field.name], field.type) for field in schema}, schema=schema)
        partition = lake_partition(RangeKey(RECORD.key, name))
        lake.write(FEATURE_EXAMPLES.name, partition, schema, rows, "v")
    dead, few = lines_without_examples(lake, RECORD, None)
    assert "0, 1, 2, 3, 4 and 2 more (dead: fire nowhere in the token sample; " in dead
    assert "scores: 11 (too_few_windows: have fewer activating windows than examples.min_activating; raise token_sample.n_tokens" in few
    assert lines_without_examples(lake, RECORD, parse_features("10")) == []
    assert lines_without_examples(lake, RECORD, parse_features("2,10-20"))[0].partition(": fire")[0].endswith("scores: 2 (dead")
