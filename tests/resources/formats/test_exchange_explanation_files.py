"""Explanations in the five formats: what is read, where it stood, and how a format is told."""

import gzip
import json
from pathlib import Path

import pytest

from resources.formats.explanation_files import FORMATS, open_explanations, read_explanations
from resources.formats.interface import BadRow, ExchangeError, StatedExplanation

CATS = 'words for cats, "big" ones\nand small'


def read(path: Path, format_: str = "auto", width: int = 10, hookpoint: str | None = None) -> list[StatedExplanation | BadRow]:
    return list(read_explanations(open_explanations(path, format_, hookpoint), width))


def write(path: Path, content: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(content.encode()) if path.suffix == ".gz" else content.encode())
    return path


def problems(rows: list[StatedExplanation | BadRow]) -> list[tuple[str, str]]:
    assert all(isinstance(row, BadRow) for row in rows), rows
    return [(row.where.rsplit("/", 1)[-1], row.problem) for row in rows if isinstance(row, BadRow)]


def test_csv_with_commas_quotes_and_lines_in_the_text(tmp_path: Path) -> None:
    text = (
        '\ufeffFeature,note, explanation ,author,source\r\n7,x,"words for cats, ""big"" ones\nand small",Ada,pilot\r\n\r\n3,, dates ,,\r\n'
    )
    for name in ("labels.csv", "labels.csv.gz"):
        file = write(tmp_path / name, text)
        assert read(file) == [
            StatedExplanation(f"{file} line 2", 7, CATS, "Ada", "pilot"),
            StatedExplanation(f"{file} line 5", 3, "dates", None, None),
        ]


def test_bad_rows_of_a_csv_are_named(tmp_path: Path) -> None:
    lines = ["feature,explanation", "10,a", "-1,a", "1.0,a", ",a", "1,", '2,"  "', "3,cats, dogs", "4"]
    assert problems(read(write(tmp_path / "a.csv", "\n".join(lines)))) == [
        ("a.csv line 2", "feature '10'; allowed are 0 to 9"),
        ("a.csv line 3", "feature '-1'; allowed are 0 to 9"),
        ("a.csv line 4", "feature '1.0'; allowed are 0 to 9"),
        ("a.csv line 5", "feature ''; allowed are 0 to 9"),
        ("a.csv line 6", "feature 1 has the explanation ''; allowed is text that is not empty"),
        ("a.csv line 7", "feature 2 has the explanation '  '; allowed is text that is not empty"),
        ("a.csv line 8", "3 fields, but 2 columns; text with a comma stands in double quotes"),
        ("a.csv line 9", "1 fields, but 2 columns; text with a comma stands in double quotes"),
    ]


def test_json_lines(tmp_path: Path) -> None:
    rows = [{"feature": 7, "explanation": CATS, "author": "Ada"}, {"feature": "3", "explanation": "dates", "source": "pilot"}]
    file = write(tmp_path / "labels.jsonl", "\n\n".join(map(json.dumps, rows)))
    assert read(file) == [
        StatedExplanation(f"{file} line 1", 7, CATS, "Ada", None),
        StatedExplanation(f"{file} line 3", 3, "dates", None, "pilot"),
    ]
    bad = ["[1]", '{"feature": 1', '{"feature": true, "explanation": "a"}', '{"feature": 1, "explanation": 2}', '{"explanation": "a"}']
    assert [problem.split(";")[0] for _, problem in problems(read(write(tmp_path / "bad.jsonl", "\n".join(bad))))] == [
        "not a JSON object: '[1]'", "not a JSON object: '{\"feature\": 1'", "feature True",
        "feature 1 has the explanation 2", "feature None",
    ]  # fmt: skip


def test_one_object_keeps_its_repeated_keys(tmp_path: Path) -> None:
    file = write(tmp_path / "layer.json", '{"7": "cats", "x": "a", "7": "dogs", "8": ["a"], "9": {"a": "b"}}')
    cats, wrong, dogs, *others = read(file)
    assert (cats, dogs) == (StatedExplanation(f"{file} entry 1", 7, "cats"), StatedExplanation(f"{file} entry 3", 7, "dogs"))
    assert [where for where, _ in problems([wrong, *others])] == ["layer.json entry 2", "layer.json entry 4", "layer.json entry 5"]
    for content in ("[1, 2]", '"text"', '[["7", "cats"]]'):
        with pytest.raises(ExchangeError, match="is not one JSON object"):
            read(write(tmp_path / "list.json", content))
    with pytest.raises(ExchangeError, match=r"is not JSON: .*--format jsonl"):
        read(write(tmp_path / "lines.json", '{"feature": 1, "explanation": "a"}\n{"feature": 2, "explanation": "b"}'))


NEURONPEDIA = {
    "modelId": "gpt2-small", "layer": "6-res-jb", "index": "7", "description": CATS, "typeName": "np_max-act",
    "explanationModelName": "gpt-4o-mini", "authorId": "x",
}  # fmt: skip


def test_a_neuronpedia_source_by_its_folder_or_a_batch(tmp_path: Path) -> None:
    batches = [[NEURONPEDIA], [{**NEURONPEDIA, "index": "3", "typeName": None, "explanationModelName": None}]]
    files = [
        write(tmp_path / "explanations" / f"batch-{n}.jsonl.gz", "".join(json.dumps(row) + "\n" for row in batch))
        for n, batch in enumerate(batches)
    ]
    first = StatedExplanation(f"{files[0]} line 1", 7, CATS, "np_max-act gpt-4o-mini", "gpt2-small/6-res-jb")
    second = StatedExplanation(f"{files[1]} line 1", 3, CATS, None, "gpt2-small/6-res-jb")
    assert read(tmp_path) == read(tmp_path / "explanations") == [first, second]
    assert read(files[0]) == [first]


def test_rows_of_two_neuronpedia_sources_do_not_mix(tmp_path: Path) -> None:
    lines = [json.dumps(NEURONPEDIA), json.dumps({**NEURONPEDIA, "layer": "7-res-jb"}), "<html>"]
    _, *bad = read(write(tmp_path / "batch-0.jsonl", "\n".join(lines)))
    assert problems(bad) == [
        ("batch-0.jsonl line 2", "modelId and layer gpt2-small/7-res-jb, after rows of gpt2-small/6-res-jb; allowed is one source"),
        ("batch-0.jsonl line 3", "not a JSON object: '<html>'"),
    ]


def test_what_has_no_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExchangeError, match=r"there is no file or folder .*nowhere"):
        open_explanations(tmp_path / "nowhere", "auto", None)
    with pytest.raises(ExchangeError, match="has neither explanations/batch-N"):
        open_explanations(tmp_path, "auto", None)
    with pytest.raises(ExchangeError, match=r"labels\.txt does not say its format .*--format csv"):
        open_explanations(write(tmp_path / "labels.txt", "feature,explanation\n1,a"), "auto", None)
    assert read(tmp_path / "labels.txt", "csv") == [StatedExplanation(f"{tmp_path}/labels.txt line 2", 1, "a")]
    for format_ in FORMATS:
        wrong = tmp_path if format_ in ("csv", "jsonl", "json", "neuronpedia") else tmp_path / "labels.txt"
        with pytest.raises(ExchangeError, match=r"Name|Download"):
            open_explanations(wrong, format_, None)
    with pytest.raises(ExchangeError, match=r"leave out --hookpoint layers\.9"):
        open_explanations(tmp_path / "labels.txt", "csv", "layers.9")
    with pytest.raises(ExchangeError, match=r"has the columns \['id', 'text'\]; needed are"):
        read(write(tmp_path / "other.csv", "id,text\n1,a"))
    with pytest.raises(ExchangeError, match=r"has the columns \[\]"):
        read(write(tmp_path / "empty.csv", ""))
    (tmp_path / "latin.csv").write_bytes("feature,explanation\n1,Zürich".encode("latin-1"))
    with pytest.raises(ExchangeError, match=r"latin\.csv cannot be read: .*utf-8"):
        read(tmp_path / "latin.csv")
