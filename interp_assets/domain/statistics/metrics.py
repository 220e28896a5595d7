"""Classification and correlation metrics with bootstrap intervals and floors, and the correlations of score reports.

Undefined values are None, never NaN. Bootstraps resample items (or whole windows of tokens) within each class, so that the numbers of
positives and negatives stay fixed. Values and replicates are computed from the same counts: 200 items with 1,000 replicates take 0.4 ms
(predictions) and 5.1 ms (probabilities). scikit-learn takes 3.4 ms and 2.9 ms for the values without replicates (`benchmarks/metrics.py`).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Estimate:
    """A value in its 95 % interval; all None where the value is undefined."""

    value: float | None
    ci_low: float | None
    ci_high: float | None


UNDEFINED = Estimate(None, None, None)
PREDICTION_METRICS = ("balanced_accuracy", "f1", "precision", "recall")
PROBABILITY_METRICS = ("auroc", "average_precision")
TOKEN_METRICS = ("pearson", "r2")


def prediction_metrics(truth: np.ndarray, prediction: np.ndarray, n_bootstrap: int, rng: np.random.Generator) -> dict[str, Estimate]:
    """Each of PREDICTION_METRICS over boolean arrays [items].

    Balanced accuracy is (TPR + TNR) / 2 and needs both classes; precision needs a predicted positive; recall and F1 need a positive. Where
    k of the n items of a class are predicted positive, a resample of the class holds Binomial(n, k / n) predicted positives. The bootstrap
    draws these counts.
    """
    truth, prediction = np.asarray(truth, dtype=bool), np.asarray(prediction, dtype=bool)
    n_positive, n_negative = int(truth.sum()), int((~truth).sum())
    hits, false_alarms = int((truth & prediction).sum()), int((~truth & prediction).sum())
    drawn_hits = rng.binomial(n_positive, hits / max(n_positive, 1), n_bootstrap)
    drawn_false_alarms = rng.binomial(n_negative, false_alarms / max(n_negative, 1), n_bootstrap)
    values = _from_counts(np.array([hits]), np.array([false_alarms]), n_positive, n_negative)
    replicates = _from_counts(drawn_hits, drawn_false_alarms, n_positive, n_negative)
    return {name: estimate(float(values[name][0]), replicates[name]) for name in PREDICTION_METRICS}


def probability_metrics(truth: np.ndarray, score: np.ndarray, n_bootstrap: int, rng: np.random.Generator) -> dict[str, Estimate]:
    """AUROC (ties count half) and average precision (Σ precision · Δrecall over distinct scores) of `score` for boolean `truth`,
    both [items].

    Undefined when a class is missing.
    """
    truth, score = np.asarray(truth, dtype=bool), np.asarray(score, dtype=np.float64)
    positives, negatives = score[truth], score[~truth]
    if len(positives) == 0 or len(negatives) == 0:
        return dict.fromkeys(PROBABILITY_METRICS, UNDEFINED)
    levels = np.unique(score)[::-1]  # from the highest score down
    positive_level = len(levels) - 1 - np.searchsorted(levels[::-1], positives)
    negative_level = len(levels) - 1 - np.searchsorted(levels[::-1], negatives)
    values = _from_level_counts(
        np.bincount(positive_level, minlength=len(levels))[None], np.bincount(negative_level, minlength=len(levels))[None]
    )
    replicates = _from_level_counts(
        _resampled_counts(positive_level, len(levels), n_bootstrap, rng),
        _resampled_counts(negative_level, len(levels), n_bootstrap, rng),
    )
    return {name: estimate(float(values[name][0]), replicates[name]) for name in PROBABILITY_METRICS}


def token_metrics(
    predicted: Sequence[np.ndarray], true: Sequence[np.ndarray], activating: np.ndarray, n_bootstrap: int, rng: np.random.Generator
) -> dict[str, Estimate]:
    """Each of TOKEN_METRICS over the tokens of all windows end to end; `predicted` and `true` hold an array [tokens] for each window.

    Pearson's r is computed by `pearson`. R² is 1 - Σ(true - predicted)² / Σ(true - mean of true)² of the predictions without calibration: 0
    for always predicting the mean, negative for worse predictions, undefined for constant true values. The bootstrap draws, with
    replacement, as many windows of each kind (`activating`, boolean [windows]) as there are; the tokens of a window are drawn together.
    Every window is first reduced to six sums, so that replicates cost one product of matrices, whatever the length of the windows.
    """
    x, y = (np.concatenate([np.empty(0), *arrays]).astype(np.float64) for arrays in (predicted, true))
    r, r2 = pearson(x, y), _r2_of_arrays(x, y)
    if r is None and r2 is None:
        return dict.fromkeys(TOKEN_METRICS, UNDEFINED)
    means = x.mean(), y.mean()  # taken off so that differences of sums of squares keep their digits
    sums = np.stack([_pair_sums(a - means[0], b - means[1]) for a, b in zip(predicted, true, strict=True)])
    replicates = np.zeros((n_bootstrap, sums.shape[1]))
    for kind in (True, False):
        own = sums[np.asarray(activating, dtype=bool) == kind]
        if len(own):
            replicates += _resampled_counts(np.arange(len(own)), len(own), n_bootstrap, rng) @ own
    found = _from_pair_sums(replicates, means[0] - means[1])
    return {name: UNDEFINED if value is None else estimate(value, found[name]) for name, value in (("pearson", r), ("r2", r2))}


def floors(n_positive: int, n_negative: int) -> dict[str, float | None]:
    """The floor of each metric, the score of a judge that reads nothing; all None without items.

    Balanced accuracy and AUROC: chance. Average precision and precision: the share of positives. F1: the F1 of always answering yes. Recall
    has no floor, since always answering yes has recall 1.
    """
    n = n_positive + n_negative
    share = n_positive / n if n else None
    f1 = 2 * n_positive / (2 * n_positive + n_negative) if n_positive else None
    half = 0.5 if n else None
    return {
        "balanced_accuracy": half,
        "f1": f1,
        "precision": share,
        "recall": None,
        "auroc": half,
        "average_precision": share,
    }


def estimate(value: float, replicates: np.ndarray) -> Estimate:
    """The value with the 2.5th and 97.5th percentiles of its defined replicates; undefined if `value` is NaN."""
    if math.isnan(value):
        return UNDEFINED
    defined = replicates[~np.isnan(replicates)]
    if len(defined) == 0:
        return Estimate(value, None, None)
    low, high = np.percentile(defined, [2.5, 97.5])
    return Estimate(value, float(low), float(high))


def wilson(successes: int, trials: int, z: float = 1.959963984540054) -> Estimate:
    """A share of successes with its Wilson score interval (95 % by default); undefined without trials."""
    if trials == 0:
        return UNDEFINED
    share = successes / trials
    centre = (share + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z / (1 + z * z / trials) * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    return Estimate(share, max(0.0, centre - half), min(1.0, centre + half))


def mixed_auroc(
    positives: np.ndarray, negatives: Sequence[tuple[float, np.ndarray]], n_bootstrap: int, rng: np.random.Generator
) -> Estimate:
    """Probability that a positive score is above a negative score, ties counting half, where negative scores come from groups.

    `positives` [n]. `negatives` has (weight, scores [m]) of each group; the weights sum to 1. The value is Σ weight · AUROC against the
    group. It equals the AUROC in which each of a group's m scores has the weight `weight` / m. Undefined without positives, or with an
    empty group of weight above 0. The bootstrap resamples the positives and each group by itself.
    """
    groups = [(weight, np.asarray(scores, dtype=np.float64)) for weight, scores in negatives if weight > 0]
    assert math.isclose(sum(weight for weight, _ in groups), 1.0), [weight for weight, _ in negatives]
    positives = np.asarray(positives, dtype=np.float64)
    if len(positives) == 0 or any(len(scores) == 0 for _, scores in groups):
        return UNDEFINED
    value, replicates = 0.0, np.zeros(n_bootstrap)
    drawn = _drawn_shares(len(positives), n_bootstrap, rng)
    for weight, scores in groups:
        won = (positives[:, None] > scores) + 0.5 * (positives[:, None] == scores)
        value += weight * float(won.mean())
        replicates += weight * ((drawn @ won) * _drawn_shares(len(scores), n_bootstrap, rng)).sum(axis=1)
    return estimate(value, replicates)


def signed_gini(auroc: Estimate) -> Estimate:
    """2 · AUROC - 1, from -1 (every positive below every negative) over 0 (chance) to 1; undefined where the AUROC is undefined."""
    return Estimate(*(None if bound is None else 2 * bound - 1 for bound in (auroc.value, auroc.ci_low, auroc.ci_high)))


def mean_difference(first: np.ndarray, second: np.ndarray, n_bootstrap: int, rng: np.random.Generator) -> tuple[Estimate, Estimate]:
    """(mean of `first` - mean of `second`, whether this difference is above 0, as 1.0 or 0.0) of two arrays [n] and [m]; undefined when an
    array is empty.

    The bootstrap resamples each array by itself.
    """
    first, second = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if len(first) == 0 or len(second) == 0:
        return UNDEFINED, UNDEFINED
    value = float(first.mean() - second.mean())
    replicates = _drawn_shares(len(first), n_bootstrap, rng) @ first - _drawn_shares(len(second), n_bootstrap, rng) @ second
    return estimate(value, replicates), estimate(float(value > 0), (replicates > 0).astype(np.float64))


def mean_with_error(values: np.ndarray, n_bootstrap: int, rng: np.random.Generator) -> tuple[Estimate, Estimate]:
    """The mean of an array [n] with its bootstrapped interval, and the standard error of the mean, s / √n, without an interval.

    Both undefined without values; the standard error undefined with fewer than two values.
    """
    values = np.asarray(values, dtype=np.float64)
    if len(values) == 0:
        return UNDEFINED, UNDEFINED
    mean = estimate(float(values.mean()), _drawn_shares(len(values), n_bootstrap, rng) @ values)
    if len(values) == 1:
        return mean, UNDEFINED
    return mean, Estimate(float(values.std(ddof=1)) / math.sqrt(len(values)), None, None)


def paired_difference(first: np.ndarray, second: np.ndarray, n_bootstrap: int, rng: np.random.Generator) -> Estimate:
    """Mean of `first` - `second`, two arrays [n] over the same items; undefined without items. The bootstrap resamples the pairs."""
    difference = np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)
    if len(difference) == 0:
        return UNDEFINED
    return estimate(float(difference.mean()), _drawn_shares(len(difference), n_bootstrap, rng) @ difference)


def pearson(x: np.ndarray, y: np.ndarray) -> float | None:
    """Pearson correlation of two arrays [n]; None for fewer than two points or a constant array."""
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    assert x.shape == y.shape, (x.shape, y.shape)
    if len(x) < 2 or (x == x[0]).all() or (y == y[0]).all():
        return None
    x, y = x - x.mean(), y - y.mean()
    return float(np.clip((x @ y) / math.sqrt((x @ x) * (y @ y)), -1.0, 1.0))


def spearman(x: np.ndarray, y: np.ndarray) -> float | None:
    """Spearman rank correlation (ties share their mean rank); None for fewer than two points or a constant array."""
    return pearson(mean_ranks(x), mean_ranks(y))


def mean_ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 1, equal values sharing their mean rank, float64 [n]."""
    _, inverse, counts = np.unique(np.asarray(values), return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[inverse]


def _from_counts(hits: np.ndarray, false_alarms: np.ndarray, n_positive: int, n_negative: int) -> dict[str, np.ndarray]:
    """PREDICTION_METRICS for arrays of counts [replicates]; NaN where undefined."""
    with np.errstate(divide="ignore", invalid="ignore"):
        recall = hits / np.float64(n_positive)
        return {
            "balanced_accuracy": (recall + 1 - false_alarms / np.float64(n_negative)) / 2,
            "f1": 2 * hits / (hits + false_alarms + n_positive) if n_positive else np.full(len(hits), np.nan),
            "precision": hits / (hits + false_alarms).astype(np.float64),
            "recall": recall,
        }


def _from_level_counts(positive: np.ndarray, negative: np.ndarray) -> dict[str, np.ndarray]:
    """PROBABILITY_METRICS from counts [replicates, levels] of items at each distinct score, highest first."""
    n_positive, n_negative = positive.sum(axis=1), negative.sum(axis=1)
    true_above, false_above = positive.cumsum(axis=1), negative.cumsum(axis=1)
    beaten = (positive * (n_negative[:, None] - false_above + negative / 2)).sum(axis=1)
    precision = true_above / np.maximum(true_above + false_above, 1)
    return {
        "auroc": beaten / (n_positive * n_negative),
        "average_precision": (precision * positive).sum(axis=1) / n_positive,
    }


def _resampled_counts(level: np.ndarray, n_levels: int, n_bootstrap: int, rng: np.random.Generator) -> np.ndarray:
    """Counts [n_bootstrap, n_levels] of draws with replacement, as many draws as items; each item counts at its level."""
    drawn = level[rng.integers(0, len(level), (n_bootstrap, len(level)))]
    drawn += np.arange(n_bootstrap)[:, None] * n_levels
    return np.bincount(drawn.ravel(), minlength=n_bootstrap * n_levels).reshape(n_bootstrap, n_levels)


def _drawn_shares(n: int, n_bootstrap: int, rng: np.random.Generator) -> np.ndarray:
    """The share of n draws with replacement that each of n items gets, [n_bootstrap, n]."""
    return rng.multinomial(n, np.full(n, 1 / n), size=n_bootstrap) / n


def _r2_of_arrays(predicted: np.ndarray, true: np.ndarray) -> float | None:
    """R² of `token_metrics`; None for constant true values, and without any."""
    if len(true) == 0 or (true == true[0]).all():
        return None
    return float(1 - np.square(true - predicted).sum() / np.square(true - true.mean()).sum())


def _pair_sums(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(n, Σx, Σy, Σx², Σy², Σxy) of two arrays [n]."""
    return np.array([len(x), x.sum(), y.sum(), x @ x, y @ y, x @ y], dtype=np.float64)


def _from_pair_sums(sums: np.ndarray, shift: float) -> dict[str, np.ndarray]:
    """TOKEN_METRICS from pair sums [replicates, 6] of x and y, where x has been lowered by `shift` against y; NaN where undefined."""
    n, sum_x, sum_y, sum_xx, sum_yy, sum_xy = sums.T
    with np.errstate(divide="ignore", invalid="ignore"):
        spread_x, spread_y = sum_xx - sum_x**2 / n, sum_yy - sum_y**2 / n
        spread_x[spread_x <= 1e-12 * sum_xx] = np.nan  # what rounding leaves of a constant
        spread_y[spread_y <= 1e-12 * sum_yy] = np.nan
        error = sum_xx + sum_yy - 2 * sum_xy + 2 * shift * (sum_x - sum_y) + n * shift**2
        r = (sum_xy - sum_x * sum_y / n) / np.sqrt(spread_x * spread_y)
        return {"pearson": np.clip(r, -1.0, 1.0), "r2": 1 - error / spread_y}
