"""Our simulation scores against OpenAI's automated-interpretability: `golden/openai_simulation.json` has its answers."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from interp_assets.domain.scoring.simulation import expected_levels
from interp_assets.domain.statistics.metrics import pearson
from interp_assets.domain.statistics.token_metrics import token_metrics

GOLDEN = json.loads((Path(__file__).parent / "golden" / "openai_simulation.json").read_text())
CONSTANT = {"simulation all zero", "simulation constant 0.1", "activations all zero", "both all zero"}


@pytest.mark.parametrize("case", GOLDEN["scores"], ids=lambda case: case["name"])
def test_the_correlation_is_over_all_tokens_of_all_sequences(case: dict) -> None:
    ours = pearson(np.concatenate(case["true"]), np.concatenate(case["simulated"]))
    if case["name"] in CONSTANT:  # theirs is nan, or what rounding leaves of 0 / 0
        assert ours is None and (case["ev_correlation"] == "nan" or abs(case["ev_correlation"]) < 1e-12)
    else:
        assert ours == pytest.approx(case["ev_correlation"], abs=1e-12)


def test_the_cases_are_those_that_can_differ() -> None:
    cases = {case["name"]: case for case in GOLDEN["scores"]}
    assert len(cases) == 20 and set(cases) >= CONSTANT
    assert any(len({len(sequence) for sequence in case["true"]}) > 2 for case in cases.values())
    means = [
        np.mean(case["sequence_ev_correlations"]) - case["ev_correlation"] for name, case in cases.items() if name.startswith("noisy 3")
    ]
    assert abs(means[0]) > 0.05  # a mean over sequences is another number


@pytest.mark.parametrize("case", GOLDEN["scores"], ids=lambda case: case["name"])
def test_the_scorers_metrics_come_from_the_same_sums(case: dict) -> None:
    """Their R² divides the same squared errors by the truths' second moment about 0, ours by that about their mean."""
    true, simulated = ([np.array(one) for one in case[name]] for name in ("true", "simulated"))
    found = token_metrics(simulated, true, np.ones(len(true), dtype=bool))
    y = np.concatenate(true)
    assert found["pearson"].value == pearson(np.concatenate(simulated), y)
    if found["r2"].value is None:
        assert (y == y[0]).all()
    else:
        about_mean, about_zero = np.square(y - y.mean()).sum(), np.square(y).sum()
        assert 1 - (1 - found["r2"].value) * about_mean / about_zero == pytest.approx(case["rsquared"], abs=1e-12)


@pytest.mark.parametrize("case", GOLDEN["expected_values"], ids=lambda case: case["name"])
def test_expected_activations_are_over_the_levels_listed(case: dict) -> None:
    listed = {int(token): math.exp(logprob) for token, logprob in case["top_logprobs"].items() if token in map(str, range(11))}
    ours = expected_levels([[listed.get(level, 0.0) for level in range(11)]], 1)
    if any(listed.values()):
        assert ours == (pytest.approx(case["expected_value"], abs=1e-12),)
    else:  # theirs is nan, or 0 as of a judge that is sure of silence
        assert ours == "no_probabilities" and case["expected_value"] in ("nan", 0)
