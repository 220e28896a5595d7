"""Examples of a feature: which of its windows the explainer is shown, which the scorers hold out, and silent windows beside them.

Windows are made distinct as token sequences, split once into a shown and a held-out pool, and only then sampled, so that nothing
the explainer sees recurs, even as text, among what it is scored on.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from interp_assets.domain.seeds import generator
from interp_assets.domain.windows import Windows, cell_starts, cell_windows, centred_windows, silent_windows

Sampling = Literal["quantiles", "top", "random", "mix"]
Builder = Literal["centred", "cells"]
Role = Literal["shown", "held_out"]
Kind = Literal["activating", "non_activating"]
ExamplesOutcome = Literal["ok", "dead", "too_few_windows", "too_few_silent_windows"]


@dataclass(frozen=True)
class ExampleSettings:
    """How examples are made; defaults of arXiv 2410.13928.

    `sampling` draws the shown examples; held-out ones are always drawn by quantiles. `mix_top_share` is the share of "mix" that
    comes from the top. Activations below `silent_share` of the feature's own maximum count as silence: raw neurons are never
    exactly silent, so a dictionary of them needs a value such as 0.1 for non-activating windows to exist.
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


@dataclass(frozen=True)
class Example:
    """A window of tokens with the feature's activations on them (0.0 where it is silent), both of the window's length.

    `stratum` is the decile of an activating window's maximum among all windows of the feature (0 = strongest), None when silent.
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
    or, with fewer windows than `n_shown + n_held_out`, all windows in that proportion.
    """

    feature: int
    examples: tuple[Example, ...]
    outcome: ExamplesOutcome
    n_windows: int
    max_activation: float | None


def build_examples(
    feature_positions: np.ndarray,
    feature_values: np.ndarray,
    token_rows: np.ndarray,
    first_position: int,
    settings: ExampleSettings,
    run_seed: int,
    feature: int,
) -> FeatureExamples:
    """All examples of one feature, shown then held-out then non-activating.

    `feature_positions` [n] ascending, row · context + position; `feature_values` [n] > 0; `token_rows` [rows, context];
    `first_position` is 1 where rows begin with BOS (no window contains it), else 0.
    """
    context_tokens = token_rows.shape[1]
    positions, values = np.asarray(feature_positions, dtype=np.int64), np.asarray(feature_values, dtype=np.float64)
    usable = (values > 0) & (positions % context_tokens >= first_position)
    positions, values = positions[usable], values[usable]
    if len(values) == 0:
        return FeatureExamples(feature, (), "dead", 0, None)
    maximum = float(values.max())
    loud = values >= settings.silent_share * maximum
    positions, values = positions[loud], values[loud]
    row, position = positions // context_tokens, positions % context_tokens

    build = centred_windows if settings.builder == "centred" else cell_windows
    windows = build(row, position, values, settings.window_tokens, context_tokens, first_position)
    hashes = window_hashes(windows.row, windows.start, windows.length, token_rows)
    distinct = _strongest_of_equal_text(windows, hashes)
    active_hashes, windows = hashes, windows.take(distinct)
    if len(windows) < max(settings.min_activating, 2):
        return FeatureExamples(feature, (), "too_few_windows", len(windows), maximum)

    examples: list[Example] = []
    strata = equal_count_strata(windows.max_activation, settings.n_strata)
    split_rng, silent_rng = generator(run_seed, feature, "split"), generator(run_seed, feature, "silent")
    shown_pool, held_out_pool = split_windows(strata, settings.n_shown, settings.n_held_out, split_rng)
    draws: tuple[tuple[Role, np.ndarray, int, Sampling], ...] = (
        ("shown", shown_pool, settings.n_shown, settings.sampling),
        ("held_out", held_out_pool, settings.n_held_out, "quantiles"),
    )
    cut = _Cutter(feature, positions, values, token_rows)
    for role, pool, count, sampling in draws:
        rng = generator(run_seed, feature, f"sample {role}")
        for i in sample_windows(pool, strata, windows.max_activation, count, sampling, settings, rng):
            place = (int(windows.row[i]), int(windows.start[i]), int(windows.length[i]))
            examples.append(cut.example(place, role, "activating", sampling, int(strata[i])))
    silent = draw_silent(row, position, token_rows, active_hashes, first_position, settings, silent_rng)
    examples += [cut.example(place, "held_out", "non_activating", "random", None) for place in silent]
    outcome = "ok" if len(silent) == settings.n_non_activating else "too_few_silent_windows"
    return FeatureExamples(feature, tuple(examples), outcome, len(windows), maximum)


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


def draw_silent(
    row: np.ndarray,
    position: np.ndarray,
    token_rows: np.ndarray,
    taken_hashes: np.ndarray,
    first_position: int,
    settings: ExampleSettings,
    rng: np.random.Generator,
) -> list[tuple[int, int, int]]:
    """(row, start, length) of at most `n_non_activating` windows without an activation, uniform and without replacement.

    Token sequences are distinct from each other and from `taken_hashes`. Fewer come back when fewer exist. With the "cells"
    builder the candidates are the silent cells.
    """
    n_rows, context_tokens = token_rows.shape
    if settings.builder == "cells":
        starts = cell_starts(settings.window_tokens, context_tokens, first_position)
        silent = np.ones((n_rows, len(starts)), dtype=bool)
        silent[row, (position - first_position) // settings.window_tokens] = False
        run_row, cell = np.nonzero(silent)
        run_start, run_count = starts[cell], np.ones(len(cell), dtype=np.int64)
    else:
        run_row, run_start, run_count = silent_windows(row, position, n_rows, settings.window_tokens, context_tokens, first_position)
    ends = np.cumsum(run_count)
    total = int(ends[-1]) if len(ends) else 0
    drawn = min(total, 2 * settings.n_non_activating)
    while True:
        number = rng.choice(total, size=drawn, replace=False) if drawn else np.empty(0, dtype=np.int64)
        run = np.searchsorted(ends, number, side="right")
        rows, starts = run_row[run], run_start[run] + number - (ends[run] - run_count[run])
        lengths = np.minimum(settings.window_tokens, context_tokens - starts)
        hashes = window_hashes(rows, starts, lengths, token_rows)
        _, first = np.unique(hashes, return_index=True)
        kept = np.sort(first)
        kept = kept[~np.isin(hashes[kept], taken_hashes)][: settings.n_non_activating]
        if len(kept) == settings.n_non_activating or drawn == total:
            return [(int(rows[i]), int(starts[i]), int(lengths[i])) for i in kept]
        drawn = min(total, 4 * drawn)


def window_hashes(row: np.ndarray, start: np.ndarray, length: np.ndarray, token_rows: np.ndarray) -> np.ndarray:
    """uint64 [n]: equal token sequences have equal hashes.

    Unequal ones collide with a chance of 2^-64 a pair, which would drop a window, never let a repeated text through.
    """
    n, longest = len(row), int(length.max()) if len(length) else 0
    offset = np.arange(longest)
    inside = offset < length[:, None]
    column = np.where(inside, start[:, None] + offset, 0)
    tokens = token_rows[row[:, None], column].astype(np.uint64) if n else np.empty((0, longest), dtype=np.uint64)
    weights = np.random.Generator(np.random.PCG64(0)).integers(1, 2**64 - 1, size=longest, dtype=np.uint64) | np.uint64(1)
    mixed = (tokens + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    mixed ^= mixed >> np.uint64(29)
    return (np.where(inside, mixed, np.uint64(0)) * weights).sum(axis=1, dtype=np.uint64)


def _strongest_of_equal_text(windows: Windows, hashes: np.ndarray) -> np.ndarray:
    """Indices, ascending, of the windows left when of those with the same tokens only the strongest is kept."""
    order = np.argsort(-windows.max_activation, kind="stable")
    _, first = np.unique(hashes[order], return_index=True)
    return np.sort(order[first])


@dataclass(frozen=True)
class _Cutter:
    """Cuts examples of one feature out of the token rows."""

    feature: int
    positions: np.ndarray
    values: np.ndarray
    token_rows: np.ndarray

    def example(
        self,
        place: tuple[int, int, int],
        role: Role,
        kind: Kind,
        sampling: str,
        stratum: int | None,
    ) -> Example:
        row, start, length = place
        begin = row * self.token_rows.shape[1] + start
        low, high = np.searchsorted(self.positions, [begin, begin + length])
        activations = np.zeros(length)
        activations[self.positions[low:high] - begin] = self.values[low:high]
        tokens = self.token_rows[row, start : start + length]
        identity = f"{self.feature}/{row}/{start}"
        return Example(
            identity, self.feature, role, kind, sampling, stratum, row, start, tuple(tokens.tolist()), tuple(activations.tolist())
        )
