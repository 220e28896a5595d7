"""Rates over many windows, estimated from answers about some of them: one window drawn from each stratum of a prediction.

The prediction is cheap and known of every window. It is the control variate: windows are sorted by it and cut into as many strata as
windows may be asked about, so that strata hold windows of nearly equal prediction, and each asked window stands for its stratum. The
estimate is the weighted share of yes. It is unbiased whatever the prediction is worth, because within a stratum every window is drawn with
equal probability, and it never leaves 0 to 1. Its variance is the variance of the answers *within* strata: 1 - R² of the answers' variance,
where R² is the share that the prediction explains. A useless or a reversed prediction costs nothing. This is stratified prediction-powered
inference (Fisch et al., arXiv 2406.04291) at its limit of one window a stratum, where the correction within strata (Angelopoulos et al.,
Science 382, 2023; power tuning in arXiv 2311.01453) has nothing left to correct.
"""

from dataclasses import dataclass

import numpy as np

PRIOR_ANSWERS = 1.0
"""Weight, in answers, of the belief that the prediction explains as much as it claims to."""

MOST_CERTAIN = 0.05
"""No prediction of an answer is believed to be more certain than this, so that a wrong prediction costs little."""


@dataclass(frozen=True)
class SampledRate:
    """A rate over all windows of a kind, estimated from `n_asked` windows.

    `variance` is the estimate's variance around the rate of all windows. `n_effective` is the number of independent answers that would
    say as much about the judge's rate on such windows: all windows where the prediction explains every answer.
    """

    value: float
    variance: float
    n_effective: float
    n_asked: int


def neyman(spreads: np.ndarray, n: int, least: np.ndarray, most: np.ndarray) -> np.ndarray:
    """Whole numbers [groups] that sum to n, in proportion to `spreads` [groups] within `least` to `most`: Neyman's allocation.

    A group's spread is its number of members times the standard deviation of their answers. Where n is outside what the bounds allow, the
    sum is the nearest bound. Remainders go to the largest fractions, the first group first.
    """
    n = int(np.clip(n, least.sum(), most.sum()))
    spreads = np.maximum(np.asarray(spreads, dtype=np.float64), 1e-12)
    low, high = 0.0, float((most / spreads).max()) + 1.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if np.clip(middle * spreads, least, most).sum() < n else (low, middle)
    ideal = np.clip(high * spreads, least, most)
    found = np.floor(ideal + 1e-9).astype(np.int64)
    for place in np.argsort(found - ideal, kind="stable").tolist() * 2:
        if found.sum() == n:
            break
        found[place] += int(found[place] < most[place])
    return found


def one_per_stratum(predicted: np.ndarray, spreads: np.ndarray, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """(windows drawn, int [n], sorted by prediction; the number of windows that each stands for, int [n]) of windows [windows].

    Windows are sorted by `predicted` and cut into n strata of equal sums of `spreads`, the standard deviations expected of their answers:
    where answers are uncertain strata are small. Equal predictions are put in random order. n is from 1 to the number of windows.
    """
    n_windows = len(predicted)
    assert 1 <= n <= n_windows, (n, n_windows)
    order = np.lexsort((rng.random(n_windows), predicted))
    reached = np.cumsum(spreads[order]) - spreads[order] / 2
    stratum = np.minimum((reached * (n / float(spreads.sum()))).astype(np.int64), n - 1)
    ends = [0]
    for k, end in enumerate(np.cumsum(np.bincount(stratum, minlength=n)).tolist()):  # every stratum has a window
        ends.append(min(max(end, ends[-1] + 1), n_windows - (n - 1 - k)))
    starts, sizes = np.array(ends[:-1]), np.diff(np.array(ends))
    return order[starts + np.floor(rng.random(n) * sizes).astype(np.int64)], sizes


def sampled_rate(answers: np.ndarray, weights: np.ndarray, predicted: np.ndarray, n_windows: int) -> SampledRate:
    """The rate of yes over `n_windows` windows from boolean answers [asked], at least one, with the windows that each stands for.

    The variance within strata is Σ W² (1 - 1/N) s² over strata of N windows and weight W. s², the variance of the answers around what the
    prediction explains, is half the squared difference of neighbouring strata, which differ little in prediction (collapsed strata; see
    Cochran, Sampling Techniques, 5A.12). Few answers say little of it: as PRIOR_ANSWERS further answers counts the claim of the prediction
    m that Σ m (1 - m) of it is left.
    """
    n = len(answers)
    assert n > 0
    y, m, counts = (np.asarray(one, dtype=np.float64) for one in (answers, predicted, weights))
    shares = counts / counts.sum()
    value = float(np.clip(shares @ y, 0.0, 1.0))
    left = shares**2 * (1 - 1 / counts)
    if n == 1:
        return SampledRate(value, 0.25 * float(left.sum()), 1 / (1 / n_windows + float(left.sum())), 1)
    spread = value * (1 - value) * n / (n - 1)
    claimed = float(left.sum()) * spread * _unexplained(m, shares)
    variance = ((n - 1) * _variance_within(y, m, left) + PRIOR_ANSWERS * claimed) / (n - 1 + PRIOR_ANSWERS)
    ratio = variance / spread if spread > 0 else float(left.sum())
    return SampledRate(value, variance, 1 / (1 / n_windows + ratio), n)


def _unexplained(m: np.ndarray, shares: np.ndarray) -> float:
    """The share of the answers' variance that predictions m [asked] leave if they are right: Σ m (1 - m) over m̄ (1 - m̄); 1 at most.

    No prediction is believed to be more certain than MOST_CERTAIN.
    """
    m = np.clip(m, MOST_CERTAIN, 1 - MOST_CERTAIN)
    mean = float(shares @ m)
    return min(float(shares @ (m * (1 - m))) / (mean * (1 - mean)), 1.0) if 0 < mean < 1 else 1.0


def _variance_within(y: np.ndarray, m: np.ndarray, left: np.ndarray) -> float:
    """Σ left · s², with s² the variance of answers y around what predictions m explain; all [asked], two answers at least."""
    n, order = len(y), np.argsort(m, kind="stable")
    return float((left[order][1:] + left[order][:-1]) @ np.diff(y[order]) ** 2) / 4 * n / (n - 1)
