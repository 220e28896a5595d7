"""Draws the examples of features from their activations: activating windows, then silent windows.

Several features are drawn together, in a few operations on long arrays. A feature's examples depend on its own activations and generators
alone, whichever features are drawn with it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from interp_assets.domain.examples.negatives import HARD_KINDS, NegativeKind, first_distinct
from interp_assets.domain.examples.passages import SampleText
from interp_assets.domain.examples.peak_places import DrawnWindows, owned, reach_of_peaks, with_peaks_anywhere
from interp_assets.domain.examples.sampling import (
    NO_PLACES,
    ROLES,
    ExampleColumns,
    ExampleSettings,
    FeatureExamples,
    dealt,
    split_and_sampled,
)
from interp_assets.domain.examples.silent_windows import SilentWindows, TextUnits
from interp_assets.domain.examples.text_hashes import HashedTokens, first_of_equal, in_sorted
from interp_assets.domain.examples.windows import (
    FeatureWindows,
    Places,
    Windows,
    WindowShape,
    descending,
    descending_by,
    windows_of_features,
)
from interp_assets.domain.outcomes import ExamplesOutcome
from interp_assets.domain.seeds import generator

DRAWN_TOGETHER = 1 << 16
"""Activations that are drawn from together; a feature with more of them is drawn alone. Memory holds some twenty numbers for each."""


@dataclass(frozen=True, eq=False)
class WindowedSample:
    """A token sample whose windows have one shape, with everything that is worked out once for all features: about 13 bytes a token."""

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
    def active_cells(self) -> np.ndarray:
        """int64, ascending, distinct: the fixed cells in which the feature fires."""
        return np.unique(self.shape.cell_of(self.positions // self.shape.context_tokens, self.positions % self.shape.context_tokens))

    @property
    def shown_cells(self) -> np.ndarray:
        """int64 [n_shown]: the fixed cell that holds the peak of each shown window."""
        return self.shape.cell_of(self.windows.row[: self.n_shown], self.windows.peak_position[: self.n_shown])


def build_examples(
    feature_positions: np.ndarray,
    feature_values: np.ndarray,
    token_rows: np.ndarray,
    first_position: int,
    settings: ExampleSettings,
    run_seed: int,
    feature: int,
    candidates: Mapping[NegativeKind, Places] | None = None,
    text: SampleText | None = None,
) -> FeatureExamples:
    """All examples of one feature: `draw_activating`, then `with_negatives`.

    Activating examples come first, then silent examples; each kind in the order shown, validation, held out. `token_rows` [rows, context];
    `first_position` is 1 where rows begin with BOS (no window contains it), else 0; `text` says what of the rows is text.
    """
    sample = WindowedSample.of(token_rows, settings.shape(token_rows.shape[1], first_position, text))
    draws = draw_activating([(feature, feature_positions, feature_values)], sample, settings, run_seed)
    (found,) = with_negatives(draws, [candidates or {}], sample, settings, run_seed)
    examples = found.examples(settings.sampling)
    return FeatureExamples(feature, examples, found.outcome, found.n_windows, found.feature_max, found.n_filled)


def draw_activating(
    activations: Sequence[tuple[int, np.ndarray, np.ndarray]], sample: WindowedSample, settings: ExampleSettings, run_seed: int
) -> list[ActivatingDraw]:
    """The activating windows of features, for every role.

    `activations` has each feature's number, its positions [n] (row · context + position, ascending) and its values [n] > 0. The settings
    are those of the sample's shape.
    """
    groups = _together([len(positions) for _, positions, _ in activations])
    return [draw for group in groups for draw in _Drawing(activations[group], sample, settings, run_seed).draws()]


def _together(sizes: Sequence[int]) -> Iterator[slice]:
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
        ascending = np.sort(texts)
        kept, by_strength = self._strongest_of_equal_text(found, texts, ascending)
        bounds = self._bounds(found.owner[kept])
        n_windows = np.diff(bounds).tolist()
        place_in_feature = np.arange(len(kept)) - np.repeat(bounds[:-1], n_windows)
        strata = np.empty(len(kept), dtype=np.int64)
        strata[by_strength] = place_in_feature * settings.n_strata // np.maximum(np.repeat(n_windows, n_windows), 1)
        maxima = found.windows.max_activation[kept]
        outcomes = [self._outcome(i, n) for i, n in enumerate(n_windows)]
        picks: list[list[np.ndarray]] = []
        for i, feature in enumerate(self.features):
            first, end = int(bounds[i]), int(bounds[i + 1])
            span = slice(first, end)
            picks.append(
                split_and_sampled(strata[span], maxima[span], by_strength[span] - first, settings, self.run_seed, feature)
                if outcomes[i] == "ok"
                else [np.empty(0, dtype=np.int64)] * len(ROLES)
            )
        picked = np.concatenate([part + first for own, first in zip(picks, bounds[:-1].tolist(), strict=True) for part in own])
        drawn = kept[picked]
        windows = found.windows.take(drawn)
        if shape.builder == "centred" and len(drawn):
            windows = self._with_peaks_anywhere(windows, found.peak[drawn], picks, found.owner[drawn], strongest_first, ascending)
        return self._apart(picks, outcomes, n_windows, windows, strata[picked], found, hashes)

    def _hashes(self, windows: Windows) -> np.ndarray:
        return self.sample.hashed.of_runs(windows.row * self.sample.shape.context_tokens + windows.start, windows.length)

    def _outcome(self, i: int, n_windows: int) -> ExamplesOutcome:
        if self.is_dead[i]:
            return "dead"
        return "ok" if n_windows >= max(self.settings.min_activating, 2) else "too_few_windows"

    def _strongest_of_equal_text(self, found: FeatureWindows, texts: np.ndarray, ascending: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(indices, ascending, of the windows that are kept, places among these in the order of each feature's strength): of a feature's
        windows with equal tokens only the strongest is kept."""
        order = descending_by(found.owner, self.strength[found.peak])
        order = order[first_of_equal(texts[order], ascending)]
        is_kept = np.zeros(len(texts), dtype=bool)
        is_kept[order] = True
        return np.flatnonzero(is_kept), (np.cumsum(is_kept) - 1)[order]

    def _with_peaks_anywhere(
        self,
        windows: Windows,
        peak: np.ndarray,
        picks: Sequence[Sequence[np.ndarray]],
        owner: np.ndarray,
        strongest_first: np.ndarray,
        texts: np.ndarray,
    ) -> Windows:
        """The drawn windows, with random places for the peaks of those for validation and held out. `texts` are the hashes of all windows,
        sorted."""
        shape, hashed = self.sample.shape, self.sample.hashed
        role = np.repeat(np.tile(np.arange(len(ROLES)), len(picks)), [len(part) for own in picks for part in own])
        rank = np.empty_like(strongest_first)
        rank[strongest_first] = np.arange(len(rank))
        reach = reach_of_peaks(self.owner, self.positions, rank, peak, shape.window_tokens)
        placing = DrawnWindows(owner, windows.row, windows.start, windows.length, windows.peak_position, *reach)
        rngs = [generator(self.run_seed, feature, "places of peaks") for feature in self.features]
        taken = [texts]
        for name in ("held_out", "validation"):
            part = np.flatnonzero(role == ROLES.index(name))
            placing, added = with_peaks_anywhere(placing, part, taken, hashed, shape, rngs)
            taken.append(added)
        return replace(windows, start=placing.start, length=placing.length)

    def _apart(
        self,
        picks: Sequence[Sequence[np.ndarray]],
        outcomes: Sequence[ExamplesOutcome],
        n_windows: Sequence[int],
        windows: Windows,
        strata: np.ndarray,
        found: FeatureWindows,
        hashes: np.ndarray,
    ) -> list[ActivatingDraw]:
        """The draw of each feature out of the arrays of all features."""
        ends = np.cumsum([0, *(sum(map(len, own)) for own in picks)]).tolist()
        of_activations, of_windows = self._bounds(self.owner).tolist(), self._bounds(found.owner).tolist()
        drawn_hashes = self._hashes(windows)
        draws: list[ActivatingDraw] = []
        for i, feature in enumerate(self.features):
            drawn, active = slice(ends[i], ends[i + 1]), slice(of_activations[i], of_activations[i + 1])
            own_hashes = hashes[of_windows[i] : of_windows[i + 1]], drawn_hashes[drawn]
            draws.append(
                ActivatingDraw(
                    feature, outcomes[i], n_windows[i], None if self.is_dead[i] else float(self.maxima[i]), self.positions[active],
                    self.values[active], self.sample.shape, windows.take(np.arange(ends[i], ends[i + 1])), len(picks[i][0]),
                    len(picks[i][1]), strata[drawn], np.concatenate(own_hashes),
                )
            )  # fmt: skip
        return draws


def with_negatives(
    draws: Sequence[ActivatingDraw],
    candidates: Sequence[Mapping[NegativeKind, Places]],
    sample: WindowedSample,
    settings: ExampleSettings,
    run_seed: int,
) -> list[ExampleColumns]:
    """The activating windows of each of `draws`, then silent windows, all distinct in text.

    `candidates` offers for each draw silent windows of each kind but "random", cut to words, the hardest first. Random windows stand in for
    missing windows of a kind; `n_filled` counts them among the held-out windows. The hardest windows of a kind are shown. The next windows
    go to validation and held-out in turn, so that both roles get equally hard windows.
    """
    groups = _together([len(draw.positions) for draw in draws])
    return [found for group in groups for found in _with_negatives(draws[group], candidates[group], sample, settings, run_seed)]


def _with_negatives(
    draws: Sequence[ActivatingDraw],
    candidates: Sequence[Mapping[NegativeKind, Places]],
    sample: WindowedSample,
    settings: ExampleSettings,
    run_seed: int,
) -> list[ExampleColumns]:
    """`with_negatives` of features that are drawn together."""
    found = [ExampleColumns(draw.feature, draw.outcome, draw.n_windows, draw.max_activation) for draw in draws]
    able = [i for i, draw in enumerate(draws) if draw.outcome == "ok"]
    asked = [settings.negative_counts_of(role) for role in ROLES]
    silent = [_Silent.hard(draws[i], candidates[i], sample.hashed, asked) for i in able]
    _add_random(silent, sample, [sum(counts.values()) for counts in asked], run_seed)
    parts = [part.in_proportion([sum(counts.values()) for counts in asked]) for part in silent]
    drawn = [Places(one.draw.windows.row, one.draw.windows.start, one.draw.windows.length) for one in parts]
    everything = Places.joined([places for windows, one in zip(drawn, parts, strict=True) for places in (windows, *one.places)])
    token_ids, activations = _contents(everything, parts, sample)
    begun, broken = sample.shape.is_cut(everything)
    tokens_before = np.concatenate([[0], np.cumsum(everything.length)]).tolist()
    first = 0
    for i, one in zip(able, parts, strict=True):
        draw, n_silent = one.draw, [len(kinds) for kinds in one.kinds]
        end = first + len(draw.windows) + sum(n_silent)
        tokens = slice(tokens_before[first], tokens_before[end])
        found[i] = ExampleColumns(
            feature=draw.feature,
            outcome="ok" if sum(n_silent) == sum(sum(counts.values()) for counts in asked) else "too_few_silent_windows",
            n_windows=draw.n_windows,
            feature_max=draw.max_activation,
            n_filled=max(one.kinds[-1].count("random") - asked[-1]["random"], 0),
            n_shown=draw.n_shown,
            n_validation=draw.n_validation,
            n_held_out=len(draw.windows) - draw.n_shown - draw.n_validation,
            n_shown_non_activating=n_silent[0],
            n_validation_non_activating=n_silent[1],
            places=Places(everything.row[first:end], everything.start[first:end], everything.length[first:end]),
            strata=draw.strata,
            negatives=tuple(kind for of_role in one.kinds for kind in of_role),
            token_ids=token_ids[tokens],
            activations=activations[tokens],
            max_activation=np.concatenate([draw.windows.max_activation, np.zeros(sum(n_silent))]),
            cut=(begun[first:end], broken[first:end]),
        )
        first = end
    return found


@dataclass(frozen=True, eq=False)
class _Silent:
    """The silent windows of one draw and their kinds, for each of ROLES, and the hashes of their texts."""

    draw: ActivatingDraw
    places: list[Places]
    kinds: list[list[NegativeKind]]
    hashes: np.ndarray

    @classmethod
    def hard(
        cls,
        draw: ActivatingDraw,
        candidates: Mapping[NegativeKind, Places],
        hashed: HashedTokens,
        asked: Sequence[Mapping[NegativeKind, int]],
    ) -> "_Silent":
        """The silent windows of all kinds but "random", distinct in text from each other and from every activating window.

        `asked` has, for each role, the number of windows of each kind that the role asks for.
        """
        taken = draw.active_hashes
        parts: list[list[Places]] = [[] for _ in ROLES]
        kinds: list[list[NegativeKind]] = [[] for _ in ROLES]
        for kind in HARD_KINDS:
            n_shown, *others = (counts[kind] for counts in asked)
            if n_shown + sum(others) == 0:
                continue
            found, hashes = first_distinct(candidates.get(kind, NO_PLACES), n_shown + sum(others), taken, hashed)
            taken = np.concatenate([taken, hashes])
            role_of = np.zeros(len(found), dtype=np.int64)
            role_of[n_shown:] = 1 + dealt(max(len(found) - n_shown, 0), others)
            for i in range(len(ROLES)):
                parts[i].append(found.take(role_of == i))
                kinds[i].extend(kind for _ in range(len(parts[i][-1])))
        return cls(draw, [Places.joined(of_role) if of_role else NO_PLACES for of_role in parts], kinds, taken)

    def in_proportion(self, asked: Sequence[int]) -> "_Silent":
        """The windows as given where every role has the number it asks for. Else all windows, split over the roles in proportion to these
        numbers.

        A role with too many windows gives its last windows away.
        """
        counts = [len(of_role) for of_role in self.kinds]
        if counts == list(asked):
            return self
        due = np.bincount(dealt(sum(counts), asked), minlength=len(asked)).tolist()
        place_of = np.split(np.arange(sum(counts)), np.cumsum(counts)[:-1])
        spare = np.concatenate([own[n:] for own, n in zip(place_of, due, strict=True)])
        joined, joined_kinds = Places.joined(self.places), [kind for of_role in self.kinds for kind in of_role]
        fair: list[np.ndarray] = []
        for own, n in zip(place_of, due, strict=True):
            lacking = max(n - len(own), 0)
            fair.append(np.concatenate([own[:n], spare[:lacking]]))
            spare = spare[lacking:]
        return replace(self, places=[joined.take(index) for index in fair], kinds=[[joined_kinds[i] for i in index] for index in fair])


def _add_random(silent: Sequence[_Silent], sample: WindowedSample, asked: Sequence[int], run_seed: int) -> None:
    """Give every role random silent windows for the windows that it lacks, `asked` having the number that each role asks for: distinct in
    text from each other and from all windows there are."""
    lacking = [[n - len(kinds) for n, kinds in zip(asked, one.kinds, strict=True)] for one in silent]
    some = [i for i, missing in enumerate(lacking) if any(missing)]
    if not some:
        return
    counts = [len(silent[i].draw.positions) for i in some]
    positions = np.concatenate([silent[i].draw.positions for i in some])
    windows = SilentWindows.of(sample.units, np.repeat(np.arange(len(some)), counts), positions, len(some))
    owner = np.repeat(np.arange(len(some)), [len(silent[i].hashes) for i in some])
    taken = [np.sort(owned(np.concatenate([silent[i].hashes for i in some]), owner))]
    for r, role in enumerate(ROLES):
        wanting = [(place, i) for place, i in enumerate(some) if lacking[i][r]]
        purpose = "silent" if role == "held_out" else f"silent {role}"
        rngs = [generator(run_seed, silent[i].draw.feature, purpose) for _, i in wanting]
        wanted = [lacking[i][r] for _, i in wanting]
        found, hashes = random_places(windows, [place for place, _ in wanting], wanted, taken, sample.hashed, rngs)
        taken.append(np.sort(hashes))
        for (_, i), places in zip(wanting, found, strict=True):
            silent[i].places[r] = Places.joined([silent[i].places[r], places]) if len(silent[i].places[r]) else places
            silent[i].kinds[r].extend(["random"] * len(places))


def random_places(
    windows: SilentWindows,
    owners: Sequence[int],
    counts: Sequence[int],
    taken: Sequence[np.ndarray],
    hashed: HashedTokens,
    rngs: Sequence[np.random.Generator],
) -> tuple[list[Places], np.ndarray]:
    """For each of the features `owners` at most its count of its silent windows, drawn without replacement by its own generator; fewer
    where fewer exist. And the hashes (`owned`) of all these windows.

    A feature's windows are distinct in text, and none has the text of a window in `taken`: several sorted arrays of hashes (`owned`).
    """
    places: list[Places] = [NO_PLACES] * len(owners)
    all_hashes: list[np.ndarray] = [np.empty(0, dtype=np.uint64)]
    totals = windows.totals.tolist()
    n_drawn = [min(totals[owner], 2 * count) for owner, count in zip(owners, counts, strict=True)]
    waiting = list(range(len(owners)))
    while waiting:
        numbers = [
            rngs[k].choice(totals[owners[k]], size=n_drawn[k], replace=False) if n_drawn[k] else np.empty(0, dtype=np.int64)
            for k in waiting
        ]
        found = windows.at([owners[k] for k in waiting], numbers, [rngs[k] for k in waiting])
        whose = np.repeat(np.array([owners[k] for k in waiting]), [len(part) for part in numbers])
        hashes = owned(hashed.of_runs(found.row * hashed.rows.shape[1] + found.start, found.length), whose)
        is_new = first_of_equal(hashes)
        for some in taken:
            is_new &= ~in_sorted(hashes, some)
        ends = np.cumsum([len(part) for part in numbers]).tolist()
        again: list[int] = []
        for k, end, part in zip(waiting, ends, numbers, strict=True):
            new = end - len(part) + np.flatnonzero(is_new[end - len(part) : end])[: counts[k]]
            if len(new) < counts[k] and n_drawn[k] < totals[owners[k]]:
                n_drawn[k] = min(totals[owners[k]], 4 * n_drawn[k])
                again.append(k)
                continue
            places[k] = found.take(new)
            all_hashes.append(hashes[new])
        waiting = again
    return places, np.concatenate(all_hashes)


def _contents(places: Places, parts: Sequence[_Silent], sample: WindowedSample) -> tuple[np.ndarray, np.ndarray]:
    """Token ids and activations (0.0 in silence) of all windows of `parts`, end to end: of each part first its activating windows."""
    begin = places.row * sample.shape.context_tokens + places.start
    offset = np.concatenate([[0], np.cumsum(places.length)])
    tokens = sample.flat.take(np.arange(offset[-1]) + np.repeat(begin - offset[:-1], places.length))
    activations = np.zeros(offset[-1])
    if not parts:
        return tokens, activations
    n_windows = [len(one.draw.windows) for one in parts]
    n_all = [n + sum(map(len, one.kinds)) for n, one in zip(n_windows, parts, strict=True)]
    firsts = np.cumsum([0, *n_all[:-1]])
    index = np.arange(sum(n_windows)) + np.repeat(firsts - np.cumsum([0, *n_windows[:-1]]), n_windows)
    moved = np.repeat(np.arange(len(parts)), n_windows) * len(sample.flat)
    positions = np.concatenate([one.draw.positions + i * len(sample.flat) for i, one in enumerate(parts)])
    values = np.concatenate([one.draw.values for one in parts])
    low = np.searchsorted(positions, begin[index] + moved)
    held = np.searchsorted(positions, begin[index] + moved + places.length[index]) - low
    source = np.arange(int(held.sum())) + np.repeat(low - (np.cumsum(held) - held), held)
    activations[positions[source] - np.repeat(begin[index] + moved - offset[index], held)] = values[source]
    return tokens, activations
