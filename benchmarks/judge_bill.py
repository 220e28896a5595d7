"""What `scoring: {prediction_powered: {share: …}}` saves of a judge's questions, and what it costs in scores.

    python benchmarks/judge_bill.py [--quick] [--judgements FOLDER]

Judges answer every window; their answers are then replayed as the graph asks them, under several shares. Printed are, for each share, the
rank correlation of the estimates with the scores of all windows, and the error of the dictionary's mean; then the share that is needed for
a rank correlation of 0.98 and the dictionary from which a twentieth gives a mean within 0.01, beside what the theory allows. Simulated
judges have the abilities of uniform features (balanced accuracy 0.5 to 1) and cheap answers of known worth. FOLDER holds real judgements
(`trials.jsonl.gz`, `windows.jsonl.gz`), whose answers the packaged sentence encoder and activations predict.

The bound: estimates from a share f of the windows differ from the scores of all windows by a variance of c (1 - R²) (1 - f) / f, with c the
variance of a score of all windows that its windows cause, and R² what cheap answers explain of the judge's. A correlation r with the scores
of all windows, whose variance over features is V, needs c (1 - R²) (1 - f) / f <= V (1 / r² - 1). A mean over F features within d at 95 %
needs c (1 - R²) (1 - f) / f <= F (d / 1.96)².
"""

import argparse
import gzip
import json
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import ndtri

from interp_assets.domain.scoring.shared.prediction_powered import FIRST_GROUP, LARGEST_GROUP, JudgePrediction, allocated, drawn
from interp_assets.domain.scoring.shared.prediction_powered import expected_spread as spread_of
from interp_assets.domain.statistics.metrics import spearman
from interp_assets.domain.statistics.stratified_sample import sampled_rate
from resources.sentence_encoder import load_sentence_encoder

SHARES = (0.05, 0.1, 0.25, 0.35, 0.5, 0.65, 0.8, 0.9)
WORTHS = (0.0, 0.6, 0.8, 0.95, 1.0, -0.8)
TARGET, HALF_WIDTH, PER_PROMPT = 0.98, 0.01, 5
ENCODER = "embedded:all-minilm-l6-v2"


@dataclass(frozen=True)
class Judged:
    """One feature: all answers, truths [windows], and the columns [windows, columns] that are known before asking."""

    answers: np.ndarray
    truth: np.ndarray
    columns: np.ndarray

    @property
    def score(self) -> float:
        """Balanced accuracy over all windows."""
        return float(self.answers[self.truth].mean() + 1 - self.answers[~self.truth].mean()) / 2

    @property
    def variance(self) -> float:
        """The variance of the score that its windows cause."""
        kinds = (self.answers[self.truth], self.answers[~self.truth])
        return float(sum(one.mean() * (1 - one.mean()) / (len(one) - 1) for one in kinds)) / 4


def simulated(n_features: int, n_windows: int, worth: float, rng: np.random.Generator) -> list[Judged]:
    """Features with n + n windows, on which a judge is right with probability 0.5 to 1 by feature.

    A cheap answer shares `worth` of the latent of which the sign is the judge's answer.
    """
    truth = np.repeat([True, False], n_windows)
    found = []
    for right in rng.uniform(0.5, 1.0, n_features):
        cheap = rng.normal(size=2 * n_windows)
        latent = np.where(truth, 1, -1) * ndtri(right) + worth * cheap + np.sqrt(1 - worth**2) * rng.normal(size=2 * n_windows)
        found.append(Judged(latent > 0, truth, cheap[:, None]))
    return found


def real(folder: Path) -> dict[str, list[Judged]]:
    """The real judgements of explanations by max_act, by scorer, features in order."""
    lines = {
        name: [json.loads(line) for line in gzip.decompress((folder / f"{name}.jsonl.gz").read_bytes()).splitlines()]
        for name in ("trials", "windows")
    }
    windows = {(one["dictionary"], one["example_id"]): one for one in lines["windows"]}
    asked: dict[tuple[str, str, int], list[tuple[Any, bool, bool, str]]] = {}
    for trial in lines["trials"]:
        if trial["explanation_method"] == "max_act":
            for example, truth, answer in zip(trial["example_ids"], trial["truths"], trial["answers"], strict=True):
                window = windows[trial["dictionary"], example]
                key = (trial["scorer"], trial["dictionary"], trial["feature"])
                asked.setdefault(key, []).append((window, truth, bool(answer), trial["explanation"]))
    encoder = load_sentence_encoder(ENCODER, None)
    texts = {key: [_texts(window) for window, *_ in answers] for key, answers in asked.items()}
    every = {text for found in texts.values() for window, strong, words in found for text in (window, strong or " ", *words)}
    every |= {answers[0][3] for answers in asked.values()}
    vectors = dict(zip(sorted(every), encoder.embed(sorted(every)), strict=True))
    judged: dict[str, list[Judged]] = {}
    for key, answers in sorted(asked.items()):
        query = vectors[answers[0][3]]
        truth = np.array([truth for _, truth, *_ in answers])
        peaks = np.array([max(window["activations"]) for window, *_ in answers])
        firing = np.sort(peaks[truth])
        rows = []
        for (window, strong, words), peak, on in zip(texts[key], peaks, truth, strict=True):
            nearest = sorted(float(vectors[word] @ query) for word in words)[-3:]
            place = np.searchsorted(firing, peak) / len(firing) if on else 0.0
            cosines = (float(vectors[window] @ query), float(vectors[strong] @ query) if on and strong else 0.0, float(np.mean(nearest)))
            rows.append((float(place), *cosines))
        judged.setdefault(key[0], []).append(Judged(np.array([yes for *_, yes, _ in answers]), truth, np.array(rows)))
    return judged


def _texts(window: dict[str, Any]) -> tuple[str, str, list[str]]:
    """(the window, its strongest tokens, its words)."""
    text, peak = "".join(window["tokens"]).strip(), max(window["activations"])
    strong = "".join(t for t, a in zip(window["tokens"], window["activations"], strict=True) if a > 0 and a >= 0.3 * peak).strip()
    return text, strong, re.findall(r"[^\W_]+", text) or [" "]


@dataclass(frozen=True)
class Replay:
    """Estimates and their stated variances [features], and the share of the questions asked."""

    estimates: np.ndarray
    variances: np.ndarray
    asked: float


def replay(judged: Sequence[Judged], share: float, rng: np.random.Generator) -> Replay:
    """The features asked in groups, as `measuring/sampling.py` asks them."""
    n_columns = judged[0].columns.shape[1]
    predictions = {kind: JudgePrediction(n_columns) for kind in (True, False)}
    estimates, variances, asked, size, first = [], [], 0, FIRST_GROUP, 0
    while first < len(judged):
        group = judged[first : first + size]
        predicted = []
        for one in group:
            values = np.zeros(len(one.truth))
            for kind in (True, False):
                values[one.truth == kind] = predictions[kind].predict(one.columns[one.truth == kind])
            predicted.append(values)
        counts = allocated([spread_of(values) for values in predicted], [one.truth for one in group], share, PER_PROMPT)
        learned = []
        for one, values, n in zip(group, predicted, counts, strict=True):
            chosen, weights = drawn(values, one.truth, n, rng)
            asked += -(-len(chosen) // PER_PROMPT)
            rates = {}
            for kind in (True, False):
                mine = one.truth[chosen] == kind
                places = chosen[mine]
                rates[kind] = sampled_rate(one.answers[places], weights[mine], values[places], int((one.truth == kind).sum()))
                own = np.searchsorted(np.flatnonzero(one.truth == kind), places)
                learned.append((kind, one.columns[one.truth == kind], own, one.answers[places].astype(float), rates[kind].value))
            estimates.append((rates[True].value + 1 - rates[False].value) / 2)
            variances.append((rates[True].variance + rates[False].variance) / 4)
        for kind, *lesson in learned:
            predictions[kind].learn(*lesson)
        first, size = first + size, min(2 * size, LARGEST_GROUP)
    return Replay(np.array(estimates), np.array(variances), asked / sum(-(-len(one.truth) // PER_PROMPT) for one in judged))


def at_random(judged: Sequence[Judged], share: float, rng: np.random.Generator, powered: bool) -> np.ndarray:
    """Scores from as many windows of every feature, drawn at random within each kind; `powered` adds the correction of PPI++.

    The correction is λ times the difference of the cheap answer's means over all windows and over those asked about, with λ tuned to the
    feature's own answers (arXiv 2311.01453). The cheap answer is the first column.
    """
    scores = []
    for one in judged:
        rates = []
        for kind in (True, False):
            answers, cheap = one.answers[one.truth == kind].astype(float), one.columns[one.truth == kind, 0]
            chosen = rng.permutation(len(answers))[: max(2, round(share * len(answers)))]
            y, m = answers[chosen], cheap[chosen]
            tuned = float(np.cov(y, m)[0, 1] / m.var(ddof=1)) if powered and m.std() > 0 else 0.0
            rates.append(y.mean() + tuned * (cheap.mean() - m.mean()))
        scores.append((rates[0] + 1 - rates[1]) / 2)
    return np.array(scores)


def explained(judged: Sequence[Judged]) -> float:
    """R², the share of the variance of the judge's answers within features and kinds that a prediction by the columns explains.

    The prediction is linear and fitted to all answers at once. What it explains is counted feature by feature, whatever its form: the rest
    is half the squared difference of answers that are neighbours by prediction.
    """
    left = total = 0.0
    for kind in (True, False):
        parts = [(one.columns[one.truth == kind], one.answers[one.truth == kind].astype(float)) for one in judged]
        x = np.concatenate([columns - columns.mean(axis=0) for columns, _ in parts])
        slopes = np.linalg.lstsq(x, np.concatenate([y - y.mean() for _, y in parts]), rcond=None)[0]
        for columns, y in parts:
            left += len(y) * float((np.diff(y[np.argsort(columns @ slopes, kind="stable")]) ** 2).mean()) / 2
            total += len(y) * float(y.var(ddof=1))
    return 1 - left / total


def needed(variance: float, allowed: float) -> float:
    """The least share f with variance · (1 - f) / f <= allowed."""
    return variance / (variance + allowed)


def figures_of(judged: Sequence[Judged], repetitions: int, seed: int = 0) -> dict[str, Any]:
    """Measured and possible shares of one judge, and what each share gives."""
    rng = np.random.default_rng(seed)
    scores = np.array([one.score for one in judged])
    c, r2, n = float(np.mean([one.variance for one in judged])), explained(judged), len(judged)
    by_share = {}
    for share in SHARES:
        runs = [replay(judged, share, rng) for _ in range(repetitions)]
        errors = np.array([run.estimates.mean() - scores.mean() for run in runs])
        stated = np.array([np.sqrt(run.variances.sum()) / n for run in runs])
        by_share[share] = {
            "asked": float(np.mean([run.asked for run in runs])),
            "spearman": float(np.mean([spearman(run.estimates, scores) or 0.0 for run in runs])),
            "spearman_at_random": float(np.mean([spearman(at_random(judged, share, rng, False), scores) or 0.0 for _ in runs])),
            "spearman_ppi": float(np.mean([spearman(at_random(judged, share, rng, True), scores) or 0.0 for _ in runs])),
            "error_of_a_feature": (off := float(np.sqrt(np.mean([(run.estimates - scores) ** 2 for run in runs])))),
            "mean_off": float(errors.mean()),
            "half_width_of_the_mean": float(1.96 * stated.mean()),
            "error_of_the_mean": 1.96 * off / n**0.5,
            "mean_covered": float((np.abs(errors) <= 1.96 * stated).mean()),
        }
    allowed = float(scores.var()) * (1 / TARGET**2 - 1)
    reached, fewest = first_share(by_share, "spearman", TARGET), by_share[SHARES[0]]
    features = (1.96 * fewest["error_of_a_feature"] / HALF_WIDTH) ** 2 if fewest["asked"] < 0.06 else None
    return {
        "features": n, "windows": len(judged[0].truth), "explained": r2, "variance_of_scores": float(scores.var()),
        "variance_by_windows": c, "share_for_ranks": reached, "bound_for_ranks": needed(c * (1 - r2), allowed),
        "bound_without_cheap_answers": needed(c, allowed), "explained_needed_for_a_quarter": max(0.0, 1 - allowed / 3 / c),
        "features_for_a_mean_by_a_twentieth": features, "bound_of_these_features": 19 * c * (1 - r2) / (HALF_WIDTH / 1.96) ** 2,
        "shares": by_share,
    }  # fmt: skip


def first_share(by_share: dict[float, dict[str, float]], figure: str, target: float) -> float | None:
    """The share asked at which a figure that rises with it reaches the target, between shares by interpolation; None where none does."""
    before = (0.0, 0.0)
    for one in by_share.values():
        if one[figure] >= target:
            weight = (target - before[1]) / (one[figure] - before[1])
            return before[0] + weight * (one["asked"] - before[0])
        before = (one["asked"], one[figure])
    return None


def print_figures(name: str, found: dict[str, Any]) -> None:
    """The table of one judge."""
    reached = found["share_for_ranks"]
    asked = "more than 90 %" if reached is None else f"{reached:.0%}"
    print(f"\n{name}: {found['features']} features of {found['windows']} windows; cheap answers explain {found['explained']:.0%}")
    print(
        f"rank correlation {TARGET}: asked {asked}, bound {found['bound_for_ranks']:.0%}, without cheap answers "
        f"{found['bound_without_cheap_answers']:.0%}; 25 % needs an R² of {found['explained_needed_for_a_quarter']:.2f}"
    )
    features = found["features_for_a_mean_by_a_twentieth"]
    print(
        f"mean within {HALF_WIDTH} by 5 % of the questions: from {'—' if features is None else round(features)} features on, bound "
        f"{found['bound_of_these_features']:.0f}"
    )
    print("asked  rank correlation: strata, at random, PPI++   error: feature, mean   ± of the mean  holds")
    for one in found["shares"].values():
        print(
            f"{one['asked']:>5.0%}  {one['spearman']:>24.3f} {one['spearman_at_random']:>10.3f} {one['spearman_ppi']:>6.3f}   "
            f"{one['error_of_a_feature']:>14.3f} {one['error_of_the_mean']:>6.4f} {one['half_width_of_the_mean']:>15.4f} "
            f"{one['mean_covered']:>6.0%}"
        )


def main() -> None:
    """Replay every judge and print a table for each, and the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--judgements", type=Path, help="folder with real judgements")
    parser.add_argument("--features", type=int, default=128, help="simulated features")
    parser.add_argument("--quick", action="store_true", help="48 simulated features, fewer repetitions: under two minutes on one core")
    given = parser.parse_args()
    n_features, repetitions, real_repetitions = (48, 1, 2) if given.quick else (given.features, 3, 10)
    started, figures = time.perf_counter(), {}
    for worth in WORTHS:
        judged = simulated(n_features, 100, worth, np.random.default_rng(7))
        figures[f"simulated judge, cheap answer of worth {worth}"] = figures_of(judged, repetitions)
    if given.judgements is not None:
        for scorer, judged in real(given.judgements).items():
            figures[f"real judge, {scorer}"] = figures_of(judged, real_repetitions)
    for name, found in figures.items():
        print_figures(name, found)
    print(json.dumps({"seconds": round(time.perf_counter() - started, 1), **figures}))


if __name__ == "__main__":
    main()
