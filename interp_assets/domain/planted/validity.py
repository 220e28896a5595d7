"""Whether a scorer can be believed: its scores of explanations whose truth is known, compared feature by feature.

A feature's true explanation is compared with a false explanation (another feature's), a narrowed explanation (labels are missing) and a
broadened explanation (labels are extra). A metric passes where its score falls, as in the sanity checks of arXiv 2506.05774 (P6).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from interp_assets.domain.outcomes import ValidityOutcome
from interp_assets.domain.statistics.metrics import UNDEFINED, Estimate, paired_difference
from interp_assets.domain.statistics.multiple_tests import SIGNIFICANT, holm, p_of_mean

Perturbation = Literal["false", "narrowed", "broadened"]

TRUE = "planted_true"
PERTURBED: dict[Perturbation, str] = {"false": "planted_false", "narrowed": "planted_narrowed", "broadened": "planted_broadened"}
"""The explanation method that holds each perturbation of TRUE."""

MIN_FEATURES = 8
"""With fewer features a test over them says little: all of five move one way by chance once in sixteen times."""

NEGLIGIBLE = 0.05
"""A fall of the score by less than this, on a scale of 0 to 1, is of no use to a reader."""


@dataclass(frozen=True)
class Movement:
    """How a metric moves from the true explanation to a perturbed explanation, over the `n_features` features that have both values.

    `n_undefined` features have only one of the two values. `difference` is the mean of true - perturbed with its 95 % interval.
    `share_right` is the share of features whose true - perturbed is above 0. Without features `difference` is undefined, and the means, the
    medians and `share_right` are None.
    """

    n_features: int
    n_undefined: int
    mean_true: float | None
    mean_perturbed: float | None
    median_true: float | None
    median_perturbed: float | None
    difference: Estimate
    share_right: float | None
    p_value: float | None
    """That of Student's paired test of no difference."""


def movement(true: Mapping[int, float | None], perturbed: Mapping[int, float | None]) -> Movement:
    """The movement of a metric given its values by feature; None is a value that is undefined."""
    values = [(true[feature], perturbed[feature]) for feature in sorted(true.keys() & perturbed.keys())]
    pairs = np.array([pair for pair in values if None not in pair], dtype=np.float64).reshape(-1, 2)
    n_undefined = sum((a is None) != (b is None) for a, b in values)
    if not len(pairs):
        return Movement(0, n_undefined, None, None, None, None, UNDEFINED, None, None)
    a, b = pairs.T
    return Movement(
        len(pairs), n_undefined, float(a.mean()), float(b.mean()), float(np.median(a)), float(np.median(b)),
        paired_difference(a, b), float((a > b).mean()), p_of_mean(a - b),
    )  # fmt: skip


def judged(difference: Estimate, n_features: int, p_adjusted: float | None) -> ValidityOutcome:
    """Whether a score falls that should.

    It "passes" when it falls by NEGLIGIBLE at least and the fall is significant after Holm's adjustment, "fails" when the interval says
    that it falls by less than that or rises. Otherwise, and with fewer than MIN_FEATURES, nobody "cannot_tell".
    """
    if n_features < MIN_FEATURES or difference.value is None or difference.ci_low is None or difference.ci_high is None:
        return "cannot_tell"
    if difference.value >= NEGLIGIBLE and p_adjusted is not None and p_adjusted <= SIGNIFICANT:
        return "passes"
    return "fails" if difference.ci_high < NEGLIGIBLE else "cannot_tell"


@dataclass(frozen=True)
class Finding:
    """The movement of one metric of a scorer under one perturbation; `headline` where the metric stands for the scorer.

    `p_adjusted` is the movement's p value after `with_holm`.
    """

    metric: str
    headline: bool
    perturbation: Perturbation
    movement: Movement
    p_adjusted: float | None = None

    @property
    def outcome(self) -> ValidityOutcome:
        """Whether the metric passes: see `judged`."""
        return judged(self.movement.difference, self.movement.n_features, self.p_adjusted)


def with_holm(findings: Sequence[Finding]) -> list[Finding]:
    """Findings on all scorers of a dictionary, their p values adjusted for having looked at as many.

    One family are the headline metrics of all scorers under one perturbation, another all other metrics under it. So of judges that read
    nothing, in 19 of 20 dictionaries no scorer passes by its headline. Findings over fewer than MIN_FEATURES are not tested.
    """
    families: dict[tuple[bool, Perturbation], dict[int, float]] = {}
    for place, finding in enumerate(findings):
        p = finding.movement.p_value
        if p is not None and finding.movement.n_features >= MIN_FEATURES:
            families.setdefault((finding.headline, finding.perturbation), {})[place] = p
    adjusted: dict[int, float] = {}
    for family in families.values():
        adjusted |= dict(zip(family, holm(list(family.values())), strict=True))
    return [replace(finding, p_adjusted=adjusted.get(place)) for place, finding in enumerate(findings)]


def in_words(scorer: str, judge: str, findings: Sequence[Finding]) -> str:
    """What the findings on one scorer, answered by `judge`, mean for a reader of its scores: one sentence or more."""
    headline = {finding.perturbation: finding for finding in findings if finding.headline}
    who = f"{scorer}, answered by {judge or 'nobody'},"
    if "false" not in headline:
        return f"{who} was not tried on false explanations: nothing is known of its scores."
    false = headline["false"]
    told = _numbers(false)
    outcome = false.outcome
    if outcome == "fails":
        return f"{who} does not tell true explanations from false ones ({told}): do not believe its scores."
    if outcome == "cannot_tell":
        few = f"; at least {MIN_FEATURES} are needed" if false.movement.n_features < MIN_FEATURES else ""
        return (
            f"Whether {who} tells true explanations from false ones cannot be said ({told}{few}): do not believe its scores before it can."
        )
    parts = [_labels(findings, headline.get(perturbation), perturbation) for perturbation in ("narrowed", "broadened")]
    return " ".join([f"{who} tells true explanations from false ones ({told}).", *filter(None, parts)])


def _labels(findings: Sequence[Finding], headline: Finding | None, perturbation: Perturbation) -> str:
    """A sentence on one of the two tests of labels; empty where the test was not made."""
    if headline is None:
        return ""
    narrow, name = perturbation == "narrowed", _spelt(headline.metric)
    if headline.outcome == "passes":
        return f"An explanation that is too {'narrow' if narrow else 'broad'} lowers its {name} ({_numbers(headline, short=True)})."
    others = [_spelt(f.metric) for f in findings if f.perturbation == perturbation and f.outcome == "passes"]
    instead = f"its {', '.join(others)} {'do' if len(others) > 1 else 'does'}" if others else "and none of its metrics does"
    verb = "does not lower" if headline.outcome == "fails" else "is not seen to lower"
    return f"An explanation that is too {'narrow' if narrow else 'broad'} {verb} its {name} ({_numbers(headline, short=True)}), {instead}."


def _numbers(finding: Finding, short: bool = False) -> str:
    """The two means, and their difference with its interval."""
    move = finding.movement
    if move.mean_true is None or move.mean_perturbed is None or move.difference.value is None:
        return "no feature has both scores"
    fall = with_interval(move.difference)
    means = f"{move.mean_true:.2f} against {move.mean_perturbed:.2f}, difference {fall}"
    return means if short else f"mean {_spelt(finding.metric)} {means} over {move.n_features} features"


def with_interval(found: Estimate) -> str:
    """A value and its interval with two decimals, never "-0.00"; empty where there is no value."""
    value, *bounds = ("" if v is None else f"{round(v, 2) + 0.0:.2f}" for v in (found.value, found.ci_low, found.ci_high))
    return f"{value} [{', '.join(bounds)}]" if all(bounds) else value


def _spelt(metric: str) -> str:
    return metric.replace("_", " ")
