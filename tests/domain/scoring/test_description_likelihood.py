from dataclasses import replace

import pytest
from domain_toys import make_example

from interp_assets.domain.scoring import description_likelihood
from interp_assets.domain.scoring.description_likelihood import QUESTION, DescriptionLikelihoodSettings
from interp_assets.domain.trials import AnsweredTrial, ScorerInput, ScoreRow

SETTINGS = DescriptionLikelihoodSettings()


def rows_of(scorer_input: ScorerInput, likelihood) -> dict[tuple[str, int | None], ScoreRow]:
    """Rows of a model that gives the description two tokens of `likelihood(window's turn)` each."""
    answered = [
        AnsweredTrial(trial, suffix_logprobs=(likelihood(trial.prompt.messages[-1][1]),) * 2)
        for trial in description_likelihood.plan(scorer_input, SETTINGS, 0)
    ]
    verdicts = description_likelihood.grade(scorer_input, answered, SETTINGS)
    return {(r.metric, r.stratum): r for r in description_likelihood.summarise(scorer_input, verdicts, SETTINGS, 1000, 0)}


def test_prompt(scorer_input, check_golden) -> None:
    check_golden("description_likelihood", description_likelihood.plan(scorer_input, SETTINGS, 0)[0].prompt)


def test_every_window_is_asked_about_once_and_the_reply_is_the_description(scorer_input, held_out) -> None:
    trials = description_likelihood.plan(scorer_input, SETTINGS, 0)
    assert sorted(t.items[0].example_id for t in trials) == sorted(e.example_id for e in held_out)
    assert {t.prompt.suffix for t in trials} == {"words for animals"}
    assert all(t.prompt.messages[-1][1].endswith(f"\n\n{QUESTION}") and t.prompt.max_reply_tokens == 0 for t in trials)
    kinds = [t.items[0].truth for t in trials]
    assert all(abs(sum(kinds[:n]) - n / 2) <= 1 for n in range(1, len(kinds)))  # asking may stop anywhere
    other = description_likelihood.plan(replace(scorer_input, explanation="something else"), SETTINGS, 0)
    assert [t.prompt.messages for t in trials] == [t.prompt.messages for t in other]


def test_summary_by_hand() -> None:
    """-1 and -3 on activating windows against -2 and -4 on silent ones: 3 of 4 pairs; stratum 0 wins both, stratum 5 one of two."""
    windows = [([1], [1.0], 0), ([9], [1.0], 5), ([2], [0.0], None), ([3], [0.0], None)]
    held_out = tuple(make_example(tokens, values, row=i, stratum=s) for i, (tokens, values, s) in enumerate(windows))
    likelihoods = dict(zip("abcd", (-1.0, -3.0, -2.0, -4.0), strict=True))
    words = dict(zip((1, 9, 2, 3), "abcd", strict=True))
    rows = rows_of(ScorerInput(7, "m", "x", (), held_out, words), lambda turn: likelihoods[turn[len("Text: ")]])
    assert (rows["auroc", None].value, rows["auroc", None].floor) == (3 / 4, 0.5)
    assert (rows["auroc@stratum", 0].value, rows["auroc@stratum", 5].value) == (1.0, 0.5)


def test_one_that_knows_and_one_that_does_not(scorer_input) -> None:
    assert rows_of(scorer_input, lambda turn: -1.0 if "cat" in turn or "dog" in turn else -2.0)["auroc", None].value == 1.0
    assert rows_of(scorer_input, lambda turn: -1.0)["auroc", None].value == 0.5


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        ({}, "no_probabilities"),
        ({"suffix_logprobs": (-1.0, float("-inf"))}, "no_probabilities"),
        ({"suffix_logprobs": (-1.0,), "error": "timeout"}, "model_error"),
    ],
)
def test_what_is_missing_has_a_name(answer: dict, outcome: str, scorer_input) -> None:
    answered = [AnsweredTrial(t, **answer) for t in description_likelihood.plan(scorer_input, SETTINGS, 0)]
    verdicts = description_likelihood.grade(scorer_input, answered, SETTINGS)
    assert {(v.outcome, v.value) for v in verdicts} == {(outcome, None)}
    assert {r.outcome for r in description_likelihood.summarise(scorer_input, verdicts, SETTINGS, 100, 0)} == {"no_answers"}


def test_without_an_explanation_or_windows_nothing_is_asked(scorer_input) -> None:
    for nothing in (replace(scorer_input, explanation=None), replace(scorer_input, held_out=())):
        assert description_likelihood.plan(nothing, SETTINGS, 0) == ()
