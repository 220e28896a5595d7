"""How a feature's output direction moves the logits of the whole vocabulary, as a histogram, from weights alone."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from interp_assets.config.records import DictionaryRecord
from interp_assets.measuring.directions import decoder_rows
from interp_assets.measuring.loaded_models import LoadedModels
from resources.model_provider import ModelProvider

if TYPE_CHECKING:
    from resources.dictionaries import Dictionary
    from resources.subject.model import SubjectModel
    from resources.subject.unembedding import Unembedding

N_BINS = 50
BLOCK_BYTES = 256 << 20


@dataclass(frozen=True)
class MeasuredWeights:
    """`heights` (tokens of the vocabulary) and `middles` (logits) of N_BINS bins of equal width between the smallest and the largest logit;
    empty where no linear map leads to the logits. `vector` is the decoder row."""

    heights: list[float]
    middles: list[float]
    vector: list[float]


class FeatureWeights:
    """The weights of a dictionary and its model, loaded at the first question and freed at the end of the block.

    Without `enabled`, and for dictionaries that come from files or rules, nothing is loaded and nothing measured.
    """

    def __init__(self, models: ModelProvider, record: DictionaryRecord, *, enabled: bool = True) -> None:
        self._held, self._record = LoadedModels(models), record
        self._enabled = enabled and record.reads_hook
        self.n_layers = 0

    def __enter__(self) -> "FeatureWeights":
        return self

    def __exit__(self, *error: object) -> None:
        self._held.close()

    def of(self, features: np.ndarray, final_norm: bool = True) -> dict[int, MeasuredWeights]:
        """The measured weights of `features` uint32 [n]; empty for a dictionary without a decoder."""
        if not self._enabled or not len(features):
            return {}
        subject, dictionary = self._held.subject(self._record.model), self._held.dictionary(self._record)
        self.n_layers = subject.n_blocks
        return weights_of(subject, dictionary, features, final_norm)


def weights_of(
    subject: "SubjectModel", dictionary: "Dictionary", features: np.ndarray, final_norm: bool = True
) -> dict[int, MeasuredWeights]:
    """The measured weights of `features` uint32 [n] of a loaded dictionary; empty for a dictionary without a decoder."""
    unembedding = subject.unembedding(final_norm)
    size = max(BLOCK_BYTES // (4 * unembedding.vocabulary_size), 1) if unembedding else max(len(features), 1)
    found: dict[int, MeasuredWeights] = {}
    for first in range(0, len(features), size):
        found |= _measured(subject, dictionary, unembedding, features[first : first + size])
    return found


def histogram(logits: np.ndarray) -> tuple[list[float], list[float]]:
    """(heights, middles) of N_BINS bins over float [vocabulary]; empty where not all logits are finite."""
    if not np.isfinite(logits).all():
        return [], []
    heights, edges = np.histogram(logits, bins=N_BINS)
    return heights.astype(float).tolist(), [float(f"{v:.6g}") for v in (edges[:-1] + edges[1:]) / 2]


def _measured(
    subject: "SubjectModel", dictionary: "Dictionary", unembedding: "Unembedding | None", features: np.ndarray
) -> dict[int, MeasuredWeights]:
    rows = decoder_rows(dictionary, features)
    if rows is None:
        return {}
    directions = subject.residual_directions(dictionary.output_hook, rows) if unembedding else None
    logits = unembedding.logits(directions).cpu().numpy() if unembedding is not None and directions is not None else None
    vectors = [[float(f"{v:.6g}") for v in row] for row in rows.cpu().numpy().tolist()]
    written = rows.any(dim=1).cpu().numpy()
    return {
        feature: MeasuredWeights(*(histogram(logits[i]) if logits is not None and written[i] else ([], [])), vectors[i])
        for i, feature in enumerate(features.tolist())
    }
