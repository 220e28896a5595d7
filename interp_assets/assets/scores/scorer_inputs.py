"""The scorer inputs of a partition, one a feature and explanation method (and deal, of a shuffled baseline), read feature by feature."""

import traceback
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from interp_assets.domain.prompting.rendering import one_line
from interp_assets.domain.scoring import Scorer
from interp_assets.domain.seeds import generator
from interp_assets.domain.trials import NO_EXPLANATION, Rival, ScorerInput, of_deal
from interp_assets.measuring.answerer import Planned
from interp_assets.orchestration.range_partition import RangePartition
from interp_assets.reading.examples import read_examples
from interp_assets.reading.explanations import read_all_explanations, read_explanations
from interp_assets.reading.neighbours import read_neighbours
from interp_assets.reading.steering import CompletionSets, SteeredRuns
from interp_assets.tables import DICTIONARY_SAMPLES
from resources.store.lake import Lake

N_RIVALS = 4
"""Explanations of other features from which a feature's own explanation has to be told apart."""

RANDOM_TRIED = 64
"""Random features looked at where the nearest features do not suffice. Without this bound, each feature could read the whole dictionary."""


def planned_cases(lake: Lake, scorer: Scorer, partition: RangePartition) -> Iterator[Planned]:
    """Every scorer input of a partition with its trials, then the end of the partition.

    The order is feature by feature, so that trials on the same windows are together.
    """
    methods = partition.settings.scored(scorer)
    settings = partition.settings.scoring.of(scorer)
    explained = {m: {} if m == NO_EXPLANATION else read_explanations(lake, partition.key, m) for m in methods}
    rivals = {m: Rivals(lake, partition, m) for m in methods} if "rivals" in scorer.READS else {}
    runs = SteeredRuns(lake, partition.key) if "steered" in scorer.READS else None
    sets = CompletionSets(lake, partition) if "steered_sets" in scorer.READS else None
    n_windows = windows_in_sample(lake, partition)
    for item in read_examples(lake, partition.key, partition.only):
        steered = runs.of(item.feature) if runs else ()
        steered_set, rival_sets = (sets.of(item.feature), sets.rivals(item.feature)) if sets else (None, ())
        for method in methods:
            texts = (None,) if method == NO_EXPLANATION else explained[method][item.feature].texts
            for deal, text in enumerate(texts):
                scorer_input = ScorerInput(
                    feature=item.feature,
                    method=method,
                    explanation=None if text is None else one_line(text),  # people and other tools write paragraphs
                    shown=item.shown,
                    held_out=item.held_out,
                    token_texts=item.token_texts,
                    firing_share=item.firing_share(n_windows),
                    start_shares=item.start_shares,
                    rivals=rivals[method].of(item.feature, deal) if rivals else (),
                    steered=steered,
                    steered_set=steered_set,
                    rival_sets=rival_sets,
                    donor=None if method == NO_EXPLANATION else explained[method][item.feature].donors[deal],
                )
                planned = _planned(scorer, partition, scorer_input, settings)
                yield replace(planned, trials=of_deal(planned.trials, deal), deals_left=len(texts) - 1 - deal)
    yield Planned(partition, None)


def _planned(scorer: Scorer, partition: RangePartition, scorer_input: ScorerInput, settings: Any) -> Planned:
    """The scorer input with its trials, or with the traceback of a failure in the scorer's own code. A failure does not stop other scorer
    inputs."""
    try:
        return Planned(partition, scorer_input, scorer.plan(scorer_input, settings, partition.settings.seed))
    except Exception:
        return Planned(partition, scorer_input, failure=traceback.format_exc())


def windows_in_sample(lake: Lake, partition: RangePartition) -> int:
    """Number of windows that the dictionary's token sample would be cut into side by side; 0 for imported examples."""
    sample = lake.read(DICTIONARY_SAMPLES.name, {"dictionary": partition.key.dictionary}, columns=["n_rows", "context_tokens"]).to_pylist()
    return sum(row["n_rows"] * row["context_tokens"] // partition.settings.examples.window_tokens for row in sample)


class Rivals:
    """Explanations by one method of the nearest features of each feature, from any range, filled up with explanations of random
    features."""

    def __init__(self, lake: Lake, partition: RangePartition, method: str) -> None:
        self._partition = partition
        found = read_all_explanations(lake, partition.key.dictionary, method)
        known = {feature: explanation.texts for feature, explanation in found.items() if explanation.text is not None}
        self._texts = {feature: [one_line(text) for text in texts if text is not None] for feature, texts in known.items()}
        self._features = np.array(sorted(self._texts), dtype=np.int64)
        self._nearest = read_neighbours(lake, partition.key.dictionary, partition.record.features_of(partition.key).tolist())

    def of(self, feature: int, deal: int = 0) -> tuple[Rival, ...]:
        """Up to N_RIVALS explained features other than `feature`. Their explanations of the deal differ from its explanation and from one
        another."""
        taken = {self._text(feature, deal)}
        chosen: list[Rival] = []
        for variant, other in self._candidates(feature):
            text = self._text(other, deal)
            if other != feature and text is not None and text not in taken:
                taken.add(text)
                chosen.append(Rival(other, text, variant))
            if len(chosen) == N_RIVALS:
                break
        return tuple(chosen)

    def _text(self, feature: int, deal: int) -> str | None:
        texts = self._texts.get(feature, [])
        return texts[deal] if deal < len(texts) else None

    def _candidates(self, feature: int) -> Iterator[tuple[str, int]]:
        """The nearest features, then random explained features. Random features are drawn only when they are needed."""
        for other in self._nearest.get(feature, []):
            yield "neighbour", other
        n = len(self._features)
        drawn = generator(self._partition.settings.seed, feature, "rivals").choice(n, min(RANDOM_TRIED, n), replace=False)
        for other in self._features[drawn].tolist():
            yield "random", other
