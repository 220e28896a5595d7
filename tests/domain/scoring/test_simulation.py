import json
import math
from dataclasses import replace

import numpy as np
import pytest
from domain_toys import WORDS, make_example

from interp_assets.domain.scoring import simulation
from interp_assets.domain.scoring.simulation import PLACEHOLDER, SimulationSettings, expected_levels, parse_levels
from interp_assets.domain.trials import AnsweredTrial, ScorerInput, ScoreRow, Trial

SETTINGS = SimulationSettings()
JSON = SimulationSettings(mode="json")


def shares(level: float, max_level: int = 10) -> tuple[float, ...]:
    """Probabilities of the levels, of the two nearest alone, whose mean is `level`."""
    low = min(int(level), max_level - 1)
    return tuple(1 - (level - low) if i == low else level - low if i == low + 1 else 0.0 for i in range(max_level + 1))


def rows_of(scorer_input: ScorerInput, levels, settings: SimulationSettings = SETTINGS) -> list[ScoreRow]:
    """Rows of a judge, a function from an example to the levels of its tokens."""
    examples = {example.example_id: example for example in scorer_input.held_out}
    answered = []
    for trial in simulation.plan(scorer_input, settings, 0):
        said = levels(examples[trial.items[0].example_id])
        if settings.mode == "json":
            answered.append(AnsweredTrial(trial, str([round(level) for level in said])))
        else:
            answered.append(AnsweredTrial(trial, suffix_choices=tuple(shares(level, settings.max_level) for level in said)))
    return list(simulation.summarise(scorer_input, simulation.grade(scorer_input, answered, settings), settings, 1000, 0))


def by_metric(rows: list[ScoreRow]) -> dict[tuple[str, int | None], ScoreRow]:
    return {(row.metric, row.stratum): row for row in rows}


def trial_of(scorer_input: ScorerInput, example_id: str, settings: SimulationSettings = SETTINGS) -> Trial:
    return next(trial for trial in simulation.plan(scorer_input, settings, 0) if trial.items[0].example_id == example_id)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("simulation", SETTINGS),
        ("simulation_bare_to_9", SimulationSettings(few_shot=0, max_level=9)),
        ("simulation_json", SimulationSettings(mode="json", max_level=5, few_shot=1)),
    ],
)
def test_prompts(name: str, settings: SimulationSettings, scorer_input, check_golden) -> None:
    check_golden(name, trial_of(scorer_input, "7/5/0", settings).prompt)


def test_every_held_out_window_is_asked_once_with_the_same_messages_before_it(scorer_input, held_out) -> None:
    trials = simulation.plan(scorer_input, SETTINGS, 0)
    assert sorted(trial.items[0].example_id for trial in trials) == sorted(e.example_id for e in held_out)
    assert len({trial.prompt.messages for trial in trials}) == 1
    assert {trial.prompt.shared_messages for trial in trials} == {len(trials[0].prompt.messages)}
    assert len({trial.trial_id for trial in trials}) == 12 and {trial.prompt.max_reply_tokens for trial in trials} == {0}


def test_levels_follow_the_scale() -> None:
    scorer_input = ScorerInput(7, "m", "x", (), (make_example([1], [1.0]),), WORDS)
    (trial,) = simulation.plan(scorer_input, SimulationSettings(max_level=9, few_shot=3), 0)
    assert trial.prompt.suffix_choices.options == tuple("0123456789")
    said = {line.rpartition("\t")[2] for role, text in trial.prompt.messages if role == "assistant" for line in text.split("\n")}
    assert said <= {*"0123456789", PLACEHOLDER} and {"9", PLACEHOLDER} <= said
    for max_level in (0, 11):
        with pytest.raises(ValueError, match=f"1 to 10, got {max_level}"):
            SimulationSettings(max_level=max_level)


def test_every_token_has_one_line_and_one_placeholder_whatever_it_is() -> None:
    words = (" unknown", "unknowns", "\t", "\n\n", "", "a\tb", "\x07", " ship")
    scorer_input = ScorerInput(7, "m", "x", (), (make_example(range(8), [1.0] * 8),), words)
    (trial,) = simulation.plan(scorer_input, SETTINGS, 0)
    lines = trial.prompt.suffix.split("\n")
    assert [line.split("\t") for line in lines] == [
        [text, PLACEHOLDER] for text in (" Unknown", "Unknowns", "⇥", "↵↵", "…", "a⇥b", "\ufffd", " ship")
    ]
    assert trial.prompt.suffix.count(PLACEHOLDER) == 8


def test_two_explanations_are_judged_on_the_same_windows_in_the_same_order(scorer_input) -> None:
    other = replace(scorer_input, method="shuffled", explanation="something else")
    one, two = (simulation.plan(c, SETTINGS, 0) for c in (scorer_input, other))
    assert [(t.items, t.prompt.suffix) for t in one] == [(t.items, t.prompt.suffix) for t in two]
    assert not {t.trial_id for t in one} & {t.trial_id for t in two}
    assert one == simulation.plan(scorer_input, SETTINGS, 0) != simulation.plan(scorer_input, SETTINGS, 1)


def test_the_first_trials_hold_both_kinds(scorer_input) -> None:
    for seed in range(10):
        assert {trial.items[0].truth for trial in simulation.plan(scorer_input, SETTINGS, seed)[:8]} == {True, False}


def test_expected_levels_by_hand() -> None:
    """½·0 + ½·10 = 5; the listed 0.2 and 0.6 stand for ¼ and ¾ of what is listed: ¼·1 + ¾·2."""
    half = (0.5, *[0.0] * 9, 0.5)
    assert expected_levels((half, (0, 0.2, 0.6)), 2) == (5.0, pytest.approx(1.75))
    assert expected_levels((half,), 2) == expected_levels((), 2) == expected_levels((half, (0.0, 0.0)), 2) == "no_probabilities"
    assert expected_levels((half, (math.nan, 1.0)), 2) == "no_probabilities"


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("[0, 3, 10]", (0.0, 3.0, 10.0)),
        ("The list is [0,3,10].", (0.0, 3.0, 10.0)),
        ('{"levels": [0, 3, 10]}', (0.0, 3.0, 10.0)),
        ("[[0, 3, 10]]", (0.0, 3.0, 10.0)),
        ("[0, 3, 10,]", (0.0, 3.0, 10.0)),
        ("Tokens [1, 2] give [0, 3, 10]", (0.0, 3.0, 10.0)),
        ("[0, 3, 10] for [the, cat, sat]", "unparsable"),
        ("[0, 3]", "truncated"),
        ("[0, 3", "truncated"),
        ("[0, 3, ", "truncated"),
        ("[0, 3, 10, 0]", "unparsable"),
        ("[0, 3, 11]", "unparsable"),
        ("[0, -3, 10]", "unparsable"),
        ("[0, 3.5, 10.0]", (0.0, 3.5, 10.0)),
        ("[0, 3, 10.14]", "unparsable"),
        ("[0, null, 10]", "unparsable"),
        ("Token 1: 0\nToken 2: 3.5\n- Token 3: 10", (0.0, 3.5, 10.0)),
        ("Token 1: 0\nToken 2: 3", "truncated"),
        ("Token 1: 0\nToken 3: 3\nToken 2: 1", "unparsable"),
        ("Token 1: the\nToken 2: cat\nToken 3: sat", "unparsable"),
        ("[0, , 10]", "unparsable"),
        ("0, 3, 10", "unparsable"),
        ("", "unparsable"),
        ("[]", "unparsable"),
    ],
)
def test_lists_of_levels_are_read_token_by_token(text: str, read) -> None:
    assert parse_levels(text, 3, 10) == read


def test_the_schema_asks_for_one_level_a_token(scorer_input) -> None:
    schema = json.loads(trial_of(scorer_input, "7/0/0", replace(JSON, max_level=9)).prompt.json_schema)["properties"]["levels"]
    assert (schema["minItems"], schema["maxItems"], schema["items"]["minimum"], schema["items"]["maximum"]) == (7, 7, 0, 9)


def test_a_verdict_holds_the_levels_of_a_window(scorer_input) -> None:
    trial = trial_of(scorer_input, "7/5/0")
    (verdict,) = simulation.grade(
        scorer_input, [AnsweredTrial(trial, suffix_choices=tuple(shares(x) for x in (0, 9.5, 4, 0, 1, 0, 0)))], SETTINGS
    )
    assert verdict.values == pytest.approx((0, 9.5, 4, 0, 1, 0, 0))
    assert (verdict.truth, verdict.stratum, verdict.outcome, verdict.activation) == (True, 9, "answered", 1.0)
    assert (verdict.prediction, verdict.probability, verdict.value) == (None, None, None)


@pytest.mark.parametrize(
    ("settings", "answer", "outcome"),
    [
        (SETTINGS, {}, "no_probabilities"),
        (SETTINGS, {"suffix_choices": (shares(1),) * 6}, "no_probabilities"),
        (SETTINGS, {"suffix_choices": (shares(1),) * 7, "error": "timeout"}, "model_error"),
        (JSON, {"text": ""}, "unparsable"),
        (JSON, {"text": "I would say that it reacts to cat."}, "unparsable"),
        (JSON, {"text": "[0, 0, 0, 0, 0, 0"}, "truncated"),
        (JSON, {"error": "timeout"}, "model_error"),
    ],
)
def test_silent_rambling_short_and_broken_judges_end_in_named_outcomes(scorer_input, settings, answer, outcome) -> None:
    trials = simulation.plan(scorer_input, settings, 0)
    verdicts = simulation.grade(scorer_input, [AnsweredTrial(trial, **answer) for trial in trials], settings)
    assert [(v.outcome, v.values) for v in verdicts] == [(outcome, None)] * 12
    rows = simulation.summarise(scorer_input, verdicts, settings, 1000, 0)
    assert {(row.outcome, row.value, row.floor) for row in rows} == {("no_answers", None, None)}
    assert by_metric(rows)["pearson", None].n_unanswered == 12


def test_without_trials_the_rows_say_why(scorer_input) -> None:
    for nothing, outcome in (
        (replace(scorer_input, explanation=None), "no_explanation"),
        (replace(scorer_input, held_out=()), "no_examples"),
    ):
        assert simulation.plan(nothing, SETTINGS, 0) == ()
        rows = simulation.summarise(nothing, (), SETTINGS, 1000, 0)
        assert [(row.metric, row.outcome, row.value) for row in rows] == [("pearson", outcome, None), ("r2", outcome, None)]


def test_summary_by_hand() -> None:
    """True (0, 4 | 0, 0), said (0, 5 | 0, 5) of 10, in units of activation, of which 4 is the largest, (0, 2 | 0, 2).

    True minus its mean 1: (-1, 3, -1, -1), Σ² = 12; said minus its mean 2.5: ±2.5, Σ² = 25; Σ of products 2.5 · (1 + 3 + 1 - 1) = 10.
    Errors (0, 2 | 0, -2), Σ² = 8.
    """
    scorer_input = ScorerInput(
        7, "m", "x", (), (make_example([0, 1], [0, 4.0], row=1, stratum=3), make_example([2, 3], [0, 0], row=2)), WORDS
    )
    rows = by_metric(rows_of(scorer_input, lambda example: (0.0, 5.0)))
    assert rows["pearson", None].value == pytest.approx(10 / math.sqrt(12 * 25)) == pytest.approx(1 / math.sqrt(3))
    assert rows["r2", None].value == pytest.approx(1 - 8 / 12)
    assert rows["pearson@stratum", 3].value == rows["pearson", None].value
    assert {(row.n_positive, row.n_negative, row.n_unanswered, row.floor) for row in rows.values()} == {(1, 1, 0, 0.0)}


def test_correlation_is_over_all_tokens_and_a_stratum_has_all_silent_windows() -> None:
    draw = np.random.default_rng(4)
    held_out = [make_example([1] * 9, np.maximum(draw.normal(0, 2, 9), 0).tolist(), row=i, stratum=i % 2) for i in range(8)]
    held_out += [make_example([1] * 9, [0.0] * 9, row=i) for i in range(8, 14)]
    said = {e.example_id: np.clip(np.array(e.activations) + draw.normal(1, 2, 9), 0, 10) for e in held_out}
    scorer_input = ScorerInput(7, "m", "x", (), tuple(held_out), WORDS)
    rows = by_metric(rows_of(scorer_input, lambda example: said[example.example_id]))

    def reference(examples: list) -> float:
        return np.corrcoef(np.concatenate([e.activations for e in examples]), np.concatenate([said[e.example_id] for e in examples]))[0, 1]

    assert rows["pearson", None].value == pytest.approx(reference(held_out))
    for stratum in (0, 1):
        assert rows["pearson@stratum", stratum].value == pytest.approx(reference([e for e in held_out if e.stratum in (stratum, None)]))
        assert (rows["pearson@stratum", stratum].n_positive, rows["pearson@stratum", stratum].n_negative) == (4, 6)
    assert all(row.ci_low < row.value < row.ci_high for row in rows.values())


@pytest.mark.parametrize("settings", [SETTINGS, SimulationSettings(max_level=9)])
def test_the_oracle_and_its_inverse(settings: SimulationSettings, scorer_input) -> None:
    top = settings.max_level
    rows = by_metric(rows_of(scorer_input, lambda example: [top * a / 4 for a in example.activations], settings))
    assert [row.value for row in rows.values()] == pytest.approx([1.0] * 8)
    assert {row.outcome for row in rows.values()} == {"ok"}
    inverse = by_metric(rows_of(scorer_input, lambda example: [top - top * a / 4 for a in example.activations], settings))
    assert inverse["pearson", None].value == pytest.approx(-1.0) and inverse["r2", None].value < -1


def test_an_oracle_of_whole_numbers_is_nearly_perfect(scorer_input) -> None:
    rows = by_metric(rows_of(scorer_input, lambda example: [10 * a / 4 for a in example.activations], JSON))
    assert 0.99 < rows["pearson", None].value <= 1.0


def test_the_largest_activation_counts_that_was_shown(scorer_input) -> None:
    """Shown up to 8 = level 10, the window's 4 is level 5."""
    louder = replace(scorer_input, shown=(make_example([1], [8.0], role="shown"),))
    rows = by_metric(rows_of(louder, lambda example: [10 * a / 8 for a in example.activations]))
    assert rows["r2", None].value == pytest.approx(1.0)


def test_one_who_always_says_the_same_has_no_correlation_and_explains_nothing(scorer_input) -> None:
    mean = np.mean([a for e in scorer_input.held_out for a in e.activations])
    rows = by_metric(rows_of(scorer_input, lambda example: [10 * mean / 4] * 7))
    assert (rows["pearson", None].outcome, rows["pearson", None].value) == ("undefined", None)
    assert {row.outcome for (metric, _), row in rows.items() if metric == "pearson@stratum"} == {"undefined"}
    assert rows["r2", None].value == pytest.approx(0.0)
    silence = by_metric(rows_of(replace(scorer_input, held_out=scorer_input.held_out[6:]), lambda example: [0, 1, 2, 3, 4, 5, 6]))
    assert {row.outcome for row in silence.values()} == {"undefined"}


def test_a_judge_that_knows_nothing_is_below_what_the_place_says(scorer_input) -> None:
    """84 tokens a case: a standard error of 0.11 each, of 0.011 over a hundred. These windows all have their peak at one place, which the
    floor allows for."""
    draw = np.random.default_rng(0)
    found = [by_metric(rows_of(scorer_input, lambda example: draw.uniform(0, 10, 7)))["pearson", None] for _ in range(100)]
    assert np.mean([row.value for row in found]) == pytest.approx(0, abs=0.04)
    assert found[0].floor == pytest.approx(0.61, abs=0.01)


def test_levels_within_reasoning_are_passed_over() -> None:
    assert parse_levels("<think>[1, 2, 3] or\n</think>\n[4, 5]", 3, 10) == "truncated"
    assert parse_levels("<think>[1, 2, 3]", 3, 10) == "unparsable"
