"""How well activations are predicted token by token, and how well a prediction does that knows only a token's place in its window.

Windows are sampled, not tokens, so intervals are of sums over whole windows.
"""

from collections.abc import Sequence

import numpy as np

from interp_assets.domain.statistics.intervals import UNDEFINED, Estimate, ratio_interval
from interp_assets.domain.statistics.metrics import pearson

TOKEN_METRICS = ("pearson", "r2")
FOLDS = 5
"""Parts of the windows, of which each is predicted by the mean activations of the others."""


def token_metrics(predicted: Sequence[np.ndarray], true: Sequence[np.ndarray], activating: np.ndarray) -> dict[str, Estimate]:
    """Each of TOKEN_METRICS over the tokens of all windows end to end; `predicted` and `true` hold an array [tokens] for each window.

    Pearson's r is Σ zx·zy / Σ (zx² + zy²) / 2 of standardised values, R² is 1 - Σ(true - predicted)² / Σ(true - mean of true)² of the
    predictions without calibration: 0 for always predicting the mean, negative for worse predictions. Undefined where true values, for r
    also predicted ones, are constant. Both are ratios of sums over windows of two kinds (`activating`, boolean [windows]), and have
    Fieller's interval (see `intervals.ratio_interval`, where a window counts more that is predicted wholly, and one that is not at all).
    """
    x, y = (np.concatenate([np.empty(0), *arrays]).astype(np.float64) for arrays in (predicted, true))
    if len(y) < 2 or (y == y[0]).all():
        return dict.fromkeys(TOKEN_METRICS, UNDEFINED)
    first = np.cumsum([0, *(len(one) for one in true)])[:-1]
    kinds, off = np.asarray(activating, dtype=bool), y - y.mean()
    spread, error = (np.add.reduceat(square, first) for square in (off**2, (y - x) ** 2))
    found = {"pearson": UNDEFINED, "r2": ratio_interval(spread - error, spread, kinds, _typical(spread, kinds))}
    r = pearson(x, y)
    if r is not None:
        a, b = (x - x.mean()) / x.std(), off / y.std()
        products, squares = (np.add.reduceat(one, first) for one in (a * b, (a**2 + b**2) / 2))
        bounds = ratio_interval(products, squares, kinds, _typical(squares, kinds))
        low, high = (None if bound is None else min(max(bound, -1.0), 1.0) for bound in (bounds.ci_low, bounds.ci_high))
        found["pearson"] = Estimate(r, low, high)
    return found


def place_floor(true: Sequence[np.ndarray]) -> float:
    """Pearson's r that a simulator reaches that reads nothing and knows where in a window the feature is strong; `true` has an array for
    each window.

    The largest of three: 0; r between activations and their mean at the same place of other windows (a window's place in `true` deals it
    into one of FOLDS parts, and each part is predicted by the others); and r between activations and how they are expected where a peak
    stands anywhere but on the first token (`WindowShape.placed`), so that tokens of short windows are stronger. 0 for fewer windows than
    parts.
    """
    if len(true) < FOLDS:
        return 0.0
    longest = max(map(len, true))
    padded = np.full((len(true), longest), np.nan)
    for number, one in enumerate(true):
        padded[number, : len(one)] = one
    predicted = np.zeros_like(padded)
    for fold in range(FOLDS):
        others = np.delete(padded, np.s_[fold::FOLDS], axis=0)
        known = (~np.isnan(others)).sum(axis=0)
        predicted[fold::FOLDS] = np.nansum(others, axis=0) / np.maximum(known, 1)
    there = ~np.isnan(padded)
    length = there.sum(axis=1, keepdims=True)
    anywhere = np.broadcast_to((np.arange(longest) > 0) / np.maximum(length, 1), padded.shape)
    return max(0.0, *(pearson(one[there], padded[there]) or 0.0 for one in (predicted, anywhere)))


def _typical(sums: np.ndarray, activating: np.ndarray) -> float:
    """Mean of the sums, over activating windows where there are any."""
    return float(sums[activating].mean() if activating.any() else sums.mean())
