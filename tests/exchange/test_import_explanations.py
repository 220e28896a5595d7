"""Explanations from files in the lake: which rows are kept, which are named, and what the graph gets."""

import json
from pathlib import Path

import pytest

from interp_assets.config.base import UserError
from interp_assets.config.records import DictionaryRecord
from interp_assets.exchange.import_explanations import import_explanations, imported_version
from interp_assets.reading.explanations import read_imported
from interp_assets.tables import IMPORTED_EXPLANATIONS, SCHEMA_VERSION
from resources.formats.interface import ExchangeError
from resources.store.lake import Lake

KEY = "m/00/n"


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"), SCHEMA_VERSION)


def record(**changes: object) -> DictionaryRecord:
    fields = {"key": KEY, "hook": "blocks.0.mlp.hook_post", "kind": "topk_neurons", "k": 4, "width": 64, **changes}
    return DictionaryRecord(**fields)  # type: ignore[arg-type]


def csv(folder: Path, *rows: str, name: str = "labels.csv") -> Path:
    (folder / name).write_text("\n".join(["feature,explanation,author,source", *rows]))
    return folder / name


def stored(lake: Lake, method: str = "human") -> list[dict]:
    return lake.read(IMPORTED_EXPLANATIONS.name, {"explanation_method": method, "dictionary": KEY}).to_pylist()


def test_nothing_imported_is_empty(lake: Lake) -> None:
    assert read_imported(lake, KEY, "human") == {} and imported_version(lake, KEY, "human") == "none"


def test_rows_come_back_with_author_and_source(lake: Lake, tmp_path: Path) -> None:
    manifest = import_explanations(lake, record(), csv(tmp_path, "7,cats,Ada,pilot", "3,dates,,"), "human")
    assert read_imported(lake, KEY, "human") == {3: "dates", 7: "cats"}
    assert imported_version(lake, KEY, "human") == manifest.data_version != "none"
    assert [(row["feature"], row["author"], row["source"]) for row in stored(lake)] == [
        (3, None, "labels.csv line 3"), (7, "Ada", "labels.csv line 2 (pilot)"),
    ]  # fmt: skip
    assert read_imported(lake, KEY, "imported") == {} and read_imported(lake, "m/00/other", "human") == {}


def test_the_same_file_again_changes_nothing_and_another_replaces(lake: Lake, tmp_path: Path) -> None:
    part = Path(lake.path(IMPORTED_EXPLANATIONS.name, {"explanation_method": "human", "dictionary": KEY})) / "part-0.parquet"
    first = import_explanations(lake, record(), csv(tmp_path, "7,cats,Ada,", "3,dates,,"), "human")
    before = part.read_bytes()
    assert import_explanations(lake, record(), tmp_path / "labels.csv", "human") == first and part.read_bytes() == before
    reordered = import_explanations(lake, record(), csv(tmp_path, "3,dates,Bob,", "7,cats,Ada,"), "human")
    assert reordered.data_version == first.data_version and stored(lake)[0]["author"] == "Bob"  # texts decide the version
    other = import_explanations(lake, record(), csv(tmp_path, "7,dogs,,"), "human")
    assert other.data_version != first.data_version and read_imported(lake, KEY, "human") == {7: "dogs"}


def test_appending_merges_by_feature(lake: Lake, tmp_path: Path) -> None:
    said: list[str] = []
    import_explanations(lake, record(), csv(tmp_path, "7,cats,,", "3,dates,,"), "human")
    second = csv(tmp_path, "7,dogs,,", "9,ships,,", name="more.csv")
    merged = import_explanations(lake, record(), second, "human", append=True, say=said.append)
    assert read_imported(lake, KEY, "human") == {3: "dates", 7: "dogs", 9: "ships"}
    assert [row["source"] for row in stored(lake)] == ["labels.csv line 3", "more.csv line 2", "more.csv line 3"]
    assert set(merged.inputs) == {"labels.csv", "more.csv"} and any("1 of the 2 explanations imported before" in line for line in said)
    whole = import_explanations(lake, record(), csv(tmp_path, "3,dates,,", "7,dogs,,", "9,ships,,"), "human")
    assert whole.data_version == merged.data_version
    import_explanations(lake, record(), second, "imported", append=True)  # onto nothing
    assert read_imported(lake, KEY, "imported") == {7: "dogs", 9: "ships"}


def test_bad_rows_are_named_counted_and_refused_beyond_their_share(lake: Lake, tmp_path: Path) -> None:
    rows = [f"{feature},text {feature},," for feature in range(40)]
    file = csv(tmp_path, *rows, "64,outside,,", "5,,,", "5,again,,")
    with pytest.raises(ExchangeError, match=r"labels\.csv: 3 of 43 rows are bad, allowed is a share of 0\.05") as refusal:
        import_explanations(lake, record(), file, "human", max_bad_share=0.05)
    for problem in (
        "labels.csv line 42: feature '64'; allowed are 0 to 63",
        "labels.csv line 43: feature 5 has the explanation ''; allowed is text that is not empty",
        f"labels.csv line 44: feature 5 has an explanation already, at {file} line 7; allowed is one a feature",
    ):
        assert problem in str(refusal.value)
    assert imported_version(lake, KEY, "human") == "none"  # whole or not at all
    said: list[str] = []
    manifest = import_explanations(lake, record(), file, "human", max_bad_share=0.07, say=said.append)
    assert manifest.rows == 40 and sum("left out" in line for line in said) == 3 and read_imported(lake, KEY, "human")[5] == "text 5"
    import_explanations(lake, record(), csv(tmp_path, *rows, *["64,outside,,"] * 15), "human", max_bad_share=0.5, say=said.append)
    assert said[-1] == "left out 5 more bad rows"


def test_features_that_the_record_leaves_out_are_counted_and_not_bad(lake: Lake, tmp_path: Path) -> None:
    said: list[str] = []
    file = csv(tmp_path, *(f"{feature},text {feature},," for feature in range(64)))
    import_explanations(lake, record(features=(3, 7)), file, "human", max_bad_share=0.0, say=said.append)
    assert read_imported(lake, KEY, "human") == {3: "text 3", 7: "text 7"}
    assert said[-1].startswith(
        f"left out 62 rows of features that the record does not select, the first at {file} line 2: feature 0; m/00/n"
    )
    assert "selects 2 of 64" in said[-1]
    with pytest.raises(ExchangeError, match=r"no explanation of a feature that m/00/n selects \(1 rows read\)"):
        import_explanations(lake, record(features=(3,)), csv(tmp_path, "4,cats,,"), "human")
    assert len(read_imported(lake, KEY, "human")) == 2


def test_of_several_authors_one_can_be_taken(lake: Lake, tmp_path: Path) -> None:
    batch = tmp_path / "explanations" / "batch-0.jsonl"
    batch.parent.mkdir()
    named = {"modelId": "m", "layer": "0-n", "index": "7", "explanationModelName": "gpt"}
    types = ({"typeName": "a", "description": "cats"}, {"typeName": "b", "description": "big cats"}, {"description": "dogs"})
    batch.write_text("\n".join(json.dumps({**named, **row}) for row in (*types, {**types[1], "index": "8"})))
    with pytest.raises(
        ExchangeError, match=r"feature 7 has an explanation by a gpt already(.|\n)*by a gpt, b gpt; for one author: --author 'a gpt'"
    ):
        import_explanations(lake, record(), tmp_path, "imported")
    said: list[str] = []
    import_explanations(lake, record(), tmp_path, "imported", author="b gpt", say=said.append)
    assert read_imported(lake, KEY, "imported") == {7: "big cats", 8: "big cats"} and said[-1] == "left out 2 rows that are not by b gpt"
    assert stored(lake, "imported")[0]["source"] == f"{tmp_path.name}/explanations/batch-0.jsonl line 2 (m/0-n)"
    with pytest.raises(UserError, match=r"no row by --author 'c'; its rows are by a gpt, b gpt, gpt"):
        import_explanations(lake, record(), tmp_path, "imported", author="c")


def test_an_empty_file_is_refused(lake: Lake, tmp_path: Path) -> None:
    with pytest.raises(ExchangeError, match="0 rows read"):
        import_explanations(lake, record(), csv(tmp_path), "human")


def test_half_an_escaped_character_does_not_stop_an_import(lake: Lake, tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    path.write_text('{"feature": 3, "explanation": "cats \\ud83d"}\n{"feature": 4, "explanation": "dogs", "author": "A\\ud83d"}\n')
    import_explanations(lake, record(), path, "human")
    assert read_imported(lake, KEY, "human") == {3: "cats \ufffd", 4: "dogs"} and stored(lake)[1]["author"] == "A\ufffd"
