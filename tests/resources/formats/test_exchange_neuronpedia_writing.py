"""A Neuronpedia source as it is written: batches, ids, config rows, and the columns that Neuronpedia's own schema has."""

import gzip
import json
from pathlib import Path

import pytest

from resources.formats import neuronpedia, neuronpedia_writing
from resources.formats.interface import ExchangeError
from resources.formats.neuronpedia_writing import SourceFolder, add_config, checked_name, config_row, identity, refuse_other_content


def line(index: int, text: str = "a", values: tuple[float, ...] = (0.0, 1.5)) -> dict[str, object]:
    return {
        "index": str(index), "tokens": [text] * len(values), "values": list(values), "maxValue": max(values),
        "maxValueTokenIndex": values.index(max(values)), "binMin": 0, "binMax": 1.5, "binContains": 0.5,
    }  # fmt: skip


def written(folder: Path, features: range, text: str = "a") -> list[str]:
    source = SourceFolder(folder)
    for index in features:
        source.add({"index": str(index)}, [line(index, text)] * 3, [], [])
    source.finish()
    assert source.n_batches == len(list((folder / "features").iterdir()))
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.gz"))


def test_batches_hold_at_most_so_many_features_and_the_same_in_each_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neuronpedia_writing, "BATCH_FEATURES", 4)
    assert written(tmp_path, range(9)) == [f"{kind}/batch-{n}.jsonl.gz" for kind in ("activations", "features") for n in range(3)]
    lines = gzip.decompress((tmp_path / "activations" / "batch-1.jsonl.gz").read_bytes()).decode().splitlines()
    assert [json.loads(one)["index"] for one in lines] == [str(i) for i in range(4, 8) for _ in range(3)]


def test_a_batch_is_small_enough_for_the_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neuronpedia_writing, "BATCH_BYTES", 5000)
    files = written(tmp_path, range(10), "x" * 600)  # 3 windows of two tokens: about 4,000 characters a feature
    assert len([name for name in files if name.startswith("activations")]) == 10
    assert written(tmp_path / "one", range(1), "x" * 60_000) == ["activations/batch-0.jsonl.gz", "features/batch-0.jsonl.gz"]


def test_nasty_tokens_come_back_by_our_importer(tmp_path: Path) -> None:
    texts = ["<script>", "a\nb", r"\u0000", "\ud83d", "\U0001f600", "\0"]
    source = SourceFolder(tmp_path)
    source.add({"index": "0"}, [line(0, text, (0.0, float("nan"), 2.0)) | {"values": [0.0, 1.0, 2.0]} for text in texts], [], [])
    source.finish()
    found = [
        row.tokens[0] for row in neuronpedia.read_windows(neuronpedia.open_export(tmp_path), 1) if isinstance(row, neuronpedia.Activation)
    ]
    assert found == ["<script>", "a\nb", r"\u0000", "\ufffd", "\U0001f600", "\ufffd"]


def test_config_rows_are_merged_by_name(tmp_path: Path) -> None:
    add_config(tmp_path, {"explanation_type": [config_row("b", "old"), config_row("c", "kept")]})
    add_config(tmp_path, {"explanation_type": [config_row("b", "new"), config_row("a", "")]})
    rows = [json.loads(one) for one in (tmp_path / "config" / "explanation_type.jsonl").read_text().splitlines()]
    assert [(row["name"], row["description"]) for row in rows] == [("a", ""), ("b", "new"), ("c", "kept")]


def test_equal_parts_have_equal_ids() -> None:
    assert identity("a", 1) == identity("a", "1") != identity("a1") and len(identity("\ud83d")) == 25


def test_names_that_neuronpedia_would_take_apart_are_refused(tmp_path: Path) -> None:
    assert checked_name("--model-id", "GPT2-small") == "gpt2-small"
    for name in ("a__b", "a/b", "", "config", "ü", "-a"):
        with pytest.raises(ExchangeError, match="--model-id"):
            checked_name("--model-id", name)
    (tmp_path / "notes").mkdir()
    refuse_other_content(tmp_path)  # an empty folder is nobody's
    (tmp_path / "notes" / "x.txt").write_text("")
    with pytest.raises(ExchangeError, match="it holds notes"):
        refuse_other_content(tmp_path)
