"""Draws the activating windows of features from their activations.

Several features are drawn together, in a few operations on long arrays. A feature's windows depend on its own activations and generators
alone, whichever features are drawn with it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from interp_assets.domain.examples.peak_places import DrawnWindows, owned, reach_of_peaks, with_peaks_anywhere
from interp_assets.domain.examples.role_draws import drawn_by_role
from interp_assets.domain.examples.sampling import ROLES, ExampleSettings
from interp_assets.domain.examples.silent_windows import TextUnits
from interp_assets.domain.examples.text_hashes import HashedTokens, HashSet
from interp_assets.domain.examples.windows import (
    FeatureWindows,
    Windows,
    WindowShape,
    descending,
    descending_by,
    windows_of_features,
)
from interp_assets.domain.outcomes import ExamplesOutcome
from interp_assets.domain.seeds import generators

DRAWN_TOGETHER = 1 << 16
"""Activations that are drawn from together; a feature with more of them is drawn alone. Memory holds some twenty numbers for each."""


@dataclass(frozen=True, eq=False)
class WindowedSample:
    """A token sample whose windows have one shape, with everything that is worked out once for all features: about 15 bytes a token."""

    hashed: HashedTokens
    shape: WindowShape
    units: TextUnits

    @classmethod
    def of(cls, token_rows: np.ndarray, shape: WindowShape) -> "WindowedSample":
        """The sample `token_rows`, int [rows, context]."""
        return cls(HashedTokens.of(token_rows), shape, TextUnits(shape, len(token_rows)))

    @cached_property
    def flat(self) -> np.ndarray:
        """int [rows · context]: the tokens, row after row."""
        return self.hashed.rows.reshape(-1)


@dataclass(frozen=True, eq=False)
class ActivatingDraw:
    """The activating windows of one feature, with everything that its silent windows depend on.

    `positions` int64 and `values` float64, both [n], are the feature's activations without activations that count as silence, ascending by
    position. `shape` says how its windows are cut. `windows` holds the drawn windows: first `n_shown` shown windows, then `n_validation`
    validation windows, then the held-out windows; `strata` has their strata. `active_hashes` are the hashes of the token sequences of all
    its activating windows, drawn or not. `outcome` is "ok" exactly when there are windows.
    """

    feature: int
    outcome: ExamplesOutcome
    n_windows: int
    max_activation: float | None
    positions: np.ndarray
    values: np.ndarray
    shape: WindowShape
    windows: Windows
    n_shown: int
    n_validation: int
    strata: np.ndarray
    active_hashes: np.ndarray

    def with_blocked(self, positions: np.ndarray) -> "ActivatingDraw":
        """This draw with `positions`, none of them active, counting as not silent: no silent window will contain any of them."""
        positions = positions[self.shape.usable(positions)]
        everything = np.concatenate([self.positions, positions])
        order = np.argsort(everything, kind="stable")
        values = np.concatenate([self.values, np.zeros(len(positions))])
        return replace(self, positions=everything[order], values=values[order])

    @property
    def scored(self) -> Windows:
        """The drawn windows that scorers or choices among candidates see; without any, all drawn windows."""
        return self.windows.take(np.arange(self.n_shown if self.n_shown < len(self.windows) else 0, len(self.windows)))

    @property
    def scored_peaks(self) -> np.ndarray:
        """int64 [n]: where (row · context + position) the peaks of the `scored` windows stand."""
        return self.scored.row * self.shape.context_tokens + self.scored.peak_position

    @property
    def active_cells(self) -> np.ndarray:
        """int64, ascending, distinct: the fixed cells in which the feature fires."""
        return np.unique(self.shape.cell_of(self.positions // self.shape.context_tokens, self.positions % self.shape.context_tokens))

    @property
    def shown_cells(self) -> np.ndarray:
        """int64 [n_shown]: the fixed cell that holds the peak of each shown window."""
        return self.shape.cell_of(self.windows.row[: self.n_shown], self.windows.peak_position[: self.n_shown])


def draw_activating(
    activations: Sequence[tuple[int, np.ndarray, np.ndarray]], sample: WindowedSample, settings: ExampleSettings, run_seed: int
) -> list[ActivatingDraw]:
    """The activating windows of features, for every role.

    `activations` has each feature's number, its positions [n] (row · context + position, ascending) and its values [n] > 0. The settings
    are those of the sample's shape.
    """
    groups = drawn_together([len(positions) for _, positions, _ in activations])
    return [draw for group in groups for draw in _Drawing(activations[group], sample, settings, run_seed).draws()]


def drawn_together(sizes: Sequence[int]) -> Iterator[slice]:
    """Runs of features of these sizes that are drawn together: at most DRAWN_TOGETHER, or one feature."""
    first = n = 0
    for i, size in enumerate(sizes):
        if i > first and n + size > DRAWN_TOGETHER:
            yield slice(first, i)
            first, n = i, 0
        n += size
    if first < len(sizes):
        yield slice(first, len(sizes))


class _Drawing:
    """Draws the activating windows of some features together. Arrays of activations and of windows are feature by feature; `owner` is the
    place of a feature among the features."""

    def __init__(
        self, activations: Sequence[tuple[int, np.ndarray, np.ndarray]], sample: WindowedSample, settings: ExampleSettings, run_seed: int
    ) -> None:
        self.sample, self.settings, self.run_seed = sample, settings, run_seed
        self.features = [feature for feature, _, _ in activations]
        counts = [len(positions) for _, positions, _ in activations]
        owner = np.repeat(np.arange(len(counts)), counts)
        positions = np.concatenate([np.asarray(positions).astype(np.int64) for _, positions, _ in activations])
        strength = np.concatenate([np.asarray(values) for _, _, values in activations])
        usable = (strength > 0) & sample.shape.usable(positions)
        self.owner, self.positions, self.strength = owner[usable], positions[usable], strength[usable]
        self.values = self.strength.astype(np.float64)
        self.maxima = np.zeros(len(counts))
        firing = self._counts(self.owner) > 0
        if len(self.values):
            self.maxima[firing] = np.maximum.reduceat(self.values, self._bounds(self.owner)[:-1][firing])
        self.is_dead = ~firing
        if settings.silent_share > 0:
            loud = self.values >= settings.silent_share * self.maxima[self.owner]
            self.owner, self.positions, self.strength = self.owner[loud], self.positions[loud], self.strength[loud]
            self.values = self.values[loud]

    def _counts(self, owner: np.ndarray) -> np.ndarray:
        return np.bincount(owner, minlength=len(self.features))

    def _bounds(self, owner: np.ndarray) -> np.ndarray:
        """int64 [features + 1]: where each feature's part of an array begins, and where the last one ends."""
        return np.concatenate([[0], np.cumsum(self._counts(owner))])

    def draws(self) -> list[ActivatingDraw]:
        """The draw of each feature."""
        shape, settings = self.sample.shape, self.settings
        strongest_first = descending(self.strength)
        found = windows_of_features(self.owner, self.positions, self.values, strongest_first, shape)
        found = replace(found, windows=shape.in_whole_words(found.windows))
        hashes = self._hashes(found.windows)
        texts = owned(hashes, found.owner)
        kept, by_strength, known = self._strongest_of_equal_text(found, texts)
        bounds = self._bounds(found.owner[kept])
        n_windows = np.diff(bounds).tolist()
        place_in_feature = np.arange(len(kept)) - np.repeat(bounds[:-1], n_windows)
        strata = np.empty(len(kept), dtype=np.int64)
        strata[by_strength] = place_in_feature * settings.n_strata // np.maximum(np.repeat(n_windows, n_windows), 1)
        outcomes: list[ExamplesOutcome] = [self._outcome(i, n) for i, n in enumerate(n_windows)]
        picked, counts = self._drawn_by_role(found.owner[kept], strata, self.strength[found.peak[kept]], by_strength, outcomes)
        drawn = kept[picked]
        windows = found.windows.take(drawn)
        if shape.builder == "centred" and len(drawn):
            windows = self._with_peaks_anywhere(windows, found.peak[drawn], counts, found.owner[drawn], strongest_first, known)
        return self._apart(counts, outcomes, n_windows, windows, strata[picked], found, hashes)

    def _drawn_by_role(
        self, owner: np.ndarray, strata: np.ndarray, strength: np.ndarray, by_strength: np.ndarray, outcomes: Sequence[ExamplesOutcome]
    ) -> tuple[np.ndarray, np.ndarray]:
        """`drawn_by_role` of the features whose outcome is "ok"; all other features have no windows."""
        is_able = np.array([outcome == "ok" for outcome in outcomes])
        counts = np.zeros((len(outcomes), len(ROLES)), dtype=np.int64)
        here = np.flatnonzero(is_able[owner])
        place = np.empty(len(owner), dtype=np.int64)
        place[here] = np.arange(len(here))
        picked, counts[is_able] = drawn_by_role(
            (np.cumsum(is_able) - 1)[owner[here]], strata[here], strength[here], place[by_strength[is_able[owner[by_strength]]]],
            self.settings, self.run_seed, [feature for feature, able in zip(self.features, is_able, strict=True) if able],
        )  # fmt: skip
        return here[picked], counts

    def _hashes(self, windows: Windows) -> np.ndarray:
        return self.sample.hashed.of_runs(windows.row * self.sample.shape.context_tokens + windows.start, windows.length)

    def _outcome(self, i: int, n_windows: int) -> ExamplesOutcome:
        if self.is_dead[i]:
            return "dead"
        return "ok" if n_windows >= max(self.settings.min_activating, 2) else "too_few_windows"

    def _strongest_of_equal_text(self, found: FeatureWindows, texts: np.ndarray) -> tuple[np.ndarray, np.ndarray, HashSet]:
        """(indices, ascending, of the windows that are kept, places among these in the order of each feature's strength, all `texts`): of a
        feature's windows with equal tokens only the strongest is kept."""
        order = descending_by(found.owner, self.strength[found.peak])
        known = HashSet.of(texts[order])
        order = order[known.is_first]
        is_kept = np.zeros(len(texts), dtype=bool)
        is_kept[order] = True
        return np.flatnonzero(is_kept), (np.cumsum(is_kept) - 1)[order], known

    def _with_peaks_anywhere(
        self,
        windows: Windows,
        peak: np.ndarray,
        counts: np.ndarray,
        owner: np.ndarray,
        strongest_first: np.ndarray,
        texts: HashSet,
    ) -> Windows:
        """The drawn windows, with random places for the peaks of windows for validation and held out. `texts` are the hashes of all
        windows."""
        shape, hashed = self.sample.shape, self.sample.hashed
        role = np.repeat(np.tile(np.arange(len(ROLES)), len(counts)), counts.reshape(-1))
        rank = np.empty_like(strongest_first)
        rank[strongest_first] = np.arange(len(rank))
        reach = reach_of_peaks(self.owner, self.positions, rank, peak, shape.window_tokens)
        placing = DrawnWindows(owner, windows.row, windows.start, windows.length, windows.peak_position, *reach)
        rngs = generators(self.run_seed, self.features, "places of peaks")
        taken = [texts]
        for name in ("held_out", "validation"):
            part = np.flatnonzero(role == ROLES.index(name))
            placing, added = with_peaks_anywhere(placing, part, taken, hashed, shape, rngs)
            taken.append(HashSet.of(added))
        return replace(windows, start=placing.start, length=placing.length)

    def _apart(
        self,
        counts: np.ndarray,
        outcomes: Sequence[ExamplesOutcome],
        n_windows: Sequence[int],
        windows: Windows,
        strata: np.ndarray,
        found: FeatureWindows,
        hashes: np.ndarray,
    ) -> list[ActivatingDraw]:
        """The draw of each feature out of the arrays of all features."""
        ends: list[int] = [0, *np.cumsum(counts.sum(axis=1)).tolist()]
        of_activations, of_windows = self._bounds(self.owner).tolist(), self._bounds(found.owner).tolist()
        drawn_hashes = self._hashes(windows)
        draws: list[ActivatingDraw] = []
        for i, feature in enumerate(self.features):
            drawn, active = slice(ends[i], ends[i + 1]), slice(of_activations[i], of_activations[i + 1])
            own_hashes = np.concatenate([hashes[of_windows[i] : of_windows[i + 1]], drawn_hashes[drawn]])
            draws.append(
                ActivatingDraw(
                    feature, outcomes[i], n_windows[i], None if self.is_dead[i] else float(self.maxima[i]), self.positions[active],
                    self.values[active], self.sample.shape, windows.take(drawn), int(counts[i, 0]), int(counts[i, 1]), strata[drawn],
                    own_hashes,
                )
            )  # fmt: skip
        return draws
