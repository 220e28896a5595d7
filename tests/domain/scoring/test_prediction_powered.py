"""Which windows a judge is asked about, and the score rows of what it answers."""

from dataclasses import replace

import numpy as np
import pytest

from interp_assets.domain.scoring import ScoringSettings, detection, fuzzing
from interp_assets.domain.scoring.fuzzing import FuzzingSettings
from interp_assets.domain.scoring.shared import classifier, estimated
from interp_assets.domain.scoring.shared.asked_again import asked_again, sampled_items
from interp_assets.domain.scoring.shared.classifier import ClassifierSettings
from interp_assets.domain.scoring.shared.prediction_powered import (
    JudgePrediction,
    PredictionPoweredSettings,
    allocated,
    drawn,
    expected_spread,
)
from interp_assets.domain.scoring.shared.sequential import SequentialSettings
from interp_assets.domain.trials import ScorerInput, ScoreRow, Verdict

CASE = ScorerInput(0, "max_act", "anything", (), (), ())
N = 60
TRUTH = np.repeat([True, False], N)


def judged(rng: np.random.Generator, right: float, worth: float) -> tuple[np.ndarray, np.ndarray]:
    """(answers, latent of a cheap answer) of N + N windows; |worth| is the correlation of the judge's latent with the cheap answer."""
    cheap = rng.normal(size=2 * N)
    threshold = {0.8: 0.8416, 0.95: 1.6449}[right]
    latent = np.where(TRUTH, threshold, -threshold) + worth * cheap + np.sqrt(1 - worth**2) * rng.normal(size=2 * N)
    return latent > 0, cheap


def verdicts_of(chosen: np.ndarray, weights: np.ndarray, answers: np.ndarray, predicted: np.ndarray, order: np.ndarray) -> list[Verdict]:
    found = []
    for k, (i, weight) in enumerate(zip(chosen[order].tolist(), weights[order].tolist(), strict=True)):
        probability, stratum = 0.9 if answers[i] else 0.2, i % 5 if TRUTH[i] else None
        found.append(
            Verdict(
                f"t{k // 5}", 0, "max_act", "detection", k % 5, str(i), bool(TRUTH[i]), bool(answers[i]), probability, stratum, "x",
                "answered", weight=weight, predicted=float(predicted[i]),
            )
        )  # fmt: skip
    return found


def headline(rows: tuple[ScoreRow, ...]) -> ScoreRow:
    (row,) = (row for row in rows if row.metric == "balanced_accuracy")
    return row


def replayed(right: float, worth: float, share: float, draws: int) -> list[tuple[ScoreRow, float]]:
    """(row, score of all windows) of one feature after another; predictions are learned from the features before."""
    rng = np.random.default_rng(1)
    predictions = {True: JudgePrediction(1), False: JudgePrediction(1)}
    found = []
    for _ in range(draws):
        answers, cheap = judged(rng, right, worth)
        columns = cheap[:, None]
        predicted = np.zeros(2 * N)
        for kind in (True, False):
            predicted[kind == TRUTH] = predictions[kind].predict(columns[kind == TRUTH])
        (n,) = allocated([expected_spread(predicted)], [TRUTH], share, 5)
        chosen, weights = drawn(predicted, TRUTH, n, rng)
        verdicts = verdicts_of(chosen, weights, answers, predicted, rng.permutation(len(chosen)))
        row = headline(estimated.summarise("detection", CASE, verdicts, 20, 0))
        found.append((row, (answers[TRUTH].mean() + 1 - answers[~TRUTH].mean()) / 2))
        for kind in (True, False):
            places = chosen[TRUTH[chosen] == kind] - (0 if kind else N)
            own = answers[kind == TRUTH][places].astype(float)
            predictions[kind].learn(columns[kind == TRUTH], places, own, float(own.mean()))
    return found


@pytest.mark.parametrize(("worth", "share"), [(0.0, 0.25), (-0.8, 0.25), (0.99, 0.25)])
def test_estimates_are_unbiased_and_their_intervals_hold_the_truth(worth: float, share: float) -> None:
    """The cheap answer is useless, anticorrelated or as good as the judge."""
    found = replayed(0.8, worth, share, 150)
    away = np.array([row.value - full for row, full in found])  # type: ignore[operator]
    held = np.mean([row.ci_low <= 0.8 <= row.ci_high for row, _ in found])  # type: ignore[operator]
    assert abs(away.mean()) < 4 * away.std() / np.sqrt(len(away))
    assert held > 0.9
    stated = np.sqrt(np.mean([row.sampling_error**2 for row, _ in found]))  # type: ignore[operator]
    assert away.std() * 0.7 < stated < away.std() * (1.4 if abs(worth) < 0.9 else 3.0)
    assert {row.asked_share for row, _ in found} == {0.25}


def test_a_worthy_cheap_answer_narrows_and_a_useless_one_does_not_widen() -> None:
    def width(worth: float) -> float:
        return float(np.mean([row.ci_high - row.ci_low for row, _ in replayed(0.8, worth, 0.25, 60)][20:]))  # type: ignore[operator]

    useless, worthy = width(0.0), width(0.95)
    assert worthy < 0.9 * useless
    evenly = 2 * 1.96 * np.sqrt(0.16 / 15 / 2)  # 15 windows of each kind
    assert useless < 1.25 * evenly


def test_all_windows_asked_give_the_rows_of_all_windows() -> None:
    """Values as without sampling, and a sampling error of 0."""
    rng = np.random.default_rng(2)
    answers, cheap = judged(rng, 0.8, 0.5)
    every = np.arange(2 * N)
    verdicts = verdicts_of(every, np.ones(2 * N, dtype=int), answers, cheap, rng.permutation(2 * N))
    sampled = estimated.summarise("detection", CASE, verdicts, 50, 0)
    whole = classifier.summarise("detection", CASE, verdicts, 50, 0)
    for one, other in zip(sampled, whole, strict=True):
        assert (one.metric, one.stratum, one.n_positive, one.n_negative) == (
            other.metric,
            other.stratum,
            other.n_positive,
            other.n_negative,
        )
        assert one.value == pytest.approx(other.value) and one.floor == pytest.approx(other.floor), one.metric
        if one.metric not in ("auroc", "average_precision"):
            assert (one.ci_low, one.ci_high) == pytest.approx((other.ci_low, other.ci_high), abs=0.03), one.metric
        assert one.asked_share == 1.0
    assert headline(sampled).sampling_error == 0.0


def test_unanswered_windows_and_a_kind_without_answers_have_names() -> None:
    answers, cheap = judged(np.random.default_rng(3), 0.8, 0.5)
    (n,) = allocated([expected_spread(cheap)], [TRUTH], 0.25, 5)
    chosen, weights = drawn(cheap, TRUTH, n, np.random.default_rng(0))
    verdicts = verdicts_of(chosen, weights, answers, cheap, np.arange(len(chosen)))
    silent = [v for v in verdicts if not v.truth]
    mute = [Verdict(**{**v.__dict__, "prediction": None, "probability": None, "outcome": "unparsable"}) for v in verdicts if v.truth]
    row = headline(estimated.summarise("detection", CASE, [*mute, *silent], 20, 0))
    assert (row.outcome, row.value, row.sampling_error, row.n_unanswered) == ("one_class", None, None, len(mute))
    some = headline(estimated.summarise("detection", CASE, [*mute[:1], *verdicts[1:]], 20, 0))
    assert some.outcome == "ok" and some.n_unanswered == 1


def test_a_prediction_learns_which_way_a_column_points() -> None:
    rng, rising, falling = np.random.default_rng(0), JudgePrediction(1), JudgePrediction(1)
    for _ in range(30):
        columns = rng.normal(size=(40, 1))
        yes = (columns[:, 0] > 0).astype(float)
        for prediction, answers in ((rising, yes), (falling, 1 - yes)):
            prediction.learn(columns, np.arange(40), answers, float(answers.mean()))
    columns = np.array([[-1.0], [0.0], [1.0]])
    assert (np.diff(rising.predict(columns)) > 0.2).all() and (np.diff(falling.predict(columns)) < -0.2).all()


def test_questions_go_where_answers_are_uncertain() -> None:
    """Two features of 20 windows, spreads 0.5 and 0.25: of four questions in eight, three about the first, and two windows of each kind."""
    truth = np.repeat([True, False], 10)
    given = allocated([np.full(20, 0.5), np.full(20, 0.2)], [truth, truth], 0.5, 5)
    assert [sum(n.values()) for n in given] == [15, 5]
    assert all(count >= 2 for n in given for count in n.values())


@pytest.mark.parametrize(
    ("wrong", "message"),
    [({"share": 0.5, "control_variates": ()}, "control_variates is empty"),
     ({"share": 0.5, "control_variates": ("matcher", "matcher")}, "names one twice: matcher, matcher")],
)  # fmt: skip
def test_settings_that_predict_nothing_are_refused(wrong: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PredictionPoweredSettings(**wrong)


def test_two_ways_of_asking_less_are_refused() -> None:
    with pytest.raises(ValueError, match="sequential and prediction_powered are both set"):
        ScoringSettings(sequential=SequentialSettings(0.2), prediction_powered=PredictionPoweredSettings(0.25))


def test_questions_are_planned_again_from_the_windows_that_were_asked(scorer_input) -> None:
    for scorer, own in ((detection, ClassifierSettings()), (fuzzing, FuzzingSettings())):
        items = scorer.items(scorer_input, own, 3)
        trials = scorer.plan_some(scorer_input, items[::2], own, 3)
        rows = [
            {"trial": trial.trial_id, "outcome": "answered", "example_ids": [item.example_id for item in trial.items],
             "truths": [item.truth for item in trial.items]}
            for trial in reversed(trials)
        ]  # fmt: skip
        assert sampled_items(rows) is None  # nothing was left out
        asked = sampled_items([*rows, {"trial": "x/not_asked", "outcome": "not_asked", "example_ids": ["e"], "truths": [True]}])
        assert asked is not None and asked_again(scorer, scorer_input, asked, own, 3) == trials
        assert asked_again(scorer, replace(scorer_input, held_out=()), asked, own, 3) == ()
