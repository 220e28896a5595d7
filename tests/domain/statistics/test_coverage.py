"""95 % intervals hold the truth about 95 times in 100, in every cell of `benchmarks/coverage.py`, by a small simulation."""

import math

import numpy as np
import pytest
from scipy.stats import norm

from interp_assets.domain.scoring import faithfulness
from interp_assets.domain.scoring.shared import classifier
from interp_assets.domain.statistics.intervals import Estimate, mean_interval, wilson
from interp_assets.domain.statistics.metrics import prediction_metrics, probability_metrics
from interp_assets.domain.steering.steered_texts import SteeredRun
from interp_assets.domain.trials import ScorerInput, Verdict

CASE = ScorerInput(7, "max_act", "x", (), (), ())


def share_that_holds(draw, truth: float, n_draws: int = 400) -> float:
    rng = np.random.default_rng(1)
    found: list[Estimate] = [draw(rng) for _ in range(n_draws)]
    return sum(one.ci_low - 1e-9 <= truth <= one.ci_high + 1e-9 for one in found) / n_draws


def judged(n: int, right) -> list[Verdict]:
    """Verdicts on n + n windows in prompts of five, right or not."""
    truth = np.random.default_rng(len(right)).permutation(np.repeat([True, False], n))
    return [
        Verdict(f"t{i // 5}", 7, "max_act", "detection", i % 5, f"w{i}", bool(t), bool(t) == bool(r), None, None, "random", "answered")
        for i, (t, r) in enumerate(zip(truth, right, strict=True))
    ]


@pytest.mark.parametrize(("n", "right", "n_draws"), [(100, 0.99, 600), (10, 0.99, 400), (5, 0.95, 400), (50, 0.8, 400)])
def test_balanced_accuracy_of_independent_answers(n: int, right: float, n_draws: int) -> None:
    truth = np.repeat([True, False], n)

    def draw(rng: np.random.Generator) -> Estimate:
        return prediction_metrics(truth, truth ^ (rng.random(2 * n) >= right), 0, rng)["balanced_accuracy"]

    assert 0.92 <= share_that_holds(draw, right, n_draws) <= 0.995


def test_balanced_accuracy_of_a_judge_that_understands_whole_prompts_or_guesses() -> None:
    def draw(rng: np.random.Generator) -> Estimate:
        right = np.repeat(rng.random(40) < 0.5, 5) | (rng.random(200) < 0.5)
        row = next(r for r in classifier.summarise("detection", CASE, judged(100, right), 200, 0) if r.metric == "balanced_accuracy")
        return Estimate(row.value, row.ci_low, row.ci_high)

    assert 0.9 <= share_that_holds(draw, 0.75, 200) <= 0.99


@pytest.mark.parametrize(("n", "auroc"), [(5, 0.9), (10, 0.9), (50, 0.7)])
def test_auroc(n: int, auroc: float) -> None:
    truth = np.repeat([True, False], n)
    draw = lambda rng: probability_metrics(truth, rng.normal(truth * math.sqrt(2) * norm.ppf(auroc)), 100, rng)["auroc"]  # noqa: E731
    assert 0.92 <= share_that_holds(draw, auroc) <= 0.995


@pytest.mark.parametrize("n_prompts", [10, 30])
def test_faithfulness_without_effect_holds_0_and_is_not_above_its_floor(n_prompts: int) -> None:
    above = []

    def draw(rng: np.random.Generator) -> Estimate:
        clear = (rng.random((n_prompts, 5)) < 0.3).astype(float)
        verdicts = [
            Verdict(
                "t", 7, "max_act", "faithfulness", 0, f"{p}/{name}", name != "clean", None, None, None, name, "answered",
                value=2 * clear[p, place],
            )
            for p in range(n_prompts) for place, name in enumerate(NAMES)
        ]  # fmt: skip
        row = faithfulness.summarise(STEERED, verdicts, faithfulness.FaithfulnessSettings(), 50, 0)[0]
        above.append(row.ci_low > row.floor)
        return Estimate(row.value, row.ci_low, row.ci_high)

    assert share_that_holds(draw, 0.0, 200) >= 0.93
    assert np.mean(above) <= 0.025


def test_means_of_few_features_and_successes() -> None:
    assert 0.925 <= share_that_holds(lambda rng: mean_interval(rng.normal(0.7, 0.1, 6)), 0.7, 4000) <= 0.97
    assert 0.93 <= share_that_holds(lambda rng: wilson(int(rng.binomial(6, 0.1)), 6), 0.1, 2000) <= 0.995


def test_answers_that_are_right_or_wrong_together_widen_the_interval_and_independent_ones_hardly() -> None:
    rng = np.random.default_rng(0)
    truth = np.tile([True, False], 100)
    prompts = np.arange(200) // 5
    for right, low, high in ((np.repeat(rng.random(40) < 0.7, 5), 1.7, 3.0), (rng.random(200) < 0.7, 1.0, 1.25)):
        alone, together = (prediction_metrics(truth, truth ^ ~right, 500, rng, names)["balanced_accuracy"] for names in (None, prompts))
        assert low <= (together.ci_high - together.ci_low) / (alone.ci_high - alone.ci_low) <= high


NAMES = ("clean", "0.1", "0.33", "1", "zero_ablation")
STEERED = ScorerInput(7, "max_act", "x", (), (), (), steered=tuple(SteeredRun(t, True, ()) for t in (0.1, 0.33, 1.0, None)))
