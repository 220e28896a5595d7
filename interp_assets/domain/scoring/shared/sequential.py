"""Sequential scoring: asking the trials of a scorer input in rounds, until its score is known well enough."""

from collections.abc import Sequence
from dataclasses import dataclass

from interp_assets.domain.bounds import Bounded
from interp_assets.domain.statistics.metrics import wilson
from interp_assets.domain.trials import ScoreRow

SIGNED = frozenset({"pearson", "gini", "rise", "gain"})
"""Scores that lie on both sides of 0."""


@dataclass(frozen=True)
class SequentialSettings:
    """Stop asking about a feature when its score is known well enough.

    A feature is done, for one explanation, once the interval of its headline score is at most `ci_width` wide (see `is_known`). Between two
    looks lie `step_trials` trials, or a quarter of the trials asked so far, whichever is more. Trials that were never asked are kept as
    "stopped_early".

    A trial holds 5 windows for detection and fuzzing and 1 window for simulation; surprisal needs two trials for a window. Stopping early
    promises a width for every feature. It does not give better ranks: equally many trials spread evenly over features rank the features as
    well. It makes scores a little less honest: scores that are extreme by luck stop a little more often. Over simulated judges, balanced
    accuracies stopped at a width of 0.2 lie 0.01 too far from 1/2 on average. Their intervals still hold the truth in 96 to 97 % of runs
    (`benchmarks/coverage.py`). Two explanations of a feature are judged on different numbers of windows. See `benchmarks/sequential.py`.
    """

    ci_width: float
    """A feature is done once the interval of its headline score is at most this wide. Unit: units of the score."""
    first_trials: Bounded = 8
    """Questions before the first look at the interval. Unit: questions."""
    step_trials: Bounded = 4
    """Fewest questions between two looks. Unit: questions."""

    def __post_init__(self) -> None:
        if not self.ci_width > 0:
            raise ValueError(f"ci_width is the width of an interval and must be above 0, got {self.ci_width}; take 0.2, for example")
        for name in ("first_trials", "step_trials"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} counts trials and must be 1 or more, got {getattr(self, name)}")


def next_round(n_trials: int, n_asked: int, settings: SequentialSettings | None) -> range:
    """Which trials of a scorer input to ask next, after the first `n_asked` trials; without settings all trials that are left."""
    if settings is None:
        return range(n_asked, n_trials)
    size = max(settings.step_trials, n_asked // 4) if n_asked else settings.first_trials
    return range(n_asked, min(n_asked + size, n_trials))


def is_known(rows: Sequence[ScoreRow], headline: str, settings: SequentialSettings) -> bool:
    """Whether the headline score among the rows has a value with an interval of at most `ci_width`.

    Where all answers were right, or all alike, an interval of a mean or a ratio has no width, however few they are. So no interval
    counts as narrower than Wilson's of a judge that was always right on the smaller class, n of n: z² / (n + z²), 0.28 after 10 and 0.16
    after 20; twice that for SIGNED scores.
    """
    (row,) = (row for row in rows if row.metric == headline)
    if row.ci_low is None or row.ci_high is None:
        return False
    n = min(count for count in (row.n_positive, row.n_negative) if count)
    least = (1 - (wilson(n, n).ci_low or 0.0)) * (2 if row.metric in SIGNED else 1)
    return max(row.ci_high - row.ci_low, least) <= settings.ci_width
