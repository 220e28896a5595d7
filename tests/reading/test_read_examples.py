"""Evidence read back from the lake: every feature once, ascending, each with its own examples, whatever the size of a batch."""

from pathlib import Path

import pyarrow as pa
import pytest

from interp_assets.config.keys import RangeKey
from interp_assets.reading import examples
from interp_assets.reading.examples import StoredExamples, read_examples
from interp_assets.tables import EXAMPLES, FEATURE_EXAMPLES, SCHEMA_VERSION
from resources.store.lake import Lake, LakeError

KEY = RangeKey("fake/00/neurons", "00of16")
PARTITION = {"dictionary": KEY.dictionary, "feature_range": KEY.feature_range}
ROLES = (
    ("shown", "activating"), ("validation", "activating"), ("held_out", "activating"),
    ("shown", "non_activating"), ("validation", "non_activating"), ("held_out", "non_activating"),
)  # fmt: skip


def example(feature: int, row: int, text: str) -> dict:
    """An example of two tokens, the second of them without an id; the row says its role."""
    role, kind = ROLES[row]
    firing = kind == "activating"
    return {
        **PARTITION, "feature": feature, "example_id": f"{feature}/{row}/1", "role": role, "kind": kind, "sampling": "imported",
        "stratum": 0 if firing else None, "row": row, "start": 1, "token_ids": [5, -1], "tokens": [" the", text],
        "begins_in_word": False, "ends_in_word": False, "activations": [0.0, 2.0 * firing], "max_activation": 2.0 * firing,
    }  # fmt: skip


def write(root: Path, examples: list[dict], outcomes: dict[int, str]) -> Lake:
    lake = Lake(str(root / "lake"), SCHEMA_VERSION)
    counts = {name: 0 for name in FEATURE_EXAMPLES.schema.names if name.startswith("n_")}
    counted = [
        {**PARTITION, **counts, "feature": feature, "outcome": outcome, "n_windows": 10 * feature, "message": ""}
        for feature, outcome in outcomes.items()
    ]
    for table, rows in ((EXAMPLES, examples), (FEATURE_EXAMPLES, counted)):
        lake.write(table.name, PARTITION, table.schema, pa.Table.from_pylist(rows, schema=table.schema), "v")
    return lake


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """Features 2 and 5 have an example of every role and kind, 0, 3 and 9 have none."""
    rows = [example(feature, row, f"{'Zü' if row % 2 else 'rich'}{feature}") for feature in (2, 5) for row in range(6)]
    return write(tmp_path, rows, {3: "dead", 2: "ok", 9: "too_few_windows", 5: "ok", 0: "dead"})


@pytest.mark.parametrize("batch_rows", [1, 4, 6, 1024])
def test_every_feature_comes_once_with_its_own_examples(lake: Lake, batch_rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examples, "BATCH_ROWS", batch_rows)
    found = list(read_examples(lake, KEY))
    assert [(item.feature, item.outcome, item.n_windows, len(item.examples)) for item in found] == [
        (0, "dead", 0, 0), (2, "ok", 20, 6), (3, "dead", 30, 0), (5, "ok", 50, 6), (9, "too_few_windows", 90, 0),
    ]  # fmt: skip
    assert [e.example_id for e in found[3].examples] == [f"5/{row}/1" for row in range(6)]


def test_examples_are_told_apart_by_role_and_kind(lake: Lake) -> None:
    item = next(item for item in read_examples(lake, KEY) if item.feature == 2)

    def rows(name: str) -> list[int]:
        return [e.row for e in getattr(item, name)]

    assert {name: rows(name) for name in ("shown", "shown_non_activating", "validation", "held_out")} == {
        "shown": [0], "shown_non_activating": [3], "validation": [1, 4], "held_out": [2, 5],
    }  # fmt: skip


def test_numbers_of_tokens_without_an_id_are_each_features_own(lake: Lake) -> None:
    of: dict[int, StoredExamples] = {item.feature: item for item in read_examples(lake, KEY)}
    assert [e.token_ids for e in of[5].examples] == [(5, -2), (5, -3)] * 3
    assert of[5].token_texts == {5: " the", -2: "rich5", -3: "Zü5"} and of[2].token_texts == {5: " the", -2: "rich2", -3: "Zü2"}
    assert of[3].token_texts == {}


def test_no_more_is_read_than_is_asked_for(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    """With batches of three rows, feature 2 (six rows) is known to be whole once the third batch has begun."""
    batches, read = lake.batches, []

    def counted(*arguments: object, **options: object):
        for batch in batches(*arguments, **options):  # type: ignore[arg-type]
            read.append(batch.num_rows)
            yield batch

    monkeypatch.setattr(examples, "BATCH_ROWS", 3)
    monkeypatch.setattr(lake, "batches", counted)
    stream = read_examples(lake, KEY)
    assert read == [] and next(stream).feature == 0 and read == [3]
    assert next(stream).feature == 2 and read == [3, 3, 3]
    assert [item.feature for item in stream] == [3, 5, 9] and read == [3, 3, 3, 3]


@pytest.mark.parametrize(("features", "outcomes"), [((5, 2), {2: "ok", 5: "ok"}), ((2, 5), {2: "ok"})])
def test_examples_that_would_be_lost_are_an_error(tmp_path: Path, features: tuple[int, ...], outcomes: dict[int, str]) -> None:
    lake = write(tmp_path, [example(feature, 0, "Zü") for feature in features], outcomes)
    with pytest.raises(AssertionError, match=r"feature [25] are out of order, or the feature has no row in feature_examples"):
        list(read_examples(lake, KEY))


def test_a_range_without_examples_says_what_to_materialise(tmp_path: Path) -> None:
    with pytest.raises(LakeError, match="materialise the asset that writes feature_examples"):
        next(read_examples(Lake(str(tmp_path / "lake"), SCHEMA_VERSION), KEY))
