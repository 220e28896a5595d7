"""Token changes: the tokens whose logits a feature raises and lowers while it is clamped, block by block, as rows of token_changes."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from interp_assets.config.keys import RangeKey, lake_partition
from interp_assets.config.records import IMPORTED_KINDS, DictionaryRecord
from interp_assets.config.settings import StageSettings
from interp_assets.domain.outcomes import TokenChangeOutcome
from interp_assets.domain.seeds import generator
from interp_assets.domain.steering.token_changes import SIDES, SIGNS, clamped_windows
from interp_assets.measuring.directions import decoder_rows
from interp_assets.measuring.loaded_models import LoadedModels
from interp_assets.measuring.vocabulary import VocabularyTexts
from interp_assets.orchestration.rows import names_at, ranked_token_rows
from interp_assets.reading.token_sample import read_token_sample
from interp_assets.tables import FEATURE_STATISTICS, TOKEN_CHANGES
from resources.model_provider import ModelProvider
from resources.store.lake import Lake
from resources.subject.clamper import Clamper
from resources.subject.unembedding import extreme_tokens

BLOCK_BYTES = 256 << 20
"""Largest size of a block of changed logits (clamps × vocabulary, float64). Unit: bytes."""


@dataclass(frozen=True)
class ChangedBlock:
    """Some features with their outcomes, and the tokens of the `ok` features, in the same order.

    `strengths` float64 [ok] are above 0: each feature is clamped to its strength and to minus its strength. `token_ids` int64 and `changes`
    float32 are [ok, 2, 2, n], by sign and side, most changed first; `tokens` are the texts of `token_ids.ravel()`. Changes are means over
    `n_positions` tokens.
    """

    features: np.ndarray
    outcomes: np.ndarray
    strengths: np.ndarray
    token_ids: np.ndarray
    changes: np.ndarray
    tokens: pa.StringArray
    n_positions: int

    @classmethod
    def without_tokens(cls, features: np.ndarray, outcomes: TokenChangeOutcome | np.ndarray) -> "ChangedBlock":
        """Features that all end in outcomes other than `ok`."""
        ids, changes = np.empty((0, 2, 2, 0), dtype=np.int64), np.empty((0, 2, 2, 0), dtype=np.float32)
        named = np.full(len(features), outcomes) if isinstance(outcomes, str) else outcomes
        return cls(features, named, np.empty(0), ids, changes, pa.array([], pa.string()), 0)


class TokenChanger:
    """Clamps the features of range after range; all features of a dictionary are clamped on the same windows."""

    def __init__(self, models: ModelProvider, lake: Lake) -> None:
        self._held, self._lake = LoadedModels(models), lake
        self._clamper: tuple[str, Clamper] | None = None

    def blocks(self, record: DictionaryRecord, key: RangeKey, stages: StageSettings) -> Iterator[ChangedBlock]:
        """The features of a range in their order, a block of at most BLOCK_BYTES at a time; nothing for no features.

        Imported dictionaries have no decoder here, and their model is not loaded.
        """
        features = record.features_of(key)
        if not len(features):
            return
        if record.kind in IMPORTED_KINDS:
            yield ChangedBlock.without_tokens(features, "no_decoder")
            return
        dictionary = self._held.dictionary(record)
        if decoder_rows(dictionary, features[:1]) is None:
            yield ChangedBlock.without_tokens(features, "no_decoder")
            return
        found = self._lake.read(FEATURE_STATISTICS.name, lake_partition(key), columns=["feature", "max_activation"]).to_pylist()
        largest = {row["feature"]: row["max_activation"] for row in found}
        strengths = np.array([stages.token_change.strength(largest[feature]) or 0.0 for feature in features.tolist()])
        clamper = self._clamper_of(record, stages)
        size = max(BLOCK_BYTES // (2 * 8 * clamper.vocabulary_size), 1)
        for first in range(0, len(features), size):
            part = slice(first, first + size)
            written = decoder_rows(dictionary, features[part]).any(dim=1).cpu().numpy()  # type: ignore[union-attr]
            texts, n_tokens = self._held.texts(record.model), stages.token_change.n_tokens
            yield changed_block(clamper, features[part], strengths[part], written, texts, n_tokens)

    def close(self) -> None:
        """Free the models."""
        self._clamper = None
        self._held.close()

    def _clamper_of(self, record: DictionaryRecord, stages: StageSettings) -> Clamper:
        if self._clamper is None or self._clamper[0] != record.key:
            self._clamper = None  # freed before the next clamper is made
            settings, sample = stages.token_change, read_token_sample(self._lake, record.key)
            first = sample.first_position(self._held.tokenizer(record.model).bos_token_id)
            windows = clamped_windows(sample.tokens, first, settings, generator(stages.seed, 0, "token change windows"))
            subject, dictionary = self._held.subject(record.model), self._held.dictionary(record)
            self._clamper = record.key, Clamper(subject, dictionary, windows, first, settings.clamp_bos, settings.batch_rows)
        return self._clamper[1]


def changed_block(
    clamper: Clamper, features: np.ndarray, strengths: np.ndarray, written: np.ndarray, texts: VocabularyTexts, n_tokens: int
) -> ChangedBlock:
    """Some features, uint32 [n], clamped to ±`strengths`, float64 [n], 0 for a dead feature. `written`, bool [n], says which features have
    a decoder row that is not zeros."""
    outcomes = np.where(written, np.where(strengths > 0, "ok", "dead"), "zero_decoder").astype(object)
    asked = outcomes == "ok"
    if not asked.any():
        return ChangedBlock.without_tokens(features, outcomes)
    values = strengths[asked, None] * [1.0, -1.0]
    changes = clamper.mean_changes(np.repeat(features[asked], 2), values.ravel())
    finite = changes.isfinite().all(dim=1).view(-1, 2).all(dim=1)
    left_out = texts.left_out(changes.shape[1])
    ids, found = extreme_tokens(changes.view(-1, 2, changes.shape[1])[finite].flatten(0, 1), left_out, n_tokens)
    kept = finite.cpu().numpy()
    outcomes[np.flatnonzero(asked)[~kept]] = "overflow"
    token_ids, logits = (part.view(-1, 2, 2, part.shape[-1]).cpu().numpy() for part in (ids, found))
    return ChangedBlock(features, outcomes, strengths[asked][kept], token_ids, logits, texts.of(token_ids.ravel()), clamper.n_positions)


def change_rows(key: RangeKey, block: ChangedBlock) -> pa.Table:
    """Rows of token_changes for a block: one row a token of an "ok" feature, by sign, side and rank; one row with the outcome of any other
    feature."""
    n_ok, n_tokens = int((block.outcomes == "ok").sum()), block.token_ids.shape[3]
    signs, sides = np.repeat([0, 1], 2 * n_tokens), np.tile(np.repeat([0, 1], n_tokens), 2)
    columns = {
        "sign": names_at(np.tile(signs, n_ok), SIGNS), "side": names_at(np.tile(sides, n_ok), SIDES),
        "rank": pa.array(np.tile(np.arange(n_tokens, dtype=np.uint16), 4 * n_ok)),
        "token_id": pa.array(block.token_ids.ravel().astype(np.int32)), "token": block.tokens, "change": pa.array(block.changes.ravel()),
        "strength": pa.array(np.repeat(block.strengths, 4 * n_tokens) * np.tile(1.0 - 2.0 * signs, n_ok)),
        "n_positions": pa.array(np.full(4 * n_tokens * n_ok, block.n_positions, dtype=np.uint32)),
    }  # fmt: skip
    return ranked_token_rows(key, TOKEN_CHANGES, block.features, block.outcomes, 4 * n_tokens, columns)
