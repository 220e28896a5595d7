"""Examples of a feature: which of its windows the explainer is shown, which the scorers hold out, and silent windows beside them.

Windows are made distinct as token sequences, split once into a shown and a held-out pool, and only then sampled, so that nothing
the explainer sees recurs, even as text, among what it is scored on.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from interp_assets.domain.negatives import NEGATIVE_KINDS, NegativeKind, first_distinct, negative_counts, random_places, window_hashes
from interp_assets.domain.seeds import generator
from interp_assets.domain.windows import Builder, Places, Windows, WindowShape

Sampling = Literal["quantiles", "top", "random", "mix"]
Role = Literal["shown", "held_out"]
Kind = Literal["activating", "non_activating"]
ExamplesOutcome = Literal["ok", "dead", "too_few_windows", "too_few_silent_windows"]

HELD_OUT_SAMPLING: Sampling = "quantiles"


@dataclass(frozen=True)
class ExampleSettings:
    """How examples are made; defaults of arXiv 2410.13928.

    `sampling` draws the shown examples; held-out ones are always drawn by quantiles. `mix_top_share` is the share of "mix" that
    comes from the top. Activations below `silent_share` of the feature's own maximum count as silence: raw neurons are never
    exactly silent, so a dictionary of them needs a value such as 0.1 for non-activating windows to exist.

    `non_activating` is one kind of silent window, or shares of several that sum to 1: "random" (anywhere), "similar" (nearest in
    meaning to the shown examples), "neighbour" (where the `n_neighbours` nearest features fire), "token" (around the feature's own
    `n_peak_tokens` heaviest tokens). What a kind lacks is made up for by random ones.
    """

    window_tokens: int = 32
    n_shown: int = 40
    n_held_out: int = 100
    n_non_activating: int = 100
    min_activating: int = 200
    sampling: Sampling = "quantiles"
    builder: Builder = "centred"
    n_strata: int = 10
    mix_top_share: float = 0.2
    silent_share: float = 0.0
    non_activating: NegativeKind | dict[NegativeKind, float] = "random"
    n_neighbours: int = 5
    n_peak_tokens: int = 5

    def __post_init__(self) -> None:
        negative_counts(self.non_activating, self.n_non_activating)

    @property
    def negative_counts(self) -> dict[NegativeKind, int]:
        """How many silent windows of each kind are asked for."""
        return negative_counts(self.non_activating, self.n_non_activating)

    def asks_for(self, kind: NegativeKind) -> bool:
        """Whether any silent window of this kind is asked for."""
        return self.negative_counts[kind] > 0

    def shape(self, context_tokens: int, first_position: int) -> WindowShape:
        """How these settings cut windows out of rows of `context_tokens`."""
        return WindowShape(self.builder, self.window_tokens, context_tokens, first_position)


@dataclass(frozen=True)
class Example:
    """A window of tokens with the feature's activations on them (0.0 where it is silent), both of the window's length.

    `sampling` says how it was drawn: quantiles, top, random or mix if activating, else its kind of silent window. `stratum` is the
    decile of an activating window's maximum among all windows of the feature (0 = strongest), None when silent.
    """

    example_id: str
    feature: int
    role: Role
    kind: Kind
    sampling: str
    stratum: int | None
    row: int
    start: int
    token_ids: tuple[int, ...]
    activations: tuple[float, ...]


@dataclass(frozen=True)
class FeatureExamples:
    """The examples of one feature and how it ended. `n_windows` counts its distinct activating windows before sampling.

    Outcomes: "dead" (no activation), "too_few_windows" (fewer than `min_activating`), both without examples;
    "too_few_silent_windows" has all activating examples and as many non-activating ones as exist; "ok" has everything asked for,
    or, with fewer windows than `n_shown + n_held_out`, all windows in that proportion. `n_filled` counts the random silent windows
    that stand in for another kind that was asked for.
    """

    feature: int
    examples: tuple[Example, ...]
    outcome: ExamplesOutcome
    n_windows: int
    max_activation: float | None
    n_filled: int = 0


NO_PLACES = Places.joined([])


@dataclass(frozen=True, eq=False)
class ActivatingDraw:
    """The activating side of one feature's examples, all that its silent windows depend on.

    `positions` int64 and `values` float64, both [n], are its activations that count as such, ascending by position; `shape` how its
    windows are cut. `windows` holds the drawn windows, the `n_shown` shown ones first, with their `strata`; `active_hashes` the
    token sequences of all its windows, drawn or not. `outcome` is "ok" exactly when there are windows.
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
    strata: np.ndarray
    active_hashes: np.ndarray

    def with_blocked(self, positions: np.ndarray) -> "ActivatingDraw":
        """The same windows, with `positions` (none of them active) counting as not silent: no silent window will contain one."""
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


@dataclass(frozen=True, eq=False)
class ExampleColumns:
    """The examples of one feature as columns: `n_shown` shown, then `n_held_out` held-out activating, then silent windows.

    `strata` are those of the activating ones, `negatives` the kind of each silent one. `token_ids` and `activations` hold the
    windows' tokens end to end, `max_activation` is the largest activation of each window (0.0 when silent).
    """

    feature: int
    outcome: ExamplesOutcome
    n_windows: int
    feature_max: float | None
    n_filled: int = 0
    n_shown: int = 0
    n_held_out: int = 0
    places: Places = NO_PLACES
    strata: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    negatives: tuple[NegativeKind | Literal["imported"], ...] = ()
    imported: bool = False
    token_ids: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=np.int32))
    activations: np.ndarray = field(default_factory=lambda: np.empty(0))
    max_activation: np.ndarray = field(default_factory=lambda: np.empty(0))

    @property
    def n_activating(self) -> int:
        """Shown and held-out windows on which the feature fires."""
        return self.n_shown + self.n_held_out

    def labels(self, sampling: Sampling) -> list[tuple[Role, Kind, str]]:
        """Role, kind and sampling of every example, where `sampling` is how the shown ones were drawn; "imported" for all of an import."""
        how = ("imported", "imported") if self.imported else (sampling, HELD_OUT_SAMPLING)
        shown: list[tuple[Role, Kind, str]] = [("shown", "activating", how[0])] * self.n_shown
        held_out: list[tuple[Role, Kind, str]] = [("held_out", "activating", how[1])] * self.n_held_out
        return [*shown, *held_out, *(("held_out", "non_activating", kind) for kind in self.negatives)]

    @property
    def example_ids(self) -> list[str]:
        """feature/row/start of every example."""
        return [f"{self.feature}/{row}/{start}" for row, start in zip(self.places.row.tolist(), self.places.start.tolist(), strict=True)]

    def examples(self, sampling: Sampling, index: Iterable[int] | None = None) -> tuple[Example, ...]:
        """One record per example, of all or of those at `index`."""
        bounds = np.cumsum([0, *self.places.length.tolist()]).tolist()
        labels = self.labels(sampling)
        found = []
        for i in range(len(self.places)) if index is None else index:
            role, kind, drawn = labels[i]
            row, start, span = int(self.places.row[i]), int(self.places.start[i]), slice(bounds[i], bounds[i + 1])
            found.append(
                Example(
                    f"{self.feature}/{row}/{start}", self.feature, role, kind, drawn,
                    int(self.strata[i]) if kind == "activating" else None, row, start,
                    tuple(self.token_ids[span].tolist()), tuple(self.activations[span].tolist()),
                )
            )  # fmt: skip
        return tuple(found)


def build_examples(
    feature_positions: np.ndarray,
    feature_values: np.ndarray,
    token_rows: np.ndarray,
    first_position: int,
    settings: ExampleSettings,
    run_seed: int,
    feature: int,
    candidates: Mapping[NegativeKind, Places] | None = None,
) -> FeatureExamples:
    """All examples of one feature, shown then held-out then non-activating: `draw_activating`, then `with_negatives`."""
    draw = draw_activating(feature_positions, feature_values, token_rows, first_position, settings, run_seed, feature)
    found = with_negatives(draw, candidates or {}, token_rows, settings, run_seed)
    examples = found.examples(settings.sampling)
    return FeatureExamples(feature, examples, found.outcome, found.n_windows, found.feature_max, found.n_filled)


def draw_activating(
    feature_positions: np.ndarray,
    feature_values: np.ndarray,
    token_rows: np.ndarray,
    first_position: int,
    settings: ExampleSettings,
    run_seed: int,
    feature: int,
) -> ActivatingDraw:
    """The shown and the held-out activating windows of one feature.

    `feature_positions` [n] ascending, row · context + position; `feature_values` [n] > 0; `token_rows` [rows, context];
    `first_position` is 1 where rows begin with BOS (no window contains it), else 0.
    """
    shape = settings.shape(token_rows.shape[1], first_position)
    positions, values = np.asarray(feature_positions, dtype=np.int64), np.asarray(feature_values, dtype=np.float64)
    usable = (values > 0) & (positions % shape.context_tokens >= first_position)
    positions, values = positions[usable], values[usable]
    maximum = float(values.max()) if len(values) else None
    if maximum is not None:
        loud = values >= settings.silent_share * maximum
        positions, values = positions[loud], values[loud]
    windows = shape.windows(positions // shape.context_tokens, positions % shape.context_tokens, values)
    hashes = window_hashes(windows.row, windows.start, windows.length, token_rows)
    windows = windows.take(_strongest_of_equal_text(windows, hashes))
    n_windows = len(windows)
    enough = n_windows >= max(settings.min_activating, 2)
    outcome: ExamplesOutcome = "dead" if maximum is None else "ok" if enough else "too_few_windows"
    strata = equal_count_strata(windows.max_activation, settings.n_strata)
    picks: list[np.ndarray] = [np.empty(0, dtype=np.int64)] * 2
    if outcome == "ok":
        shown_pool, held_out_pool = split_windows(strata, settings.n_shown, settings.n_held_out, generator(run_seed, feature, "split"))
        draws: tuple[tuple[Role, np.ndarray, int, Sampling], ...] = (
            ("shown", shown_pool, settings.n_shown, settings.sampling),
            ("held_out", held_out_pool, settings.n_held_out, HELD_OUT_SAMPLING),
        )
        picks = [
            sample_windows(
                pool, strata, windows.max_activation, count, sampling, settings, generator(run_seed, feature, f"sample {role}")
            )
            for role, pool, count, sampling in draws
        ]  # fmt: skip
    picked = np.concatenate(picks)
    return ActivatingDraw(
        feature, outcome, n_windows, maximum, positions, values, shape, windows.take(picked), len(picks[0]), strata[picked], hashes
    )  # fmt: skip


def with_negatives(
    draw: ActivatingDraw,
    candidates: Mapping[NegativeKind, Places],
    token_rows: np.ndarray,
    settings: ExampleSettings,
    run_seed: int,
) -> ExampleColumns:
    """The activating windows of `draw` and silent ones beside them, all distinct in text.

    `candidates` offers the kinds other than "random", each best first and silent; what a kind asked for does not offer is filled
    with random windows and counted in `n_filled`.
    """
    if draw.outcome != "ok":
        return ExampleColumns(draw.feature, draw.outcome, draw.n_windows, draw.max_activation)
    taken, parts = draw.active_hashes, []
    kinds: list[NegativeKind] = []
    missing = 0
    for kind in NEGATIVE_KINDS[1:]:
        count = settings.negative_counts[kind]
        if count == 0:
            continue
        found, hashes = first_distinct(candidates.get(kind, NO_PLACES), count, taken, token_rows)
        taken = np.concatenate([taken, hashes])
        parts.append(found)
        kinds.extend(kind for _ in range(len(found)))
        missing += count - len(found)
    n_random = settings.negative_counts["random"] + missing
    rng = generator(run_seed, draw.feature, "silent")
    filling, _ = random_places(draw.positions, token_rows, taken, n_random, draw.shape, rng)
    kinds.extend("random" for _ in range(len(filling)))
    windows = Places(draw.windows.row, draw.windows.start, draw.windows.length)
    places = Places.joined([windows, *parts, filling])
    token_ids, activations = _contents(places, draw, token_rows)
    return ExampleColumns(
        feature=draw.feature,
        outcome="ok" if len(kinds) == settings.n_non_activating else "too_few_silent_windows",
        n_windows=draw.n_windows,
        feature_max=draw.max_activation,
        n_filled=max(len(filling) - settings.negative_counts["random"], 0),
        n_shown=draw.n_shown,
        n_held_out=len(windows) - draw.n_shown,
        places=places,
        strata=draw.strata,
        negatives=tuple(kinds),
        token_ids=token_ids,
        activations=activations,
        max_activation=np.concatenate([draw.windows.max_activation, np.zeros(len(kinds))]),
    )


def equal_count_strata(max_activation: np.ndarray, n_strata: int) -> np.ndarray:
    """Stratum [n] of each window, 0 = strongest: ranks cut into `n_strata` groups whose sizes differ by at most one."""
    strata = np.empty(len(max_activation), dtype=np.int64)
    strata[np.argsort(-max_activation, kind="stable")] = np.arange(len(max_activation)) * n_strata // max(len(max_activation), 1)
    return strata


def split_windows(strata: np.ndarray, n_shown: int, n_held_out: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the shown pool and of the held-out pool: disjoint, together all windows, in the proportion n_shown : n_held_out.

    Within every stratum the proportion holds to within one window. Given at least n_shown + n_held_out windows the pools are
    large enough for both; given fewer, each is short in the same proportion.
    """
    order = np.lexsort((rng.permutation(len(strata)), strata))
    step = np.arange(len(strata) + 1) * n_shown // max(n_shown + n_held_out, 1)
    is_shown = np.diff(step) > 0
    return np.sort(order[is_shown]), np.sort(order[~is_shown])


def sample_windows(
    pool: np.ndarray,
    strata: np.ndarray,
    max_activation: np.ndarray,
    count: int,
    sampling: Sampling,
    settings: ExampleSettings,
    rng: np.random.Generator,
) -> np.ndarray:
    """`count` indices out of `pool` (all of it if smaller), strongest first, without repetition.

    "quantiles": an equal number from each stratum (the remainder and what a short stratum lacks are drawn from the rest) · "top":
    the strongest of the pool · "random": uniform · "mix": `mix_top_share` from the top, the rest by quantiles.
    """
    count = min(count, len(pool))
    by_strength = pool[np.argsort(-max_activation[pool], kind="stable")]
    if sampling == "top":
        return by_strength[:count]
    n_top = round(count * settings.mix_top_share) if sampling == "mix" else 0
    top, rest = by_strength[:n_top], rng.permutation(by_strength[n_top:])
    count -= n_top
    if sampling != "random":
        per_stratum = count // settings.n_strata
        order = np.argsort(strata[rest], kind="stable")
        sorted_strata = strata[rest][order]
        place_in_stratum = np.arange(len(rest)) - np.searchsorted(sorted_strata, sorted_strata, side="left")
        first_picks = place_in_stratum < per_stratum
        rest = np.concatenate([rest[order[first_picks]], rng.permutation(rest[order[~first_picks]])])
    drawn = np.concatenate([top, rest[:count]])
    return drawn[np.argsort(-max_activation[drawn], kind="stable")]


def _strongest_of_equal_text(windows: Windows, hashes: np.ndarray) -> np.ndarray:
    """Indices, ascending, of the windows left when of those with the same tokens only the strongest is kept."""
    order = np.argsort(-windows.max_activation, kind="stable")
    _, first = np.unique(hashes[order], return_index=True)
    return np.sort(order[first])


def _contents(places: Places, draw: ActivatingDraw, token_rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Token ids and activations (0.0 in silence) of the places, end to end."""
    begin = places.row * draw.shape.context_tokens + places.start
    offset = np.concatenate([[0], np.cumsum(places.length)])
    tokens = token_rows.ravel()[np.arange(offset[-1]) + np.repeat(begin - offset[:-1], places.length)]
    low, high = np.searchsorted(draw.positions, begin), np.searchsorted(draw.positions, begin + places.length)
    held = high - low
    source = np.arange(held.sum()) + np.repeat(low - (np.cumsum(held) - held), held)
    activations = np.zeros(offset[-1])
    activations[draw.positions[source] - np.repeat(begin - offset[:-1], held)] = draw.values[source]
    return tokens, activations
