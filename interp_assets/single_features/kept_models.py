"""Models for a run in this process: a language model stays loaded from stage to stage while the stages ask the same model."""

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from resources.language_models.interface import Capability, LanguageModel, ModelIdentity, Reply, Request
from resources.model_provider import ModelProvider
from resources.sentence_encoder import SentenceEncoder

if TYPE_CHECKING:
    from resources.dictionaries import Dictionary
    from resources.subject.interface import SubjectTokenizer
    from resources.subject.model import SubjectModel


class _Lent:
    """A language model that stays loaded when a stage closes it."""

    def __init__(self, model: LanguageModel) -> None:
        self._model = model

    @property
    def identity(self) -> ModelIdentity:
        """The model's identity."""
        return self._model.identity

    @property
    def capabilities(self) -> frozenset[Capability]:
        """The model's capabilities."""
        return self._model.capabilities

    def ask(self, requests: Sequence[Request]) -> Iterator[tuple[int, Reply]]:
        """The model's answers."""
        return self._model.ask(requests)

    def close(self) -> None:
        """Nothing: the provider frees the model."""


class KeptModels:
    """Another provider's models. One language model is kept in memory; it is freed before another language model or a subject model is
    loaded. Tokenizers are read once."""

    def __init__(self, models: ModelProvider) -> None:
        self._models = models
        self._kept: tuple[str, LanguageModel] | None = None
        self._tokenizers: dict[tuple[str, str | None], SubjectTokenizer] = {}

    def tokenizer(self, source: str, revision: str | None) -> "SubjectTokenizer":
        """A model's tokenizer."""
        if (source, revision) not in self._tokenizers:
            self._tokenizers[source, revision] = self._models.tokenizer(source, revision)
        return self._tokenizers[source, revision]

    def subject(self, source: str, revision: str | None, dtype: str | None, hooks: Sequence[str] | None = None) -> "SubjectModel":
        """A subject model; the kept language model is freed first."""
        self.close()
        return self._models.subject(source, revision, dtype, hooks)

    def dictionary(self, **record: Any) -> "Dictionary":
        """A dictionary."""
        return self._models.dictionary(**record)

    def language_model(self, backend: str, model: str, revision: str | None, options: dict[str, Any]) -> LanguageModel:
        """A language model: the kept one where it is the same."""
        name = json.dumps([backend, model, revision, options], sort_keys=True, default=str)
        if self._kept is None or self._kept[0] != name:
            self.close()
            self._kept = name, self._models.language_model(backend, model, revision, options)
        return _Lent(self._kept[1])

    def sentence_encoder(self, source: str, revision: str | None) -> SentenceEncoder:
        """A sentence encoder."""
        return self._models.sentence_encoder(source, revision)

    def close(self) -> None:
        """Free the kept language model."""
        if self._kept is not None:
            self._kept[1].close()
        self._kept = None
