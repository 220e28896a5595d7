"""How often the platform's 95 % intervals hold the truth, by simulation: `python benchmarks/coverage.py [--quick]`.

Judges of known ability answer, the scorers' own statistics sum the answers up, and the share of intervals that hold the known truth is
counted. Prints the table of docs/trust.md, then one JSON object in the last line. `--quick` draws a quarter as often. Cells of windows
asked are drawn a fifth as often, means of such estimates a tenth as often.
"""

import argparse
import json
import math
import statistics
from collections.abc import Callable

import numpy as np
from judge_bill import replay
from judge_bill import simulated as simulated_judge

from interp_assets.assets.warehouse.views import view_files
from interp_assets.domain.planted.validity import Finding, movement, with_holm
from interp_assets.domain.scoring.faithfulness import _largest_rise
from interp_assets.domain.scoring.shared import estimated
from interp_assets.domain.scoring.shared.classifier import score_row
from interp_assets.domain.scoring.shared.prediction_powered import JudgePrediction, allocated, drawn, expected_spread
from interp_assets.domain.scoring.shared.sequential import SequentialSettings, is_known, next_round
from interp_assets.domain.statistics.intervals import Estimate, Z, mean_interval, t_quantile, wilson
from interp_assets.domain.statistics.metrics import prediction_metrics, probability_metrics
from interp_assets.domain.statistics.stability import Components, icc_interval, repeatability
from interp_assets.domain.statistics.token_metrics import token_metrics
from interp_assets.domain.trials import ScorerInput, Verdict

PER_PROMPT = 5
N_BOOTSTRAP = 300
N_TOGETHER = 500
"""Dictionaries of which a view is asked at a time."""
CASE = ScorerInput(0, "max_act", "anything", (), (), ())

Draw = Callable[[np.random.Generator], Estimate]


def balanced_accuracy(n: int, right: float, n_negative: int | None = None) -> Draw:
    """A judge that is right on each of n + n windows, or of n + `n_negative`, with probability `right`."""
    kinds = [n, n if n_negative is None else n_negative]

    def draw(rng: np.random.Generator) -> Estimate:
        truth = rng.permutation(np.repeat([True, False], kinds))
        prediction = truth ^ (rng.random(len(truth)) >= right)
        return prediction_metrics(truth, prediction, N_BOOTSTRAP, rng, np.arange(len(truth)) // PER_PROMPT)["balanced_accuracy"]

    return draw


def by_prompt(n: int, understood: float, lengths: tuple[int, int] = (PER_PROMPT, PER_PROMPT)) -> Draw:
    """A judge that understands a whole prompt with probability `understood` and otherwise guesses all of it. Prompts have `lengths` of
    windows, from the least to the most."""

    def draw(rng: np.random.Generator) -> Estimate:
        sizes = rng.integers(lengths[0], lengths[1] + 1, 2 * n)  # the prompts that 2n windows do not fill are left out
        prompts = np.repeat(np.arange(2 * n), sizes)[: 2 * n]
        truth = rng.permutation(np.repeat([True, False], n))
        right = (rng.random(prompts[-1] + 1) < understood)[prompts] | (rng.random(2 * n) < 0.5)
        return prediction_metrics(truth, truth ^ ~right, N_BOOTSTRAP, rng, prompts)["balanced_accuracy"]

    return draw


def auroc(n: int, expected: float, n_negative: int | None = None) -> Draw:
    """n + n normal scores, or n + `n_negative`, the positive ones higher by as much as gives the expected AUROC."""
    shift = math.sqrt(2) * statistics.NormalDist().inv_cdf(expected)
    truth = np.repeat([True, False], [n, n if n_negative is None else n_negative])
    return lambda rng: probability_metrics(truth, rng.normal(truth * shift), N_BOOTSTRAP, rng)["auroc"]


def no_effect(n_prompts: int, frequency: float) -> Draw:
    """Ratings of clean texts and of four interventions that change nothing: a text is rated 2 with probability `frequency`."""
    return lambda rng: _largest_rise((rng.random((n_prompts, 5)) < frequency).astype(np.float64))


def simulated(n: int, understood: float) -> tuple[Draw, float]:
    """Windows of 32 tokens, n with a peak at a random place and n silent; a simulator understands a window with probability `understood`.

    The truth is the correlation over 40,000 windows.
    """

    def windows(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        activating = np.repeat([True, False], n)
        true = np.zeros((2 * n, 32))
        true[np.arange(n), rng.integers(1, 32, n)] = rng.lognormal(0, 0.6, n)
        levels = 3 * true * (rng.random((2 * n, 1)) < understood) + (rng.random(true.shape) < 0.04) * rng.uniform(0, 6, true.shape)
        return np.clip(levels + rng.normal(0, 0.2, true.shape), 0, 10), true, activating

    def draw(rng: np.random.Generator) -> Estimate:
        levels, true, activating = windows(n, rng)
        return token_metrics(list(levels), list(true), activating)["pearson"]

    levels, true, _ = windows(20_000, np.random.default_rng(1))
    return draw, float(np.corrcoef(levels.ravel(), true.ravel())[0, 1])


def stopped(n: int, right: float, ci_width: float, understood: float | None = None) -> Draw:
    """A judge that is right with probability `right`, asked about n + n windows in prompts until its interval is `ci_width` wide. With
    `understood` the judge understands whole prompts, and otherwise guesses, as in `by_prompt`."""

    def draw(rng: np.random.Generator) -> Estimate:
        truth = rng.permutation(np.repeat([True, False], n))
        correct = rng.random(2 * n) < right
        if understood is not None:
            correct = np.repeat(rng.random(2 * n // PER_PROMPT) < understood, PER_PROMPT) | (rng.random(2 * n) < 0.5)
        prediction = truth ^ ~correct
        settings, asked = SequentialSettings(ci_width), 0
        while True:
            asked = next_round(2 * n // PER_PROMPT, asked, settings).stop
            seen = slice(0, asked * PER_PROMPT)
            prompts = np.arange(2 * n)[seen] // PER_PROMPT
            found = prediction_metrics(truth[seen], prediction[seen], N_BOOTSTRAP, rng, prompts)["balanced_accuracy"]
            counts = (int(truth[seen].sum()), int((~truth[seen]).sum()), 0)
            row = score_row("detection", CASE, "balanced_accuracy", found, 0.5, counts, "undefined")
            if asked * PER_PROMPT >= 2 * n or is_known([row], "balanced_accuracy", settings):
                return found

    return draw


def asked_about_some(n: int, right: float, worth: float, share: float, understood: float | None = None) -> Draw:
    """A judge that is right with probability `right`, asked about a share of n + n windows by strata of a cheap answer.

    The cheap answer shares `worth` of the latent of which the sign is the judge's answer. What it predicts is learned from earlier draws.
    With `understood` the judge understands whole prompts, and otherwise guesses, as in `by_prompt`.
    """
    truth = np.repeat([True, False], n)
    predictions = {kind: JudgePrediction(1) for kind in (True, False)}
    threshold = statistics.NormalDist().inv_cdf(right)

    def draw(rng: np.random.Generator) -> Estimate:
        cheap = rng.normal(size=2 * n)
        answers = np.where(truth, 1, -1) * threshold + worth * cheap + math.sqrt(1 - worth**2) * rng.normal(size=2 * n) > 0
        predicted = np.concatenate([predictions[kind].predict(cheap[truth == kind, None]) for kind in (True, False)])
        (counts,) = allocated([expected_spread(predicted)], [truth], share, PER_PROMPT)
        chosen, weights = drawn(predicted, truth, counts, rng)
        order = rng.permutation(len(chosen))
        if understood is not None:
            right_here = (rng.random(len(chosen)) < understood)[np.arange(len(chosen)) // PER_PROMPT] | (rng.random(len(chosen)) < 0.5)
            answers[chosen[order]] = truth[chosen[order]] ^ ~right_here
        verdicts = [
            Verdict(f"t{k // PER_PROMPT}", 0, "max_act", "detection", k % PER_PROMPT, str(i), bool(truth[i]), bool(answers[i]), None, None,
                    "x", "answered", weight=int(weights[order[k]]), predicted=float(predicted[i]))
            for k, i in enumerate(chosen[order].tolist())
        ]  # fmt: skip
        for kind in (True, False):
            places = chosen[truth[chosen] == kind] - (0 if kind else n)
            own = answers[truth == kind][places].astype(np.float64)
            predictions[kind].learn(cheap[truth == kind, None], places, own, float(own.mean()))
        rows = estimated.summarise("detection", CASE, verdicts, N_BOOTSTRAP, int(rng.integers(1 << 30)))
        (row,) = (row for row in rows if row.metric == "balanced_accuracy")
        return Estimate(row.value, row.ci_low, row.ci_high)

    return draw


def mean_of_some(n_features: int, n: int, share: float) -> Draw:
    """How far the mean of estimates lies from the mean of all windows' scores, in the interval of the view `estimated_scores`; truth 0.

    Judges are right with probability 0.5 to 1 by feature, and a cheap answer shares 0.8 of the latent of their answers.
    """

    def draw(rng: np.random.Generator) -> Estimate:
        judged = simulated_judge(n_features, n, 0.8, rng)
        found = replay(judged, share, rng)
        off = float(found.estimates.mean() - np.mean([one.score for one in judged]))
        half = Z * math.sqrt(float(found.variances.sum())) / n_features
        return Estimate(off, off - half, off + half)

    return draw


def view_mean(n: int) -> Draw:
    """The mean over n features of scores from a beta distribution with mean 0.75 (the views print the same interval)."""
    return lambda rng: mean_interval(rng.beta(6, 2, n))


def lift(n_features: int, deals: int, suits: float, true: float = 0.2) -> Draw:
    """Lifts by the view lift_over_shuffled: n explanations that score `true` above other features' texts, each dealt to `deals` features.

    Scores differ by feature and by answer with a standard deviation of 0.05, and by text, whoever it is dealt to, with one of `suits`.
    """
    ready: list[Estimate] = []

    def draw(rng: np.random.Generator) -> Estimate:
        if not ready:
            ready.extend(_lifts(n_features, deals, suits, true, rng))
        return ready.pop()

    return draw


def _lifts(n_features: int, deals: int, suits: float, true: float, rng: np.random.Generator) -> list[Estimate]:
    """The view's answer for N_TOGETHER dictionaries."""
    import duckdb
    import polars as pl

    shape = (N_TOGETHER, n_features)
    easy, text = rng.normal(0.5, 0.05, shape), rng.normal(0, suits, shape)
    steps = range(1, deals + 1)  # the donor of feature f in deal d is feature f + d, round about
    given = np.stack([easy + np.roll(text, -step, axis=1) + rng.normal(0, 0.05, shape) for step in steps], axis=2)
    own = true + easy + rng.normal(0, 0.05, shape)
    places = np.indices(shape).reshape(2, -1)
    table = {"dictionary": places[0].astype(str), "feature": places[1]}
    dealt = [
        [{"donor_feature": (f + step) % n_features, "value": float(given[d, f, step - 1])} for step in steps] if deals > 1 else None
        for d, f in places.T
    ]
    scores = pl.concat(
        [
            pl.DataFrame({**table, "explanation_method": "max_act", "value": own.ravel()}),
            pl.DataFrame({**table, "explanation_method": "shuffled", "value": given.mean(axis=2).ravel(), "deals": dealt}),
        ],
        how="diagonal_relaxed",
    ).to_arrow()
    with duckdb.connect() as connection:
        connection.register("made", scores)
        connection.execute(
            "CREATE VIEW scores AS SELECT * REPLACE (deals::STRUCT(donor_feature UINTEGER, value DOUBLE)[] AS deals), "
            "'detection' AS scorer, 'balanced_accuracy' AS metric, true AS headline, NULL::INT AS stratum, 0.5 AS floor FROM made"
        )
        found = connection.execute(f"SELECT lift, ci_low, ci_high FROM ({view_files()['lift_over_shuffled'].read_text()})").fetchall()
    return [Estimate(*row) for row in found]


STABLE = Components(0.7, feature=0.01, draw=0.004, explanation=0.002, judgement=0.001)
"""Components of a score that is taken again: two draws of two explanations, each judged twice."""


def taken_again(n_features: int, feature: float) -> tuple[Draw, float]:
    """The ICC of `score_stability`, and the truth, of scores whose features vary by `feature` and whose noise is as in STABLE."""
    true = Components(STABLE.mean, feature, STABLE.draw, STABLE.explanation, STABLE.judgement)
    return lambda rng: icc_interval(_again(n_features, true, rng)), true.icc or 0.0


def shifted(n_features: int) -> Draw:
    """How far the means of two draws from the corpus lie apart, by `score_stability`, where the truth is 0."""
    return lambda rng: repeatability(_again(n_features, STABLE, rng)).shift


def _again(n_features: int, true: Components, rng: np.random.Generator) -> np.ndarray:
    scores = np.full((n_features, 2, 2, 2), true.mean)
    for axes, variance in enumerate((true.feature, true.draw, true.explanation, true.judgement), start=1):
        scores += rng.normal(0, math.sqrt(variance), scores.shape[:axes]).reshape(scores.shape[:axes] + (1,) * (4 - axes))
    return scores


def any_passes(n_features: int, n_windows: int) -> Callable[[np.random.Generator], bool]:
    """Whether a scorer passes `scorer_validity` by its headline where no judge reads: 15 scorers, with 4 further metrics each.

    Scores are balanced accuracies of n + n guesses, shares of three guesses among three or five options, successes of one chance in ten,
    correlations, and AUROCs of n + n random numbers.
    """
    kinds: tuple[Callable[[np.random.Generator], np.ndarray], ...] = (
        lambda rng: rng.binomial(n_windows, 0.5, (2, n_features, 2)).mean(axis=2) / n_windows,
        lambda rng: rng.binomial(3, 1 / 3, (2, n_features)) / 3,
        lambda rng: rng.binomial(1, 0.1, (2, n_features)).astype(np.float64),
        lambda rng: rng.normal(0, 0.1, (2, n_features)),
        lambda rng: (rng.random((2, n_features, n_windows, 1)) > rng.random((2, n_features, 1, n_windows))).mean(axis=(2, 3)),
    )

    def draw(rng: np.random.Generator) -> bool:
        findings: list[Finding] = []
        for scorer in range(15):
            for number in range(5):
                true, false = kinds[scorer % len(kinds)](rng)
                move = movement(dict(enumerate(true.tolist())), dict(enumerate(false.tolist())))
                findings.append(Finding(f"{scorer}/{number}", number == 0, "false", move))
        return any(finding.outcome == "passes" for finding in with_holm(findings) if finding.headline)

    return draw


def successes(n: int, share: float) -> Draw:
    """The interval of the view `success_by_method`."""
    return lambda rng: wilson(int(rng.binomial(n, share)), n, t_quantile(n - 1))


GRID: dict[str, tuple[Draw, float]] = {
    "balanced accuracy 0.99, 100 + 100 windows": (balanced_accuracy(100, 0.99), 0.99),
    "balanced accuracy 0.99, 10 + 10 windows": (balanced_accuracy(10, 0.99), 0.99),
    "balanced accuracy 0.95, 5 + 5 windows": (balanced_accuracy(5, 0.95), 0.95),
    "AUROC 0.9, 5 + 5 windows": (auroc(5, 0.9), 0.9),
    "errors by prompt, 100 + 100 windows": (by_prompt(100, 0.5), 0.75),
    "errors by prompt, 50 + 50 windows": (by_prompt(50, 0.5), 0.75),
    "errors by prompt, 100 + 100 windows, eight in ten prompts understood": (by_prompt(100, 0.8), 0.9),
    "errors by prompt, 25 + 25 windows, eight in ten prompts understood": (by_prompt(25, 0.8), 0.9),
    "errors by prompt, 10 + 10 windows": (by_prompt(10, 0.5), 0.75),
    "faithfulness without effect, 30 prompts, 30 % rated 2": (no_effect(30, 0.3), 0.0),
    "faithfulness without effect, 10 prompts, 30 % rated 2": (no_effect(10, 0.3), 0.0),
    "simulation, 100 + 100 windows, six in ten understood": simulated(100, 0.6),
    "simulation, 10 + 10 windows, six in ten understood": simulated(10, 0.6),
    "simulation, 10 + 10 windows, nine in ten understood": simulated(10, 0.9),
    "balanced accuracy 0.8, stopped once 0.2 wide": (stopped(100, 0.8, 0.2), 0.8),
    "balanced accuracy 0.95, stopped once 0.2 wide": (stopped(100, 0.95, 0.2), 0.95),
    "a quarter of 100 + 100 windows asked, balanced accuracy 0.8, useless cheap answer": (asked_about_some(100, 0.8, 0.0, 0.25), 0.8),
    "the same, cheap answer that explains a quarter": (asked_about_some(100, 0.8, 0.65, 0.25), 0.8),
    "the same, cheap answer that explains more than half": (asked_about_some(100, 0.8, 0.9, 0.25), 0.8),
    "the same, anticorrelated cheap answer": (asked_about_some(100, 0.8, -0.65, 0.25), 0.8),
    "a quarter of 100 + 100 windows asked, balanced accuracy 0.95, explained two fifths": (asked_about_some(100, 0.95, 0.85, 0.25), 0.95),
    "a twentieth of 100 + 100 windows asked, balanced accuracy 0.8, useless cheap answer": (asked_about_some(100, 0.8, 0.0, 0.05), 0.8),
    "half of 10 + 10 windows asked, balanced accuracy 0.8, explained a quarter": (asked_about_some(10, 0.8, 0.65, 0.5), 0.8),
    "a quarter of 100 + 100 windows asked, errors by prompt": (asked_about_some(100, 0.75, 0.0, 0.25, 0.5), 0.75),
    "mean of 30 estimates, a twentieth of 100 + 100 windows asked": (mean_of_some(30, 100, 0.05), 0.0),
    "mean of 50 estimates, a twentieth of 100 + 100 windows asked": (mean_of_some(50, 100, 0.05), 0.0),
    "balanced accuracy 0.9, 3 + 7 windows": (balanced_accuracy(3, 0.9, 7), 0.9),
    "balanced accuracy 0.8, 10 + 90 windows": (balanced_accuracy(10, 0.8, 90), 0.8),
    "AUROC 0.7, 3 + 7 windows": (auroc(3, 0.7, 7), 0.7),
    "AUROC 0.8, 5 + 50 windows": (auroc(5, 0.8, 50), 0.8),
    "errors by prompt, prompts of 1 to 20 windows, 100 + 100 windows": (by_prompt(100, 0.5, (1, 20)), 0.75),
    "errors by prompt, prompts of 20 windows, 50 + 50 windows": (by_prompt(50, 0.5, (20, 20)), 0.75),
    "errors by prompt, stopped once 0.2 wide": (stopped(100, 0.75, 0.2, 0.5), 0.75),
    "mean of a view, 4 features": (view_mean(4), 0.75),
    "mean of a view, 6 features": (view_mean(6), 0.75),
    "lift over shuffled explanations, one deal, 24 features": (lift(24, 1, 0.05), 0.2),
    "lift over shuffled explanations, three deals, 24 features": (lift(24, 3, 0.05), 0.2),
    "lift over shuffled explanations, three deals, texts far apart, 24 features": (lift(24, 3, 0.2), 0.2),
    "lift over shuffled explanations, three deals, texts far apart, 8 features": (lift(8, 3, 0.2), 0.2),
    "lift over shuffled explanations, one deal, 4 features": (lift(4, 1, 0.05), 0.2),
    "lift over shuffled explanations, one deal, 5 features": (lift(5, 1, 0.2), 0.2),
    "lift over shuffled explanations, three deals, 5 features": (lift(5, 3, 0.05), 0.2),
    "lift over shuffled explanations, three deals, texts far apart, 5 features": (lift(5, 3, 0.2), 0.2),
    "no lift over shuffled explanations, two deals, texts far apart, 5 features": (lift(5, 2, 0.2, 0.0), 0.0),
    "ICC of scores taken again, 8 features": taken_again(8, 0.01),
    "ICC of scores taken again, 20 features": taken_again(20, 0.01),
    "ICC of scores taken again, features all but alike, 20 features": taken_again(20, 0.001),
    "ICC of scores taken again, 60 features": taken_again(60, 0.01),
    "shift between halves of the corpus, 8 features": (shifted(8), 0.0),
    "successes, share 0.1, 6 features": (successes(6, 0.1), 0.1),
    "successes, share 0.5, 4 features": (successes(4, 0.5), 0.5),
    "successes, share 0.9, 5 features": (successes(5, 0.9), 0.9),
}


WRONG_PASSES: dict[str, Callable[[np.random.Generator], bool]] = {
    "8 features, 5 + 5 windows": any_passes(8, 5),
    "8 features, 50 + 50 windows": any_passes(8, 50),
    "12 features, 10 + 10 windows": any_passes(12, 10),
    "40 features, 10 + 10 windows": any_passes(40, 10),
}
"""In which dictionaries of planted features a scorer whose judge reads nothing passes."""


def wrong_passes(cell: str, n_draws: int, seed: int = 0) -> float:
    """Share of the draws of a cell of WRONG_PASSES in which any scorer passes."""
    rng = np.random.default_rng(seed)
    return sum(WRONG_PASSES[cell](rng) for _ in range(n_draws)) / n_draws


def coverage(cell: str, n_draws: int, seed: int = 0) -> float:
    """Share of the intervals of a cell of GRID that hold the truth, in `n_draws` draws."""
    draw, truth = GRID[cell]
    rng = np.random.default_rng(seed)
    return sum(holds(draw(rng), truth) for _ in range(n_draws)) / n_draws


def n_draws_of(cell: str, n_draws: int) -> int:
    """How often a cell is drawn where quick cells are drawn `n_draws` times."""
    if "estimates" in cell:
        return n_draws // 10
    return n_draws // 5 if "asked" in cell or cell.startswith("the same") else n_draws


def holds(found: Estimate, truth: float) -> bool:
    return found.ci_low is not None and found.ci_high is not None and found.ci_low - 1e-9 <= truth <= found.ci_high + 1e-9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="1,000 draws a cell instead of 4,000")
    n_draws = 1000 if parser.parse_args().quick else 4000
    found = {cell: coverage(cell, n_draws_of(cell, n_draws)) for cell in GRID}
    print("| cell | intervals that hold the truth |\n|---|---|")
    for cell, share in found.items():
        print(f"| {cell} | {100 * share:.1f} % |")
    passed = {cell: wrong_passes(cell, n_draws // 4) for cell in WRONG_PASSES}
    print("\n| planted features, judges that read nothing | dictionaries in which a scorer passes |\n|---|---|")
    for cell, share in passed.items():
        print(f"| {cell} | {100 * share:.1f} % |")
    print(json.dumps({"n_draws": n_draws, "coverage": found, "wrong_passes": passed}))


if __name__ == "__main__":
    main()
