"""Capping a feature that fires nearly everywhere: a seeded share of contexts keeps all its activations, all other contexts keep none.

Whole contexts are kept or dropped, by a rule that can be evaluated again from the seed and the feature's number. So a dropped context is
never taken for a silent context.
"""

import numpy as np

from interp_assets.domain.examples.windows import WindowShape

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def context_draws(seed: int, feature: int, rows: np.ndarray) -> np.ndarray:
    """float64 [n] in [0, 1): one draw for each context number in `rows`, equal on every machine and at every call.

    The upper 53 bits of SplitMix64 (Steele, Lea and Flood 2014) over seed, feature and row.
    """
    state = _mixed(_mixed(np.asarray(seed & (1 << 64) - 1, dtype=np.uint64)) ^ np.uint64(feature))
    return (_mixed(state ^ np.asarray(rows, dtype=np.uint64)) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def kept_share(seed: int, feature: int, counts: np.ndarray, cap: int) -> float:
    """The largest share for which the kept contexts together hold at most `cap` activations; 1.0 where all contexts together do.

    `counts` [rows]: the number of the feature's activations in each context. A context is kept where its draw is below the share.
    """
    assert cap > 0, f"a cap of {cap} keeps nothing"
    if counts.sum() <= cap:
        return 1.0
    rows = np.flatnonzero(counts)
    draws = context_draws(seed, feature, rows)
    order = np.argsort(draws)
    first_dropped = int(np.searchsorted(np.cumsum(counts[rows[order]]), cap, side="right"))
    return float(draws[order[first_dropped]])


def kept_contexts(seed: int, feature: int, share: float, n_rows: int) -> np.ndarray:
    """Bool [n_rows]: the contexts in which all of the feature's activations are kept."""
    if share >= 1:
        return np.ones(n_rows, dtype=bool)
    return context_draws(seed, feature, np.arange(n_rows)) < share


def blocked_positions(kept: np.ndarray, shape: WindowShape) -> np.ndarray:
    """int64, ascending: positions (row · context + place) in the contexts that are not `kept`; every window in these contexts holds one."""
    places = np.arange(shape.first_position + shape.full_length - 1, shape.context_tokens, shape.full_length)
    places = np.unique(np.append(places, shape.context_tokens - 1))
    blocked = (np.flatnonzero(~kept)[:, None] * shape.context_tokens + places[None, :]).reshape(-1)
    if shape.passages is None:
        return blocked
    # A window that holds none of these positions is shorter than a full window, and so reaches the end of its passage.
    return np.union1d(blocked, shape.passages.end[~kept[shape.passages.row]] - 1)


def _mixed(value: np.ndarray) -> np.ndarray:
    """One step of SplitMix64."""
    with np.errstate(over="ignore"):
        value = value + _GOLDEN
        value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return value ^ (value >> np.uint64(31))
