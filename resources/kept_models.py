"""Models for the stages of a run in one process: a language model and a sentence encoder stay loaded from stage to stage while the stages
ask the same models, and tokenizers are read once."""

import atexit
import json
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from resources.language_models.interface import Capability, LanguageModel, ModelIdentity, Reply, Request
from resources.model_provider import ModelProvider
from resources.models_process import BACKEND, EncoderAhead, LanguageModelAhead, ModelsProcess
from resources.sentence_encoder import SentenceEncoder

if TYPE_CHECKING:
    import numpy as np

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


class _LentEncoder:
    """A sentence encoder that stays loaded when a stage closes it."""

    def __init__(self, encoder: SentenceEncoder, make_room: Callable[[], None]) -> None:
        self._encoder, self._make_room = encoder, make_room

    @property
    def revision(self) -> str:
        """The encoder's revision."""
        return self._encoder.revision

    def embed(self, texts: Sequence[str]) -> "np.ndarray":
        """The encoder's vectors, float32 [texts, dimensions]."""
        self._make_room()
        return self._encoder.embed(texts)

    def close(self) -> None:
        """Nothing: the provider frees the encoder."""


class KeptModels:
    """Another provider's models. One language model and one sentence encoder are kept in memory, and freed at the end of the process.

    The language model is freed before another language model or a subject model is loaded. On a GPU the encoder is freed too before any of
    these, and the language model before the encoder works: a language model may take all of the memory that is free. A `process` gives the
    vectors of the encoder that it has loaded and the replies of language models of this machine, and ends with the kept models.
    """

    def __init__(self, models: ModelProvider, process: ModelsProcess | None = None) -> None:
        self._models, self._process = models, process
        self._kept: tuple[str, LanguageModel] | None = None
        self._encoder: tuple[tuple[str, str | None], SentenceEncoder] | None = None
        self._tokenizers: dict[tuple[str, str | None], SubjectTokenizer] = {}
        self._closes_at_exit = False

    def tokenizer(self, source: str, revision: str | None) -> "SubjectTokenizer":
        """A model's tokenizer."""
        if (source, revision) not in self._tokenizers:
            self._tokenizers[source, revision] = self._models.tokenizer(source, revision)
        return self._tokenizers[source, revision]

    def subject(self, source: str, revision: str | None, dtype: str | None, hooks: Sequence[str] | None = None) -> "SubjectModel":
        """A subject model; the kept language model is freed first."""
        self._free_language_model()
        if self._process is not None:
            self._process.free_language_model()  # it may be loaded ahead
        self._free_encoder_of_a_card()
        return self._models.subject(source, revision, dtype, hooks)

    def dictionary(self, **record: Any) -> "Dictionary":
        """A dictionary."""
        return self._models.dictionary(**record)

    def language_model(self, backend: str, model: str, revision: str | None, options: dict[str, Any]) -> LanguageModel:
        """A language model: the kept one where it is the same."""
        name = json.dumps([backend, model, revision, options], sort_keys=True, default=str)
        if self._kept is None or self._kept[0] != name:
            self._free_language_model()
            self._free_encoder_of_a_card()
            self._kept = name, self._loaded_language_model(backend, model, revision, options)
            self._close_at_exit()
        return _Lent(self._kept[1])

    def sentence_encoder(self, source: str, revision: str | None) -> SentenceEncoder:
        """A sentence encoder: the kept one where it is the same."""
        if self._encoder is None or self._encoder[0] != (source, revision):
            self._free_encoder()
            encoder, process = self._models.sentence_encoder(source, revision), self._process
            if process is not None and process.loads_encoder(source, revision):
                encoder = EncoderAhead(encoder, process)
            self._encoder = (source, revision), encoder
            self._close_at_exit()
        if isinstance(self._encoder[1], EncoderAhead):
            return _LentEncoder(self._encoder[1], lambda: None)  # it works beside no card
        return _LentEncoder(self._encoder[1], self._free_language_model_of_a_card)

    def close(self) -> None:
        """Free the kept models. Tokenizers stay."""
        self._free_language_model()
        self._free_encoder()
        if self._process is not None:
            self._process.close()
        atexit.unregister(self.close)  # which would keep this object, and its tokenizers, to the end of the process
        self._closes_at_exit = False

    def _close_at_exit(self) -> None:
        if not self._closes_at_exit:
            atexit.register(self.close)
            self._closes_at_exit = True

    def _loaded_language_model(self, backend: str, model: str, revision: str | None, options: dict[str, Any]) -> LanguageModel:
        if self._process is not None and backend == BACKEND:
            self._process.load_language_model(model, revision, options)
            if (loaded := self._process.loaded_language_model()) is not None:
                own = partial(self._models.language_model, backend, model, revision, options)
                return LanguageModelAhead(self._process, loaded, own)
        return self._models.language_model(backend, model, revision, options)

    def _free_language_model(self) -> None:
        if self._kept is not None:
            self._kept[1].close()
        self._kept = None

    def _free_encoder(self) -> None:
        if self._encoder is not None:
            self._encoder[1].close()
        self._encoder = None

    def _free_encoder_of_a_card(self) -> None:
        if self._encoder is not None and self._has_card():
            self._free_encoder()

    def _free_language_model_of_a_card(self) -> None:
        if self._kept is not None and self._has_card():
            self._free_language_model()

    def _has_card(self) -> bool:
        """Whether models are put on a GPU. Beside the process there is none, and torch need not be imported."""
        if self._process is not None:
            return False
        import torch

        return torch.cuda.is_available()
