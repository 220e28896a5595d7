"""Which scorer is nearer to the ratings: every two scorers compared on the same draws of features, and the order that follows.

Differences of two Spearman correlations are tested by a paired bootstrap, with p values adjusted after Holm for all pairs. Two scorers are
put in an order only where this test tells them apart.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from interp_assets.domain.outcomes import PairOutcome
from interp_assets.domain.statistics.metrics import UNDEFINED, Estimate
from interp_assets.domain.statistics.multiple_tests import holm
from interp_assets.domain.statistics.power import smallest_detectable_difference
from interp_assets.domain.statistics.rank_correlation import LEAST_FEATURES, interval, spearman_matrices


@dataclass(frozen=True)
class PairRow:
    """Two scorers over the explanations that both scored.

    `between` is their correlation with each other. `difference` is the correlation of `scorer` with people less the correlation of `other`
    with people. `p_adjusted` is `p` adjusted after Holm over all pairs; the scorers `differ` where `p_adjusted` is below 0.05.
    """

    scorer: str
    other: str
    between: Estimate
    difference: Estimate
    p: float | None
    p_adjusted: float | None
    differ: bool
    smallest_detectable: float | None
    n_items: int
    n_features: int
    outcome: PairOutcome


def compared(ratings: np.ndarray, scores: Mapping[str, np.ndarray], features: np.ndarray, draws: np.ndarray) -> list[PairRow]:
    """A row for every two scorers.

    `ratings` [items]; `scores` by scorer [items], NaN where the scorer gave no score; `features` [items], the feature of each item; `draws`
    [replicates, items], as `cluster_draws` makes them over the features.
    """
    comparisons = _Comparisons(ratings, scores, draws)
    return _with_holm([_pair(comparisons, features, one, other) for one, other in combinations(sorted(scores), 2)])


def place(scorer: str, pairs: Sequence[PairRow], scorers: Sequence[str]) -> tuple[int | None, int | None]:
    """(best, worst) place of a scorer that the differences leave open; (1, number of scorers) where no difference decides anything.

    (None, None) where no pair with this scorer could be compared.
    """
    own = [(pair, 1 if pair.scorer == scorer else -1) for pair in pairs if scorer in (pair.scorer, pair.other)]
    if not any(pair.difference.value is not None for pair, _ in own):
        return None, None
    leads = [sign * pair.difference.value for pair, sign in own if pair.differ and pair.difference.value is not None]
    return 1 + sum(lead < 0 for lead in leads), len(scorers) - sum(lead > 0 for lead in leads)


def ranking(pairs: Sequence[PairRow]) -> tuple[str, list[str]]:
    """The order of the scorers in words: a summary sentence, and a sentence for each pair that differs.

    An order is given only where the differences are significant.
    """
    tested = [pair for pair in pairs if pair.p is not None]
    differing = sorted((pair for pair in tested if pair.differ), key=lambda pair: pair.p or 0.0)
    if not tested:
        return "No order of the scorers is given: no two of them scored enough of the same rated features to be compared.", []
    how = f"paired bootstrap over features, Holm over {len(tested)} pair{'s' if len(tested) > 1 else ''}, 5 % level"
    if not differing:
        found = [pair.smallest_detectable for pair in tested if pair.smallest_detectable is not None]
        could = (
            f" Differences of {min(found):.2f} to {max(found):.2f}, by pair, would have been found with probability 0.8." if found else ""
        )
        return f"No order of the scorers is given: no two of them differ significantly ({how}).{could}", []
    left = len(tested) - len(differing)
    first = f"{len(differing)} of {len(tested)} pairs of scorers differ significantly ({how}); the data do not order the other {left}."
    return first if left else f"All pairs of scorers differ significantly ({how}).", [_told(pair) for pair in differing]


def _told(pair: PairRow) -> str:
    difference = pair.difference
    assert difference.value is not None and pair.p_adjusted is not None
    better, worse = (pair.scorer, pair.other) if difference.value > 0 else (pair.other, pair.scorer)
    bounds = [bound for bound in (difference.ci_low, difference.ci_high) if bound is not None]
    interval_ = f" [{min(map(abs, bounds)):.2f}, {max(map(abs, bounds)):.2f}]" if len(bounds) == 2 else ""
    return (
        f"{better} agrees with the ratings more than {worse}: by {abs(difference.value):.2f}{interval_}, adjusted p = {pair.p_adjusted:.3f}"
    )


class _Comparisons:
    """Spearman's ρ of scorers with each other and with the ratings, value and replicates, over the items that two scorers share.

    Computed once for each set of shared items, for all scorers that scored every item of the set.
    """

    def __init__(self, ratings: np.ndarray, scores: Mapping[str, np.ndarray], draws: np.ndarray) -> None:
        self._ratings, self._scores, self._draws = ratings, scores, draws
        self._made: dict[bytes, tuple[list[str], np.ndarray, np.ndarray]] = {}

    def shared(self, scorer: str, other: str) -> np.ndarray:
        """bool [items]: whether both scored the item."""
        return ~np.isnan(self._scores[scorer]) & ~np.isnan(self._scores[other])

    def of(self, scorer: str, other: str) -> tuple[np.ndarray, np.ndarray]:
        """ρ of scorer, other and ratings with one another, [3, 3], and in each replicate, [replicates, 3, 3]."""
        both = self.shared(scorer, other)
        if both.tobytes() not in self._made:
            names = [name for name, scores in self._scores.items() if not np.isnan(scores[both]).any()]
            columns = np.stack([*(self._scores[name][both] for name in names), self._ratings[both]])
            value = spearman_matrices(columns, np.ones((1, columns.shape[1])))[0]
            self._made[both.tobytes()] = names, value, spearman_matrices(columns, self._draws[:, both])
        names, value, found = self._made[both.tobytes()]
        chosen = [names.index(scorer), names.index(other), len(names)]
        return value[np.ix_(chosen, chosen)], found[:, chosen][:, :, chosen]


def _pair(compared: _Comparisons, features: np.ndarray, scorer: str, other: str) -> PairRow:
    both = compared.shared(scorer, other)
    n_features = len(set(features[both].tolist()))
    counts = {"n_items": int(both.sum()), "n_features": n_features}
    if n_features < LEAST_FEATURES:
        return PairRow(scorer, other, UNDEFINED, UNDEFINED, None, None, False, None, **counts, outcome="too_few_features")
    value, found = compared.of(scorer, other)
    between = interval(float(value[0, 1]), found[:, 0, 1])
    differences = found[:, 0, 2] - found[:, 1, 2]
    estimate = interval(float(value[0, 2] - value[1, 2]), differences)
    if estimate.value is None:
        return PairRow(scorer, other, between, UNDEFINED, None, None, False, None, **counts, outcome="constant")
    defined = differences[~np.isnan(differences)]
    error = float(defined.std(ddof=1)) if len(defined) > 1 else 0.0  # 0 for scorers that rank alike: nothing could tell them apart
    detectable = smallest_detectable_difference(error) if error > 1e-9 else None
    return PairRow(scorer, other, between, estimate, _two_sided(defined), None, False, detectable, **counts, outcome="ok")


def _two_sided(differences: np.ndarray) -> float:
    """Bootstrap p value of no difference: 2 · (k + 1) / (n + 1), at most 1, with k of n replicates on the rarer side of 0."""
    one_side = min(int((differences <= 0).sum()), int((differences >= 0).sum()))
    return min(1.0, 2 * (one_side + 1) / (len(differences) + 1))


def _with_holm(pairs: Sequence[PairRow]) -> list[PairRow]:
    tested = [i for i, pair in enumerate(pairs) if pair.p is not None]
    adjusted = dict(zip(tested, holm([pairs[i].p or 0.0 for i in tested]), strict=True))
    return [pair if i not in adjusted else replace(pair, p_adjusted=adjusted[i], differ=adjusted[i] < 0.05) for i, pair in enumerate(pairs)]
