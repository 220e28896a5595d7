"""How far scores repeat themselves: variance components of a nested design, and the differences that such scores can carry.

A score y of feature f is taken again: windows drawn again (d), an explanation written again from them (e), and judged again (j):

    y = μ + F_f + D_fd + E_fde + J_fdej

Components are by the method of moments, from the mean squares of the balanced nested analysis of variance; a component below 0 counts as 0
(Searle, Casella and McCulloch, Variance Components, 1992, ch. 3 and 4).
"""

import math
from dataclasses import dataclass

import numpy as np

from interp_assets.domain.statistics.intervals import Estimate, Z, mean_interval
from interp_assets.domain.statistics.rank_correlation import spearman_matrices

POWER_Z = 0.8416212335729143
"""The 80th percentile of the normal distribution."""

CARRIED = Z + POWER_Z
"""A difference of so many standard errors is significant at 5 % with probability 0.8."""

TOP_SHARE = 0.1
"""The features of highest score whose overlap is taken."""


@dataclass(frozen=True)
class Components:
    """Variance components of a score, and its grand mean. Units: the score's squared, and the score's."""

    mean: float
    feature: float
    draw: float
    explanation: float
    judgement: float

    @property
    def noise(self) -> float:
        """Variance of a feature's score over draws, explanations and judgements."""
        return self.draw + self.explanation + self.judgement

    @property
    def total(self) -> float:
        """Variance of the score of any feature, drawn, explained and judged once."""
        return self.feature + self.noise

    @property
    def icc(self) -> float | None:
        """ICC(1), the share of the total variance that is the feature's: 0 to 1; None where nothing varies."""
        return self.feature / self.total if self.total > 0 else None


@dataclass(frozen=True)
class Repeatability:
    """How two single scores of the same features agree, with windows drawn, explanations written and judgements made again.

    `icc` has the 95 % interval. `rank_correlation` is the mean Spearman correlation, -1 to 1, `top_overlap` the mean share of the top tenth
    that is in the top tenth again, 0 to 1; chance is `top_chance`. `shift` is the mean score in the last part of the corpus less the mean
    score in the first part.
    """

    icc: Estimate
    rank_correlation: float | None
    top_overlap: float
    top_chance: float
    shift: Estimate


def nested_components(scores: np.ndarray) -> Components:
    """The components of `scores` [features, draws, explanations, judgements], without gaps, of two features or more.

    A level of size 1 has component 0, and its variance counts in the level above: judges that give the same score again need no second
    judgement.
    """
    n_features, n_draws, n_explanations, n_judgements = scores.shape
    assert n_features > 1 and n_draws > 1 and np.isfinite(scores).all(), scores.shape
    of_feature, between, judged, explained, drawn = _mean_squares(scores)
    judgement = judged
    explanation = max(0.0, (explained - judged) / n_judgements) if n_explanations > 1 else 0.0
    lower = explained if n_explanations > 1 else judged
    draw = max(0.0, (drawn - lower) / (n_explanations * n_judgements))
    feature = max(0.0, (between - drawn) / (n_draws * n_explanations * n_judgements))
    return Components(float(of_feature.mean()), feature, draw, explanation, judgement)


def _mean_squares(scores: np.ndarray) -> tuple[np.ndarray, float, float, float, float]:
    """The features' means [features], then the mean squares between features, judgements, explanations and draws; 0 for a level of 1."""
    n_features, n_draws, n_explanations, n_judgements = scores.shape
    of_explanation = scores.mean(axis=3)
    of_draw = of_explanation.mean(axis=2)
    of_feature = of_draw.mean(axis=1)
    squares = (
        ((of_feature - of_feature.mean()) ** 2).sum() * n_draws * n_explanations * n_judgements,
        ((scores - of_explanation[..., None]) ** 2).sum(),
        ((of_explanation - of_draw[..., None]) ** 2).sum() * n_judgements,
        ((of_draw - of_feature[:, None]) ** 2).sum() * n_explanations * n_judgements,
    )
    freedom = (
        n_features - 1,
        n_features * n_draws * n_explanations * (n_judgements - 1),
        n_features * n_draws * (n_explanations - 1),
        n_features * (n_draws - 1),
    )
    between, judged, explained, drawn = (float(total) / max(df, 1) for total, df in zip(squares, freedom, strict=True))
    return of_feature, between, judged, explained, drawn


def repeatability(scores: np.ndarray) -> Repeatability:
    """How the scores [features, draws, explanations, judgements] repeat themselves: pairs are single scores from two different draws."""
    n_features, n_draws = scores.shape[:2]
    columns = scores.reshape(n_features, -1).T
    draw_of = np.arange(len(columns)) // (len(columns) // n_draws)
    first, second = np.nonzero(draw_of[:, None] < draw_of)
    ranked = spearman_matrices(columns, np.ones((1, n_features)))[0][first, second]
    correlations = ranked[~np.isnan(ranked)]
    n_top = max(1, round(TOP_SHARE * n_features))
    top = np.array([_membership(column, n_top) for column in columns])
    overlap = (top[first] * top[second]).sum(axis=1) / n_top
    of_draw = scores.mean(axis=(2, 3))
    return Repeatability(
        icc_interval(scores),
        float(correlations.mean()) if len(correlations) else None,
        float(overlap.mean()),
        n_top / n_features,
        mean_interval(of_draw[:, -1] - of_draw[:, 0]),
    )


def icc_interval(scores: np.ndarray) -> Estimate:
    """ICC(1) of a single score [features, draws, explanations, judgements] with its 95 % interval.

    MS(features) / MS(draws) · E[MS(draws)] / E[MS(features)] has an F distribution, which bounds the feature's variance over the variance
    of a draw's mean score (Searle, Casella and McCulloch, ch. 3). How much more a single score varies than a draw's mean is taken as
    estimated. Undefined where nothing varies.
    """
    from scipy.special import fdtri  # pyright: ignore[reportMissingTypeStubs]

    n_features, n_draws, n_explanations, n_judgements = scores.shape
    found = nested_components(scores)
    if found.icc is None:
        return Estimate(None, None, None)
    _, between, _, _, drawn = _mean_squares(scores)
    of_mean = drawn / (n_explanations * n_judgements)  # variance of a draw's mean score, within a feature
    if of_mean <= 0:
        return Estimate(found.icc, None, None)
    single = max(found.noise / of_mean, 1.0)
    degrees = n_features - 1, n_features * (n_draws - 1)
    ratio = between / drawn
    bounds = [(ratio / float(fdtri(*degrees, level)) - 1) / n_draws for level in (0.975, 0.025)]
    low, high = (max(bound, 0.0) / (max(bound, 0.0) + single) for bound in bounds)
    return Estimate(found.icc, min(low, found.icc), max(high, found.icc))


def _membership(values: np.ndarray, n_top: int) -> np.ndarray:
    """Each item's probability of being among the `n_top` largest of `values` [items] when ties are broken at random; sums to `n_top`."""
    least = np.sort(values)[-n_top]
    above, tied = values > least, values == least
    return above + tied * (n_top - above.sum()) / tied.sum()


def dictionary_difference(found: Components, n_features: float) -> float:
    """The smallest difference of the mean scores of two dictionaries, of `n_features` other features each, that is significant at 5 % with
    probability 0.8."""
    return CARRIED * math.sqrt(2 * found.total / n_features)


def method_difference(found: Components, n_features: float) -> float:
    """The same of two explanation methods, or two versions of a prompt, on the same `n_features` features.

    What is compared is the methods' means on these features, so that their own differences cancel.
    """
    return CARRIED * math.sqrt(2 * found.noise / n_features)


def features_needed(variance: float, difference: float) -> int:
    """How many features carry `difference` where a feature's score has this `variance`: of dictionaries `total`, of methods `noise`."""
    return max(1, math.ceil(2 * variance * (CARRIED / difference) ** 2))


def windows_needed(variance: float, draw: float, n_windows: float, difference: float, n_features: float) -> int | None:
    """How many windows a feature carry `difference` over `n_features` features; None where no number does.

    `variance` is as in `features_needed`, and `draw` the part of it that falls as windows are added: it is taken for inversely proportional
    to the number of windows, of which each feature has `n_windows`.
    """
    spare = n_features * (difference / CARRIED) ** 2 / 2 - (variance - draw)
    if spare <= 0:
        return None
    return max(1, math.ceil(n_windows * draw / spare))
