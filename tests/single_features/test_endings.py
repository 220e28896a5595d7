"""What a run says at its end of explanations without a text and scores without a number."""

from pathlib import Path
from typing import Any

import pyarrow as pa

from interp_assets.config.feature_lists import parse_features
from interp_assets.config.keys import FEATURE_RANGE_KEYS, RangeKey, lake_partition
from interp_assets.config.records import DictionaryRecord
from interp_assets.config.settings import StageSettings
from interp_assets.single_features.endings import lines_of_endings
from interp_assets.tables import EXPLANATIONS, SCHEMA_VERSION, SCORES, Table
from resources.store.lake import Lake

RECORD = DictionaryRecord(key="a/0/neurons", kind="topk_neurons", hook="blocks.1.mlp.hook_post", width=64, k=4)
STAGES = StageSettings.model_validate({"explanations": ["max_act"], "scores": {"detection": "all", "fuzzing": []}})


def write(lake: Lake, table: Table, extra: dict[str, str], **given: list[Any]) -> None:
    """Rows of the first range, with empty values in all other columns."""
    n = len(given["feature"])
    empty = {
        field.name: [False if pa.types.is_boolean(field.type) else 0 if pa.types.is_primitive(field.type) else ""] * n
        for field in table.schema
        if not field.nullable
    }
    rows = pa.table({field.name: pa.array({**empty, **given}.get(field.name, [None] * n), field.type) for field in table.schema})
    lake.write(
        table.name, {**extra, **lake_partition(RangeKey(RECORD.key, FEATURE_RANGE_KEYS[0]))}, table.schema, rows.cast(table.schema), "v"
    )


def test_features_without_a_text_or_a_number_are_told_by_outcome(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path / "lake"), SCHEMA_VERSION)
    assert lines_of_endings(lake, RECORD, STAGES, None) == []
    outcomes = ["ok", "unparsable", "no_examples", "unparsable"]
    write(lake, EXPLANATIONS, {"explanation_method": "max_act"}, feature=[0, 1, 2, 3], outcome=outcomes)
    scored = {"feature": [0, 0, 1], "headline": [True, False, True], "outcome": ["no_answers", "undefined", "no_explanation"]}
    write(lake, SCORES, {"scorer": "detection"}, **scored)
    unread, unscored = lines_of_endings(lake, RECORD, STAGES, None)
    assert unread == (
        "explanations/max_act: 2 of 4 features lack an explanation: 1, 3 (unparsable: see Named outcomes in docs/tables.md). What was "
        "asked and answered: interp show a/0/neurons 1 --prompts --only explanations/max_act"
    )
    assert unscored.startswith("scores/detection: 1 of 2 features lack a score: 0 (no_answers: ")
    assert lines_of_endings(lake, RECORD, STAGES, parse_features("2")) == []
