"""Tests of several hypotheses at once: p values of mean differences, and their adjustment after Holm."""

import math
from collections.abc import Sequence

import numpy as np

SIGNIFICANT = 0.05


def p_of_mean(values: np.ndarray) -> float | None:
    """Two-sided p value of Student's t test that values [n] have a mean of 0; None for fewer than two.

    Values that are all equal have no spread: p is 1 where they are 0, else 0.
    """
    values = np.asarray(values, dtype=np.float64)
    if len(values) < 2:
        return None
    mean, spread = float(values.mean()), float(values.std(ddof=1))
    if spread <= 1e-12 * abs(mean):
        return 0.0 if mean else 1.0
    from scipy.special import stdtr  # pyright: ignore[reportMissingTypeStubs]

    return float(2 * stdtr(len(values) - 1, -abs(mean) / spread * math.sqrt(len(values))))


def holm(p_values: Sequence[float]) -> list[float]:
    """p values adjusted after Holm (Scand. J. Stat. 6, 1979) for having looked at all of them: any below 0.05 keeps the chance of one false
    finding below 0.05."""
    adjusted, largest = [0.0] * len(p_values), 0.0
    for turn, number in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        largest = max(largest, min(1.0, (len(p_values) - turn) * p_values[number]))
        adjusted[number] = largest
    return adjusted
