"""Ratings from files into the lake: what is kept, what is named, and what stays as it is."""

import csv
import json
from pathlib import Path

import pyarrow as pa
import pytest

from interp_assets.config.base import UserError
from interp_assets.config.keys import FEATURE_RANGE_KEYS, RangeKey, lake_partition
from interp_assets.config.records import DictionaryRecord
from interp_assets.config.registry import DictionaryRegistry
from interp_assets.domain.ratings.ratings import COLUMNS, Rateable
from interp_assets.ratings.files import dictionaries_option, import_ratings, rateable, rating_files, read_ratings, write_ratings
from interp_assets.reading.ratings import stored_ratings
from interp_assets.tables import EXPLANATIONS, HUMAN_RATINGS, REJECTED_RATINGS, SCHEMA_VERSION
from resources.formats.interface import ExchangeError
from resources.store.lake import Lake

KEY = "m/00/n"
TEXTS = {0: {"max_act": "cats", "shuffled": "dogs"}, 33: {"max_act": "dates, of years", "candidates": "dates, of years"}}
HEADER = "rater,dictionary,feature,explanation,scale_min,scale_max,rating"


def record(key: str = KEY, **changes: object) -> DictionaryRecord:
    fields = {"key": key, "hook": "blocks.0.mlp.hook_post", "kind": "topk_neurons", "k": 4, "width": 64, **changes}
    return DictionaryRecord(**fields)  # type: ignore[arg-type]


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """Explanations of two features of the dictionary, and outcomes of the others of their ranges."""
    lake = Lake(str(tmp_path / "lake"), SCHEMA_VERSION)
    for method in ("max_act", "shuffled", "candidates"):
        for name in FEATURE_RANGE_KEYS:
            key = RangeKey(KEY, name)
            rows = []
            for feature in record().features_of(key).tolist():
                text = TEXTS.get(feature, {}).get(method)
                rows.append(
                    {
                        "dictionary": KEY, "feature_range": name, "feature": feature, "explanation_method": method, "explanation": text,
                        "outcome": "ok" if text else "dead", "raw_reply": None, "replies": [], "donor_feature": None, "model": "",
                        "prompt_version": "1",
                    }
                )  # fmt: skip
            table = pa.Table.from_pylist(rows, schema=EXPLANATIONS.schema)
            lake.write(EXPLANATIONS.name, {"explanation_method": method, **lake_partition(key)}, EXPLANATIONS.schema, table, "1")
    return lake


@pytest.fixture
def there(lake: Lake, tmp_path: Path) -> Rateable:
    registry = DictionaryRegistry(tmp_path / "dictionaries")
    registry.write(record())
    return rateable(lake, registry)


def write(folder: Path, *rows: str, name: str = "r.csv", header: str = HEADER) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("\n".join([header, *rows]) + "\n")
    return folder / name


def test_explanations_that_can_be_rated_are_those_in_the_lake(there: Rateable) -> None:
    assert [(one.text, one.methods) for one in there.explanations(KEY, 0)] == [("cats", ("max_act",)), ("dogs", ("shuffled",))]
    assert [(one.text, one.methods) for one in there.explanations(KEY, 33)] == [("dates, of years", ("max_act", "candidates"))]
    assert list(there.explanations(KEY, 1)) == [] and there.features[KEY] == range(64)


@pytest.mark.parametrize("features", [None, (3, 7, 9), tuple(range(0, 64, 3))])
def test_the_range_of_a_feature_is_the_one_that_holds_it(features: tuple[int, ...] | None) -> None:
    some = record(features=features)
    assert all(feature in some.features_of(some.range_of(feature)) for feature in some.selected_features.tolist())


def test_files_in_the_folder_are_read_row_by_row(lake: Lake, there: Rateable, tmp_path: Path) -> None:
    folder = tmp_path / "ratings"
    write(folder, f"ada,{KEY},0,cats,1,4,3", f'ada,{KEY},33,"dates, of years",1,4,', f"ada,{KEY},64,cats,1,4,3", f"ada,{KEY},0,cats,1,4,5")
    entry = {"source": KEY, "feature": 33, "explanation": "dates, of years", "rating": 10, "time_spent": 4}
    (folder / "app.json").write_text(json.dumps({"rater": "bob", "evaluations": {"x_33": entry}}))
    (folder / "broken.json").write_text("{")
    (folder / "notes.txt").write_text("not a rating file")
    (folder / ".r.csv.tmp.csv").write_text("left by a killed import")
    read = read_ratings(rating_files(folder), there)
    write_ratings(lake, read)
    rows = lake.read(HUMAN_RATINGS.name, {}).to_pylist()
    assert [(r["rater"], r["feature"], r["rating"], r["normalised"], r["source"], r["explanation_methods"]) for r in rows] == [
        ("ada", 0, 3, 2 / 3, "r.csv line 2", ["max_act"]), ("bob", 33, 10, 1, "app.json line 1 (x_33)", ["max_act", "candidates"]),
    ]  # fmt: skip
    rejected = lake.read(REJECTED_RATINGS.name, {}).to_pylist()
    assert [(r["file"], r["line"], r["column"], r["value"]) for r in rejected] == [
        ("broken.json", 0, "file", "broken.json"), ("r.csv", 4, "feature", "64"), ("r.csv", 5, "rating", "5"),
    ]  # fmt: skip
    assert rejected[1]["allowed"] == "a feature that m/00/n selects: 0 to 63" and "is not JSON" in rejected[0]["allowed"]
    assert dict(read.unrated) == {"r.csv": 1} and dict(read.n_rows) == {"app.json": 1, "r.csv": 4}
    assert [(one.rater, one.normalised, one.explained.methods) for one in stored_ratings(lake)] == [
        ("ada", 2 / 3, ("max_act",)), ("bob", 1.0, ("max_act", "candidates")),
    ]  # fmt: skip


def test_no_folder_is_no_ratings(lake: Lake, there: Rateable, tmp_path: Path) -> None:
    write_ratings(lake, read_ratings(rating_files(tmp_path / "nowhere"), there))
    assert stored_ratings(lake) == [] and lake.read(REJECTED_RATINGS.name, {}).num_rows == 0


def test_reading_again_writes_nothing_and_a_change_does(lake: Lake, there: Rateable, tmp_path: Path) -> None:
    file = write(tmp_path / "ratings", f"ada,{KEY},0,cats,1,4,3")
    first = write_ratings(lake, read_ratings([file], there))
    part = Path(lake.path(HUMAN_RATINGS.name, {})) / "part-0.parquet"
    stamp = part.stat().st_mtime_ns
    assert write_ratings(lake, read_ratings([file], there)) == first and part.stat().st_mtime_ns == stamp
    write(tmp_path / "ratings", f"ada,{KEY},0,cats,1,4,2")
    assert write_ratings(lake, read_ratings([file], there)).data_version != first.data_version
    write(tmp_path / "ratings", f"ada,{KEY},0,cats,1,4,3", f"ada,{KEY},0,cats,1,4,9")
    assert write_ratings(lake, read_ratings([file], there)).data_version != first.data_version  # a rejection is news too


def test_importing_keeps_a_file_of_all_columns_and_twice_is_once(there: Rateable, tmp_path: Path) -> None:
    folder, said = tmp_path / "ratings", list[str]()
    file = write(tmp_path, f"ada,{KEY},0,cats,1,4,3", f"bob,{KEY},33,candidates,0,1,0.25")
    import_ratings(folder, there, file, say=said.append)
    content = (folder / "r.csv").read_bytes()
    with (folder / "r.csv").open() as kept:
        rows = list(csv.DictReader(kept))
    assert list(rows[0]) == list(COLUMNS) and [row["explanation"] for row in rows] == ["cats", "dates, of years"]
    assert [row["source"] for row in rows] == ["r.csv line 2", "r.csv line 3"] and [row["rating"] for row in rows] == ["3.0", "0.25"]
    stamp = (folder / "r.csv").stat().st_mtime_ns
    import_ratings(folder, there, file, say=said.append)
    import_ratings(folder, there, folder / "r.csv", say=said.append)  # what was kept is a file of ratings itself
    assert (folder / "r.csv").read_bytes() == content and (folder / "r.csv").stat().st_mtime_ns == stamp
    assert [line.split(" ")[0] for line in said] == ["writing", str(folder / "r.csv"), str(folder / "r.csv")]
    again = read_ratings(rating_files(folder), there)
    assert len(again.ratings) == 2 and again.rejections == []
    assert [path.name for path in folder.iterdir()] == ["r.csv"]


def test_the_same_under_another_name_is_not_kept_twice(there: Rateable, tmp_path: Path) -> None:
    said = list[str]()
    import_ratings(tmp_path / "ratings", there, write(tmp_path, f"ada,{KEY},0,cats,1,4,3"))
    read = import_ratings(tmp_path / "ratings", there, write(tmp_path, f"ada,{KEY},0,cats,1,4,3", name="copy.csv"), say=said.append)
    assert read.ratings == [] and "under another name" in said[-1] and len(rating_files(tmp_path / "ratings")) == 1


def test_every_rejected_row_is_named_and_nothing_is_written(there: Rateable, tmp_path: Path) -> None:
    said = list[str]()
    file = write(tmp_path, *(f"ada,{KEY},{feature},cats,1,4,3" for feature in (0, *range(64, 84))))
    with pytest.raises(ExchangeError, match=r"r\.csv: 20 of 21 rated rows are rejected, allowed is a share of 0"):
        import_ratings(tmp_path / "ratings", there, file, say=said.append)
    assert len(said) == 20 and said[0] == "rejected r.csv line 3, feature '64': allowed is a feature that m/00/n selects: 0 to 63"
    assert not (tmp_path / "ratings").exists()
    assert len(import_ratings(tmp_path / "ratings", there, file, max_bad_share=0.99).ratings) == 1


def test_a_corrected_file_replaces_its_own_ratings_and_no_one_elses(there: Rateable, tmp_path: Path) -> None:
    folder = tmp_path / "ratings"
    import_ratings(folder, there, write(tmp_path, f"ada,{KEY},0,cats,1,4,3"))
    import_ratings(folder, there, write(tmp_path, f"ada,{KEY},0,cats,1,4,2"))
    assert [one.rating for one in read_ratings(rating_files(folder), there).ratings] == [2]
    other = write(tmp_path, f"bob,{KEY},0,cats,1,4,4")  # of the same name
    with pytest.raises(ExchangeError, match=r"has ratings by ada, of whom .* has none.*--name"):
        import_ratings(folder, there, other)
    import_ratings(folder, there, other, name="bob")
    assert sorted(one.rater for one in read_ratings(rating_files(folder), there).ratings) == ["ada", "bob"]
    contradicting = write(tmp_path, f"ada,{KEY},0,cats,1,4,1", name="later.csv")
    with pytest.raises(ExchangeError, match="1 of 1 rated rows are rejected"):
        import_ratings(folder, there, contradicting)


def test_files_without_ratings_say_so(there: Rateable, tmp_path: Path) -> None:
    with pytest.raises(ExchangeError, match="no rating yet: the column rating is empty in all of its 2 rows"):
        import_ratings(tmp_path / "ratings", there, write(tmp_path, *[f"ada,{KEY},0,cats,1,4,"] * 2))
    with pytest.raises(ExchangeError, match="there is no file"):
        import_ratings(tmp_path / "ratings", there, tmp_path / "nowhere.csv")


def test_generated_ratings_are_kept_as_such(there: Rateable, tmp_path: Path) -> None:
    file = write(tmp_path, f"gpt,{KEY},0,cats,1,4,3,", f"ada,{KEY},0,cats,1,4,3,human", header=f"{HEADER},rater_kind")
    read = import_ratings(tmp_path / "ratings", there, file, rater_kind="generated")
    assert {one.rater: one.rater_kind for one in read.ratings} == {"gpt": "generated", "ada": "human"}
    assert {one.rater: one.rater_kind for one in read_ratings(rating_files(tmp_path / "ratings"), there).ratings}["gpt"] == "generated"


def test_the_option_dictionary() -> None:
    assert dictionaries_option([KEY, "layers.9=m/01/x"], [KEY, "m/01/x"]) == {"": KEY, "layers.9": "m/01/x"}
    with pytest.raises(UserError, match=r"--dictionary a=b: 'b' is not registered\. Registered: m/00/n"):
        dictionaries_option(["a=b"], [KEY])
