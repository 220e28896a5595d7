"""The models of the graph: real models here, deterministic stand-ins in `resources.fakes`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from resources.language_models.interface import LanguageModel
from resources.sentence_encoder import SentenceEncoder

if TYPE_CHECKING:
    from resources.dictionaries import Dictionary
    from resources.subject.interface import SubjectTokenizer
    from resources.subject.model import SubjectModel


class ModelProvider(Protocol):
    """Loads models when a stage asks for them. Before that, nothing is loaded or imported."""

    def tokenizer(self, source: str, revision: str | None) -> "SubjectTokenizer": ...

    def subject(self, source: str, revision: str | None, dtype: str | None, hooks: Sequence[str] | None = None) -> "SubjectModel": ...

    def dictionary(self, **record: Any) -> "Dictionary": ...

    def language_model(self, backend: str, model: str, revision: str | None, options: dict[str, Any]) -> LanguageModel: ...

    def sentence_encoder(self, source: str, revision: str | None) -> SentenceEncoder: ...


class RealModels:
    """Subjects run by transformers, dictionaries from their own formats, and the back ends of language models."""

    def tokenizer(self, source: str, revision: str | None) -> "SubjectTokenizer":
        """The subject's tokenizer, without its weights."""
        from resources.subject.tokenizer import load_tokenizer

        return load_tokenizer(source, revision)

    def subject(self, source: str, revision: str | None, dtype: str | None, hooks: Sequence[str] | None = None) -> "SubjectModel":
        """The subject model, on CUDA where there is a GPU; with `hooks` loaded only as deep as these hooks need."""
        from resources.subject.model import SubjectModel

        return SubjectModel.load(source, revision=revision, dtype=dtype, hooks=hooks)

    def dictionary(self, **record: Any) -> "Dictionary":
        """A dictionary by its kind and the fields of its record."""
        from resources.dictionaries import load_dictionary

        return load_dictionary(**record)

    def language_model(self, backend: str, model: str, revision: str | None, options: dict[str, Any]) -> LanguageModel:
        """A language model by back end."""
        from resources.language_models import load_language_model

        return load_language_model(backend, model=model, revision=revision, **options)

    def sentence_encoder(self, source: str, revision: str | None) -> SentenceEncoder:
        """A sentence encoder; its weights load when it first embeds."""
        from resources.sentence_encoder import load_sentence_encoder

        return load_sentence_encoder(source, revision)
