"""The embedding scorer, against encoders whose cosines are known."""

from dataclasses import replace

import pytest

from interp_assets.domain.prompting.prompts import Comparison
from interp_assets.domain.prompting.similarity import query
from interp_assets.domain.scoring import embedding
from interp_assets.domain.scoring.embedding import EmbeddingSettings
from interp_assets.domain.trials import AnsweredTrial, ScorerInput

SETTINGS = EmbeddingSettings()


def rows_of(scorer_input: ScorerInput, cosine) -> dict:
    """(metric, stratum) → row, where `cosine` gives the cosine of the query with a text."""
    (trial,) = embedding.plan(scorer_input, SETTINGS, 0)
    answered = AnsweredTrial(trial, cosines=(tuple(cosine(text) for text in trial.question.texts),))
    verdicts = embedding.grade(scorer_input, [answered], SETTINGS)
    return {(row.metric, row.stratum): row for row in embedding.summarise(scorer_input, verdicts, SETTINGS, 500, 0)}


def animal(text: str) -> float:
    return 0.9 if "cat" in text or "dog" in text else 0.1


def test_the_explanation_is_compared_with_every_held_out_window(scorer_input, held_out) -> None:
    (trial,) = embedding.plan(scorer_input, SETTINGS, 0)
    assert isinstance(trial.question, Comparison)
    assert trial.question.queries == ("words for animals",) == (query("words for animals"),)
    assert trial.question.texts[0] == "the cat sat on a mat." and trial.question.texts[5] == "the dog ran in snow, and"
    assert [item.example_id for item in trial.items] == [example.example_id for example in held_out]
    assert [item.truth for item in trial.items] == [True] * 6 + [False] * 6


def test_the_cosine_is_the_value_of_its_window(scorer_input) -> None:
    (trial,) = embedding.plan(scorer_input, SETTINGS, 0)
    verdicts = embedding.grade(scorer_input, [AnsweredTrial(trial, cosines=(tuple(i / 12 for i in range(12)),))], SETTINGS)
    assert [v.value for v in verdicts] == [i / 12 for i in range(12)]
    assert [(v.activation, v.stratum) for v in verdicts[:2]] == [(4.0, 0), (3.5, 1)]
    assert {(v.outcome, v.prediction, v.probability) for v in verdicts} == {("answered", None, None)}


def test_the_oracle_its_inverse_and_an_encoder_that_knows_nothing(scorer_input) -> None:
    for cosine, expected in ((animal, 1.0), (lambda text: -animal(text), 0.0), (lambda text: 0.5, 0.5)):
        found = rows_of(scorer_input, cosine)
        assert found["auroc", None].value == expected
        assert {found["auroc@stratum", stratum].value for stratum in (0, 1, 2, 3, 4, 9)} == {expected}
        # Six of twelve at the upper cosine: 6/6 · (1 + 5 · 5/11) + 6/12 · (1 + 11 · 5/11), over 12. All at one: their share.
        floor = 0.5 if expected == 0.5 else (36 / 11 + 3) / 12
        assert (found["auroc", None].floor, found["average_precision", None].floor) == (0.5, pytest.approx(floor))
    row = rows_of(scorer_input, animal)["auroc", None]
    assert (row.n_positive, row.n_negative, row.n_unanswered, row.ci_high, row.outcome) == (6, 6, 0, 1.0, "ok")
    assert 0.6 < row.ci_low < 0.8  # six windows of each kind do not show that there is no error


def test_auroc_by_hand(scorer_input) -> None:
    """The dog window is at the silent ones' level: 5 · 6 pairs won, 6 ties, of 36."""
    assert rows_of(scorer_input, lambda text: 0.9 if "cat" in text else 0.1)["auroc", None].value == pytest.approx((30 + 3) / 36)


def test_two_explanations_are_compared_with_the_same_windows(scorer_input) -> None:
    other = replace(scorer_input, method="shuffled", explanation="something else")
    (one,), (two,) = (embedding.plan(c, SETTINGS, seed) for c, seed in ((scorer_input, 0), (other, 1)))
    assert (one.items, one.question.texts) == (two.items, two.question.texts)
    assert one.question.queries != two.question.queries and one.trial_id != two.trial_id


def test_nothing_to_ask_says_why(scorer_input) -> None:
    for lacking, outcome in (
        (replace(scorer_input, explanation=None), "no_explanation"),
        (replace(scorer_input, held_out=()), "no_examples"),
    ):
        assert embedding.plan(lacking, SETTINGS, 0) == ()
        assert {(row.outcome, row.value) for row in embedding.summarise(lacking, (), SETTINGS, 10, 0)} == {(outcome, None)}


def test_one_kind_of_window_is_one_class(scorer_input, held_out) -> None:
    found = rows_of(replace(scorer_input, held_out=tuple(held_out[:6])), animal)
    assert found["auroc", None].outcome == "one_class"


@pytest.mark.parametrize("answer", [{"error": "out of memory"}, {}, {"cosines": ((float("nan"),) * 12,)}])
def test_what_did_not_come_or_is_no_number_is_named(scorer_input, answer) -> None:
    (trial,) = embedding.plan(scorer_input, SETTINGS, 0)
    verdicts = embedding.grade(scorer_input, [AnsweredTrial(trial, **answer)], SETTINGS)
    assert [(v.outcome, v.value) for v in verdicts] == [("model_error", None)] * 12
    rows = embedding.summarise(scorer_input, verdicts, SETTINGS, 10, 0)
    assert {row.outcome for row in rows} == {"no_answers"} and rows[0].n_unanswered == 12
