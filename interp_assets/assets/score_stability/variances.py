"""Rows of score_variances out of rows of repeated_scores."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from interp_assets.assets.score_stability.asked import method_of
from interp_assets.config.settings import StageSettings
from interp_assets.domain.scoring import Scorer
from interp_assets.domain.stability import Finding, finding, in_words, replicates


def variance_rows(
    dictionary: str, stages: StageSettings, repeated: Sequence[Mapping[str, Any]], judges: Mapping[str, str], n_compared: int
) -> list[dict[str, Any]]:
    """A row for each scorer. `repeated` are rows of repeated_scores, `judges` who answered each scorer, and `n_compared` the number of
    features with examples."""
    rows = []
    for scorer in stages.taken_again:
        own = [row for row in repeated if row["scorer"] == scorer.NAME]
        scores, n_windows = _scores(scorer, stages, own), _windows(own)
        method, judge = method_of(scorer, stages), judges.get(scorer.NAME, "")
        found = finding(scorer, method, judge, scores, n_windows, max(n_compared, 1), stages.stability.difference)
        rows.append({"dictionary": dictionary, "n_windows": n_windows or None, **_row(found, scores.shape)})
    return rows


def _scores(scorer: Scorer, stages: StageSettings, rows: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """The scores [features, draws, explanations, judgements] of a scorer; NaN where a replicate has none."""
    last = replicates(scorer, stages.stability)[-1]
    place = {feature: number for number, feature in enumerate(sorted({row["feature"] for row in rows}))}
    scores = np.full((len(place), last.draw + 1, last.explanation + 1, last.judgement + 1), np.nan)
    for row in rows:
        if row["value"] is not None:
            scores[place[row["feature"]], row["draw"], row["writing"], row["judgement"]] = row["value"]
    return scores


def _windows(rows: Sequence[Mapping[str, Any]]) -> float:
    """Mean number of windows that were asked about in a replicate with a score; 0 where no replicate has one."""
    counts = [row["n_positive"] + row["n_negative"] + row["n_unanswered"] for row in rows if row["value"] is not None]
    return float(np.mean(counts)) if counts else 0.0


def _row(found: Finding, shape: tuple[int, ...]) -> dict[str, Any]:
    one, repeated = found.components, found.repeated
    estimated: dict[str, Any] = {}
    if one is not None and repeated is not None:
        estimated = {
            "mean": one.mean, "variance_feature": one.feature, "variance_draw": one.draw, "variance_explanation": one.explanation,
            "variance_judge": one.judgement, "icc": repeated.icc.value, "icc_low": repeated.icc.ci_low, "icc_high": repeated.icc.ci_high,
            "rank_correlation": repeated.rank_correlation, "top_overlap": repeated.top_overlap, "top_chance": repeated.top_chance,
            "shift": repeated.shift.value, "shift_low": repeated.shift.ci_low, "shift_high": repeated.shift.ci_high,
        }  # fmt: skip
    return {
        "scorer": found.scorer, "explanation_method": found.method, "metric": found.metric, "judge": found.judge,
        "n_features": found.n_features, "n_incomplete": found.n_incomplete, "n_draws": shape[1], "n_explanations": shape[2],
        "n_judgements": shape[3], **estimated, "n_compared": found.n_compared, "between_dictionaries": found.between_dictionaries,
        "between_methods": found.between_methods, "difference": found.difference,
        "features_for_dictionaries": found.features(False), "features_for_methods": found.features(True),
        "windows_for_dictionaries": found.windows(False), "windows_for_methods": found.windows(True), "in_words": in_words(found),
        "outcome": found.outcome,
    }  # fmt: skip
