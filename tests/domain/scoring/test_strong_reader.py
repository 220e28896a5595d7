"""The tables of docs/trust.md on a strong reader, from its recorded answers by the platform's own reading and scoring of replies."""

import gzip
import json
import re
from collections import defaultdict
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from interp_assets.domain.prompting.prompts import Prompt
from interp_assets.domain.scoring import Scorer, ScoringSettings, detection, fuzzing
from interp_assets.domain.statistics.metrics import paired_difference
from interp_assets.domain.trials import AnsweredTrial, ScorerInput, ScoreRow, Trial, TrialItem, Verdict

ROOT = Path(__file__).parents[3]
ANSWERS = ROOT / "tests" / "data" / "strong_reader.jsonl.gz"
SCORING = ScoringSettings()
SCORERS: dict[str, Scorer] = {"detection": detection, "fuzzing": fuzzing}
Way = tuple[str, str, str, str]  # how it was asked, whose features, the explanations, the scorer
PROMPT = Prompt((("user", "a recorded question"),), 0, 12)


@cache
def judged() -> dict[Way, dict[int, tuple[tuple[ScoreRow, ...], tuple[Verdict, ...]]]]:
    """Score rows and verdicts of each feature."""
    trials: dict[Way, dict[int, list[AnsweredTrial]]] = defaultdict(lambda: defaultdict(list))
    for row in map(json.loads, gzip.decompress(ANSWERS.read_bytes()).splitlines()):
        own = trials[row["way"], row["dictionary"], row["method"], row["scorer"]][row["feature"]]
        items = [TrialItem(f"{len(own)}/{i}", s is not None, s, "window") for i, s in enumerate(row["strata"])]
        trial = Trial.about(ScorerInput(row["feature"], row["method"], "x", (), (), ()), row["scorer"], len(own), PROMPT, items)
        own.append(AnsweredTrial(trial, str(row["answers"])))
    found: dict[Way, dict[int, tuple[tuple[ScoreRow, ...], tuple[Verdict, ...]]]] = {}
    for way, features in trials.items():
        scorer, found[way] = SCORERS[way[-1]], {}
        for feature, answered in features.items():
            one = ScorerInput(feature, way[2], "x", (), (), ())
            verdicts = scorer.grade(one, answered, SCORING.of(scorer))
            found[way][feature] = scorer.summarise(one, verdicts, SCORING.of(scorer), 50, 0), verdicts
    return found


def scores(*way: str) -> dict[int, float]:
    return {
        feature: row.value
        for feature, (rows, _) in judged()[way].items()  # pyright: ignore[reportArgumentType]
        for row in rows
        if row.metric == "balanced_accuracy" and row.value is not None
    }


def section() -> str:
    return (ROOT / "docs" / "trust.md").read_text().partition("## A strong reader")[2].partition("\n## ")[0]


def test_the_table_of_balanced_accuracies() -> None:
    table = {
        label: (fuzz, det) for label, fuzz, det in re.findall(r"^\| (SAE[^|]*|neurons[^|]*) \| ([\d.]+) \| ([\d.]+) \|", section(), re.M)
    }
    expected = {
        f"{label}{', shuffled explanations' if method == 'shuffled' else ''}": tuple(
            f"{np.mean(list(scores('plain', dictionary, method, scorer).values())):.2f}" for scorer in ("fuzzing", "detection")
        )
        for method in ("max_act", "shuffled")
        for dictionary, label in (("SAE", "SAE latents"), ("neurons", "neurons"))
    }
    assert table == expected and expected["SAE latents"] == ("0.81", "0.75")
    counts = [len(scores("plain", dictionary, "max_act", "detection")) for dictionary in ("SAE", "neurons")]
    assert section().strip().startswith(f"{counts[0]} SAE latents and {counts[1]} neurons")
    assert f"{sum(len(v) for way, f in judged().items() if way[0] == 'plain' for _, v in f.values()):,}" in section()


@pytest.mark.parametrize("scorer", ["detection", "fuzzing"])
def test_the_table_of_recall_by_strength(scorer: str) -> None:
    verdicts = [v for _, own in judged()["plain", "SAE", "max_act", scorer].values() for v in own]
    recall = [np.mean([bool(v.prediction) for v in verdicts if v.stratum == fifth]) for fifth in range(5)]
    alarms = np.mean([bool(v.prediction) for v in verdicts if not v.truth])
    assert f"| {scorer} | {', '.join(f'{share:.2f}' for share in recall)} | {alarms:.2f} |" in section()


@pytest.mark.parametrize(
    ("way", "scorer", "told"),
    [
        ("narrow explanations", "detection", "lost 0.08 ± 0.04 of both scores"),
        ("narrow explanations", "fuzzing", "lost 0.08 ± 0.04 of both scores"),
        ("covering explanations", "detection", "lost 0.07 ± 0.06 of detection"),
        ("strict judge", "detection", "detection by -0.03 ± 0.03"),
        ("strict judge", "fuzzing", "fuzzing by -0.01 ± 0.02"),
    ],
)
def test_other_ways_to_ask(way: str, scorer: str, told: str) -> None:
    """The paired difference from the plain way, with half the width of its interval."""
    own, plain = (scores(one, "SAE", "max_act", scorer) for one in (way, "plain"))
    found = paired_difference(np.array([own[f] for f in sorted(own)]), np.array([plain[f] for f in sorted(own)]))
    assert found.value is not None and found.ci_high is not None
    sign = "lost " if "lost" in told else "by -"
    assert f"{sign}{-found.value:.2f} ± {found.ci_high - found.value:.2f}" in told and told in " ".join(section().split())
