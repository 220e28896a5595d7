"""What stopping early (`scoring: {sequential: {ci_width: …}}`) saves of a judge's questions, and what it costs in scores.

    python benchmarks/sequential.py [--quick] [--features 24] [--windows 100]

Harvests the demo's SAE, explains some of its features and has the embedded SmolLM2 judge them by detection, every trial. Its answers are
then replayed in rounds, as the graph asks them, under several widths, and the headline scores at which asking stops are set against those
of all trials. So are those of as many trials in all that are dealt evenly over the features ("evenly"): what asking less saves anyhow.

A judge of 135M parameters is near chance on most features, where scores hardly differ and ranks are noise. Beside it stands a simulated
judge of known accuracy, drawn from 0.5 to 1 for each feature and repetition, on the same trials: whether scores still rank features as
they should, how far they end above the accuracy, and how often their 95 % intervals hold it. The last line is one JSON object.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import yaml

from interp_assets.asking.asker import Asker, answered_in_order
from interp_assets.asking.questions import Question
from interp_assets.assets.explanations.explainer_inputs import read_explainer_inputs
from interp_assets.config.keys import FEATURE_RANGE_KEYS, RangeKey
from interp_assets.config.records import DictionaryRecord
from interp_assets.config.settings import StageSettings
from interp_assets.domain.explaining import max_act
from interp_assets.domain.explaining.shared.explainer_input import ExplainerReply
from interp_assets.domain.scoring import detection
from interp_assets.domain.scoring.shared.sequential import SequentialSettings, is_known, next_round
from interp_assets.domain.statistics.metrics import Estimate, estimate, spearman
from interp_assets.domain.trials import AnsweredTrial, ScorerInput, ScoreRow
from interp_assets.installation.home import Home
from interp_assets.measuring.answerer import Judging, Planned
from interp_assets.orchestration.partitions import DICTIONARIES
from interp_assets.orchestration.range_partition import RangePartition
from resources.language_models.budget import Spending
from resources.model_provider import RealModels

RECORD = Path(__file__).parents[1] / "interp_assets" / "demo" / "records" / "res-2k.yaml"
WIDTHS = (0.2, 0.3, 0.4, 0.5)
N_SHOWN = 10
N_RESAMPLED = 2000
FEATURES_LOOKED_AT = 8  # for each one wanted: many fire on too few windows of the sample
SIMULATED, EMBEDDED = "simulated judge", "SmolLM2 judge"


@dataclass(frozen=True)
class Judged:
    """A case with the answers to all of its trials; `accuracy` is its judge's, where that is known."""

    scorer_input: ScorerInput
    answered: tuple[AnsweredTrial, ...]
    accuracy: float | None = None

    def headline(self, n_asked: int, settings: StageSettings, n_bootstrap: int) -> ScoreRow:
        """The headline row over the first `n_asked` trials."""
        scoring = settings.scoring
        verdicts = detection.grade(self.scorer_input, self.answered[:n_asked], scoring.detection)
        rows = detection.summarise(self.scorer_input, verdicts, scoring.detection, n_bootstrap, settings.seed)
        (row,) = (row for row in rows if row.metric == detection.HEADLINE)
        return row


class Replay:
    """The headline rows of a judged case after each round of the sequential settings, whose width is left open; the last has all trials."""

    def __init__(self, judged: Judged, settings: StageSettings, rounds: SequentialSettings) -> None:
        self.judged, self._settings, self._rounds = judged, settings, rounds
        self.n_trials = len(judged.answered)
        self._after: dict[int, ScoreRow] = {}
        started = time.perf_counter()
        while chosen := next_round(self.n_trials, max(self._after, default=0), rounds):
            self._after[chosen.stop] = judged.headline(chosen.stop, settings, settings.scoring.n_bootstrap)
        self.seconds_a_round = (time.perf_counter() - started) / max(len(self._after), 1)

    @property
    def full(self) -> ScoreRow:
        """The row over all trials."""
        return self._after[self.n_trials]

    def stopped(self, ci_width: float) -> tuple[int, ScoreRow]:
        """(trials asked, row) where asking stops under this width."""
        wanted = replace(self._rounds, ci_width=ci_width)
        n_asked = next((n for n, row in self._after.items() if is_known([row], detection.HEADLINE, wanted)), self.n_trials)
        return n_asked, self._after[n_asked]

    def first(self, share: float) -> ScoreRow:
        """The row over this share of the trials, one at least, however well the score is known."""
        n_asked = max(1, round(share * self.n_trials))
        return self._after.get(n_asked) or self.judged.headline(n_asked, self._settings, self._settings.scoring.n_bootstrap)


def judged_by_embedded_model(folder: Path, n_features: int, n_windows: int, n_tokens: int) -> tuple[list[Judged], StageSettings, float]:
    """(features of the demo's SAE with all answers of the embedded judge, settings, seconds that the judge took a trial).

    Fewer features where fewer fire on enough windows for `n_windows` held out beside those shown.
    """
    home = Home(folder, str(folder / "lake"))
    content = yaml.safe_load(RECORD.read_text())
    content["token_sample"]["n_tokens"] = n_tokens
    counts = {"n_shown": N_SHOWN, "n_held_out": n_windows, "n_non_activating": n_windows, "min_activating": N_SHOWN + n_windows}
    content["stages"]["examples"].update(counts, n_strata=10)
    record = DictionaryRecord.model_validate({**content, "features": {"count": FEATURES_LOOKED_AT * n_features}})
    materialise_examples(home, record)
    settings = home.settings.stage_settings(record.stages)
    asker = Asker(home.settings.scorer, RealModels(), home.replies, Spending(), lambda so_far: print(so_far, file=sys.stderr, flush=True))
    with asker:
        partition, scorer_inputs = explained_cases(home, record, settings, asker, n_features)
        planned = [
            Planned(partition, scorer_input, detection.plan(scorer_input, settings.scoring.detection, settings.seed))
            for scorer_input in scorer_inputs
        ]
        started = time.perf_counter()
        judged = [
            Judged(scorer_input, found.trials)
            for scorer_input, found in zip(scorer_inputs, Judging(detection, asker).answer(iter(planned)), strict=True)
        ]
        seconds = time.perf_counter() - started
    return judged, settings, seconds / max(sum(len(one.answered) for one in judged), 1)


def materialise_examples(home: Home, record: DictionaryRecord) -> None:
    """The graph from the corpus to the examples of the record's features."""
    os.environ["INTERP_HOME"] = str(home.root)
    from interp_assets.graph.assembly import ASSETS, definitions

    home.registry.write(record)
    instance = dg.DagsterInstance.ephemeral()
    instance.add_dynamic_partitions(DICTIONARIES.name or "", [record.key])
    resources = dict(definitions(home, RealModels()).resources or {})
    ends = [f"{record.key}|{feature_range}" for feature_range in (FEATURE_RANGE_KEYS[0], FEATURE_RANGE_KEYS[-1])]
    for names, first, last in ((("token_sample", "activation_shards"), record.key, record.key), (("examples",), *ends)):
        chosen = [asset for asset in ASSETS if "/".join(asset.key.path) in names]
        tags = {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}
        dg.materialize(ASSETS, selection=chosen, instance=instance, resources=resources, tags=tags)


def explained_cases(
    home: Home, record: DictionaryRecord, settings: StageSettings, asker: Asker, n_features: int
) -> tuple[RangePartition, list[ScorerInput]]:
    """(a partition of the record, up to `n_features` cases with their windows and a max_act explanation)."""
    partitions = [RangePartition(RangeKey(record.key, name), record, settings, "", {}) for name in FEATURE_RANGE_KEYS]
    found = (pair for partition in partitions for pair in read_explainer_inputs(home.lake, partition, max_act))
    usable = list(islice(((evidence, material) for evidence, material in found if evidence.outcome == "ok"), n_features))
    own = settings.explaining.max_act
    groups = [[Question(m.feature, max_act.NAME, max_act.prompt(m, m.shown[: own.n_shown], own))] for _, m in usable]
    scorer_inputs = []
    for (evidence, material), answers in zip(usable, answered_in_order(asker, groups), strict=True):
        made = max_act.grade(material, [ExplainerReply(answer.reply.text, answer.reply.error) for answer in answers], own)
        if made.text is not None:
            scorer_inputs.append(
                ScorerInput(made.feature, max_act.NAME, made.text, evidence.shown, evidence.held_out, evidence.token_texts)
            )
    return partitions[0], scorer_inputs


def judged_by_simulated_judge(judged: Sequence[Judged], n_repetitions: int) -> list[Judged]:
    """Every case as often under a judge that is right on each window with one probability, drawn evenly from 0.5 to 1."""
    found = []
    for repetition in range(n_repetitions):
        for one in judged:
            rng = np.random.default_rng([repetition, one.scorer_input.feature])
            accuracy = float(rng.uniform(0.5, 1.0))
            replies = [[int(item.truth == (rng.random() < accuracy)) for item in a.trial.items] for a in one.answered]
            answered = tuple(AnsweredTrial(a.trial, str(reply)) for a, reply in zip(one.answered, replies, strict=True))
            found.append(replace(one, answered=answered, accuracy=accuracy))
    return found


def figures_at(ci_width: float, replays: Sequence[Replay]) -> dict[str, float | None]:
    """What stopping at a width saves and costs over cases that all have a score; against the known accuracies where there are any."""
    ends = [replay.stopped(ci_width) for replay in replays]
    share = sum(n for n, _ in ends) / sum(replay.n_trials for replay in replays)
    rows = {
        "full": [replay.full for replay in replays],
        "stopped": [row for _, row in ends],
        "evenly": [replay.first(share) for replay in replays],
    }
    full, score, evenly = (np.array([row.value for row in found], dtype=np.float64) for found in rows.values())
    rank = resampled(spearman, score, full)
    figures = {
        "asked": share,
        "spearman": rank.value,
        "spearman_low": rank.ci_low,
        "spearman_high": rank.ci_high,
        "mean_abs_difference": float(np.abs(score - full).mean()),
        "evenly_spearman": spearman(evenly, full),
        "evenly_mean_abs_difference": float(np.abs(evenly - full).mean()),
    }
    known = [replay.judged.accuracy for replay in replays if replay.judged.accuracy is not None]
    if known:
        truth = np.array(known)
        for name, found in (("full", full), ("stopped", score), ("evenly", evenly)):
            figures[f"{name}_spearman_with_accuracy"] = spearman(found, truth)
            figures[f"{name}_mean_above_accuracy"] = float((found - truth).mean())
            figures[f"{name}_covered"] = covered(rows[name], truth)
    return {name: None if value is None else round(value, 3) for name, value in figures.items()}


def resampled(measure: Callable[[np.ndarray, np.ndarray], float | None], x: np.ndarray, y: np.ndarray) -> Estimate:
    """A measure of two arrays [cases] that may have none (None), with its interval over cases drawn with replacement."""
    value, rng = measure(x, y), np.random.default_rng(0)
    drawn = (measure(x[i], y[i]) for i in rng.integers(0, len(x), (N_RESAMPLED, len(x))))
    return estimate(np.nan if value is None else value, np.array([np.nan if one is None else one for one in drawn]))


def covered(rows: Sequence[ScoreRow], truth: np.ndarray) -> float:
    """Share of the rows whose interval holds the truth [rows]."""
    bounds = np.array([(row.ci_low, row.ci_high) for row in rows], dtype=np.float64)
    return float(((bounds[:, 0] <= truth) & (truth <= bounds[:, 1])).mean())


def figures_of(judged: Sequence[Judged], settings: StageSettings, rounds: SequentialSettings) -> dict[str, Any]:
    """All figures of one judge; cases without a score at the end are counted and left out."""
    replays = [Replay(one, settings, rounds) for one in judged]
    scored = [replay for replay in replays if replay.full.value is not None]
    scores = [replay.full.value for replay in scored if replay.full.value is not None]
    intervals = [(replay.full.ci_low, replay.full.ci_high) for replay in scored]
    widths = [high - low for low, high in intervals if low is not None and high is not None]
    return {
        "cases": len(scored),
        "without_score": len(judged) - len(scored),
        "median_score": round(float(np.median(scores)), 3),
        "median_width_of_all_trials": round(float(np.median(widths)), 3),
        "decision_ms": round(1000 * float(np.mean([replay.seconds_a_round for replay in scored])), 1),
        "widths": {str(width): figures_at(width, scored) for width in WIDTHS},
    }


def print_table(name: str, figures: dict[str, Any]) -> None:
    """A line a width."""
    print(
        f"\n{name}: {figures['cases']} cases, median score {figures['median_score']}, after all trials in an interval "
        f"{figures['median_width_of_all_trials']} wide; {figures['decision_ms']} ms a decision"
    )
    known = "full_covered" in figures["widths"][str(WIDTHS[0])]
    print(f"{'':>8} {'':>6}  {'against the scores of all trials: stopped':^41}  {'evenly':^14}", end="")
    print(f"  {'rank with accuracy':^23}  {'above accuracy':^15}  {'covered':^22}" if known else "")
    print(f"{'ci_width':>8} {'asked':>6}  {'rank correlation':^24}  {'abs. difference':>15}  {'rank':>6} {'diff.':>7}", end="")
    print(f"  {'all':>7} {'stopped':>7} {'evenly':>7}  {'all':>7} {'stopped':>7}  {'all':>6} {'stopped':>7} {'evenly':>7}" if known else "")
    for width, at in figures["widths"].items():
        interval = f"{shown(at['spearman'])} [{shown(at['spearman_low'])}, {shown(at['spearman_high'])}]"
        line = f"{width:>8} {at['asked']:>6.0%}  {interval:^24}  {at['mean_abs_difference']:>15.3f}"
        line += f"  {shown(at['evenly_spearman']):>6} {at['evenly_mean_abs_difference']:>7.3f}"
        if known:
            ranks = " ".join(f"{shown(at[f'{which}_spearman_with_accuracy']):>7}" for which in ("full", "stopped", "evenly"))
            above = " ".join(f"{at[f'{which}_mean_above_accuracy']:>+7.3f}" for which in ("full", "stopped"))
            line += f"  {ranks}  {above}  {at['full_covered']:>6.0%} {at['stopped_covered']:>7.0%} {at['evenly_covered']:>7.0%}"
        print(line)


def shown(value: float | None) -> str:
    """Two digits, or a dash where there is no value."""
    return "—" if value is None else f"{value:.2f}"


def main() -> None:
    """Judge, replay and print a table for each judge and the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", type=int, default=24)
    parser.add_argument("--windows", type=int, default=100, help="held-out windows of each kind; five make a trial")
    parser.add_argument("--tokens", type=int, default=65_536, help="length of the token sample, a multiple of 256")
    parser.add_argument("--repetitions", type=int, default=10, help="simulated judges a feature")
    parser.add_argument("--first-trials", type=int, default=SequentialSettings.first_trials, help="asked before the first look")
    parser.add_argument("--step-trials", type=int, default=SequentialSettings.step_trials, help="asked between two looks")
    parser.add_argument("--quick", action="store_true", help="4 features, 30 windows, 16,384 tokens: under two minutes on two cores")
    given = parser.parse_args()
    rounds = SequentialSettings(WIDTHS[0], given.first_trials, given.step_trials)
    n_features, n_windows, n_tokens = (4, 30, 16_384) if given.quick else (given.features, given.windows, given.tokens)
    with tempfile.TemporaryDirectory() as folder:
        judged, settings, seconds_a_trial = judged_by_embedded_model(Path(folder), n_features, n_windows, n_tokens)
    if len(judged) < 2:
        raise SystemExit(
            f"{len(judged)} of {n_features} features fire on {N_SHOWN + n_windows} windows: give more --tokens, or fewer --windows"
        )
    judges = {EMBEDDED: judged, SIMULATED: judged_by_simulated_judge(judged, given.repetitions)}
    figures = {name: figures_of(scorer_inputs, settings, rounds) for name, scorer_inputs in judges.items()}
    for name, found in figures.items():
        print_table(name, found)
    print(f"\nThe {EMBEDDED} (135M) is near chance: how well its ranks are kept says little. It takes {seconds_a_trial:.2f} s a trial.")
    trials = max(len(one.answered) for one in judged)
    sizes = {
        "n_features": len(judged),
        "n_windows": 2 * n_windows,
        "n_trials": trials,
        "first_trials": rounds.first_trials,
        "step_trials": rounds.step_trials,
        "seconds_a_trial": round(seconds_a_trial, 3),
    }
    print(json.dumps({**sizes, **figures}))


if __name__ == "__main__":
    main()
