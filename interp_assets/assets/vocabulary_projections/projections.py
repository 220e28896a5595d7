"""Projections of features onto the vocabulary: the tokens that a feature's output direction promotes and suppresses, from weights alone."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from interp_assets.config.keys import RangeKey
from interp_assets.config.records import DictionaryRecord
from interp_assets.config.settings import ProjectionSettings
from interp_assets.domain.outcomes import ProjectionOutcome
from interp_assets.measuring.directions import decoder_rows
from interp_assets.measuring.loaded_models import LoadedModels
from interp_assets.measuring.vocabulary import VocabularyTexts
from interp_assets.orchestration.rows import names_at, ranked_token_rows
from interp_assets.tables import VOCABULARY_PROJECTIONS
from resources.dictionaries import Dictionary, rows_by_hook, written_hooks
from resources.model_provider import ModelProvider
from resources.subject.model import SubjectModel
from resources.subject.unembedding import extreme_tokens

if TYPE_CHECKING:
    import torch

BLOCK_BYTES = 256 << 20
"""Largest size of a block of logits (features × vocabulary, float32). Unit: bytes."""

BLOCK_FEATURES = 256
"""Most features of a block: more are not multiplied faster, and the next block takes the same memory."""

SIDES = ("promoted", "suppressed")


@dataclass(frozen=True)
class ProjectedBlock:
    """Some features with their outcomes, and the tokens of the `ok` features, in the same order.

    `token_ids` int64 and `logits` float32 are [ok, 2, n]: promoted then suppressed, strongest first. `tokens` are the texts of
    `token_ids.ravel()`.
    """

    features: np.ndarray
    outcomes: np.ndarray
    token_ids: np.ndarray
    logits: np.ndarray
    tokens: pa.StringArray

    @classmethod
    def without_tokens(cls, features: np.ndarray, outcome: ProjectionOutcome) -> "ProjectedBlock":
        """Features that all end in one outcome other than `ok`."""
        ids, logits = np.empty((0, 2, 0), dtype=np.int64), np.empty((0, 2, 0), dtype=np.float32)
        return cls(features, np.full(len(features), outcome), ids, logits, pa.array([], pa.string()))


class VocabularyProjector:
    """Projects the features of dictionary after dictionary."""

    def __init__(self, models: ModelProvider) -> None:
        self._held = LoadedModels(models)

    def blocks(self, record: DictionaryRecord, features: np.ndarray, settings: ProjectionSettings) -> Iterator[ProjectedBlock]:
        """`features`, uint32 [n], of a dictionary, block by block in their order; nothing for no features.

        Imported and planted dictionaries have no decoder here, and their model is not loaded.
        """
        if not len(features):
            return
        if not record.reads_hook:
            yield ProjectedBlock.without_tokens(features, "no_decoder")
            return
        subject, texts = self._held.subject(record.model), self._held.texts(record.model)
        yield from projected_blocks(subject, self._held.dictionary(record), features, texts, settings)

    def close(self) -> None:
        """Free the models."""
        self._held.close()


def projected_blocks(
    subject: SubjectModel, dictionary: Dictionary, features: np.ndarray, texts: VocabularyTexts, settings: ProjectionSettings
) -> Iterator[ProjectedBlock]:
    """`features`, uint32 [n], of `dictionary`, in even blocks of at most BLOCK_FEATURES and BLOCK_BYTES of logits, or of one feature.

    The outcome is `no_logits` for a model family with an unknown final norm, and for a decoder that does not write into the residual
    stream.
    """
    unembedding = subject.unembedding(settings.final_norm)
    if unembedding is None:
        yield ProjectedBlock.without_tokens(features, "no_logits")
        return
    left_out = texts.left_out(unembedding.vocabulary_size)
    size = min(max(BLOCK_BYTES // (4 * unembedding.vocabulary_size), 1), BLOCK_FEATURES)
    room = unembedding.room(min(size, len(features)))
    for block in np.array_split(features, -(-len(features) // size)):
        rows = decoder_rows(dictionary, block)
        if rows is None:
            yield ProjectedBlock.without_tokens(block, "no_decoder")
            continue
        directions = residual_sum(subject, dictionary, rows)
        if directions is None:
            yield ProjectedBlock.without_tokens(block, "no_logits")
            continue
        written = directions.any(dim=1)
        found = extreme_tokens(unembedding.logits(directions[written], room), left_out, settings.n_tokens)
        ids, logits = (part.cpu().numpy() for part in found)
        yield ProjectedBlock(block, np.where(written.cpu().numpy(), "ok", "zero_decoder"), ids, logits, texts.of(ids.ravel()))


def residual_sum(subject: SubjectModel, dictionary: Dictionary, rows: "torch.Tensor") -> "torch.Tensor | None":
    """float32 Tensor[n, d_model]: what decoder rows, Tensor[n, all writes], add to the residual stream, summed over the written hooks; None
    where a hook has no way into the stream."""
    import torch

    parts = zip(written_hooks(dictionary), rows_by_hook(dictionary, rows), strict=True)
    found = [subject.residual_directions(hook, part) for hook, part in parts]
    known = [one for one in found if one is not None]
    return torch.stack(known).sum(0) if len(known) == len(found) else None


def projection_rows(key: RangeKey, block: ProjectedBlock) -> pa.Table:
    """Rows of vocabulary_projections for a block: one row a token of an "ok" feature, by side and rank; one row with the outcome of any
    other feature."""
    n_ok, n_tokens = int((block.outcomes == "ok").sum()), block.token_ids.shape[2]
    columns = {
        "side": names_at(np.tile(np.repeat([0, 1], n_tokens), n_ok), SIDES),
        "rank": pa.array(np.tile(np.arange(n_tokens, dtype=np.uint16), 2 * n_ok)),
        "token_id": pa.array(block.token_ids.ravel().astype(np.int32)), "token": block.tokens, "logit": pa.array(block.logits.ravel()),
    }  # fmt: skip
    return ranked_token_rows(key, VOCABULARY_PROJECTIONS, block.features, block.outcomes, 2 * n_tokens, columns)
