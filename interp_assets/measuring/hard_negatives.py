"""Candidates for hard negatives: by window embeddings, by neighbouring features, and by the positions of tokens."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from threading import Lock

import numpy as np

from interp_assets.config.records import DictionaryRecord
from interp_assets.config.settings import StageSettings
from interp_assets.domain.examples.drawing import ActivatingDraw, WindowedSample
from interp_assets.domain.examples.negatives import (
    NegativeKind,
    TokenIndex,
    TokensOfFeature,
    placed_around,
)
from interp_assets.domain.examples.neighbour_windows import neighbour_places
from interp_assets.domain.examples.similar_windows import similar_to_each
from interp_assets.domain.examples.windows import Places, Windows
from interp_assets.domain.seeds import generator, generators
from interp_assets.reading.activations import activations_of
from interp_assets.reading.embeddings import read_embeddings
from interp_assets.reading.neighbours import read_neighbours
from interp_assets.reading.token_sample import TokenSample
from resources.store.lake import Lake
from resources.subject.interface import SubjectTokenizer

NEIGHBOURS_TRIED = 4
"""Neighbours looked at for each neighbour wanted: the nearest by decoder cosine may be dead."""

KEPT_NEIGHBOURS = 2048
"""Features whose windows stay in memory; the next feature may have the same neighbours."""


class HardNegatives:
    """Candidates for the hard negatives of one dictionary's features. Only the inputs that its settings ask for are read, each once.

    Several threads may ask at the same time.
    """

    def __init__(
        self, lake: Lake, record: DictionaryRecord, sample: TokenSample, tokenizer: SubjectTokenizer, settings: StageSettings
    ) -> None:
        """Open the inputs. Raises `LakeError` naming an input that the settings ask for and the lake does not hold."""
        self.lake, self.record, self.sample = lake, record, sample
        self.settings = settings.examples
        asked = {kind: count for kind, count in self.settings.negative_counts.items() if count}
        self.counts = asked
        first_position = sample.first_position(tokenizer.bos_token_id)
        self.shape = self.settings.shape(sample.tokens.shape[1], first_position, sample.text(tokenizer))
        self.windowed = WindowedSample.of(sample.tokens, self.shape)
        self.index = TokenIndex.of(sample.tokens, self.shape) if "token" in asked else None
        self.embeddings = read_embeddings(lake, record.key, self.settings.window_tokens) if "similar" in asked else None
        self._windows: dict[int, Windows] = {}
        self._lock = Lock()

    def of(self, draws: Sequence[ActivatingDraw], seed: int) -> list[Mapping[NegativeKind, Places]]:
        """For each feature its candidates of every kind asked for, best first; no candidates for a feature without examples. `seed` is the
        seed of every draw."""
        found: list[dict[NegativeKind, Places]] = [{} for _ in draws]
        able = [i for i, draw in enumerate(draws) if draw.outcome == "ok"]
        like = [i for i in able if draws[i].n_shown]  # with nothing shown there is nothing to be similar to
        if self.embeddings is not None and like:
            shown, active = [draws[i].shown_cells for i in like], [draws[i].active_cells for i in like]
            for i, cells in zip(like, similar_to_each(shown, active, self.embeddings, self.counts["similar"], self.shape), strict=True):
                rng = generator(seed, draws[i].feature, "similar windows")
                found[i]["similar"] = placed_around(cells, draws[i].positions, self.shape, rng)
        if "neighbour" in self.counts and able:
            features = [draws[i].feature for i in able]
            with self._lock:
                near = self._neighbour_windows(features)
            windows, positions = [near[feature] for feature in features], [draws[i].positions for i in able]
            rngs = generators(seed, features, "neighbour windows")
            offered = neighbour_places(windows, positions, self.counts["neighbour"], self.shape, rngs)
            for i, places in zip(able, offered, strict=True):
                found[i]["neighbour"] = places
        if self.index is not None:
            for i in able:
                rng = generator(seed, draws[i].feature, "token windows")
                draw, n_shown = draws[i], self.settings.negative_counts_of("shown")["token"]
                tokens = TokensOfFeature.of(draw.positions, draw.values, draw.scored_peaks, self.sample.tokens, self.settings.n_peak_tokens)
                found[i]["token"] = tokens.places(draw.positions, self.index, n_shown, self.counts["token"] - n_shown, self.shape, rng)
        return found  # type: ignore[return-value]

    def _neighbour_windows(self, features: Sequence[int]) -> dict[int, list[Windows]]:
        """For each feature the windows of its `n_neighbours` nearest features that fire at all, nearest first; at most NEIGHBOURS_TRIED
        times as many neighbours are looked at, and no further neighbour than needed is read."""
        wanted = self.settings.n_neighbours
        near = read_neighbours(self.lake, self.record.key, features)
        left = {feature: near[feature][: NEIGHBOURS_TRIED * wanted] for feature in features}
        found: dict[int, list[Windows]] = {feature: [] for feature in features}
        while True:
            next_of = {feature: left[feature][: wanted - len(own)] for feature, own in found.items()}
            if not any(next_of.values()):
                return found
            windows = self._windows_of({neighbour for some in next_of.values() for neighbour in some})
            for feature, some in next_of.items():
                found[feature] += [windows[neighbour] for neighbour in some if len(windows[neighbour])]
                left[feature] = left[feature][len(some) :]

    def _windows_of(self, features: set[int]) -> dict[int, Windows]:
        """The windows of features, read where they are not in memory; at most KEPT_NEIGHBOURS, or these features, stay there."""
        if len(self._windows.keys() | features) > KEPT_NEIGHBOURS:
            self._windows = {feature: self._windows[feature] for feature in features & self._windows.keys()}
        unknown = sorted(features - self._windows.keys())
        for feature, (positions, values) in activations_of(self.lake, self.record, unknown).items() if unknown else ():
            self._windows[feature] = self._cut(positions.astype(np.int64), values)
        return {feature: self._windows[feature] for feature in features}

    def _cut(self, positions: np.ndarray, values: np.ndarray) -> Windows:
        """Windows around the activations of at least `silent_share` of the feature's largest activation, with strengths of the type of
        `values`."""
        exact = values.astype(np.float64)
        loud = exact >= self.settings.silent_share * exact.max(initial=0.0)
        row, position = positions[loud] // self.shape.context_tokens, positions[loud] % self.shape.context_tokens
        found = self.shape.windows(row, position, values[loud])
        return replace(found, max_activation=found.max_activation.astype(values.dtype))
