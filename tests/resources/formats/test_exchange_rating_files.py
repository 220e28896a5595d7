"""Rating files in their three forms: every row with its line, and files that are none."""

import gzip
import json
from pathlib import Path

import pytest

from resources.formats.interface import ExchangeError
from resources.formats.rating_files import RatingRow, read_rating_rows

HEADER = "rater,dictionary,feature,explanation,scale_min,scale_max,rating"


def write(path: Path, content: str) -> Path:
    path.write_bytes(gzip.compress(content.encode()) if path.suffix == ".gz" else content.encode())
    return path


def test_csv_with_its_lines_whatever_the_order_of_the_columns(tmp_path: Path) -> None:
    text = f'\ufeff Rating ,note,{HEADER.removesuffix(",rating")}\r\n3,x,ada,k,7,"cats,\nand dogs",1,4\r\n\r\n,,bob,k,8,ships,1,4\r\n'
    for name in ("r.csv", "r.csv.gz"):
        first, second = read_rating_rows(write(tmp_path / name, text))
        assert (first.line, first.fields["rater"], first.fields["explanation"], first.fields["rating"]) == (
            2,
            "ada",
            "cats,\nand dogs",
            "3",
        )
        assert (second.line, second.fields["rating"]) == (5, "") and second.problem is None


def test_rows_that_are_none(tmp_path: Path) -> None:
    (row,) = read_rating_rows(write(tmp_path / "r.csv", f"{HEADER}\nada,k,7,cats, and dogs,1,4,3"))
    assert row == RatingRow(2, {"row": "8 fields"}, "7 fields, as many as the first line; text with a comma stands in double quotes")
    lines = list(read_rating_rows(write(tmp_path / "r.jsonl", '{"rater": "ada"}\n\nnonsense\n[1]')))
    assert [(row.line, row.problem) for row in lines] == [(1, None), (3, "a JSON object"), (4, "a JSON object")]


def test_json_lines_as_text(tmp_path: Path) -> None:
    content = {"Rater": "ada", "feature": 7, "rating": 3.5, "context": None, "explanation": "cats"}
    (row,) = read_rating_rows(write(tmp_path / "r.jsonl", json.dumps(content)))
    assert row.fields == {"rater": "ada", "feature": "7", "rating": "3.5", "context": "", "explanation": "cats"}


def delphi(tmp_path: Path, **entries: object) -> Path:
    return write(tmp_path / "app.json", json.dumps({"evaluations": entries}))


def test_the_rating_app_of_delphi(tmp_path: Path) -> None:
    entry = {"source": "layers.9", "feature": 12, "explanation": "cats", "rating": 8, "time_spent": 31.5}
    rows = list(read_rating_rows(delphi(tmp_path, **{"layers.9_12": entry, "layers.9_13": {**entry, "rating": None}, "x": 3}), rater="ada"))
    assert rows[0].fields == {
        "rater": "ada", "dictionary": "layers.9", "feature": "12", "explanation": "cats", "scale_min": "1", "scale_max": "10",
        "rating": "8", "seconds": "31.5", "source": "layers.9_12",
    }  # fmt: skip
    assert rows[1].fields["rating"] == "" and (rows[2].line, rows[2].problem) == (3, "a JSON object")
    (named,) = read_rating_rows(delphi(tmp_path, a=entry), dictionaries={"": "m/09/n"})
    assert named.fields["dictionary"] == "m/09/n"
    two = delphi(tmp_path, a=entry, b={**entry, "source": "layers.10"})
    by_source = {"layers.9": "m/09/n", "layers.10": "m/10/n"}
    assert [row.fields["dictionary"] for row in read_rating_rows(two, dictionaries=by_source)] == ["m/09/n", "m/10/n"]
    with pytest.raises(
        ExchangeError, match=r"of several dictionaries: layers\.10, layers\.9\. Give the key of each: --dictionary SOURCE=KEY"
    ):
        list(read_rating_rows(two, dictionaries={"": "m/09/n"}))


def test_what_an_option_says_may_be_missing(tmp_path: Path) -> None:
    file = write(tmp_path / "r.csv", "feature,explanation,scale_min,scale_max,rating\n7,cats,1,4,3")
    (row,) = read_rating_rows(file, "ada", {"": "m/00/n"})
    assert (row.fields["rater"], row.fields["dictionary"]) == ("ada", "m/00/n")
    with pytest.raises(ExchangeError, match="needed are rater, dictionary"):
        list(read_rating_rows(file))


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("r.csv", "", "needed are rater"),
        ("r.csv", "rater,dictionary,feature,scale_min,scale_max,rating", "one of explanation_id, explanation_method, explanation"),
        ("r.csv", "\0\xff", "needed are"),
        ("r.json", "{", "is not JSON"),
        ("r.json", "[1]", "rating app of delphi"),
        ("r.json", '{"evaluations": []}', "rating app of delphi"),
        ("r.xlsx", "x", "does not say its format"),
    ],
)
def test_files_that_are_none(tmp_path: Path, name: str, content: str, problem: str) -> None:
    with pytest.raises(ExchangeError, match=problem):
        list(read_rating_rows(write(tmp_path / name, content)))
    (tmp_path / "b.csv").write_bytes(b"rater\xff\xfe")
    with pytest.raises(ExchangeError, match="cannot be read"):
        list(read_rating_rows(tmp_path / "b.csv"))
