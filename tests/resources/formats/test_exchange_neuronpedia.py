"""Neuronpedia exports: which rows are read, which are named as bad, and where their bins are."""

import gzip
import json
import math
from pathlib import Path

import pytest

from resources.formats.interface import BadRow, ExchangeError
from resources.formats.neuronpedia import Activation, check_export, open_export, read_windows

GOOD = {
    "modelId": "gpt2-small", "layer": "6-res-jb", "index": "7", "tokens": ["The", " cat", "\n"], "values": [0, 2.5004, -0.1],
    "maxValue": 2.5, "maxValueTokenIndex": 1, "dataIndex": "3", "binMin": 2, "binMax": 3, "binContains": 0.1,
}  # fmt: skip


def source(folder: Path, *batches: list, kind: str = "activations", suffix: str = ".jsonl.gz") -> Path:
    (folder / kind).mkdir(parents=True, exist_ok=True)
    for number, batch in enumerate(batches):
        text = "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in batch)
        content = gzip.compress(text.encode()) if suffix.endswith(".gz") else text.encode()
        (folder / kind / f"batch-{number}{suffix}").write_bytes(content)
    return folder


def test_a_row_becomes_a_window(tmp_path: Path) -> None:
    top = {**GOOD, "binMin": -1, "binMax": -1, "binContains": -1}
    plain = {key: value for key, value in GOOD.items() if not key.startswith("bin")}
    read = list(read_windows(open_export(source(tmp_path, [GOOD, top], [{**plain, "index": 8}])), None))
    assert read == [
        Activation(0, 7, ("The", " cat", "\n"), (0.0, 2.5004, -0.1), 3.0),
        Activation(1, 7, ("The", " cat", "\n"), (0.0, 2.5004, -0.1), math.inf),
        Activation(2, 8, ("The", " cat", "\n"), (0.0, 2.5004, -0.1), None),
    ]


def test_batches_come_by_number_and_uncompressed_too(tmp_path: Path) -> None:
    batches = [[{**GOOD, "index": str(number)}] for number in range(11)]
    for suffix in (".jsonl", ".jsonl.gz"):
        export = open_export(source(tmp_path / suffix, *batches, suffix=suffix))
        assert [row.feature for row in read_windows(export, None) if isinstance(row, Activation)] == list(range(11))


def test_findings_count_what_there_is(tmp_path: Path) -> None:
    silent = {**GOOD, "index": "2", "values": [0, 0, 0], "maxValue": 0, "maxValueTokenIndex": 0}
    folder = source(tmp_path, [GOOD, silent, "nonsense"])
    found = check_export(open_export(folder), None, 0.5)
    assert (found.width, found.windows, found.tokens, found.longest, found.silent, found.n_bad) == (8, 2, 6, 3, 1, 1)
    assert found.features == {2, 7} and found.texts == {"The", " cat", "\n"} and found.hook is None
    source(tmp_path, [{"index": "9", "hookName": "blocks.6.hook_resid_pre"}], kind="features")
    found = check_export(open_export(folder), None, 0.5)
    assert (found.width, found.hook) == (10, "blocks.6.hook_resid_pre")
    assert check_export(open_export(folder), 24_576, 0.5).width == 24_576
    with pytest.raises(ExchangeError, match=r"2 of 3 activations are bad.*\n.*line 1: index '7'; allowed are 0 to 4"):
        check_export(open_export(folder), 5, 0.5)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"index": None}, "index None"),
        ({"index": "-1"}, "index '-1'"),
        ({"index": "24576"}, "allowed are 0 to 24575"),
        ({"tokens": ["The"]}, "1 tokens and 3 values"),
        ({"values": "0 2 0"}, "3 tokens and 0 values"),
        ({"tokens": ["The", 7, "x"]}, "a token that is not text"),
        ({"values": [0, True, 0]}, "no finite number"),
        ({"values": [0, None, 0]}, "no finite number"),
        ({"maxValue": None}, "maxValue None, but the largest value is 2.5004"),
        ({"maxValue": 2.4}, "maxValue 2.4, but the largest value is 2.5004"),
        ({"maxValueTokenIndex": 2}, "maxValueTokenIndex 2, but the largest value is at 1"),
        ({"maxValueTokenIndex": 3}, "maxValueTokenIndex 3"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, change: dict, problem: str) -> None:
    (good, bad) = read_windows(open_export(source(tmp_path, [GOOD, {**GOOD, **change}])), 24_576)
    assert isinstance(good, Activation) and isinstance(bad, BadRow)
    assert bad.where == f"{tmp_path}/activations/batch-0.jsonl.gz line 2" and problem in bad.problem


def test_folders_that_are_no_export_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ExchangeError, match=r"there is no folder .*nowhere"):
        open_export(tmp_path / "nowhere")
    with pytest.raises(ExchangeError, match="it has none"):
        open_export(tmp_path)
    one, two = source(tmp_path / "v1" / "m" / "0-a", [GOOD]), tmp_path / "v1" / "m" / "1-a"
    assert open_export(tmp_path).folder == one
    (two / "activations").mkdir(parents=True)
    with pytest.raises(ExchangeError, match="it has v1/m/0-a, v1/m/1-a"):
        open_export(tmp_path)
    with pytest.raises(ExchangeError, match=r"has no batch-N\.jsonl\.gz"):
        open_export(two)
    cut = one / "activations" / "batch-0.jsonl.gz"
    cut.write_bytes(gzip.compress(json.dumps(GOOD).encode() * 100)[:-20])
    with pytest.raises(ExchangeError, match=r"batch-0\.jsonl\.gz cannot be read"):
        list(read_windows(open_export(one), None))
