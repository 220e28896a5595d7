"""Classification and correlation metrics with their intervals and floors, and the correlations of score reports.

Undefined values are None, never NaN. Intervals are those of `intervals`; bootstraps say how much wider than for independent items they must
be. Bootstraps resample items within each class, so the numbers of positives and negatives stay fixed; where
the prompts are known that items were judged in, they resample prompts. Values and replicates come out of the same counts
(`benchmarks/metrics.py`).
"""

import math
from collections.abc import Callable, Sequence

import numpy as np

from interp_assets.domain.statistics.intervals import (
    LEAST_DF,
    UNDEFINED,
    Estimate,
    auroc_interval,
    auroc_variance,
    cluster_share,
    effective_share,
    mean_difference_interval,
    mean_interval,
    of_two_rates,
    spread_of,
    t_quantile,
    wilson,
)

PREDICTION_METRICS = ("balanced_accuracy", "f1", "precision", "recall")
PROBABILITY_METRICS = ("auroc", "average_precision")
NO_SHARES = dict.fromkeys(PREDICTION_METRICS, 1.0)


def prediction_metrics(
    truth: np.ndarray, prediction: np.ndarray, n_bootstrap: int, rng: np.random.Generator, prompts: np.ndarray | None = None
) -> dict[str, Estimate]:
    """Each of PREDICTION_METRICS over boolean arrays [items].

    Balanced accuracy is (TPR + TNR) / 2 and needs both classes; precision needs a predicted positive; recall and F1 need a
    positive. Recall has Wilson's interval; the others are functions of the two rates TPR and FPR, with the
    intervals of `intervals.of_two_rates`. `prompts` [items] names the
    prompt that each item was judged in: the bootstrap draws prompts, and the more the metric varies among draws than for independent
    items, the wider its interval is. Where it does not vary more, t still has as many degrees of freedom as there are prompts less one, and
    LEAST_DF at least. Without `prompts` items are independent and nothing is drawn.
    """
    truth, prediction = np.asarray(truth, dtype=bool), np.asarray(prediction, dtype=bool)
    n_positive, n_negative = int(truth.sum()), int((~truth).sum())
    hits, false_alarms = int((truth & prediction).sum()), int((~truth & prediction).sum())
    shares = prompt_shares(truth, prediction, n_bootstrap, rng, prompts) if prompts is not None and len(truth) else NO_SHARES

    def function(name: str) -> Callable[[float, float], float]:
        return lambda tpr, fpr: float(from_rates(np.asarray(tpr), np.asarray(fpr), n_positive, n_negative)[name])

    found = {
        name: of_two_rates(function(name), (hits, n_positive), (false_alarms, n_negative), shares[name]) for name in PREDICTION_METRICS
    }
    return {**found, "recall": wilson(hits * shares["recall"], n_positive * shares["recall"])}


def prompt_shares(
    truth: np.ndarray, prediction: np.ndarray, n_bootstrap: int, rng: np.random.Generator, prompts: np.ndarray, sampled: bool = False
) -> dict[str, float]:
    """For each of PREDICTION_METRICS the share of the items that counts, since answers to one prompt are right or wrong together.

    All arrays are [items], at least one item; `prompts` names the prompt of each item. See `intervals.cluster_share`. Of `sampled` items
    few prompts are asked, and the variance of prompts is known to a standard error of √(2 / (prompts - 1)) of itself: a smaller excess over
    the variance of items is taken for chance, since about half of all samples have some.
    """
    n_positive, n_negative = int(truth.sum()), int((~truth).sum())
    hits, false_alarms = int((truth & prediction).sum()), int((~truth & prediction).sum())
    alone = from_rates(
        rng.binomial(n_positive, hits / max(n_positive, 1), n_bootstrap) / np.float64(n_positive or np.nan),
        rng.binomial(n_negative, false_alarms / max(n_negative, 1), n_bootstrap) / np.float64(n_negative or np.nan),
        n_positive, n_negative,
    )  # fmt: skip
    of_prompt = _sums_by_prompt(prompts, truth & prediction, truth, ~truth & prediction, ~truth)
    drawn = _drawn_shares(len(of_prompt), n_bootstrap, rng) @ of_prompt
    with np.errstate(divide="ignore", invalid="ignore"):
        together = from_rates(drawn[:, 0] / drawn[:, 1], drawn[:, 2] / drawn[:, 3], n_positive, n_negative)
    n_prompts, items = len(of_prompt), max(len(truth) - 2, 1)
    if sampled:
        certain = 1 + (2 / max(n_prompts - 1, 1)) ** 0.5
        return {
            name: share if effective_share(spread_of(together[name], n_prompts), _variance(alone[name])) < 1 / certain else 1.0
            for name in PREDICTION_METRICS
            for share in [cluster_share(together[name], alone[name], n_prompts)]
        }
    wrong = _sums_by_prompt(prompts, truth != prediction, truth == prediction) > 0
    # Of prompts whose answers happened not to differ it is not known that answers to a prompt go their own ways.
    alike = (t_quantile(items) / t_quantile(min(items, max(n_prompts - 1, LEAST_DF)))) ** 2
    return {name: cluster_share(together[name], alone[name], n_prompts, int(wrong.sum(axis=0).min()), alike) for name in PREDICTION_METRICS}


def _variance(replicates: np.ndarray) -> float:
    """The variance of the replicates that have a value; 0 without any."""
    return float(np.nanvar(replicates)) if np.isfinite(replicates).any() else 0.0


def probability_metrics(
    truth: np.ndarray, score: np.ndarray, n_bootstrap: int, rng: np.random.Generator, prompts: np.ndarray | None = None
) -> dict[str, Estimate]:
    """AUROC (ties count half) and average precision (Σ precision · Δrecall over distinct scores) of `score` for boolean `truth`,
    both [items].

    Undefined with a class missing. The AUROC has Newcombe's interval; average precision Wilson's of as many trials as there are positives
    (Boyd, Eng and Page, ECML 2013, use the same binomial variance). Both are widened as far as the bootstrap over items, or over the
    prompts that `prompts` [items] names, varies more.
    """
    truth, score = np.asarray(truth, dtype=bool), np.asarray(score, dtype=np.float64)
    n_positive, n_negative = int(truth.sum()), int((~truth).sum())
    if n_positive == 0 or n_negative == 0:
        return dict.fromkeys(PROBABILITY_METRICS, UNDEFINED)
    levels = np.unique(score)[::-1]  # from the highest score down
    level = len(levels) - 1 - np.searchsorted(levels[::-1], score)
    of_class = [np.bincount(level[truth == one], minlength=len(levels))[None] for one in (True, False)]
    found = {name: float(value[0]) for name, value in _from_level_counts(*of_class).items()}
    if prompts is None:
        drawn = [_resampled_counts(level[truth == one], len(levels), n_bootstrap, rng) for one in (True, False)]
        n_drawn = min(n_positive, n_negative)
    else:
        columns = np.concatenate([(level[:, None] == np.arange(len(levels))) & (truth == one)[:, None] for one in (True, False)], axis=1)
        of_prompt = _sums_by_prompt(prompts, *columns.T)
        n_drawn = len(of_prompt)
        drawn = np.split(rng.multinomial(n_drawn, np.full(n_drawn, 1 / n_drawn), size=n_bootstrap) @ of_prompt, 2, axis=1)
    replicates = _from_level_counts(*drawn)
    expected = {
        "auroc": auroc_variance(found["auroc"], n_positive, n_negative),
        "average_precision": found["average_precision"] * (1 - found["average_precision"]) / n_positive,
    }
    shares = {
        name: effective_share(spread_of(replicates[name], n_drawn), expected[name])
        if prompts is None
        else cluster_share(replicates[name], expected[name], n_drawn)
        for name in PROBABILITY_METRICS
    }
    trials = n_positive * shares["average_precision"]
    return {
        "auroc": auroc_interval(found["auroc"], n_positive * shares["auroc"], n_negative * shares["auroc"]),
        "average_precision": wilson(found["average_precision"] * trials, trials),
    }


def floors(n_positive: int, n_negative: int, score: np.ndarray | None = None) -> dict[str, float | None]:
    """What knowing nothing reaches, per metric: chance for balanced accuracy and AUROC, the share of positives for precision, always
    answering yes for F1, `random_average_precision` (of items with these scores) for average precision. Recall has none (always yes has
    recall 1). All None without items.
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
        "average_precision": random_average_precision(n_positive, n_negative, score) if n else None,
    }


def random_average_precision(n_positive: int, n_negative: int, score: np.ndarray | None = None) -> float:
    """Expected average precision where `score` [items] says nothing of which items are positive; 0 without positives.

    Of n items, P of them positive, in random order: (H + (P - 1)(n - H) / (n - 1)) / n with H = Σ 1/k (Bestgen, Prague Bulletin of
    Mathematical Linguistics 103, 2015): the item at place k is positive with probability P / n, and then each of the k - 1 before it with
    (P - 1) / (n - 1). Items of equal score share the precision at their last place, so that a group of m ending at k counts m / k for 1 / k
    summed over its places. Without `score` no two are equal. It is above the share of positives, and equals it where all are.
    """
    n = n_positive + n_negative
    if n_positive == 0:
        return 0.0
    sizes = np.ones(n) if score is None else np.unique(np.asarray(score, dtype=np.float64), return_counts=True)[1][::-1]
    assert sizes.sum() == n, (sizes, n)
    last = np.cumsum(sizes)
    others = (n_positive - 1) / max(n - 1, 1)
    return float((sizes / last * (1 + (last - 1) * others)).sum() / n)


def estimate(value: float, replicates: np.ndarray) -> Estimate:
    """The value with the 2.5th and 97.5th percentiles of its defined replicates; undefined if `value` is NaN."""
    if math.isnan(value):
        return UNDEFINED
    defined = replicates[~np.isnan(replicates)]
    if len(defined) == 0:
        return Estimate(value, None, None)
    low, high = np.percentile(defined, [2.5, 97.5])
    return Estimate(value, float(low), float(high))


def mixed_auroc(
    positives: np.ndarray, negatives: Sequence[tuple[float, np.ndarray]], n_bootstrap: int, rng: np.random.Generator
) -> Estimate:
    """Probability that a positive score is above a negative score, ties counting half, where negative scores come from groups.

    `negatives` are (weight, scores [n]) of each group, weights summing to 1: Σ weight · AUROC against the group. Equals the AUROC with
    weight / n as the weight of each of a group's n scores. Undefined without positives, or with an empty group of weight above 0.
    The interval is Newcombe's with 1 / Σ weight² / n negatives, widened as far as a bootstrap varies more that resamples the positives and
    each group by itself.
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
    value = min(value, 1.0)  # weights may sum to a rounding error more than 1
    n_negative = 1 / sum(weight**2 / len(scores) for weight, scores in groups)
    n_drawn = min(len(positives), *(len(scores) for _, scores in groups))
    share = effective_share(spread_of(replicates, n_drawn), auroc_variance(value, len(positives), n_negative))
    return auroc_interval(value, len(positives) * share, n_negative * share)


def signed_gini(auroc: Estimate) -> Estimate:
    """2 · AUROC - 1, from -1 (every positive below every negative) over 0 (chance) to 1; undefined where the AUROC is undefined."""
    return Estimate(*(None if bound is None else 2 * bound - 1 for bound in (auroc.value, auroc.ci_low, auroc.ci_high)))


def mean_difference(first: np.ndarray, second: np.ndarray) -> tuple[Estimate, Estimate]:
    """(mean of `first` - mean of `second` with Welch's interval, whether it is above 0 as 1.0 or 0.0) of two arrays [n] and [m].

    Undefined when one is empty. Whether one mean is above another is a single trial, which has no interval.
    """
    difference = mean_difference_interval(first, second)
    return difference, UNDEFINED if difference.value is None else Estimate(float(difference.value > 0), None, None)


def mean_with_error(values: np.ndarray) -> tuple[Estimate, Estimate]:
    """The mean of an array [n] in Student's interval, and its standard error, s / √n, which has none.

    Both undefined without values; the standard error undefined with fewer than two values.
    """
    values = np.asarray(values, dtype=np.float64)
    error = Estimate(float(values.std(ddof=1)) / math.sqrt(len(values)), None, None) if len(values) > 1 else UNDEFINED
    return mean_interval(values), error


def paired_difference(first: np.ndarray, second: np.ndarray) -> Estimate:
    """Mean of `first` - `second`, two arrays [n] of the same things, in Student's interval; undefined without any."""
    return mean_interval(np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64))


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


def from_rates(tpr: np.ndarray, fpr: np.ndarray, n_positive: int, n_negative: int) -> dict[str, np.ndarray]:
    """PREDICTION_METRICS for true and false positive rates [replicates], NaN where a class is missing; NaN where undefined."""
    hits, false_alarms = (np.nan_to_num(rate) * n for rate, n in ((tpr, n_positive), (fpr, n_negative)))
    with np.errstate(divide="ignore", invalid="ignore"):
        return {
            "balanced_accuracy": (tpr + 1 - fpr) / 2,
            "f1": 2 * hits / (hits + false_alarms + n_positive) if n_positive else np.full(np.shape(tpr), np.nan),
            "precision": hits / (hits + false_alarms),
            "recall": tpr,
        }


def _sums_by_prompt(prompts: np.ndarray, *columns: np.ndarray) -> np.ndarray:
    """Sum of each column [items] over the items of each prompt, float64 [prompts, columns]."""
    _, number = np.unique(np.asarray(prompts), return_inverse=True)
    return np.stack([np.bincount(number, column) for column in columns], axis=1)


def _from_level_counts(positive: np.ndarray, negative: np.ndarray) -> dict[str, np.ndarray]:
    """PROBABILITY_METRICS from counts [replicates, levels] of items at each distinct score, highest first; NaN where a class is missing."""
    n_positive, n_negative = positive.sum(axis=1), negative.sum(axis=1)
    true_above, false_above = positive.cumsum(axis=1), negative.cumsum(axis=1)
    beaten = (positive * (n_negative[:, None] - false_above + negative / 2)).sum(axis=1)
    precision = true_above / np.maximum(true_above + false_above, 1)
    n_pairs, n_positives = (np.where(n > 0, n, np.nan) for n in (n_positive * n_negative, n_positive))
    return {
        "auroc": beaten / n_pairs,
        "average_precision": (precision * positive).sum(axis=1) / n_positives,
    }


def _resampled_counts(level: np.ndarray, n_levels: int, n_bootstrap: int, rng: np.random.Generator) -> np.ndarray:
    """Counts [n_bootstrap, n_levels] of draws with replacement, as many draws as items; each item counts at its level."""
    drawn = level[rng.integers(0, len(level), (n_bootstrap, len(level)))]
    drawn += np.arange(n_bootstrap)[:, None] * n_levels
    return np.bincount(drawn.ravel(), minlength=n_bootstrap * n_levels).reshape(n_bootstrap, n_levels)


def _drawn_shares(n: int, n_bootstrap: int, rng: np.random.Generator) -> np.ndarray:
    """The share of n draws with replacement that each of n items gets, [n_bootstrap, n]."""
    return rng.multinomial(n, np.full(n, 1 / n), size=n_bootstrap) / n
