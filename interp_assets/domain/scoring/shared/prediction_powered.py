"""Asking a judge about some windows and estimating its score over all of them: which windows, chosen by what cheap answers predict.

Three steps for a group of scorer inputs, before the judge is asked about any of them: predict the judge's answer to every window (with
`JudgePrediction`, fitted to answers about *earlier* features alone), spend the group's questions where answers are uncertain (`allocated`),
and draw windows by strata of the prediction (`drawn`). No answer about a feature decides what is asked about this feature, so that its
estimate is unbiased and its interval holds. The estimates themselves are in `estimated.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from interp_assets.domain.bounds import PositiveShare
from interp_assets.domain.statistics.stratified_sample import MOST_CERTAIN, neyman, one_per_stratum

ControlVariate = Literal["activation", "embedding", "matcher"]
FIRST_GROUP, LARGEST_GROUP = 16, 512
"""Scorer inputs of the first group of a partition, and of a group at most; each group is twice as large as the group before."""
PRIOR_ANSWERS = 50.0
"""Weight, in answers, of the belief that the judge's yes rises by PRIOR_RISE with a standard deviation of each column."""
PRIOR_RISE = 0.05
LEAST_OF_A_KIND = 2
"""Fewest windows of a kind asked about: below, nothing says how much answers vary."""


@dataclass(frozen=True)
class PredictionPoweredSettings:
    """Ask the judge about a share of the windows, and estimate the score over all windows.

    For detection and fuzzing. Cheap answers to every window predict the judge's answers. The windows are cut into strata by the prediction,
    and the judge is asked about one window of each stratum. Scores of features are unbiased estimates, their intervals allow for the
    windows that were not asked, and the columns `asked_share` and `sampling_error` of `scores` say so. Means of a dictionary lose little:
    see `benchmarks/judge_bill.py` and docs/trust.md for what a share costs. Windows are put into questions anew, so that asking everything
    later asks again what was asked before.
    """

    share: PositiveShare
    """Share of the questions that the judge is asked; at least one question about a feature. Unit: share."""
    control_variates: tuple[ControlVariate, ...] = ("activation", "embedding")
    """What predicts the judge's answers. `activation`: the feature's largest activation. `embedding`: cosines of the explanation with the
    window, its words and its strongest tokens, by the site's sentence encoder. `matcher`: tokens that the explanation matches, where a
    machine can read it."""

    def __post_init__(self) -> None:
        if not self.control_variates:
            raise ValueError("control_variates is empty; name at least one of activation, embedding, matcher")
        if len(set(self.control_variates)) < len(self.control_variates):
            raise ValueError(f"control_variates names one twice: {', '.join(self.control_variates)}")


class Ridge:
    """A linear regression through the origin whose sums grow answer by answer, drawn towards a slope for each column."""

    def __init__(self, n_columns: int) -> None:
        self._xx, self._xy = np.zeros((n_columns, n_columns)), np.zeros(n_columns)

    def add(self, x: np.ndarray, y: np.ndarray) -> None:
        """Count answers y [answers] at x [answers, columns]."""
        self._xx += x.T @ x
        self._xy += x.T @ y

    def slopes(self, spread: np.ndarray, rise: float, weight: float) -> np.ndarray:
        """Slopes [columns]. Without answers a column's slope is `rise` per `spread` [columns]; this belief counts as `weight` answers."""
        steady = np.where(spread > 0, spread, 1.0)
        belief = weight * steady**2
        return np.linalg.solve(self._xx + np.diag(belief), self._xy + belief * np.where(spread > 0, rise / steady, 0.0))


class JudgePrediction:
    """Predicts a judge's yes on the windows of one kind (activating or silent) under one method's explanations.

    The prediction is the mean rate of earlier features, plus slopes on the feature's means of the columns, plus slopes on each window's
    distance from these means.
    """

    def __init__(self, n_columns: int) -> None:
        self._within, self._between = Ridge(n_columns), Ridge(n_columns)
        self._rates: list[float] = []
        self._means = np.zeros(n_columns)

    def predict(self, columns: np.ndarray) -> np.ndarray:
        """Predicted yes [windows] from columns [windows, columns] of all windows of a feature; may lie outside 0 to 1."""
        mean, spread = columns.mean(axis=0), columns.std(axis=0)
        level = float(np.mean(self._rates)) if self._rates else 0.5
        if self._rates:
            away = mean - self._means / len(self._rates)
            level += float(away @ self._between.slopes(np.maximum(spread, 1e-6), 0.0, FIRST_GROUP))
        return level + (columns - mean) @ self._within.slopes(spread, PRIOR_RISE, PRIOR_ANSWERS)

    def learn(self, columns: np.ndarray, chosen: np.ndarray, answers: np.ndarray, rate: float) -> None:
        """Count a feature's answers [chosen] and its estimated rate; `columns` [windows, columns] are of all its windows."""
        x = columns[chosen]
        if self._rates:
            away = columns.mean(axis=0) - self._means / len(self._rates)
            self._between.add(away[None], np.array([rate - float(np.mean(self._rates))]))
        self._within.add(x - x.mean(axis=0), answers - answers.mean())
        self._rates.append(rate)
        self._means += columns.mean(axis=0)


def expected_spread(predicted: np.ndarray) -> np.ndarray:
    """The standard deviation expected of each answer, √(p (1 - p)) with p the prediction kept off certainty."""
    p = np.clip(predicted, MOST_CERTAIN, 1 - MOST_CERTAIN)
    return np.sqrt(p * (1 - p))


def allocated(spreads: Sequence[np.ndarray], truths: Sequence[np.ndarray], share: float, per_prompt: int) -> list[dict[bool, int]]:
    """For each scorer input of a group the number of windows asked about, by whether the feature fires on them.

    `spreads` and `truths` are [windows] of each input. The group's questions are `share` of its questions in all, spent over its inputs by
    Neyman's allocation, in whole questions of `per_prompt` windows; an input's windows are spent over its two kinds likewise.
    """
    planned = np.array([-(-len(one) // per_prompt) for one in spreads])
    kinds = [np.array([min(LEAST_OF_A_KIND, int((truth == kind).sum())) for kind in (True, False)]) for truth in truths]
    least = np.minimum(np.array([-(-int(one.sum()) // per_prompt) for one in kinds]), planned)
    questions = neyman(np.array([float(one.sum()) for one in spreads]), round(share * int(planned.sum())), least, planned)
    found: list[dict[bool, int]] = []
    for spread, truth, fewest, n in zip(spreads, truths, kinds, questions.tolist(), strict=True):
        sizes = np.array([int(truth.sum()), int((~truth).sum())])
        of_kind = np.array([float(spread[truth].sum()), float(spread[~truth].sum())])
        given = neyman(of_kind, min(n * per_prompt, len(truth)), fewest, sizes)
        found.append({True: int(given[0]), False: int(given[1])})
    return found


def drawn(predicted: np.ndarray, truth: np.ndarray, n: dict[bool, int], rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """(windows asked about, int [asked]; the number of windows that each stands for, int [asked]), `n` of each kind."""
    chosen: list[np.ndarray] = []
    weights: list[np.ndarray] = []
    for kind in (True, False):
        own = np.flatnonzero(truth == kind)
        if len(own):
            places, sizes = one_per_stratum(predicted[own], expected_spread(predicted[own]), n[kind], rng)
            chosen.append(own[places])
            weights.append(sizes)
    return np.concatenate(chosen), np.concatenate(weights)
