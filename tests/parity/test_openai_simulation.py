"""Our Pearson correlation against the score of OpenAI's automated-interpretability: `golden/openai_simulation.json` has its answers."""

import json
from pathlib import Path

import numpy as np
import pytest

from interp_assets.domain.statistics import pearson

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
