"""Records of imported dictionaries: what the command line writes, what it refuses, and whether tokens are a model's own."""

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from interp_assets.config.base import UserError
from interp_assets.config.feature_lists import AskedFeatures
from interp_assets.config.records import ModelSource
from interp_assets.config.registry import DictionaryRegistry
from interp_assets.exchange.import_dictionary import (
    LEAST_RETOKENISED_SHARE,
    delphi_record,
    retokenised_share,
    tokens_address,
)
from resources.corpus import read_documents
from resources.fakes import SPECIAL, WORDS, FakeModels
from resources.formats.interface import ExchangeError
from resources.subject.tokenizer import load_tokenizer

MODEL = ModelSource(source="fake")
EMBEDDED = "embedded:smollm2-135m-instruct"


def cache(folder: Path, *splits: str, tokens: np.ndarray | None = None, config: dict | None = None) -> Path:
    """Files without activations, over four rows of known words."""
    (folder / "layers.0").mkdir(parents=True)
    tokens = np.full((4, 8), len(SPECIAL) + 3) if tokens is None else tokens
    content = {"locations": np.zeros((0, 3), np.uint16), "activations": np.zeros(0, np.float16), "tokens": tokens.astype(np.int64)}
    for name in splits or ("0_9",):
        save_file(content, folder / "layers.0" / f"{name}.safetensors")
    (folder / "layers.0" / "config.json").write_text(json.dumps(config or {}))
    return folder


def test_a_written_record_comes_back(tmp_path: Path) -> None:
    record = delphi_record(FakeModels(), cache(tmp_path / "c"), None, "m/00/c", MODEL, features=AskedFeatures.of([1, 5]))
    registry = DictionaryRegistry(tmp_path / "records")
    registry.write(record)
    assert registry.get("m/00/c") == record
    assert record.token_sample.corpus == (tokens_address(np.full((4, 8), len(SPECIAL) + 3)),)


def test_what_was_found_is_said(tmp_path: Path) -> None:
    said: list[str] = []
    delphi_record(FakeModels(), cache(tmp_path, config={"model_name": "other"}), None, "m/00/c", MODEL, say=said.append)
    assert any(f"begins '{(f' {WORDS[3]}' * 8)}'" in line for line in said)
    assert any("4 rows of 8 tokens, 0 activations of 0 features; left out: 0 not above 1e-5, 0 negative" in line for line in said)
    assert any("the cache says that its model is other; the record says fake" in line for line in said)


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    folder = cache(tmp_path / "gap", "0_4", "10_14")
    with pytest.raises(ExchangeError, match=r"no file with feature 5 \(5 of 15 features are in no file"):
        delphi_record(FakeModels(), folder, None, "m/00/c", MODEL)
    taken = delphi_record(FakeModels(), folder, None, "m/00/c", MODEL, features=AskedFeatures.of([0, 4, 12]))
    assert taken.features == (0, 4, 12) and taken.width == 15
    with pytest.raises(UserError, match=r"--width 14 is too small.*at least 15"):
        delphi_record(FakeModels(), folder, None, "m/00/c", MODEL, width=14)
    ranged = delphi_record(FakeModels(), folder, None, "m/00/c", MODEL, features=AskedFeatures.parse("3-7,12-99"))
    assert ranged.features == (3, 4, 12, 13, 14)
    with pytest.raises(UserError, match="hold none of these features"):
        delphi_record(FakeModels(), folder, None, "m/00/c", MODEL, features=AskedFeatures.parse("15-99"))
    with pytest.raises(UserError, match=r"features selects 15.*0 to 14"):
        delphi_record(FakeModels(), folder, None, "m/00/c", MODEL, features=AskedFeatures.of(15))
    with pytest.raises(UserError, match="has its tokens: leave out"):
        delphi_record(FakeModels(), folder, None, "m/00/c", MODEL, unverified_tokens=True)


def test_a_kind_without_its_import_or_an_import_without_its_kind_is_no_record() -> None:
    for text in (
        "{key: m/00/n, hook: h, kind: delphi, width: 4, source: /data}",
        "{key: m/00/n, hook: h, kind: delphi, width: 4, imported: {content: abc}}",
        "{key: m/00/n, hook: h, kind: neurons, width: 4, imported: {content: abc}}",
    ):
        with pytest.raises(UserError, match="interp import delphi"):
            DictionaryRegistry.parse(text, "x.yaml")


def prose(tokenizer: Any, rows: int = 32) -> np.ndarray:
    """Rows of 64 tokens of the State of the Union addresses."""
    ids = np.concatenate([tokenizer.encode(document.text) for document, _ in zip(read_documents(["sotu"], 0), range(4), strict=False)])
    return ids[: rows * 64].reshape(rows, 64)


@pytest.mark.real_model
def test_only_a_tokenizers_own_tokens_come_back_from_their_text() -> None:
    tokenizer = load_tokenizer(EMBEDDED)
    own = prose(tokenizer)
    assert retokenised_share(tokenizer, own) > 0.99
    for seed in range(3):  # the same text in the ids of another vocabulary
        other = np.random.default_rng(seed).permutation(tokenizer.vocabulary_size)
        assert retokenised_share(tokenizer, other[own]) < LEAST_RETOKENISED_SHARE
    chinese = tokenizer.encode("北京是中华人民共和国的首都，今天天气很好😀。" * 60)[:1024].reshape(4, 256)
    assert retokenised_share(tokenizer, chinese) > LEAST_RETOKENISED_SHARE
    assert retokenised_share(tokenizer, np.zeros((2, 8), dtype=int)) == 1.0  # special tokens only: nothing to say


@pytest.mark.real_model
def test_token_texts_have_the_id_that_reads_so() -> None:
    tokenizer = load_tokenizer(EMBEDDED)
    known = [" the", "The", "\n", "<|im_start|>"]
    assert tokenizer.tokens(tokenizer.ids_of(known)) == known
    assert tokenizer.tokens(tokenizer.ids_of(["Ġthe"])) == [" the"]
    assert tokenizer.ids_of(["no such token", "\ufffd"]) == [-1, -1]  # nothing reads so; hundreds of part characters do


@pytest.mark.real_model
def test_tokens_of_another_vocabulary_are_refused_unless_accepted(tmp_path: Path) -> None:
    from resources.model_provider import RealModels

    models, model = RealModels(), ModelSource()
    tokenizer = models.tokenizer(EMBEDDED, None)
    own = prose(tokenizer)
    other = np.random.default_rng(0).permutation(tokenizer.vocabulary_size)[own]
    assert delphi_record(models, cache(tmp_path / "own", tokens=own), None, "m/00/c", model).width == 10
    folder = cache(tmp_path / "other", tokens=other, config={"model_name": "gpt2"})
    with pytest.raises(UserError, match=r"do not read as text of embedded.*it says gpt2.*--accept-tokens"):
        delphi_record(models, folder, None, "m/00/c", model)
    assert delphi_record(models, folder, None, "m/00/c", model, accept_tokens=True).width == 10


def test_an_export_of_one_window_is_an_export(tmp_path: Path) -> None:
    from interp_assets.exchange.import_dictionary import neuronpedia_record

    (tmp_path / "activations").mkdir()
    row = {"index": "3", "tokens": [" the"], "values": [1.0], "maxValue": 1.0, "maxValueTokenIndex": 0}
    (tmp_path / "activations" / "batch-0.jsonl.gz").write_bytes(gzip.compress(json.dumps(row).encode()))
    record = neuronpedia_record(FakeModels(), tmp_path, "m/00/n", MODEL, hook="blocks.0.hook_resid_post")
    assert (record.width, record.hook, record.stages) == (4, "blocks.0.hook_resid_post", {"examples": {"min_activating": 10}})
    assert record.token_sample.corpus[0].startswith("neuronpedia:") and record.token_sample.n_tokens == 1
