"""The example embedding scorer: exemplars and queries, and the difference of mean cosines."""

from dataclasses import replace

import numpy as np
import pytest
from domain_toys import WORDS, make_example

from interp_assets.domain.scoring import example_embedding
from interp_assets.domain.scoring.example_embedding import ExampleEmbeddingSettings
from interp_assets.domain.trials import NO_EXPLANATION, AnsweredTrial, ScorerInput

SETTINGS = ExampleEmbeddingSettings()


def case_of(n_shown: int, n_activating: int, n_silent: int) -> ScorerInput:
    """Every window has a text of its own; " cat" stands in the activating ones only."""

    def windows(n: int, first: int, active: bool) -> list:
        role = "shown" if first == 0 else "held_out"
        numbers = range(first, first + n)
        digits = [[2 + int(digit) for digit in np.base_repr(number, 5).zfill(5)] for number in numbers]
        return [
            make_example([1 if active else 0, *own], [2.0 if active else 0.0] + [0.0] * 5, role, number, number % 10)
            for number, own in zip(numbers, digits, strict=True)
        ]

    held_out = [*windows(n_activating, 100, True), *windows(n_silent, 1000, False)]
    return ScorerInput(7, NO_EXPLANATION, None, tuple(windows(n_shown, 0, True)), tuple(held_out), WORDS)


CASE = case_of(40, 30, 30)


def rows_of(scorer_input: ScorerInput, cosine) -> dict:
    (trial,) = example_embedding.plan(scorer_input, SETTINGS, 0)
    cosines = tuple(tuple(cosine(query, text) for text in trial.question.texts) for query in trial.question.queries)
    verdicts = example_embedding.grade(scorer_input, [AnsweredTrial(trial, cosines=cosines)], SETTINGS)
    return {(row.metric, row.stratum): row for row in example_embedding.summarise(scorer_input, verdicts, SETTINGS, 200, 0)}


def test_exemplars_are_no_queries() -> None:
    (trial,) = example_embedding.plan(CASE, SETTINGS, 0)
    exemplars, queries = trial.question.texts, trial.question.queries
    assert len(exemplars) == 20 and len(queries) == 30 + 30 - 10 == len(trial.items)
    assert all("cat" in text for text in exemplars[:10]) and not any("cat" in text for text in exemplars[10:])
    assert not set(exemplars) & set(queries) and len(set(exemplars)) == 20
    assert ["cat" in text for text in queries] == [item.truth for item in trial.items] == [True] * 30 + [False] * 20


def test_the_value_is_the_difference_of_mean_cosines() -> None:
    small = case_of(2, 1, 4)
    (trial,) = example_embedding.plan(small, SETTINGS, 0)
    assert (len(trial.question.texts), len(trial.items)) == (4, 3)
    answered = AnsweredTrial(trial, cosines=((0.5, 0.7, 0.1, 0.3), (0.0, 0.0, 0.0, 1.0), (0.2, 0.2, 0.2, 0.2)))
    values = [v.value for v in example_embedding.grade(small, [answered], SETTINGS)]
    assert values == pytest.approx([0.6 - 0.2, 0.0 - 0.5, 0.0])


def test_the_oracle_its_inverse_and_an_encoder_that_knows_nothing() -> None:
    def alike(one: str, other: str) -> float:
        return float(("cat" in one) == ("cat" in other))

    for cosine, expected in ((alike, 1.0), (lambda a, b: -alike(a, b), 0.0), (lambda a, b: 0.3, 0.5)):
        found = rows_of(CASE, cosine)
        assert found["auroc", None].value == found["auroc@stratum", 3].value == expected
    assert (found["auroc", None].floor, found["auroc", None].n_positive, found["auroc", None].n_negative) == (0.5, 30, 20)


def test_an_encoder_of_noise_sits_at_the_floor() -> None:
    noise = np.random.default_rng(0)
    values = [rows_of(CASE, lambda a, b: noise.random())["auroc", None].value for _ in range(20)]
    assert np.mean(values) == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(("n_shown", "n_silent", "n_exemplars", "n_queries"), [(3, 30, 3, 57), (40, 5, 2, 33), (40, 2, 1, 31)])
def test_small_sets_keep_queries_and_both_kinds_of_exemplars_are_as_many(n_shown, n_silent, n_exemplars, n_queries) -> None:
    (trial,) = example_embedding.plan(case_of(n_shown, 30, n_silent), SETTINGS, 0)
    assert (len(trial.question.texts), len(trial.items)) == (2 * n_exemplars, n_queries)


@pytest.mark.parametrize("scorer_input", [case_of(0, 30, 30), case_of(40, 30, 1), case_of(40, 0, 30), case_of(0, 0, 0)])
def test_nothing_to_compare_with_says_so(scorer_input: ScorerInput) -> None:
    assert example_embedding.plan(scorer_input, SETTINGS, 0) == ()
    assert {row.outcome for row in example_embedding.summarise(scorer_input, (), SETTINGS, 10, 0)} == {"no_examples"}


def test_draws_depend_on_seed_and_feature_alone() -> None:
    (one,) = example_embedding.plan(CASE, SETTINGS, 0)
    assert example_embedding.plan(replace(CASE, explanation="read by others"), SETTINGS, 0) == (one,)
    for other, seed in ((CASE, 1), (replace(CASE, feature=8), 0)):
        (two,) = example_embedding.plan(other, SETTINGS, seed)
        assert set(two.question.texts) != set(one.question.texts)


def test_an_error_is_named() -> None:
    (trial,) = example_embedding.plan(CASE, SETTINGS, 0)
    verdicts = example_embedding.grade(CASE, [AnsweredTrial(trial, error="out of memory")], SETTINGS)
    assert len(verdicts) == 50 and {v.outcome for v in verdicts} == {"model_error"}
