"""The power of a study: the smallest correlation, and the smallest difference, that a study of n items is likely to find.

A study finds an effect when its 95 % interval excludes 0; "likely" is with probability 0.8. Fisher's z = artanh r has the standard error 1
/ √(n - 3) for Pearson's r, and √(1.06 / (n - 3)) for Spearman's ρ (Fieller, Hartley and Pearson, Biometrika 44, 1957). An effect of z₀.₉₇₅
+ z₀.₈ = 2.80 standard errors is found with probability 0.8 (Cohen, Statistical Power Analysis, 1988, ch. 3).
"""

import math
from statistics import NormalDist

SPEARMAN_VARIANCE = 1.06
STANDARD_ERRORS = NormalDist().inv_cdf(0.975) + NormalDist().inv_cdf(0.8)
FORMULA = "ρ = tanh((z₀.₉₇₅ + z₀.₈) · √(1.06 / (n − 3))), after Fieller, Hartley and Pearson (1957) and Cohen (1988)"


def smallest_detectable_spearman(n_items: int) -> float | None:
    """The smallest Spearman correlation, 0 to 1, that a study of n items finds with probability 0.8; None for fewer than four items."""
    return math.tanh(STANDARD_ERRORS * _standard_error(n_items)) if n_items > 3 else None


def smallest_detectable_difference(standard_error: float) -> float:
    """The smallest difference that a study finds with probability 0.8 when its estimate has this standard error."""
    return STANDARD_ERRORS * standard_error


def items_needed(spearman: float) -> int:
    """The fewest items with which a study finds a Spearman correlation of this size (not 0, below 1) with probability 0.8."""
    assert 0 < abs(spearman) < 1, spearman
    return math.ceil(3 + SPEARMAN_VARIANCE * (STANDARD_ERRORS / math.atanh(abs(spearman))) ** 2)


def spearman_interval(spearman: float, n_items: int) -> tuple[float, float] | None:
    """95 % interval, by Fisher's z, of a Spearman correlation published with its number of items; None for fewer than four items."""
    if n_items <= 3:
        return None
    half = NormalDist().inv_cdf(0.975) * _standard_error(n_items)
    return math.tanh(math.atanh(spearman) - half), math.tanh(math.atanh(spearman) + half)


def _standard_error(n_items: int) -> float:
    return math.sqrt(SPEARMAN_VARIANCE / (n_items - 3))
