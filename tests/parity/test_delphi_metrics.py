"""Scores of an exported run: recomputed from its files, and as delphi computes them, they are those of our scores table.

delphi's answers are kept in `golden/delphi_metrics.json`; `pytest tests/parity --delphi-python PATH` asks delphi itself instead.
"""

import json
import subprocess
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from judged_run import HOOKPOINT, JUDGINGS, KEY, METHOD, RECORD, UNEXPLAINED, export_judged_run, judged_lake
from sklearn import metrics as reference

from interp_assets.config.base import UserError
from interp_assets.config.keys import FEATURE_RANGE_KEYS, RangeKey, lake_partition
from interp_assets.exchange.export_delphi_results import DELPHI_SCORERS, export_delphi_results
from interp_assets.tables import EXPLANATIONS, SCORES, VERDICTS
from resources.formats.delphi_results import explanation_files, read_explanations
from resources.store.lake import Lake, LakeError

HERE = Path(__file__).parent
METRICS = ("balanced_accuracy", "f1", "precision", "recall", "auroc")
NEAR = 1e-9
DELPHIS_ZERO = {"one_class", "undefined", "no_answers"}
"""Outcomes of ours for which delphi reports a number: it takes a rate without windows for 0."""

Scores = dict[tuple[str, int, str], tuple[float | None, str]]


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    return judged_lake(tmp_path_factory.mktemp("lake"))[0]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, lake: Lake) -> Path:
    """The exported run."""
    folder = tmp_path_factory.mktemp("run")
    export_judged_run(folder, lake)
    return folder


@pytest.fixture(scope="module")
def scores(lake: Lake) -> Scores:
    """(value, outcome) in our table by scorer in delphi's name, feature and metric."""
    found = {}
    for scorer, name in DELPHI_SCORERS.items():
        for feature_range in FEATURE_RANGE_KEYS:
            for row in lake.read(SCORES.name, {"scorer": scorer, **lake_partition(RangeKey(KEY, feature_range))}).to_pylist():
                found[name, row["feature"], row["metric"]] = row["value"], row["outcome"]
    return found


@pytest.fixture(scope="module")
def delphi(request: pytest.FixtureRequest, run: Path) -> dict:
    """delphi's metrics by scorer and feature."""
    kept = (HERE / "golden" / "delphi_metrics.json").read_text()
    python = request.config.getoption("--delphi-python")
    if python is None:
        return json.loads(kept)["metrics"]
    command = [python, str(HERE / "delphi_metrics.py"), str(run), HOOKPOINT]
    answered = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert rounded(answered)["metrics"] == rounded(kept)["metrics"], "this delphi answers otherwise than the one whose answers are kept"
    return json.loads(answered)["metrics"]


def rounded(text: str) -> dict:
    """JSON with its numbers to nine places."""
    return json.loads(text, parse_float=lambda number: round(float(number), 9))


def windows(run: Path) -> dict[tuple[str, int], list[dict]]:
    """The judged windows in the files, by scorer and feature."""
    return {
        (path.parent.name, int(path.stem.removeprefix(f"{HOOKPOINT}_latent"))): json.loads(path.read_text())
        for path in run.glob(f"scores/*/{HOOKPOINT}_latent*.txt")
    }


def test_every_feature_that_was_judged_has_its_file(run: Path) -> None:
    assert set(windows(run)) == {(scorer, feature) for scorer in ("detection", "fuzz") for feature in range(len(JUDGINGS))}
    explanations = list(read_explanations(explanation_files(run, HOOKPOINT), RECORD.width))
    assert [(row.feature, row.text) for row in explanations] == [(f, f"words like number {f}") for f in range(UNEXPLAINED)]  # type: ignore[union-attr]


def test_windows_say_what_the_verdicts_say(run: Path, lake: Lake) -> None:
    partition = {"scorer": "fuzzing", **lake_partition(RangeKey(KEY, FEATURE_RANGE_KEYS[8]))}  # feature 8, not all answered
    verdicts = lake.read(VERDICTS.name, partition).to_pylist()
    written = windows(run)["fuzz", 8]
    assert len(written) == len(verdicts) == 20
    for window, verdict in zip(written, verdicts, strict=True):
        assert (window["activating"], window["prediction"], window["probability"]) == (
            verdict["truth"], verdict["prediction"], verdict["probability"],
        )  # fmt: skip
        assert window["distance"] == (verdict["stratum"] if verdict["truth"] else -1)
        assert window["correct"] == (None if verdict["prediction"] is None else verdict["prediction"] == verdict["truth"])
        assert len(window["str_tokens"]) == 4 and (max(window["activations"]) == 1.5) == verdict["truth"]


def test_scores_recomputed_from_the_files_are_those_of_the_table(run: Path, scores: Scores) -> None:
    compared = 0
    for (scorer, feature), judged in windows(run).items():
        answered = [window for window in judged if window["prediction"] is not None]
        truth, prediction = (np.array([window[name] for window in answered], dtype=bool) for name in ("activating", "prediction"))
        if truth.any() and not truth.all():
            value, outcome = scores[scorer, feature, "balanced_accuracy"]
            assert outcome == "ok" and value == pytest.approx(reference.balanced_accuracy_score(truth, prediction), abs=NEAR)
            compared += 1
        if truth.any():
            value, outcome = scores[scorer, feature, "f1"]
            assert outcome == "ok" and value == pytest.approx(reference.f1_score(truth, prediction, zero_division=0), abs=NEAR)
    assert compared == 2 * (len(JUDGINGS) - 3)  # not: none answered, and either class missing


def test_delphi_computes_the_scores_of_the_table(delphi: dict, scores: Scores) -> None:
    outcomes = defaultdict(int)
    for scorer in ("detection", "fuzz"):
        assert set(delphi[scorer]) == {*map(str, range(len(JUDGINGS))), "all"}
        for feature in range(len(JUDGINGS)):
            theirs = delphi[scorer][str(feature)]
            for metric in METRICS:
                ours, outcome = scores[scorer, feature, metric]
                outcomes[metric, outcome] += 1
                if outcome == "ok":
                    assert ours == pytest.approx(theirs[metric], abs=NEAR), (scorer, feature, metric)
                elif metric != "auroc":
                    assert outcome in DELPHIS_ZERO and theirs[metric] <= 0.5, (scorer, feature, metric)
                elif JUDGINGS[feature].probability_share in (0, 1):  # where only some have one, delphi goes by those, we by none
                    assert theirs[metric] is None, (scorer, feature)
    # of 30: both classes and an answer 24; positives 26; a yes (not: none answered, never yes) 26; both classes and all probabilities 20
    assert [outcomes[metric, "ok"] for metric in METRICS] == [24, 26, 26, 26, 20]


def test_where_a_class_is_missing_delphi_counts_its_half_as_none(delphi: dict, scores: Scores) -> None:
    without_negatives = JUDGINGS.index(next(judging for judging in JUDGINGS if judging.n_negative == 0))
    for scorer in ("detection", "fuzz"):
        theirs = delphi[scorer][str(without_negatives)]
        assert theirs["balanced_accuracy"] == pytest.approx(theirs["recall"] / 2, abs=NEAR)
        assert scores[scorer, without_negatives, "balanced_accuracy"] == (None, "one_class")


def test_delphi_pools_the_windows_of_all_features(delphi: dict, run: Path) -> None:
    for scorer in ("detection", "fuzz"):
        judged = [window for (name, _), own in windows(run).items() if name == scorer for window in own if window["prediction"] is not None]
        truth, prediction = ([window[name] for window in judged] for name in ("activating", "prediction"))
        assert delphi[scorer]["all"]["balanced_accuracy"] == pytest.approx(reference.balanced_accuracy_score(truth, prediction), abs=NEAR)
        assert delphi[scorer]["all"]["f1"] == pytest.approx(reference.f1_score(truth, prediction), abs=NEAR)


def test_an_export_of_part_of_a_dictionary_or_of_what_is_stale_is_refused(tmp_path: Path) -> None:
    lake = judged_lake(tmp_path / "lake")[0]
    partition = lake_partition(RangeKey(KEY, FEATURE_RANGE_KEYS[3]))
    rows = lake.read(EXPLANATIONS.name, {"explanation_method": METHOD, **partition})
    verdicts = {"scorer": "detection", **partition}
    lake.write(VERDICTS.name, verdicts, VERDICTS.schema, lake.read(VERDICTS.name, verdicts), "1", {f"explanations/{METHOD}": "1"})
    export_delphi_results(lake, RECORD, tmp_path / "current")
    lake.write(EXPLANATIONS.name, {"explanation_method": METHOD, **partition}, EXPLANATIONS.schema, rows, "2")
    with pytest.raises(
        UserError,
        match=r"verdicts of detection on .*03of16 are older than its explanations/max_act.*--only scores/detection` makes them again",
    ):
        export_delphi_results(lake, RECORD, tmp_path / "stale")
    lake.discard(VERDICTS.name, verdicts)
    with pytest.raises(LakeError, match=r"no complete verdicts for scorer detection.*03of16"):
        export_delphi_results(lake, RECORD, tmp_path / "part")
    for feature_range in FEATURE_RANGE_KEYS:
        lake.discard(VERDICTS.name, {"scorer": "detection", **lake_partition(RangeKey(KEY, feature_range))})
    said: list[str] = []
    exported = export_delphi_results(lake, RECORD, tmp_path / "fuzzing", say=said.append)
    assert dict(exported.scores) == {"fuzzing": len(JUDGINGS)} and exported.unexplained == {"unparsable": 1}
    run = f"interp backfill {KEY} --only scores/detection"
    assert said == [f"note: detection has not run on {KEY}, and is left out; if the settings ask for it: {run}"]
    assert not (tmp_path / "stale").exists() and not (tmp_path / "part").exists()
