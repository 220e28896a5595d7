"""Parts of all scorers that give every window a number: numbers to verdicts, verdicts to AUROC and average precision."""

import math
from collections.abc import Sequence

import numpy as np

from interp_assets.domain.outcomes import ScoreOutcome
from interp_assets.domain.scoring.shared.classifier import score_row
from interp_assets.domain.seeds import generator
from interp_assets.domain.statistics.metrics import PROBABILITY_METRICS, UNDEFINED, floors, probability_metrics
from interp_assets.domain.trials import AnsweredTrial, ScorerInput, ScoreRow, Verdict, verdict_of

STRATUM_METRIC = "auroc@stratum"


def graded(answered: AnsweredTrial, values: Sequence[float] | None) -> tuple[Verdict, ...]:
    """A verdict for each item of a trial, in order, with its value; "model_error" without values, and where a value is not finite."""
    if answered.error is not None or values is None:
        return tuple(verdict_of(answered.trial, i, "model_error") for i in range(len(answered.trial.items)))
    assert len(values) == len(answered.trial.items), (answered.trial.trial_id, len(values))
    return tuple(
        verdict_of(answered.trial, i, "answered", value=float(value))
        if math.isfinite(value)
        else verdict_of(answered.trial, i, "model_error")
        for i, value in enumerate(values)
    )


def summarise(scorer: str, scorer_input: ScorerInput, verdicts: Sequence[Verdict], n_bootstrap: int, run_seed: int) -> tuple[ScoreRow, ...]:
    """Rows for AUROC and average precision of the verdicts' values against their truth, then a row for the AUROC of each stratum.

    The AUROC of a stratum ranks its activating windows against all silent ones. Values are over answered items. Without verdicts the rows
    end as `case.absent`, with none answered as "no_answers", with one class as "one_class". Windows are independent.
    """
    own = [verdict for verdict in verdicts if verdict.value is not None]
    strata = sorted({verdict.stratum for verdict in verdicts if verdict.truth and verdict.stratum is not None})
    rows: list[ScoreRow] = []
    for stratum in (None, *strata):
        part = [verdict for verdict in own if stratum is None or not verdict.truth or verdict.stratum == stratum]
        asked = [verdict for verdict in verdicts if stratum is None or not verdict.truth or verdict.stratum == stratum]
        truth = np.array([verdict.truth for verdict in part], dtype=bool)
        counts = (int(truth.sum()), int((~truth).sum()), len(asked) - len(part))
        rng = generator(run_seed, scorer_input.feature, f"{scorer} bootstrap {'' if stratum is None else stratum}")
        values = np.array([verdict.value for verdict in part], dtype=np.float64)
        found = probability_metrics(truth, values, n_bootstrap, rng)
        floor = floors(*counts[:2], values)
        otherwise: ScoreOutcome = scorer_input.absent if not verdicts else "no_answers" if not part else "one_class"
        if stratum is not None:
            rows.append(score_row(scorer, scorer_input, STRATUM_METRIC, found["auroc"], floor["auroc"], counts, otherwise, stratum))
            continue
        for metric in PROBABILITY_METRICS:
            rows.append(score_row(scorer, scorer_input, metric, found.get(metric, UNDEFINED), floor[metric], counts, otherwise))
    return tuple(rows)
