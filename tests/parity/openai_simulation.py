"""What OpenAI's automated-interpretability makes of simulations: their scores, and the expected activations read from log-probabilities.

    python -m venv ai && ai/bin/pip install automated-interpretability==0.0.24
    ai/bin/python tests/parity/openai_simulation.py > tests/parity/golden/openai_simulation.json

Runs where that package is installed (it needs numpy 1), and calls its own functions: `aggregate_scored_sequence_simulations` and
`correlation_score` of `scoring.py`, `compute_predicted_activation_stats_for_token` of `simulator.py`. Every input is in the output, so
that the file says all that a test needs:

    {"scores": [{"name", "true": [[…], …], "simulated": [[…], …],          one list a sequence, of any lengths
                 "ev_correlation", "rsquared", "absolute_dev_explained",   over all tokens of all sequences together
                 "sequence_ev_correlations": […]}, …],                     of each sequence alone
     "expected_values": [{"name", "top_logprobs": {token: log-probability}, "expected_value", "probabilities": [[value, p], …]}, …]}

Numbers that are not finite stand as the strings "nan", "inf" and "-inf".
"""

import importlib.metadata
import json
import math
import warnings
from typing import Any

import numpy as np
from neuron_explainer.explanations.explanations import ActivationScale, ScoredSequenceSimulation, SequenceSimulation
from neuron_explainer.explanations.scoring import aggregate_scored_sequence_simulations, correlation_score
from neuron_explainer.explanations.simulator import compute_predicted_activation_stats_for_token

Sequences = list[list[float]]

SEED = 0


def finite(value: float) -> float | str:
    """The number, or its name where JSON has none for it."""
    return float(value) if math.isfinite(value) else str(float(value))


def score_case(name: str, true: Sequences, simulated: Sequences) -> dict[str, Any]:
    """Inputs and scores of one explanation."""
    per_sequence = [correlation_score(t, s) for t, s in zip(true, simulated, strict=True)]
    scored = [
        ScoredSequenceSimulation(
            simulation=SequenceSimulation(
                tokens=["x"] * len(s), expected_activations=s, activation_scale=ActivationScale.SIMULATED_NORMALIZED_ACTIVATIONS,
                distribution_values=[], distribution_probabilities=[],
            ),
            true_activations=t, ev_correlation_score=correlation,
        )
        for t, s, correlation in zip(true, simulated, per_sequence, strict=True)
    ]  # fmt: skip
    whole = aggregate_scored_sequence_simulations(scored)
    return {
        "name": name, "true": true, "simulated": simulated, "ev_correlation": finite(whole.ev_correlation_score),
        "rsquared": finite(whole.rsquared_score), "absolute_dev_explained": finite(whole.absolute_dev_explained_score),
        "sequence_ev_correlations": [finite(value) for value in per_sequence],
    }  # fmt: skip


def drawn(rng: np.random.Generator, lengths: list[int], noise: float, sign: float = 1.0) -> tuple[Sequences, Sequences]:
    """Sparse activations, and simulations from 0 to 10 that follow them as closely as `noise` lets them."""
    true, simulated = [], []
    for length in lengths:
        activations = np.round(np.where(rng.random(length) < 0.4, rng.gamma(2.0, 2.0, length), 0.0), 2)
        follow = np.clip(5 + sign * (activations - 2) + noise * rng.standard_normal(length), 0, 10)
        true.append(activations.tolist())
        simulated.append(np.round(follow, 2).tolist())
    return true, simulated


def score_cases() -> list[dict[str, Any]]:
    """Twelve drawn cases and eight made ones."""
    rng = np.random.default_rng(SEED)
    lengths = ([8], [12], [8, 8], [5, 9, 3], [2, 7, 11, 4], [6, 6, 6])
    cases = []
    for number, each in enumerate(lengths):
        cases.append(score_case(f"noisy {number}", *drawn(rng, each, noise=2.0)))
        cases.append(score_case(f"negative {number}", *drawn(rng, each, noise=1.0, sign=-1.0)))
    some, close = drawn(rng, [6, 6], noise=0.5)
    zeros = [[0.0] * 6, [0.0] * 6]
    made = {
        "perfect": (some, some),
        "perfect up to scale and shift": (some, [[0.5 * a + 1 for a in sequence] for sequence in some]),
        "exactly opposite": (some, [[10.0 - a for a in sequence] for sequence in some]),
        "simulation all zero": (some, zeros),
        "simulation constant 0.1": (some, [[0.1] * 6, [0.1] * 6]),
        "activations all zero": (zeros, close),
        "both all zero": (zeros, zeros),
        "each sequence constant, not all the same": ([[0.0] * 4, [3.0] * 4], [[1.0] * 4, [2.0] * 4]),
    }
    return cases + [score_case(name, *case) for name, case in made.items()]


def expected_value_case(name: str, top_logprobs: dict[str, float]) -> dict[str, Any]:
    """Log-probabilities at one place, and what is read from them."""
    probabilities, expected = compute_predicted_activation_stats_for_token(top_logprobs)
    return {
        "name": name, "top_logprobs": top_logprobs, "expected_value": finite(expected),
        "probabilities": [[value, float(p)] for value, p in probabilities.items()],
    }  # fmt: skip


def expected_value_cases() -> list[dict[str, Any]]:
    """Ten drawn distributions over some of the numbers and other tokens, and ten made ones."""
    rng = np.random.default_rng(SEED + 1)
    cases = []
    for number in range(10):
        tokens = [*rng.permutation([str(i) for i in range(11)])[: rng.integers(2, 12)].tolist(), "unknown", "\n", " 3"]
        logits = rng.normal(0, 3, len(tokens) + 1)  # the last one is all that is not among the top tokens
        logprobs = logits - np.log(np.exp(logits).sum())
        cases.append(expected_value_case(f"drawn {number}", {t: round(float(p), 6) for t, p in zip(tokens, logprobs[:-1], strict=True)}))
    made = {
        "all numbers alike": {str(i): -2.4 for i in range(11)},
        "one number, improbable": {"7": -9.0, "unknown": -0.001},
        "0 and 10 alike": {"0": -0.7, "10": -0.7},
        "numbers after a space count as other tokens": {" 9": -0.1, "2": -3.0},
        "numbers above 10 count as other tokens": {"11": -0.1, "100": -2.5, "4": -3.0},
        "other spellings of a number count as other tokens": {"05": -0.5, "5.0": -1.2, "five": -2.0, "1": -3.0},
        "no number at all": {"unknown": -0.01, "\t": -5.0},
        "nothing": {},
        "very improbable numbers": {"3": -700.0, "4": -701.0},
        "numbers of no probability": {"3": -800.0, "4": -800.0},
    }
    return cases + [expected_value_case(name, case) for name, case in made.items()]


def main() -> None:
    """Print the golden file."""
    warnings.filterwarnings("ignore", category=RuntimeWarning)  # divisions by the variance of what does not vary
    version = importlib.metadata.version("automated-interpretability")
    answers = {"scores": score_cases(), "expected_values": expected_value_cases()}
    lines = [f'"package": {json.dumps(f"automated-interpretability {version}")}']
    lines += [f'"{kind}": [\n' + ",\n".join(json.dumps(case) for case in cases) + "\n]" for kind, cases in answers.items()]
    print("{\n" + ",\n".join(lines) + "\n}")


if __name__ == "__main__":
    main()
