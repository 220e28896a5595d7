"""Kept models are loaded once, and freed before a model that needs their memory."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from resources.fakes import FakeModels
from resources.kept_models import KeptModels

JUDGE: dict[str, Any] = {"backend": "scripted", "model": "judge", "revision": None, "options": {"n": 1}}


class Loads(FakeModels):
    """The stand-ins, with a log of loads and closes."""

    def __init__(self) -> None:
        super().__init__()
        self.log: list[str] = []

    def tokenizer(self, source: str, revision: str | None) -> Any:
        self.log.append("tokenizer")
        return super().tokenizer(source, revision)

    def subject(self, source: str, revision: str | None, dtype: str | None, hooks: Sequence[str] | None = None) -> Any:
        self.log.append("subject")
        return object()

    def language_model(self, backend: str, model: str, revision: str | None, options: dict[str, Any]) -> Any:
        self.log.append(f"load {model}")
        loaded: Any = super().language_model(backend, model, revision, options)
        loaded.close = lambda: self.log.append(f"close {model}")
        return loaded

    def sentence_encoder(self, source: str, revision: str | None) -> Any:
        self.log.append("load encoder")
        loaded: Any = super().sentence_encoder(source, revision)
        loaded.close = lambda: self.log.append("close encoder")
        return loaded


@pytest.fixture
def kept() -> KeptModels:
    return KeptModels(Loads())


def log_of(kept: KeptModels) -> list[str]:
    loads = kept._models
    assert isinstance(loads, Loads)
    return loads.log


def test_stages_that_ask_the_same_models_load_them_once(kept: KeptModels) -> None:
    for _ in range(3):
        model, encoder = kept.language_model(**JUDGE), kept.sentence_encoder("e", None)
        assert kept.tokenizer("m", None) is kept.tokenizer("m", None)
        assert np.array_equal(encoder.embed(["a b"]), FakeModels().sentence_encoder("e", None).embed(["a b"]))
        assert model.identity == FakeModels().language_model(**JUDGE).identity
        model.close()
        encoder.close()
    assert log_of(kept) == ["load judge", "load encoder", "tokenizer"]
    kept.close()
    assert log_of(kept)[3:] == ["close judge", "close encoder"]


def test_models_are_freed_at_the_end_of_the_process_unless_closed(kept: KeptModels, monkeypatch: pytest.MonkeyPatch) -> None:
    ends: list[object] = []
    monkeypatch.setattr("atexit.register", ends.append)
    monkeypatch.setattr("atexit.unregister", ends.remove)
    kept.sentence_encoder("e", None)
    kept.language_model(**JUDGE)
    assert ends == [kept.close]
    kept.close()
    assert ends == []


def test_a_language_model_is_freed_before_another_and_before_a_subject(kept: KeptModels) -> None:
    kept.language_model(**JUDGE)
    kept.language_model(**{**JUDGE, "model": "other"})
    kept.subject("m", None, None)
    kept.language_model(**{**JUDGE, "model": "other"})
    assert log_of(kept) == ["load judge", "close judge", "load other", "close other", "subject", "load other"]


def test_another_encoder_takes_the_place_of_the_first(kept: KeptModels) -> None:
    kept.sentence_encoder("e", None)
    kept.sentence_encoder("e", "2")
    assert log_of(kept) == ["load encoder", "close encoder", "load encoder"]


def test_on_a_gpu_encoder_and_language_model_are_never_in_memory_together(kept: KeptModels, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    kept.language_model(**JUDGE)
    encoder = kept.sentence_encoder("e", None)
    assert encoder.revision
    assert log_of(kept) == ["load judge", "load encoder"]  # an encoder has its weights in memory once it works
    encoder.embed(["a"])
    assert log_of(kept)[2:] == ["close judge"]
    kept.language_model(**JUDGE)
    assert log_of(kept)[3:] == ["close encoder", "load judge"]
    kept.sentence_encoder("e", None)
    kept.subject("m", None, None)
    assert log_of(kept)[5:] == ["load encoder", "close judge", "close encoder", "subject"]
