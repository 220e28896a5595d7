"""Score rows of a yes-or-no scorer from verdicts on some of the windows, each of which stands for a stratum of windows."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from interp_assets.domain.outcomes import ScoreOutcome
from interp_assets.domain.scoring.shared.classifier import METRICS, STRATUM_METRIC, score_row
from interp_assets.domain.seeds import generator
from interp_assets.domain.statistics.intervals import UNDEFINED, Estimate, auroc_interval, of_two_rates, wilson
from interp_assets.domain.statistics.metrics import PREDICTION_METRICS, floors, from_rates, probability_metrics, prompt_shares
from interp_assets.domain.statistics.stratified_sample import SampledRate, sampled_rate
from interp_assets.domain.trials import ScorerInput, ScoreRow, Verdict


def are_sampled(verdicts: Sequence[Verdict]) -> bool:
    """Whether the verdicts are on windows that stand for others."""
    return any(verdict.weight is not None for verdict in verdicts)


def summarise(scorer: str, scorer_input: ScorerInput, verdicts: Sequence[Verdict], n_bootstrap: int, run_seed: int) -> tuple[ScoreRow, ...]:
    """The rows of `classifier.summarise`, estimated for all windows; the verdicts are sampled, and windows without an answer are counted.

    The rates of yes on activating and on silent windows are estimated by `sampled_rate`. Metrics of predictions are functions of the two
    rates, with the intervals of as many independent answers as the estimates are worth, fewer where answers to one prompt go together.
    Ranking metrics count a window as often as the windows that it stands for. Balanced accuracy and recall have a `sampling_error`.
    """
    own = [verdict for verdict in verdicts if verdict.prediction is not None]
    truth = np.array([verdict.truth for verdict in own], dtype=bool)
    n_windows = {kind: sum(verdict.weight or 1 for verdict in verdicts if verdict.truth == kind) for kind in (True, False)}
    counts = (int(truth.sum()), int((~truth).sum()), len(verdicts) - len(own))
    rng = generator(run_seed, scorer_input.feature, f"{scorer} bootstrap")
    rates = {kind: _rate_of(own, kind, n_windows[kind]) for kind in (True, False)}
    estimates: dict[str, Estimate] = {}
    probabilities: np.ndarray | None = None
    if own:
        prediction = np.array([verdict.prediction for verdict in own], dtype=bool)
        shares = prompt_shares(truth, prediction, n_bootstrap, rng, np.array([verdict.trial_id for verdict in own]), sampled=True)
        estimates = _prediction_estimates(rates, n_windows, shares)
        weights = np.array([verdict.weight or 1 for verdict in own])
        probable = [verdict.probability for verdict in own if verdict.probability is not None]
        if len(probable) == len(own):
            probabilities = np.repeat(np.array(probable), weights)
            if truth.any() and not truth.all():
                estimates |= _ranking_estimates(truth, weights, probabilities, n_windows, rng)

    def outcome_of(metric: str) -> ScoreOutcome:
        needs_both = metric not in ("precision", "recall", "f1")
        one_class = (needs_both and not counts[1]) or (metric != "precision" and not counts[0])
        return "no_answers" if not own else "one_class" if one_class else "undefined"

    floor = floors(n_windows[True], n_windows[False], probabilities if probabilities is not None and len(own) == len(verdicts) else None)
    asked_share = len(verdicts) / (n_windows[True] + n_windows[False])
    rows = [
        score_row(scorer, scorer_input, metric, estimates.get(metric, UNDEFINED), floor[metric], counts, outcome_of(metric))
        for metric in METRICS
    ]
    rows += _stratum_rows(scorer, scorer_input, verdicts)
    errors = _sampling_errors(rates)
    return tuple(
        replace(row, asked_share=asked_share, sampling_error=errors.get(row.metric) if row.value is not None else None) for row in rows
    )


def _rate_of(own: Sequence[Verdict], kind: bool, n_windows: int) -> SampledRate | None:
    """The estimated rate of yes on the windows of a kind; None without an answer."""
    of_kind = [verdict for verdict in own if verdict.truth == kind]
    if not of_kind:
        return None
    return sampled_rate(
        np.array([verdict.prediction for verdict in of_kind], dtype=bool),
        np.array([verdict.weight or 1 for verdict in of_kind]),
        np.array([verdict.predicted or 0.0 for verdict in of_kind]),
        n_windows,
    )


def _prediction_estimates(
    rates: dict[bool, SampledRate | None], n_windows: dict[bool, int], shares: dict[str, float]
) -> dict[str, Estimate]:
    """PREDICTION_METRICS in Newcombe's intervals of two rates; recall in Wilson's."""
    (p, n), (q, m) = ((0.0, 0.0) if rate is None else (rate.value, rate.n_effective) for rate in (rates[True], rates[False]))
    found = {
        name: of_two_rates(
            lambda tpr, fpr, name=name: float(
                from_rates(
                    np.asarray(tpr if n else np.nan), np.asarray(fpr if m else np.nan), n_windows[True] if n else 0,
                    n_windows[False] if m else 0,
                )[name]
            ),
            (p * n, n), (q * m, m), shares[name],
        )
        for name in PREDICTION_METRICS
    }  # fmt: skip
    return {**found, "recall": wilson(p * n * shares["recall"], n * shares["recall"])}


def _ranking_estimates(
    truth: np.ndarray, weights: np.ndarray, probabilities: np.ndarray, n_windows: dict[bool, int], rng: np.random.Generator
) -> dict[str, Estimate]:
    """AUROC and average precision of windows counted as often as they stand for others, in intervals of the windows asked about."""
    found = probability_metrics(np.repeat(truth, weights), probabilities, 2, rng)
    n = {kind: _independent(weights[truth == kind], n_windows[kind]) for kind in (True, False)}
    auroc, precision = found["auroc"].value, found["average_precision"].value
    assert auroc is not None and precision is not None
    return {
        "auroc": auroc_interval(auroc, n[True], n[False]),
        "average_precision": wilson(precision * n[True], n[True]),
    }


def _independent(weights: np.ndarray, n_windows: int) -> float:
    """As how many independent windows a sample with these weights counts where the prediction explains nothing."""
    shares = weights / weights.sum()
    return 1 / (1 / n_windows + float((shares**2 * (1 - 1 / weights)).sum()))


def _sampling_errors(rates: dict[bool, SampledRate | None]) -> dict[str, float]:
    """The standard errors of balanced accuracy and recall as estimates of what all windows would give."""
    hits, false_alarms = rates[True], rates[False]
    found = {} if hits is None else {"recall": hits.variance**0.5}
    if hits is not None and false_alarms is not None:
        found["balanced_accuracy"] = (hits.variance + false_alarms.variance) ** 0.5 / 2
    return found


def _stratum_rows(scorer: str, scorer_input: ScorerInput, verdicts: Sequence[Verdict]) -> list[ScoreRow]:
    """Recall among the activating windows of each stratum of activation, with Wilson's interval of the windows asked about."""
    rows: list[ScoreRow] = []
    for stratum in sorted({verdict.stratum for verdict in verdicts if verdict.truth and verdict.stratum is not None}):
        asked = [verdict for verdict in verdicts if verdict.truth and verdict.stratum == stratum]
        own = [verdict for verdict in asked if verdict.prediction is not None]
        weights = np.array([verdict.weight or 1 for verdict in own], dtype=np.float64)
        recall = UNDEFINED
        if own:
            n = float(weights.sum() ** 2 / (weights**2).sum())
            recall = wilson(n * float(weights @ np.array([verdict.prediction for verdict in own])) / float(weights.sum()), n)
        counts = (len(own), 0, len(asked) - len(own))
        rows.append(score_row(scorer, scorer_input, STRATUM_METRIC, recall, None, counts, "no_answers", stratum))
    return rows
