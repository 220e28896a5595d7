"""How far raters agree: Krippendorff's α, and how reliable the mean of several raters is.

α = 1 - D_o / D_e, where D_o is the mean squared difference of two values of one unit and D_e the mean squared difference of any two values.
1 is perfect agreement, 0 is agreement by chance, below 0 is systematic disagreement (Krippendorff, Content Analysis, 2004, ch. 11;
"Computing Krippendorff's alpha-reliability", 2011). The difference of two ordinal values is the number of values between them, ties counted
half. That is the difference of their mean ranks: ordinal α is interval α of the ranks.
"""

from typing import Literal

import numpy as np

from interp_assets.domain.statistics.metrics import Estimate
from interp_assets.domain.statistics.rank_correlation import interval, weight_blocks, weighted_ranks

Level = Literal["ordinal", "interval"]


def krippendorff_alpha(values: np.ndarray, units: np.ndarray, level: Level, draws: np.ndarray | None = None) -> Estimate:
    """α of `values` [ratings] with its 95 % interval over `draws` [replicates, ratings]; `units` [ratings] names the unit of each rating.

    Units with one rating compare nothing and are left out. A draw must take all ratings of a unit together; without `draws` there is no
    interval. Undefined when no unit was rated twice, and when all values are equal.
    """
    values, units = np.asarray(values, dtype=np.float64), np.asarray(units)
    paired = rated_twice(units)
    values, units = values[paired], units[paired]
    value = float(_alpha(values, units, np.ones((1, len(values))), level)[0])
    if draws is None:
        return interval(value, np.empty(0))
    return interval(value, alpha_replicates(values, units, level, draws[:, paired]))


def alpha_replicates(values: np.ndarray, units: np.ndarray, level: Level, draws: np.ndarray) -> np.ndarray:
    """α in each replicate, float64 [replicates], where every unit has at least two ratings; NaN where undefined."""
    return np.concatenate([np.empty(0), *(_alpha(values, units, block, level) for block in weight_blocks(draws))])


def rated_twice(units: np.ndarray) -> np.ndarray:
    """bool [ratings]: whether the rating's unit has another rating."""
    if len(units) == 0:
        return np.zeros(0, dtype=bool)
    _, number, counts = np.unique(units, return_inverse=True, return_counts=True)
    return counts[number] > 1


def reliability_of_mean(alpha: float | np.ndarray, n_raters: float) -> np.ndarray:
    """Reliability of the mean of k = `n_raters` ratings, where a single rating has reliability `alpha`: k·α / (1 + (k - 1)·α), Spearman and
    Brown.

    NaN for α ≤ 0: such ratings tell nothing apart, and no correlation can be corrected for their reliability.
    """
    alpha = np.asarray(alpha, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(alpha > 0, n_raters * alpha / (1 + (n_raters - 1) * alpha), np.nan)


def _alpha(values: np.ndarray, units: np.ndarray, weights: np.ndarray, level: Level) -> np.ndarray:
    """α in each replicate, from sums over each unit: n·Σv² - (Σv)² is the sum of the squared differences of the unit's n values.

    Interval values are equal in all replicates, so the sums of a unit are taken once. Ranks differ from replicate to replicate.
    """
    if len(values) == 0:
        return np.full(len(weights), np.nan)
    order = np.argsort(units, kind="stable")
    starts = np.flatnonzero(np.append(True, units[order][1:] != units[order][:-1]))
    size = np.diff(np.append(starts, len(units))).astype(np.float64)
    drawn = weights[:, order][:, starts]  # a unit's ratings are drawn together
    v = weighted_ranks(values, weights)[:, order] if level == "ordinal" else values[None, order]
    v = v - v.mean(axis=1, keepdims=True)  # so that differences of sums keep their digits
    total, squares = (np.add.reduceat(power, starts, axis=1) for power in (v, v * v))
    spread = (size * squares - total**2) / (size - 1)
    n = drawn @ size
    within, sum_v, sum_squares = (_sum_over_units(drawn, each) for each in (spread, total, squares))
    with np.errstate(divide="ignore", invalid="ignore"):
        between = (n * sum_squares - sum_v**2) / (n * (n - 1))
        return np.where(between > 1e-12 * sum_squares / n, 1 - within / n / between, np.nan)


def _sum_over_units(drawn: np.ndarray, each: np.ndarray) -> np.ndarray:
    """Sum of `each` over the units drawn, [replicates]; `each` is [1, units], or [replicates, units] where replicates differ."""
    return drawn @ each[0] if len(each) == 1 else (drawn * each).sum(axis=1)
