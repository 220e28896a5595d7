"""What judges that read nothing score, beside the printed floors, by simulation: `python benchmarks/floors.py [--quick]`.

Answers are drawn at random and summed up by the scorers themselves, for odd and uneven counts, ties, replies that cannot be read and texts
of other lengths. Prints the table of docs/trust.md, then one JSON object in the last line. `--quick` draws a quarter as often.
"""

import argparse
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from interp_assets.domain.examples.sampling import Example
from interp_assets.domain.scoring import (
    Scorer,
    ScoringSettings,
    clarity,
    detection,
    discrimination,
    embedding,
    faithfulness,
    input_based,
    intervention,
    intruder,
    matcher,
    output_based,
    purity,
    responsiveness,
    sensitivity,
    simulation,
)
from interp_assets.domain.steering.steered_texts import SteeredRun
from interp_assets.domain.trials import ScorerInput, Verdict

SCORING = ScoringSettings()
N_BOOTSTRAP = 50
Draw = Callable[[np.random.Generator], "tuple[float, float] | None"]
"""Draws (score, floor); None where the row has no value, or no floor."""


def _verdicts(scorer: Scorer, n: int, **columns: Any) -> list[Verdict]:
    """Answered verdicts in prompts of five; `columns` hold an array [n] for each field of a verdict that is not the same for all."""
    common: dict[str, Any] = {"prediction": None, "probability": None, "stratum": None, "variant": "x", "outcome": "answered"}
    return [
        Verdict(
            **{
                "trial_id": f"t{i // 5}", "feature": 7, "explanation_method": "max_act", "scorer": scorer.NAME, "item": i % 5,
                "example_id": str(i), "truth": True, **common, **{name: _plain(column[i]) for name, column in columns.items()},
            }
        )
        for i in range(n)
    ]  # fmt: skip


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _case(n_activating: int, n_silent: int, rng: np.random.Generator, **fields: Any) -> ScorerInput:
    """A feature with n held-out windows of eight tokens of each kind, each activating window with a peak at a random place."""
    windows: list[Example] = []
    for i in range(n_activating + n_silent):
        activations = np.zeros(8)
        if i < n_activating:
            activations[rng.integers(8)] = rng.lognormal(0, 0.7)
        kind, stratum = ("activating", i * 3 // n_activating) if i < n_activating else ("non_activating", None)
        windows.append(Example(str(i), 7, "held_out", kind, "random", stratum, i, 0, (0,) * 8, tuple(activations.tolist())))
    shown = (replace(windows[0], role="shown"),) if n_activating else ()
    return ScorerInput(7, "max_act", "anything", shown, tuple(windows), (" a",), **fields)


def _found(scorer: Scorer, case: ScorerInput, verdicts: list[Verdict], metric: str | None) -> tuple[float, float] | None:
    rows = scorer.summarise(case, verdicts, SCORING.of(scorer), N_BOOTSTRAP, 0)
    (row,) = (row for row in rows if row.metric == (metric or scorer.HEADLINE) and row.stratum is None)
    return None if row.value is None or row.floor is None else (row.value, row.floor)


def yes_or_no(counts: tuple[int, int], metric: str, yes: float = 0.5, levels: int = 0, lost: float = 0.0) -> Draw:
    """A judge that says yes with probability `yes`, whatever it is asked; `levels` are the values of its probabilities (0: all different);
    a share `lost` of the prompts has no answer that can be read."""

    def draw(rng: np.random.Generator) -> tuple[float, float] | None:
        n = sum(counts)
        sure = rng.integers(0, levels, n) / levels if levels else rng.random(n)
        read = np.repeat(rng.random(-(-n // 5)) >= lost, 5)[:n]
        outcome = np.where(read, "answered", "unparsable")
        columns: dict[str, list[Any]] = {
            "truth": rng.permutation(np.repeat([True, False], counts)).tolist(), "outcome": outcome.tolist(),
            "prediction": [bool(p) if ok else None for p, ok in zip(rng.random(n) < yes, read, strict=True)],
            "probability": [float(p) if ok else None for p, ok in zip(sure, read, strict=True)],
        }  # fmt: skip
        return _found(detection, _case(0, 0, rng), _verdicts(detection, n, **columns), metric)

    return draw


def ranked(scorer: Scorer, counts: tuple[int, int], metric: str, levels: int = 0) -> Draw:
    """A number at random for each window, one of `levels` numbers (0: all different)."""

    def draw(rng: np.random.Generator) -> tuple[float, float] | None:
        n = sum(counts)
        values = rng.integers(0, levels, n).astype(np.float64) if levels else rng.random(n)
        names = [f"{scorer.NAME}/max_act/7/detection"] * n if scorer is matcher else [f"t{i}" for i in range(n)]
        truth = np.repeat([True, False], counts)
        verdicts = _verdicts(scorer, n, truth=truth, value=values, prediction=values > 0, trial_id=names)
        return _found(scorer, _case(*counts, rng), verdicts, metric)

    return draw


def rated(scorer: Scorer, counts: tuple[int, int], shares: tuple[float, float, float]) -> Draw:
    """Ratings 0, 1 and 2 with these probabilities, whatever the window."""

    def draw(rng: np.random.Generator) -> tuple[float, float] | None:
        case = _case(*counts, rng)
        peaks = [max(e.activations) for e in case.held_out]
        values = rng.choice([0.0, 1.0, 2.0], len(peaks), p=shares)
        return _found(scorer, case, _verdicts(scorer, len(peaks), value=values, activation=peaks), None)

    return draw


def chosen(scorer: Scorer, n_trials: int, n_options: int, lost: float = 0.0) -> Draw:
    """One of the options at random; a share `lost` of the replies names none."""

    def draw(rng: np.random.Generator) -> tuple[float, float] | None:
        verdicts: list[Verdict] = []
        for trial in range(n_trials):
            true, named, read = rng.integers(n_options), rng.integers(n_options), rng.random() >= lost
            places = range(n_options)
            verdicts += _verdicts(
                scorer, n_options, trial_id=[str(trial)] * n_options, truth=[i == true for i in places],
                prediction=[i == named if read else None for i in places], outcome=["answered" if read else "unparsable"] * n_options,
            )  # fmt: skip
        return _found(scorer, _case(5, 5, rng), verdicts, None)

    return draw


def simulated(counts: tuple[int, int]) -> Draw:
    """Random levels at every token."""

    def draw(rng: np.random.Generator) -> tuple[float, float] | None:
        case = _case(*counts, rng)
        n = len(case.held_out)
        levels = [tuple(rng.integers(0, 11, 8).astype(float).tolist()) for _ in range(n)]
        truth = [e.kind == "activating" for e in case.held_out]
        return _found(simulation, case, _verdicts(simulation, n, values=levels, truth=truth), None)

    return draw


def written(scorer: Scorer, kinds: tuple[tuple[bool, int, float], ...], share: float, metric: str | None = None) -> Draw:
    """Texts that mean nothing, (should fire, how many, length in windows) of each kind; the feature fires on a share of the windows."""

    def draw(rng: np.random.Generator) -> tuple[float, float] | None:
        case = _case(5, 5, rng, firing_share=share)
        truths, texts, loud = [], [], []
        for truth, n, windows in kinds:
            for i in range(n):
                texts.append(f"{truth:d}{i}".ljust(round(windows * 15), "x"))  # a window has fifteen characters
                truths.append(truth)
                loud.append(rng.lognormal(0, 0.7) if rng.random() < 1 - (1 - share) ** (len(texts[-1]) / 15) else 0.0)
        return _found(scorer, case, _verdicts(scorer, len(texts), truth=truths, text=texts, value=loud, activation=loud), metric)

    return draw


def unchanged(n_prompts: int, frequency: float, lost: float = 0.0) -> Draw:
    """Four interventions without effect: a text is rated 2 with probability `frequency`, and not rated with probability `lost`."""
    runs = tuple(SteeredRun(target, True, ()) for target in (0.1, 0.33, 1.0, None))
    names = ["clean", *(run.name for run in runs)]

    def draw(rng: np.random.Generator) -> tuple[float, float] | None:
        n = n_prompts * len(names)
        values = [None if rng.random() < lost else 2.0 * (rng.random() < frequency) for _ in range(n)]
        verdicts = _verdicts(
            faithfulness, n, value=values, outcome=["unparsable" if v is None else "answered" for v in values],
            variant=names * n_prompts, truth=[name != "clean" for name in names] * n_prompts,
            example_id=[f"{p}/{name}" for p in range(n_prompts) for name in names],
        )  # fmt: skip
        return _found(faithfulness, _case(1, 1, rng, steered=runs), verdicts, None)

    return draw


def gained(n_prompts: int) -> Draw:
    """Gains in likelihood that are noise."""
    return lambda rng: _found(intervention, _case(1, 1, rng), _verdicts(intervention, n_prompts, value=rng.normal(0, 2, n_prompts)), None)


FIVE_AND_FIVE = ((True, 5, 1.0), (False, 5, 1.0))
GRID: dict[str, Draw] = {
    "detection, fuzzing: balanced accuracy, 4 + 7 windows": yes_or_no((4, 7), "balanced_accuracy"),
    "the same, nine in ten yes, 1 + 9 windows": yes_or_no((1, 9), "balanced_accuracy", yes=0.9),
    "the same, a fifth of the prompts without an answer, 10 + 10 windows": yes_or_no((10, 10), "balanced_accuracy", lost=0.2),
    "detection, fuzzing: precision, 4 + 7 windows": yes_or_no((4, 7), "precision"),
    "detection, fuzzing: F1 of always yes, 4 + 7 windows": yes_or_no((4, 7), "f1", yes=1.0),
    "detection, fuzzing: AUROC of three levels, 4 + 7 windows": yes_or_no((4, 7), "auroc", levels=3),
    "detection, fuzzing: average precision, 4 + 7 windows": yes_or_no((4, 7), "average_precision"),
    "the same of three levels, a fifth of the prompts without an answer": yes_or_no((4, 7), "average_precision", levels=3, lost=0.2),
    "embedding and other numbers for windows: AUROC, 3 + 7 windows": ranked(embedding, (3, 7), "auroc"),
    "embedding and other numbers for windows: average precision, 1 + 9 windows": ranked(embedding, (1, 9), "average_precision"),
    "matcher: balanced accuracy of three numbers of matches, 4 + 7 windows": ranked(matcher, (4, 7), "balanced_accuracy", levels=3),
    "matcher: average precision of three numbers of matches, 4 + 7 windows": ranked(matcher, (4, 7), "average_precision", levels=3),
    "simulation, 10 + 10 windows": simulated((10, 10)),
    "simulation, 4 + 7 windows": simulated((4, 7)),
    "intruder, 7 questions": chosen(intruder, 7, 5),
    "discrimination among 3 explanations, 10 questions": chosen(discrimination, 10, 3),
    "discrimination among 2 explanations, 3 in 10 replies name none": chosen(discrimination, 10, 2, lost=0.3),
    "output_based, 3 questions": chosen(output_based, 3, 3),
    "output_based, 4 questions, 3 in 10 replies name none": chosen(output_based, 4, 3, lost=0.3),
    "responsiveness, 4 + 7 windows": rated(responsiveness, (4, 7), (0.5, 0.3, 0.2)),
    "purity, 10 + 10 windows": rated(purity, (10, 10), (0.5, 0.3, 0.2)),
    "purity, nearly all rated 2, 4 + 7 windows": rated(purity, (4, 7), (0.1, 0.1, 0.8)),
    "input_based, feature on 0.1 % of the windows": written(input_based, FIVE_AND_FIVE, 0.001),
    "input_based, feature on 20 % of the windows": written(input_based, FIVE_AND_FIVE, 0.2),
    "input_based, 4 long and 2 short sentences, feature on 30 %": written(input_based, ((True, 4, 2.0), (False, 2, 0.5)), 0.3),
    "input_based: margin, feature on 20 %": written(input_based, FIVE_AND_FIVE, 0.2, "margin"),
    "input_based: AUROC, long and short sentences, feature on 20 %": written(input_based, ((True, 5, 2.0), (False, 5, 0.5)), 0.2, "auroc"),
    "clarity, texts twice as long as windows, feature on 20 %": written(clarity, ((True, 10, 2.0),), 0.2),
    "sensitivity, texts half as long as windows, feature on 20 %": written(sensitivity, ((True, 10, 0.5),), 0.2),
    "faithfulness, 10 prompts, 30 % rated 2": unchanged(10, 0.3),
    "faithfulness, 30 prompts, 5 % rated 2, a fifth not rated": unchanged(30, 0.05, lost=0.2),
    "intervention, 7 prompts": gained(7),
}


def simulate(cell: str, n_draws: int, seed: int = 0) -> tuple[float, float, float]:
    """(mean floor, mean score, standard error of their difference) of a cell of GRID over the draws that have both."""
    rng = np.random.default_rng(seed)
    found = np.array([pair for _ in range(n_draws) if (pair := GRID[cell](rng)) is not None])
    values, floors = found.T
    return float(floors.mean()), float(values.mean()), float((values - floors).std(ddof=1) / np.sqrt(len(found)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="500 draws a cell instead of 2,000")
    n_draws = 500 if parser.parse_args().quick else 2000
    found = {cell: simulate(cell, n_draws) for cell in GRID}
    print("| what reads nothing | printed floor | its score |\n|---|---|---|")
    for cell, (floor, score, error) in found.items():
        print(f"| {cell} | {floor:.3f} | {score:.3f} ± {2 * error:.3f} |")
    off = {cell: (score - floor) / error if error else 0.0 for cell, (floor, score, error) in found.items()}
    print(json.dumps({"n_draws": n_draws, "standard_errors_above": off, "largest": max(off.values(), key=abs)}))


if __name__ == "__main__":
    main()
