"""Draws the activating windows of each role out of all windows of features: windows are split once, then sampled out of a role's own pool.

Several features are drawn together, in a few operations on long arrays. Arrays of windows are feature by feature, and `owner` [n] is the
place of a window's feature among the features. Each feature has its own generators, so that its draw depends on its own windows alone.
"""

from collections.abc import Sequence

import numpy as np

from interp_assets.domain.examples.sampling import HELD_OUT_SAMPLING, ROLES, ExampleSettings, Sampling
from interp_assets.domain.examples.windows import descending_by
from interp_assets.domain.seeds import generators


def drawn_by_role(
    owner: np.ndarray,
    strata: np.ndarray,
    strength: np.ndarray,
    strongest_first: np.ndarray,
    settings: ExampleSettings,
    run_seed: int,
    features: Sequence[int],
) -> tuple[np.ndarray, np.ndarray]:
    """(indices of the drawn windows, their numbers int64 [features, roles]): feature by feature, for each of ROLES, strongest first.

    `strongest_first` has all windows in the order of `descending_by(owner, strength)`.
    """
    counts = settings.activating_counts
    rngs = generators(run_seed, features, "split")
    pool = pools_of_windows(owner, strata, list(counts.values()), rngs)[strongest_first]
    found: list[np.ndarray] = []
    for i, (role, count) in enumerate(counts.items()):
        own = strongest_first[pool == i] if count else strongest_first[:0]
        sampling = settings.sampling if role == "shown" else HELD_OUT_SAMPLING
        rngs = generators(run_seed, features, f"sample {role}") if count and sampling != "top" else []
        found.append(sampled_windows(own, owner, strata, strength, count, sampling, settings, rngs))
    picked = np.concatenate(found)
    cell = owner[picked] * len(ROLES) + np.repeat(np.arange(len(ROLES)), [len(part) for part in found])
    numbers = np.bincount(cell, minlength=len(features) * len(ROLES))
    return picked[np.argsort(in_16_bits(cell), kind="stable")], numbers.reshape(len(features), len(ROLES))


def pools_of_windows(owner: np.ndarray, strata: np.ndarray, counts: Sequence[int], rngs: Sequence[np.random.Generator]) -> np.ndarray:
    """int64 [n]: the pool of each window, for disjoint pools of all windows of a feature in the proportion of `counts`.

    Within every stratum the proportion holds as in `dealt`. With at least sum(counts) windows every pool has at least its count; with fewer
    windows all pools are short in equal proportion.
    """
    shuffled = np.empty(len(owner), dtype=np.int64)
    shuffled[_permuted(np.bincount(owner, minlength=len(rngs)), rngs)] = np.arange(len(owner))
    order = shuffled[np.argsort(in_16_bits(_cells(owner, strata)[shuffled]), kind="stable")]
    pool = np.empty(len(owner), dtype=np.int64)
    pool[order] = dealt(owner, counts)
    return pool


def dealt(owner: np.ndarray, counts: Sequence[int]) -> np.ndarray:
    """int64 [n]: the pool that each of a feature's items in a row goes to, when the items are spread over pools in proportion to `counts`.

    The first pool gets its share of any run of items to within one. Each next pool gets its share of the items that earlier pools left, to
    within one. With n >= sum(counts) every pool gets at least its count; with fewer items no pool gets more. Where all counts are 0, the
    last pool gets everything. `owner` is ascending.
    """
    pool = np.full(len(owner), len(counts) - 1)
    left = np.arange(len(owner))
    for i, count in enumerate(counts[:-1]):
        if count == 0:
            continue
        whole, place = sum(counts[i:]), places_among_equals(owner[left])
        taken = (place + 1) * count // whole > place * count // whole
        pool[left[taken]] = i
        left = left[~taken]
    return pool


def sampled_windows(
    strongest_first: np.ndarray,
    owner: np.ndarray,
    strata: np.ndarray,
    strength: np.ndarray,
    count: int,
    sampling: Sampling,
    settings: ExampleSettings,
    rngs: Sequence[np.random.Generator],
) -> np.ndarray:
    """`count` of each feature's windows in `strongest_first` (all of them where it has fewer), strongest first, without repetition.

    "quantiles": an equal number from each stratum; the remainder, and missing windows of short strata, are drawn from all that is left.
    "top": the strongest. "random": uniform. "mix": a share `mix_top_share` from the top, the rest by quantiles.
    """
    whose = owner[strongest_first]
    place = places_among_equals(whose)
    if count == 0 or sampling == "top":
        return strongest_first[place < count]
    asked = np.minimum(count, np.bincount(whose, minlength=len(rngs)))
    n_top = np.rint(asked * settings.mix_top_share).astype(np.int64) if sampling == "mix" else np.zeros_like(asked)
    is_top = place < n_top[whose]
    top, rest = strongest_first[is_top], strongest_first[~is_top]
    rest = rest[_permuted(np.bincount(owner[rest], minlength=len(rngs)), rngs)]
    lacking, parts = asked - n_top, [top]
    if sampling != "random":
        cells = _cells(owner[rest], strata[rest])
        order = np.argsort(in_16_bits(cells), kind="stable")
        is_first = places_among_equals(cells[order]) < (lacking // settings.n_strata)[owner[rest[order]]]
        by_stratum, rest = rest[order[is_first]], rest[order[~is_first]]
        rest = rest[_permuted(np.bincount(owner[rest], minlength=len(rngs)), rngs)]
        lacking = lacking - np.bincount(owner[by_stratum], minlength=len(rngs))
        parts.append(by_stratum)
    parts.append(rest[places_among_equals(owner[rest]) < lacking[owner[rest]]])
    drawn = np.concatenate(parts)
    return drawn[descending_by(owner[drawn], strength[drawn])]


def _permuted(sizes: np.ndarray, rngs: Sequence[np.random.Generator]) -> np.ndarray:
    """int64 [sum of sizes]: the places 0, 1, …; the places of a feature are in a random order by its generator."""
    firsts = (np.cumsum(sizes) - sizes).tolist()
    parts = [rng.permutation(size) + first for rng, size, first in zip(rngs, sizes.tolist(), firsts, strict=True)]
    return np.concatenate([np.empty(0, dtype=np.int64), *parts])


def places_among_equals(ascending: np.ndarray) -> np.ndarray:
    """int64 [n]: the place of each item among the items with the same number."""
    counts = np.bincount(ascending)
    return np.arange(len(ascending)) - np.repeat(np.cumsum(counts) - counts, counts)


def _cells(owner: np.ndarray, strata: np.ndarray) -> np.ndarray:
    """int64 [n]: a number for each stratum of each feature, ascending by feature, then by stratum."""
    return owner * (int(strata.max(initial=0)) + 1) + strata


def in_16_bits(numbers: np.ndarray) -> np.ndarray:
    """Numbers >= 0 in 16 bits where they fit, which numpy sorts by radix."""
    return numbers.astype(np.uint16) if int(numbers.max(initial=0)) < 1 << 16 else numbers
