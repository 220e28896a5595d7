"""What a number of items can show: the smallest correlation, or difference of two, that a study of this size is likely to find.

A study finds an effect when its 95 % interval excludes 0; "likely" is with probability 0.8. Fisher's z = artanh r has a standard error of
1 / √(n - 3) for Pearson's r; for Spearman's ρ it is √(1.06 / (n - 3)) (Fieller, Hartley and Pearson, Biometrika 44, 1957). An effect of
z₀.₉₇₅ + z₀.₈ = 2.80 standard errors is found with probability 0.8 (Cohen, Statistical Power Analysis, 1988, ch. 3).
"""

import math
from statistics import NormalDist

SPEARMAN_VARIANCE = 1.06
STANDARD_ERRORS = NormalDist().inv_cdf(0.975) + NormalDist().inv_cdf(0.8)
FORMULA = "ρ = tanh((z₀.₉₇₅ + z₀.₈) · √(1.06 / (n − 3))), after Fieller, Hartley and Pearson (1957) and Cohen (1988)"


def smallest_detectable_spearman(n_items: int) -> float | None:
    """The Spearman correlation that n items show with probability 0.8, 0 to 1; None for fewer than four items, which show none."""
    return math.tanh(STANDARD_ERRORS * _standard_error(n_items)) if n_items > 3 else None


def smallest_detectable_difference(standard_error: float) -> float:
    """The difference that an estimate with this standard error shows with probability 0.8."""
    return STANDARD_ERRORS * standard_error


def items_needed(spearman: float) -> int:
    """The fewest items that show a Spearman correlation of this size (not 0, below 1) with probability 0.8."""
    assert 0 < abs(spearman) < 1, spearman
    return math.ceil(3 + SPEARMAN_VARIANCE * (STANDARD_ERRORS / math.atanh(abs(spearman))) ** 2)


def spearman_interval(spearman: float, n_items: int) -> tuple[float, float] | None:
    """95 % interval of a published Spearman correlation of which only n is known, by Fisher's z; None for fewer than four items."""
    if n_items <= 3:
        return None
    half = NormalDist().inv_cdf(0.975) * _standard_error(n_items)
    return math.tanh(math.atanh(spearman) - half), math.tanh(math.atanh(spearman) + half)


def _standard_error(n_items: int) -> float:
    return math.sqrt(SPEARMAN_VARIANCE / (n_items - 3))
