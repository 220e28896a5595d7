"""Windows of some features drawn again, from each part of the corpus."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from interp_assets.config.keys import FEATURE_RANGE_KEYS, RangeKey, lake_partition
from interp_assets.config.records import DictionaryRecord
from interp_assets.config.settings import StageSettings
from interp_assets.domain.stability import contexts_of, sampled_features, seed_of
from interp_assets.measuring.drawn_examples import draw_examples, example_rows
from interp_assets.measuring.hard_negatives import HardNegatives
from interp_assets.measuring.texts_of_windows import WindowTexts
from interp_assets.reading.activations import activations_of, read_kept_shares
from interp_assets.reading.examples import StoredExamples, examples_of_feature
from interp_assets.reading.token_sample import read_token_sample
from interp_assets.tables import FEATURE_EXAMPLES
from resources.model_provider import ModelProvider
from resources.store.lake import Lake
from resources.subject.document_breaks import ReadableTexts


@dataclass(frozen=True)
class Redrawn:
    """The examples of some features by (feature, draw)."""

    examples: dict[tuple[int, int], StoredExamples]


def features_with_examples(lake: Lake, record: DictionaryRecord) -> np.ndarray:
    """The selected features of a dictionary that have examples, int64, ascending."""
    found: list[int] = []
    for name in FEATURE_RANGE_KEYS:
        rows = lake.read(FEATURE_EXAMPLES.name, lake_partition(RangeKey(record.key, name)), columns=["feature", "outcome"]).to_pylist()
        found += [row["feature"] for row in rows if row["outcome"] in ("ok", "too_few_silent_windows")]
    return np.array(sorted(found), dtype=np.int64)


def features_to_take_again(features: np.ndarray, stages: StageSettings) -> list[int]:
    """The sample of `features` that the settings ask for, ascending."""
    return sampled_features(features, stages.stability.n_features, stages.seed).tolist()


def redrawn(lake: Lake, models: ModelProvider, record: DictionaryRecord, stages: StageSettings, features: Sequence[int]) -> Redrawn:
    """The examples of `features` in every draw. Examples are as the table `examples` would have them of a corpus with the draw's contexts
    alone; a draw with too few windows has its outcome and no examples."""
    settings, stability = stages.examples, stages.stability
    tokenizer = models.tokenizer(record.model.source, record.model.revision)
    sample = read_token_sample(lake, record.key)
    source, texts = HardNegatives(lake, record, sample, tokenizer, stages), WindowTexts(ReadableTexts(tokenizer))
    own = stability.draw_settings(settings)
    activations = activations_of(lake, record, features)
    shares: dict[int, float] = {}
    for key in {record.range_of(feature) for feature in features}:
        shares |= read_kept_shares(lake, key)
    found: dict[tuple[int, int], StoredExamples] = {}
    for draw in range(stability.n_draws):
        contexts, seed = contexts_of(draw, stability.n_draws, len(sample.tokens)), seed_of(stages.seed, draw)
        for feature in features:
            (columns,) = draw_examples(source, [(feature, activations[feature])], shares, own, stages.seed, seed, contexts)
            rows = example_rows(record.range_of(feature), own.sampling, [columns], texts).to_pylist() if len(columns.places) else []
            counted = {"feature": feature, "outcome": columns.outcome, "n_windows": columns.n_windows}
            found[feature, draw] = replace(examples_of_feature(counted, rows), firing=columns.firing)
    return Redrawn(found)
