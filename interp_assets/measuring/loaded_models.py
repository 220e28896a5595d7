"""Models in memory of a stage that goes from dictionary to dictionary: subject model, dictionary, sentence encoder."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from interp_assets.config.records import DictionaryRecord, ModelSource
from interp_assets.config.settings import SentenceEncoderSettings
from interp_assets.measuring.vocabulary import VocabularyTexts
from resources.dictionaries import Dictionary
from resources.model_provider import ModelProvider
from resources.sentence_encoder import SentenceEncoder
from resources.subject.interface import SubjectTokenizer
from resources.subject.model import SubjectModel

EncoderOnDemand = Callable[[], SentenceEncoder]


@contextmanager
def loaded_encoder(models: ModelProvider, settings: SentenceEncoderSettings) -> Iterator[EncoderOnDemand]:
    """The sentence encoder, loaded at the first call and freed at the end."""
    held: list[SentenceEncoder] = []

    def encoder() -> SentenceEncoder:
        if not held:
            held.append(models.sentence_encoder(settings.source, settings.revision))
        return held[0]

    try:
        yield encoder
    finally:
        for one in held:
            one.close()


class LoadedModels:
    """Holds one subject model and one dictionary, and loads another only when another is asked for."""

    def __init__(self, models: ModelProvider) -> None:
        self._models = models
        self._subject: tuple[ModelSource, SubjectModel] | None = None
        self._dictionary: tuple[str, Dictionary] | None = None
        self._texts: tuple[ModelSource, VocabularyTexts] | None = None

    def tokenizer(self, model: ModelSource) -> SubjectTokenizer:
        """The tokenizer of a model, without its weights."""
        return self._models.tokenizer(model.source, model.revision)

    def texts(self, model: ModelSource) -> VocabularyTexts:
        """The texts of a model's vocabulary."""
        if self._texts is None or self._texts[0] != model:
            self._texts = model, VocabularyTexts(self.tokenizer(model))
        return self._texts[1]

    def subject(self, model: ModelSource) -> SubjectModel:
        """The subject model, loaded where it is not in memory; another model is freed first."""
        if self._subject is None or self._subject[0] != model:
            self.close()
            self._subject = model, self._models.subject(model.source, model.revision, model.dtype)
        return self._subject[1]

    def dictionary(self, record: DictionaryRecord) -> Dictionary:
        """The dictionary of a record, on the device of its model."""
        device = str(self.subject(record.model).device)
        if self._dictionary is None or self._dictionary[0] != record.key:
            self._dictionary = None  # freed before the next dictionary is loaded
            self._dictionary = record.key, self._models.dictionary(kind=record.kind, **record.loader_fields, device=device)
        return self._dictionary[1]

    def close(self) -> None:
        """Free the model and the dictionary."""
        self._dictionary = None
        if self._subject is not None:
            self._subject[1].close()
        self._subject = None
