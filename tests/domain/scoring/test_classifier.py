"""Grading and summing up, on verdicts written by hand."""

from dataclasses import replace

import pytest
from growth import fastest

from interp_assets.domain.prompting.prompts import Choices, Prompt
from interp_assets.domain.scoring import detection
from interp_assets.domain.scoring.shared.classifier import METRICS, STRATUM_METRIC, ClassifierSettings, grade, summarise
from interp_assets.domain.trials import AnsweredTrial, ScorerInput, Trial, TrialItem, Verdict

CASE = ScorerInput(7, "max_act", "words for animals", (), (), ())
ITEMS = (TrialItem("a", True, 0, "activating"), TrialItem("b", False, None, "random"), TrialItem("c", True, 9, "activating"))
TRIAL = Trial("t", 7, "max_act", "detection", Prompt((("user", "?"),), 0, 20, Choices(3)), ITEMS)


def verdict(truth: bool, prediction: bool | None, probability: float | None = None, stratum: int | None = None) -> Verdict:
    outcome = "unparsable" if prediction is None else "answered"
    return Verdict("t", 7, "max_act", "detection", 0, "e", truth, prediction, probability, stratum, "v", outcome)


@pytest.mark.parametrize(
    ("reply", "predictions", "outcomes"),
    [
        ("[1, 0, 1]", [True, False, True], ["answered"] * 3),
        ("[1, 0]", [True, False, None], ["answered", "answered", "truncated"]),
        ("[1, 0, 1, 1, 1]", [True, False, True], ["answered"] * 3),
        ("no idea", [None] * 3, ["unparsable"] * 3),
    ],
)
def test_every_item_gets_a_verdict(reply: str, predictions: list[bool | None], outcomes: list[str]) -> None:
    verdicts = grade([AnsweredTrial(TRIAL, reply)])
    assert [v.prediction for v in verdicts] == predictions
    assert [v.outcome for v in verdicts] == outcomes
    assert [(v.item, v.example_id, v.truth, v.stratum) for v in verdicts] == [(0, "a", True, 0), (1, "b", False, None), (2, "c", True, 9)]


def test_probabilities_belong_to_answered_items_only_and_do_not_decide() -> None:
    verdicts = grade([AnsweredTrial(TRIAL, "[1, 0]", ((0.8, 0.2), (0.7, 0.3), (0.1, 0.9)))])
    assert [(v.prediction, v.probability) for v in verdicts] == [(True, 0.2), (False, 0.3), (None, None)]


def test_an_error_is_not_read_even_if_text_came() -> None:
    assert {v.outcome for v in grade([AnsweredTrial(TRIAL, "[1, 0, 1]", None, "error", "out of memory")])} == {"model_error"}


def test_summary_by_hand() -> None:
    """Three positives, two found, one of them unanswered more; two negatives, one accused."""
    verdicts = [
        verdict(True, True, 0.9, stratum=0),
        verdict(True, True, 0.6, stratum=0),
        verdict(True, False, 0.3, stratum=9),
        verdict(True, None, None, stratum=9),
        verdict(False, True, 0.7),
        verdict(False, False, 0.1),
    ]
    rows = summarise("detection", CASE, verdicts, 1000, 0)
    assert [row.metric for row in rows] == [*METRICS, STRATUM_METRIC, STRATUM_METRIC]
    found = {(row.metric, row.stratum): row for row in rows}
    assert found["recall", None].value == pytest.approx(2 / 3)
    assert found["precision", None].value == pytest.approx(2 / 3)
    assert found["balanced_accuracy", None].value == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert found["auroc", None].value == pytest.approx(4 / 6)  # .9 beats two, .6 and .3 beat one each
    assert found["f1", None].floor == pytest.approx(2 * 3 / (2 * 3 + 2))
    assert {(row.n_positive, row.n_negative, row.n_unanswered) for row in rows if row.stratum is None} == {(3, 2, 1)}
    strong, weak = found[STRATUM_METRIC, 0], found[STRATUM_METRIC, 9]
    assert (strong.value, strong.n_positive, strong.n_unanswered) == (1.0, 2, 0)
    assert (weak.value, weak.n_positive, weak.n_unanswered) == (0.0, 1, 1)
    assert all(row.outcome == "ok" and row.ci_low <= row.value <= row.ci_high for row in rows if row.value is not None)


def outcomes(verdicts: list[Verdict], scorer_input: ScorerInput = CASE) -> dict[str, str]:
    return {row.metric: row.outcome for row in summarise("detection", scorer_input, verdicts, 1000, 0)}


def test_without_verdicts_every_metric_says_why(scorer_input) -> None:
    assert outcomes([], replace(scorer_input, explanation=None)) == dict.fromkeys(METRICS, "no_explanation")
    assert outcomes([]) == dict.fromkeys(METRICS, "no_examples")


def test_what_cannot_be_computed_says_why() -> None:
    positives_only = outcomes([verdict(True, True, 0.9)])
    assert positives_only == {
        "balanced_accuracy": "one_class",
        "f1": "ok",
        "precision": "ok",
        "recall": "ok",
        "auroc": "one_class",
        "average_precision": "one_class",
    }
    no_probabilities_never_yes = outcomes([verdict(True, False), verdict(False, False)])
    assert no_probabilities_never_yes == {
        "balanced_accuracy": "ok",
        "f1": "ok",
        "precision": "undefined",
        "recall": "ok",
        "auroc": "undefined",
        "average_precision": "undefined",
    }


def test_always_yes_sits_at_its_floors() -> None:
    verdicts = [verdict(i < 30, True, 0.5) for i in range(100)]
    for row in summarise("detection", CASE, verdicts, 1000, 0):
        assert row.metric == "recall" or row.value == pytest.approx(row.floor)


def test_equal_seeds_give_equal_rows_whatever_else_was_summed_up() -> None:
    verdicts = [verdict(i % 2 == 0, i % 3 == 0, i / 20) for i in range(20)]
    first = detection.summarise(CASE, verdicts, ClassifierSettings(), 1000, 0)
    detection.summarise(replace(CASE, feature=8), verdicts, ClassifierSettings(), 1000, 0)
    assert detection.summarise(CASE, verdicts, ClassifierSettings(), 1000, 0) == first


def test_a_feature_is_summed_up_in_milliseconds() -> None:
    verdicts = [verdict(i % 2 == 0, i % 3 == 0, (i * 37 % 199) / 200) for i in range(200)]
    assert fastest(lambda: summarise("detection", CASE, verdicts, 1000, 0)) < 0.05  # about 4 ms on a quiet core
