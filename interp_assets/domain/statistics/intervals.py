"""95 % intervals that hold the truth 95 times in 100, also for few items and for scores near 0 or 1.

A percentile bootstrap of few items is too narrow, and of items that were all judged right it has no width. So rates have Wilson's score
interval (J. Am. Stat. Assoc. 22, 1927), functions of two rates Newcombe's combination of two of these (Stat. Med. 17, 1998, method 10; for
functions other than the difference Zou and Donner, Stat. Med. 27, 2008), the AUROC Newcombe's (Stat. Med. 25, 2006, part 2, method 5),
ratios Fieller's and means Student's. `benchmarks/coverage.py` measures how often each of them holds the truth.

Answers to one prompt can be right or wrong together. `effective_share` says as how many independent items they then count (Kish, Survey
Sampling, 1965); with that number, score intervals become as wide as the answers ask for (Franco, Little, Louis and Slud, J. Surv. Stat.
Methodol. 7, 2019).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

Z = 1.959963984540054
MIN_FOR_MEAN = 4
"""Fewest values whose mean gets an interval: of three, no more than their order is known."""
LEAST_DF = 5
"""Fewest degrees of freedom of a variance over clusters: with fewer, intervals of few prompts would say nothing at all."""
ENDLESS = 1000.0
"""An interval of a ratio that reaches so many times as far as the ratio, or as 1, has no end."""


@dataclass(frozen=True)
class Estimate:
    """A value in its 95 % interval; all None where the value is undefined, the bounds None where no honest interval is known."""

    value: float | None
    ci_low: float | None
    ci_high: float | None


UNDEFINED = Estimate(None, None, None)


def wilson(successes: float, trials: float, z: float = Z) -> Estimate:
    """A share of successes with its Wilson score interval (95 % by default); undefined without trials."""
    if trials == 0:
        return UNDEFINED
    share = successes / trials
    centre = (share + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z / (1 + z * z / trials) * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    # Rounding must not leave the share outside its own interval at 0 and 1.
    return Estimate(share, max(0.0, min(centre - half, share)), min(1.0, max(centre + half, share)))


def of_two_rates(
    function: Callable[[float, float], float], first: tuple[float, float], second: tuple[float, float], share: float = 1.0, several: int = 1
) -> Estimate:
    """A function of two rates, rising in the first and falling in the second, with Newcombe's interval; between -1 and 1.

    `first` and `second` are (successes, trials), of which a `share` counts as independent. L = f - √((f - f(l₁, p₂))² + (f - f(p₁, u₂))²),
    and U likewise, with [l, u] Wilson's interval of each rate, in which t with n - 2 degrees of freedom stands for z, as two rates are
    estimated from n trials. Of `several` intervals all hold with 95 % (Bonferroni). Undefined where the function is NaN.
    """
    share *= (Z / t_quantile(max(first[1] + second[1] - 2, 1), several)) ** 2
    rates = [_of_share(*one, share) for one in (first, second)]
    (p, p_low, p_high), (q, q_low, q_high) = rates
    value = function(p, q)
    if math.isnan(value):
        return UNDEFINED
    below = math.hypot(value - function(p_low, q), value - function(p, q_high))
    above = math.hypot(function(p_high, q) - value, function(p, q_low) - value)
    return Estimate(value, max(-1.0, value - below), min(1.0, value + above))


def auroc_interval(auroc: float, n_positive: float, n_negative: float) -> Estimate:
    """An AUROC with Newcombe's interval: all θ with (θ - AUROC)² ≤ z² · V(θ), where V is `auroc_variance`. `auroc` is from 0 to 1."""

    def outside(theta: float) -> bool:
        return (theta - auroc) ** 2 > Z * Z * auroc_variance(theta, n_positive, n_negative)

    return Estimate(auroc, _boundary(outside, auroc, 0.0), _boundary(outside, auroc, 1.0))


def auroc_variance(theta: float, n_positive: float, n_negative: float) -> float:
    """Variance of an AUROC whose expectation is `theta`, both kinds of scores being exponential (Hanley and McNeil, Radiology 143, 1982).

    θ(1-θ) · (1 + N(1-θ)/(2-θ) + Nθ/(1+θ)) / (mn) with N = (m + n) / 2 - 1: Newcombe's symmetric form.
    """
    more = max((n_positive + n_negative) / 2 - 1, 0.0)
    spread = 1 + more * (1 - theta) / (2 - theta) + more * theta / (1 + theta)
    return theta * (1 - theta) * spread / (n_positive * n_negative)


def effective_share(variance: float, independent: float) -> float:
    """The share of items that counts where a score has this variance and that of independent items would be `independent`; 1 at most."""
    return independent / variance if variance > independent > 0 else 1.0


def cluster_share(
    together: np.ndarray, alone: np.ndarray | float, n_clusters: int, n_telling: int | None = None, otherwise: float = 1.0
) -> float:
    """The share of items that counts where they come in clusters: `effective_share`, less for a variance known from few clusters.

    `together` are replicates [replicates] of the score that draw whole clusters, `alone` replicates that draw items, or the variance of
    independent items. A variance of n clusters has n - 1 degrees of freedom: the share is times (z / t)², as Korn and Graubard (Surv.
    Methodol. 24, 1998) do for rates. Where only `n_telling` clusters hold a rarer kind of item, they alone tell how much clusters vary: so
    many degrees of freedom, but LEAST_DF at least. Where clusters vary no more than items do, the share is `otherwise`.
    """
    independent = alone if isinstance(alone, float) else float(np.nanvar(alone)) if np.isfinite(alone).any() else 0.0
    share = effective_share(spread_of(together, n_clusters), independent)
    if share >= 1:
        return otherwise
    df = n_clusters - 1 if n_telling is None else min(n_clusters - 1, max(n_telling, LEAST_DF))
    return share * (Z / t_quantile(df)) ** 2


def spread_of(replicates: np.ndarray, n_drawn: int) -> float:
    """Variance of a score that bootstrapped `replicates` imply, n_drawn / (n_drawn - 1) times their own; 0 where they say nothing.

    `n_drawn` is the number of things that each replicate drew: prompts, or items of the smaller class.
    """
    defined = replicates[~np.isnan(replicates)]
    if n_drawn < 2 or len(defined) < 2:
        return 0.0
    return float(defined.var()) * n_drawn / (n_drawn - 1)


def t_quantile(df: float, several: int = 1) -> float:
    """The 97.5th percentile of Student's t with `df` degrees of freedom, above 0; for each of `several` intervals 1 - 0.025 / several."""
    from scipy.special import stdtrit  # pyright: ignore[reportMissingTypeStubs]

    return float(stdtrit(df, 1 - 0.025 / several))


def mean_interval(values: Sequence[float] | np.ndarray) -> Estimate:
    """The mean of values [n] with Student's interval, x̄ ± t · s / √n; without an interval below MIN_FOR_MEAN, undefined without values."""
    values = np.asarray(values, dtype=np.float64)
    n = len(values)
    if n == 0:
        return UNDEFINED
    mean = float(values.mean())
    if n < MIN_FOR_MEAN:
        return Estimate(mean, None, None)
    half = t_quantile(n - 1) * float(values.std(ddof=1)) / math.sqrt(n)
    return Estimate(mean, mean - half, mean + half)


def mean_difference_interval(first: np.ndarray, second: np.ndarray) -> Estimate:
    """Mean of `first` less mean of `second`, [n] and [m], with Welch's interval (Biometrika 34, 1947); without one below MIN_FOR_MEAN."""
    first, second = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if len(first) == 0 or len(second) == 0:
        return UNDEFINED
    value = float(first.mean() - second.mean())
    if min(len(first), len(second)) < MIN_FOR_MEAN:
        return Estimate(value, None, None)
    parts = [float(one.var(ddof=1)) / len(one) for one in (first, second)]
    total = sum(parts)
    if total == 0:
        return Estimate(value, value, value)
    df = total**2 / sum(part**2 / (len(one) - 1) for part, one in zip(parts, (first, second), strict=True))
    half = t_quantile(df) * math.sqrt(total)
    return Estimate(value, value - half, value + half)


def ratio_interval(numerators: np.ndarray, denominators: np.ndarray, kinds: np.ndarray, unseen: float | None = None) -> Estimate:
    """Σ numerators / Σ denominators, both [units], with Fieller's interval (J. R. Stat. Soc. B 16, 1954).

    All θ with (Σ u)² ≤ t² · Var(Σ u), where u = numerator - θ · denominator: the variance is taken at θ, so the interval reaches further
    to the side where units would have to vary more. Units of two `kinds` (boolean [units]) are drawn apart: Var = Σ n · s² over kinds, with
    Welch's degrees of freedom. With `unseen`, the variance of the first kind counts two units more with this denominator, one of ratio 0
    and one of ratio 1: of a few units that are all alike it is not known that all units are (as Agresti and Coull, Am. Stat. 52, 1998, do
    for rates). Without an interval where a kind has one unit, where there are fewer than MIN_FOR_MEAN, and where the interval has no end.
    """
    ratio = float(numerators.sum() / denominators.sum())
    groups = [one for one in (np.flatnonzero(kinds), np.flatnonzero(~kinds)) if len(one)]
    if len(numerators) < MIN_FOR_MEAN or min(map(len, groups)) < 2:
        return Estimate(ratio, None, None)

    def outside(theta: float) -> bool:
        units = numerators - theta * denominators
        samples = [units[one] for one in groups]
        if unseen is not None:
            samples[0] = np.append(samples[0], [unseen * (1 - theta), -unseen * theta])
        parts = [(len(one) * float(one.var(ddof=1)), len(one) - 1) for one in samples]
        total = sum(part for part, _ in parts)
        if total == 0:
            return theta != ratio
        df = total**2 / sum(part**2 / own for part, own in parts)
        return float(units.sum()) ** 2 > t_quantile(df) ** 2 * total

    furthest = ENDLESS * max(abs(ratio), 1.0)
    low, high = (_boundary(outside, ratio, ratio + way * furthest) for way in (-1, 1))
    return Estimate(ratio, None, None) if high - low >= furthest else Estimate(ratio, low, high)


def _of_share(successes: float, trials: float, share: float) -> tuple[float, float, float]:
    """A rate and Wilson's bounds where a share of the trials counts; NaN without trials."""
    found = wilson(successes * share, trials * share)
    if found.value is None or found.ci_low is None or found.ci_high is None:
        return math.nan, math.nan, math.nan
    return successes / trials, found.ci_low, found.ci_high


def _boundary(outside: Callable[[float], bool], inside: float, end: float) -> float:
    """Where, on the way from `inside` to `end`, `outside` becomes true; `end` if it nowhere does."""
    if inside == end or not outside(end):
        return end
    for _ in range(50):
        middle = (inside + end) / 2
        inside, end = (inside, middle) if outside(middle) else (middle, end)
    return (inside + end) / 2
