"""Runs the subject model, or a planted rule, on given texts: how strongly a feature fires on each text."""

import time
from collections import defaultdict
from collections.abc import Callable, Sequence

import numpy as np

from interp_assets.config.base import UserError
from interp_assets.config.records import PLANTED_KIND, DictionaryRecord
from interp_assets.measuring.loaded_models import LoadedModels
from interp_assets.measuring.planted import largest_on_texts
from resources.dictionaries import Dictionary
from resources.model_provider import ModelProvider
from resources.progress import Progress
from resources.subject.model import SubjectModel

BATCH_TOKENS = 8_192
MAX_TEXT_TOKENS = 256
"""Longer texts are cut: generators write sentences."""


class TextMeasure:
    """Measures texts. Subject models and dictionaries are loaded when texts need them, one dictionary at a time."""

    def __init__(self, models: ModelProvider, on_progress: Callable[[Progress], None]) -> None:
        self._loaded, self._on_progress = LoadedModels(models), on_progress

    def largest_activations(self, wanted: Sequence[tuple[DictionaryRecord, int, str]]) -> list[float]:
        """For each (record, feature, text) the largest activation of the feature on the text, 0.0 where the feature is silent.

        Activations on special tokens (every text begins with BOS) do not count, and neither do tokens beyond MAX_TEXT_TOKENS, or beyond
        the context of the model. A text without tokens has 0.0. Raises `UserError` for a dictionary without weights here.
        """
        largest = [0.0] * len(wanted)
        by_dictionary: dict[str, list[int]] = defaultdict(list)
        for place, (record, _, _) in enumerate(wanted):
            by_dictionary[record.key].append(place)
        for places in by_dictionary.values():
            record = wanted[places[0]][0]
            found = self._of_dictionary(record, [(wanted[place][1], wanted[place][2]) for place in places])
            for place, value in zip(places, found, strict=True):
                largest[place] = value
        return largest

    def close(self) -> None:
        """Free the subject model."""
        self._loaded.close()

    def _of_dictionary(self, record: DictionaryRecord, pairs: Sequence[tuple[int, str]]) -> list[float]:
        if record.imported is not None:
            raise UserError(
                f"dictionary {record.key} ({record.kind}) was imported without weights, so no new text can be run through it. Leave the "
                "scorers that write texts out of its `stages: {scores: …}`, or register the dictionary itself."
            )
        tokenizer = self._loaded.tokenizer(record.model)
        if record.kind == PLANTED_KIND:
            return largest_on_texts(record, tokenizer, pairs, MAX_TEXT_TOKENS)
        subject, dictionary = self._loaded.subject(record.model), self._loaded.dictionary(record)
        bos = [] if subject.bos_token_id is None else [subject.bos_token_id]
        most = min(MAX_TEXT_TOKENS, (subject.context_limit or MAX_TEXT_TOKENS + 1) - len(bos))
        rows = [[*bos, *tokenizer.encode(text).tolist()[:most]] for _, text in pairs]
        features = np.unique(np.array([feature for feature, _ in pairs], dtype=np.int64))
        largest = [0.0] * len(pairs)
        order = sorted((i for i in range(len(rows)) if len(rows[i]) > len(bos)), key=lambda i: -len(rows[i]))
        first, started = 0, time.monotonic()
        while first < len(order):
            chosen = order[first : first + max(1, BATCH_TOKENS // len(rows[order[first]]))]
            values = _batch(subject, dictionary, features, [rows[i] for i in chosen], [pairs[i][0] for i in chosen])
            for i, value in zip(chosen, values, strict=True):
                largest[i] = value
            first += len(chosen)
            rate = first / max(time.monotonic() - started, 1e-9)
            self._on_progress(Progress(first, len(order), 0, rate, (len(order) - first) / rate))
        return largest


def heard(activation: float, level: float) -> float:
    """The activation, or 0.0 where it is below the level at which the feature counts as active."""
    return activation if activation >= level else 0.0


def _batch(
    subject: SubjectModel, dictionary: Dictionary, features: np.ndarray, rows: Sequence[Sequence[int]], wanted: Sequence[int]
) -> list[float]:
    """The largest activation of feature `wanted[i]` on row i. Rows are padded on the right, where earlier tokens do not see the padding."""
    lengths = np.array([len(row) for row in rows])
    tokens = np.zeros((len(rows), lengths.max()), dtype=np.int64)
    for place, row in zip(tokens, rows, strict=True):
        place[: len(row)] = row
    largest = np.zeros(len(rows))
    feature_of = np.asarray(wanted)
    for found in subject.sparse_activations(tokens, {"texts": dictionary}, {"texts": features}, len(rows)):
        own = (found.feature == feature_of[found.row]) & (found.position < lengths[found.row])
        np.maximum.at(largest, found.row[own], found.value[own].astype(np.float64))
    return largest.tolist()
