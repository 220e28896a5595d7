"""Reads the tables of steering: the runs of each feature of a range in turn, and the sets of a whole dictionary."""

from collections.abc import Iterator
from itertools import groupby
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from interp_assets.config.keys import FEATURE_RANGE_KEYS, RangeKey, lake_partition
from interp_assets.domain.seeds import generator
from interp_assets.domain.steering.steered_texts import CompletionSet, SteeredRun, SteeredText
from interp_assets.orchestration.range_partition import RangePartition
from interp_assets.tables import STEERED_SETS, STEERED_TEXTS, STEERING
from resources.store.lake import Lake

N_RIVAL_SETS = 32
"""Rival sets at hand, from which a feature's own set has to be told apart: enough for 16 questions without using a rival twice."""

TEXT_COLUMNS = ["feature", "intervention", "target_kl", "prompt", "role", "prompt_text", "clean_completion", "steered_completion"]


class SteeredRuns:
    """The runs of the features of a range on their scoring prompts. Memory holds the texts of one feature, and the outcomes of all
    features."""

    def __init__(self, lake: Lake, key: RangeKey) -> None:
        outcomes = lake.read(STEERING.name, lake_partition(key), columns=["feature", "intervention", "target_kl", "outcome"]).to_pylist()
        self._met = {(row["feature"], row["target_kl"]): row["outcome"] == "ok" for row in outcomes if row["intervention"] is not None}
        batches = lake.batches(STEERED_TEXTS.name, lake_partition(key), TEXT_COLUMNS)
        self._features = groupby((row for batch in batches for row in batch.to_pylist()), key=lambda row: row["feature"])
        self._next: tuple[int | None, Any] = next(self._features, (None, ()))

    def of(self, feature: int) -> tuple[SteeredRun, ...]:
        """Runs of a feature; empty where the feature was not steered. Ask for features in ascending order, each once."""
        while self._next[0] is not None and self._next[0] < feature:
            self._next = next(self._features, (None, ()))
        if self._next[0] != feature:
            return ()
        texts: dict[float | None, list[SteeredText]] = {}
        for row in self._next[1]:
            if row["role"] == "scoring":
                text = SteeredText(row["prompt"], row["prompt_text"], row["clean_completion"], row["steered_completion"])
                texts.setdefault(row["target_kl"], []).append(text)
        return tuple(SteeredRun(target, self._met[feature, target], tuple(own)) for target, own in texts.items())


class CompletionSets:
    """The sets of all features of a dictionary, from all ranges. A set with every target met may stand as a rival."""

    def __init__(self, lake: Lake, partition: RangePartition) -> None:
        self._seed = partition.settings.seed
        columns = ["feature", "target_kl", "prompt_text", "completion", "outcome"]
        partitions = [lake_partition(RangeKey(partition.key.dictionary, name)) for name in FEATURE_RANGE_KEYS]
        rows = pa.concat_tables([lake.read(STEERED_SETS.name, partition, columns=columns) for partition in partitions])
        rows = rows.filter(rows.column("completion").is_valid())
        met = pc.equal(rows.column("outcome").cast(pa.string()), "ok")
        self._rows = rows.append_column("met", met).sort_by("feature")
        self._feature = self._rows.column("feature").to_numpy()
        features, starts = np.unique(self._feature, return_index=True)
        whole = np.minimum.reduceat(self._rows.column("met").to_numpy(), starts) if len(starts) else np.empty(0, dtype=bool)
        self._whole = features[whole]

    def of(self, feature: int) -> CompletionSet | None:
        """The set of a feature, with the texts of the targets that were met; None where the feature was not steered."""
        low, high = np.searchsorted(self._feature, [feature, feature + 1]).tolist()
        rows = self._rows.slice(low, high - low).to_pylist()
        texts = ((row["target_kl"], row["prompt_text"] + row["completion"]) for row in rows if row["met"])
        return CompletionSet(feature, tuple(texts)) if rows else None

    def rivals(self, feature: int) -> tuple[CompletionSet, ...]:
        """Up to N_RIVAL_SETS sets of other features, drawn at random by the run's seed and the feature."""
        return tuple(found for other in self._drawn(feature) if (found := self.of(other)) is not None)

    def _drawn(self, feature: int) -> Iterator[int]:
        n = len(self._whole)
        drawn = generator(self._seed, feature, "rival sets").choice(n, min(N_RIVAL_SETS + 1, n), replace=False)
        others = self._whole[drawn]
        yield from others[others != feature][:N_RIVAL_SETS].tolist()
