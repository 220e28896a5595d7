"""Scorer validity: movements by hand, what passes and fails, and the published results on metrics with an ideal judge."""

from collections.abc import Sequence

import numpy as np
import pytest

from interp_assets.domain.planted.validity import (
    MIN_FEATURES,
    PERTURBED,
    Finding,
    Movement,
    in_words,
    judged,
    movement,
    with_holm,
    with_interval,
)
from interp_assets.domain.statistics.metrics import (
    PREDICTION_METRICS,
    PROBABILITY_METRICS,
    Estimate,
    prediction_metrics,
    probability_metrics,
)


def moved(true: Sequence[float | None], perturbed: Sequence[float | None]) -> Movement:
    return movement(dict(enumerate(true)), dict(enumerate(perturbed)))


def outcome_of(move: Movement) -> str:
    """The outcome of a movement that is looked at alone."""
    return with_holm([Finding("m", True, "false", move)])[0].outcome


def test_a_movement_worked_out_by_hand() -> None:
    move = moved([1.0, 0.8, 0.6, None, 0.9], [0.5, 0.8, 0.7, 0.4, None])
    # Pairs (1, .5), (.8, .8), (.6, .7): differences .5, 0 and -.1.
    assert (move.n_features, move.n_undefined) == (3, 2)
    assert (move.mean_true, move.mean_perturbed) == pytest.approx((0.8, 2 / 3)) and (move.median_true, move.median_perturbed) == (0.8, 0.7)
    assert move.difference.value == pytest.approx(0.4 / 3) and move.share_right == pytest.approx(1 / 3)
    assert (move.difference.ci_low, move.difference.ci_high) == (None, None)
    assert outcome_of(move) == "cannot_tell"  # three features


def test_features_of_one_side_alone_and_none_at_all() -> None:
    move = movement({1: 0.5, 2: None}, {2: 0.4, 3: 0.7})
    assert (move.n_features, move.n_undefined, move.mean_true, move.difference.value, outcome_of(move)) == (0, 1, None, None, "cannot_tell")


@pytest.mark.parametrize(
    ("value", "low", "high", "n", "p", "outcome"),
    [
        (0.30, 0.20, 0.40, 12, 0.01, "passes"),
        (0.30, 0.20, 0.40, 12, 0.06, "cannot_tell"),
        (0.30, 0.20, 0.40, MIN_FEATURES - 1, 0.01, "cannot_tell"),
        (0.02, 0.01, 0.03, 12, 0.01, "fails"),  # it falls, but by nothing that matters
        (0.04, 0.01, 0.07, 12, 0.01, "cannot_tell"),
        (0.10, -0.02, 0.22, 12, 0.1, "cannot_tell"),
        (0.00, 0.00, 0.00, 12, 1.0, "fails"),
        (-0.20, -0.30, -0.10, 12, 0.01, "fails"),
        (None, None, None, 12, None, "cannot_tell"),
    ],
)
def test_what_passes_and_what_fails(
    value: float | None, low: float | None, high: float | None, n: int, p: float | None, outcome: str
) -> None:
    assert judged(Estimate(value, low, high), n, p) == outcome


def metrics_of(claimed: np.ndarray, truth: np.ndarray) -> dict[str, float | None]:
    """All metrics of an ideal judge, who says yes exactly where an explanation speaks of the text."""
    rng = np.random.default_rng(0)
    found = {**prediction_metrics(truth, claimed, 2, rng), **probability_metrics(truth, claimed.astype(float), 2, rng)}
    return {name: estimate.value for name, estimate in found.items()}


def test_the_published_results_for_rare_features_and_an_ideal_judge() -> None:
    """arXiv 2506.05774: recall, balanced accuracy and AUROC hardly mind labels that are extra; F1 and average precision (AUPRC) do.

    Ten features, each firing on 20 of 2,000 texts. Missing labels: half of the 20. Extra labels: 20 texts more. By hand, with 1,980 silent:
    extra leaves recall 1, balanced accuracy (1 + 1960/1980) / 2 = 0.995 = AUROC, precision = average precision 1/2, F1 = 2/3; missing
    gives recall 1/2, balanced accuracy = AUROC = 3/4, precision 1, F1 = 2/3, average precision 1/2 + 1/2 · 20/2000 = 0.505.
    """
    scores = {kind: {name: {} for name in (*PREDICTION_METRICS, *PROBABILITY_METRICS)} for kind in ("true", "narrowed", "broadened")}
    for feature in range(10):
        order = np.random.default_rng(feature).permutation(2000)
        truth, narrowed, broadened = (np.isin(np.arange(2000), order[:n]) for n in (20, 10, 40))
        for kind, claimed in (("true", truth), ("narrowed", narrowed), ("broadened", broadened)):
            for name, value in metrics_of(claimed, truth).items():
                scores[kind][name][feature] = value
    expected = {
        "narrowed": {"recall": 0.5, "balanced_accuracy": 0.75, "auroc": 0.75, "precision": 1, "f1": 2 / 3, "average_precision": 0.505},
        "broadened": {
            "recall": 1, "balanced_accuracy": 1970 / 1980, "auroc": 1970 / 1980, "precision": 0.5, "f1": 2 / 3, "average_precision": 0.5,
        },
    }  # fmt: skip
    outcomes = {}
    for kind, values in expected.items():
        for name, value in values.items():
            move = movement(scores["true"][name], scores[kind][name])
            assert (move.mean_true, move.mean_perturbed) == pytest.approx((1.0, value)), (kind, name)
            outcomes[kind, name] = outcome_of(move)
    assert [name for name in expected["narrowed"] if outcomes["narrowed", name] == "fails"] == ["precision"]
    assert {name for name in expected["broadened"] if outcomes["broadened", name] == "fails"} == {"recall", "balanced_accuracy", "auroc"}
    assert all(outcomes["broadened", name] == "passes" for name in ("f1", "average_precision", "precision"))


def test_of_judges_that_read_nothing_hardly_any_passes_however_many_metrics_there_are() -> None:
    """Ten scorers with a headline and five further metrics each, 12 features, values of a judge at chance on 10 windows."""
    passing = {True: 0, False: 0}
    draw = np.random.default_rng(0)
    for _ in range(200):
        found = []
        for scorer in range(10):
            for metric in range(6):
                true, false = draw.binomial(10, 0.5, (2, 12)) / 10
                found.append(Finding(f"{scorer} {metric}", metric == 0, "narrowed", moved(true.tolist(), false.tolist())))
        found = with_holm(found)
        for headline in passing:
            passing[headline] += any(one.outcome == "passes" for one in found if one.headline == headline)
    assert all(n / 200 <= 0.08 for n in passing.values()), passing


def test_numbers_have_two_decimals_and_no_negative_zero() -> None:
    assert with_interval(Estimate(-0.001, -0.1, 0.004)) == "0.00 [-0.10, 0.00]"
    assert with_interval(Estimate(0.5, None, None)) == "0.50" and with_interval(Estimate(None, None, None)) == ""


GOOD, LOW = [0.9] * 10, [0.5] * 10


def finding(metric: str, perturbation: str, perturbed: list[float], headline: bool = True) -> Finding:
    return with_holm([Finding(metric, headline, perturbation, moved(GOOD, perturbed))])[0]  # type: ignore[arg-type]


def test_a_scorer_to_be_believed_in_words() -> None:
    told = in_words("detection", "big-judge", [finding("balanced_accuracy", perturbation, LOW) for perturbation in PERTURBED])
    fall = "balanced accuracy (0.90 against 0.50, difference 0.40 [0.40, 0.40])."
    assert told == (
        "detection, answered by big-judge, tells true explanations from false ones (mean balanced accuracy 0.90 against 0.50, difference "
        f"0.40 [0.40, 0.40] over 10 features). An explanation that is too narrow lowers its {fall} An explanation that is too broad lowers "
        f"its {fall}"
    )


def test_what_the_headline_misses_is_said_with_what_sees_it() -> None:
    found = [finding("balanced_accuracy", "false", LOW), finding("balanced_accuracy", "broadened", GOOD)]
    unseen = (
        "too broad does not lower its balanced accuracy (0.90 against 0.90, difference 0.00 [0.00, 0.00]), and none of its metrics does."
    )
    assert in_words("detection", "j", found).endswith(unseen)
    found.append(finding("f1", "broadened", LOW, headline=False))
    assert in_words("detection", "j", found).endswith("its f1 does.")
    found.append(finding("average_precision", "broadened", LOW, headline=False))
    assert in_words("detection", "j", found).endswith("its f1, average precision do.")


def test_a_judge_too_weak_is_not_to_be_believed() -> None:
    weak = in_words("fuzzing", "small-judge", [finding("balanced_accuracy", "false", GOOD), finding("balanced_accuracy", "broadened", LOW)])
    assert weak == (
        "fuzzing, answered by small-judge, does not tell true explanations from false ones (mean balanced accuracy 0.90 against 0.90, "
        "difference 0.00 [0.00, 0.00] over 10 features): do not believe its scores."
    )
    few = in_words("fuzzing", "j", [Finding("f1", True, "false", moved(GOOD[:3], LOW[:3]))])
    assert (
        "cannot be said" in few and f"over 3 features; at least {MIN_FEATURES} are needed): do not believe its scores before it can." in few
    )
    none = in_words("fuzzing", "", [Finding("f1", True, "false", moved([None], [0.5]))])
    assert "answered by nobody" in none and "no feature has both scores" in none
    assert in_words("fuzzing", "j", []).endswith("nothing is known of its scores.")
