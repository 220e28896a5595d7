"""Candidates for hard negatives: by window embeddings, by neighbouring features, and by the positions of tokens."""

from collections.abc import Mapping, Sequence
from threading import Lock

import numpy as np

from interp_assets.config.records import DictionaryRecord
from interp_assets.config.settings import StageSettings
from interp_assets.domain.examples.drawing import ActivatingDraw, WindowedSample
from interp_assets.domain.examples.negatives import (
    NegativeKind,
    TokenIndex,
    TokensOfFeature,
    neighbour_places,
    placed_around,
    similar_to_each,
)
from interp_assets.domain.examples.windows import Places, Windows
from interp_assets.domain.seeds import generator
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
            with self._lock:
                near = self._neighbour_windows([draws[i].feature for i in able])
            for i in able:
                rng = generator(seed, draws[i].feature, "neighbour windows")
                windows = near[draws[i].feature]
                found[i]["neighbour"] = neighbour_places(windows, draws[i].positions, self.counts["neighbour"], self.shape, rng)
        if self.index is not None:
            for i in able:
                rng = generator(seed, draws[i].feature, "token windows")
                draw, n_shown = draws[i], self.settings.negative_counts_of("shown")["token"]
                tokens = TokensOfFeature.of(draw.positions, draw.values, draw.scored_peaks, self.sample.tokens, self.settings.n_peak_tokens)
                found[i]["token"] = tokens.places(draw.positions, self.index, n_shown, self.counts["token"] - n_shown, self.shape, rng)
        return found  # type: ignore[return-value]

    def _neighbour_windows(self, features: Sequence[int]) -> dict[int, list[Windows]]:
        """For each feature the windows of its `n_neighbours` nearest features that fire at all, nearest first; at most NEIGHBOURS_TRIED
        times as many neighbours are looked at."""
        tried = NEIGHBOURS_TRIED * self.settings.n_neighbours
        neighbours = {f: near[:tried] for f, near in read_neighbours(self.lake, self.record.key, features).items()}
        unknown = {n for near in neighbours.values() for n in near} - self._windows.keys()
        if len(self._windows) + len(unknown) > KEPT_NEIGHBOURS:
            self._windows = {}
            unknown = {n for near in neighbours.values() for n in near}
        for feature, (positions, values) in activations_of(self.lake, self.record, sorted(unknown)).items():
            self._windows[feature] = self._cut(positions.astype(np.int64), values)
        return {
            feature: [self._windows[n] for n in near if len(self._windows[n])][: self.settings.n_neighbours]
            for feature, near in neighbours.items()
        }

    def _cut(self, positions: np.ndarray, values: np.ndarray) -> Windows:
        """Windows around the activations of at least `silent_share` of the feature's largest activation."""
        exact = values.astype(np.float64)
        loud = exact >= self.settings.silent_share * exact.max(initial=0.0)
        row, position = positions[loud] // self.shape.context_tokens, positions[loud] % self.shape.context_tokens
        return self.shape.windows(row, position, values[loud])
