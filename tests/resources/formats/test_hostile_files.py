"""Files of other tools that nobody meant: each is refused with a message, or its bad rows are named and the others kept."""

import gzip
import json
import os
from pathlib import Path

import pytest

from resources.formats import interface, neuronpedia
from resources.formats.explanation_files import open_explanations, read_explanations
from resources.formats.interface import BadRow, ExchangeError, StatedExplanation

GOOD = '{"feature": 3, "explanation": "cats"}\n'
WINDOW = {"index": 3, "tokens": ["a", "b"], "values": [0.0, 2.0], "maxValue": 2.0, "maxValueTokenIndex": 1}


def rows(file: Path, content: bytes) -> list[StatedExplanation | BadRow]:
    file.write_bytes(content)
    return list(read_explanations(open_explanations(file, "auto", None), 64))


@pytest.mark.parametrize("row", ["[" * 100_000, '{"feature": "٣", "explanation": "a"}', "9" * 5000])
def test_a_bad_row_is_one_row(tmp_path: Path, row: str) -> None:
    found = rows(tmp_path / "a.jsonl", (GOOD + row + "\n" + GOOD).encode())
    assert [type(one) for one in found] == [StatedExplanation, BadRow, StatedExplanation]


def test_what_cannot_be_read_is_refused_in_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packed = bytearray(gzip.compress(GOOD.encode() * 50))
    packed[24] ^= 4
    for name, content in (("a.jsonl.gz", bytes(packed)), ("a.json", b"[" * 100_000)):
        with pytest.raises(ExchangeError, match="cannot be read"):
            rows(tmp_path / name, content)
    os.mkfifo(tmp_path / "pipe.jsonl")
    (tmp_path / "zero.jsonl").symlink_to("/dev/zero")
    for name in ("pipe.jsonl", "zero.jsonl"):
        with pytest.raises(ExchangeError, match="no regular file"):
            open_explanations(tmp_path / name, "auto", None)
    monkeypatch.setattr(interface, "LONGEST_LINE", 1 << 20)
    monkeypatch.setattr(interface, "LARGEST_OBJECT", 1 << 20)
    bomb = gzip.compress(bytes(1 << 20), 1) * 8
    for name in ("b.jsonl.gz", "b.csv.gz", "b.json.gz"):
        with pytest.raises(ExchangeError, match="more than 1,048,576 characters"):
            rows(tmp_path / name, bomb)


@pytest.mark.parametrize(
    "change",
    [{"index": "9" * 5000}, {"values": [0, 10**400], "maxValue": 1}, {"maxValue": 10**400}, {"index": True}],
)
def test_a_bad_window_is_one_row(tmp_path: Path, change: dict) -> None:
    file = tmp_path / "batch-0.jsonl"
    file.write_text("".join(json.dumps(one) + "\n" for one in (WINDOW, {**WINDOW, **change}, {**WINDOW, "binMax": 10**400})))
    found = list(neuronpedia.read_batch(file, 64))
    assert [type(one).__name__ for one in found] == ["Activation", "BadRow", "Activation"]


def test_half_of_a_character_in_a_token_becomes_the_sign_for_it(tmp_path: Path) -> None:
    file = tmp_path / "batch-0.jsonl"
    file.write_text(json.dumps({**WINDOW, "tokens": ["a", "b\ud800"]}) + "\n")
    (found,) = neuronpedia.read_batch(file, 64)
    assert isinstance(found, neuronpedia.Activation) and found.tokens == ("a", "b\ufffd")
