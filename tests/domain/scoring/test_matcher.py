"""The matcher: detection and fuzzing by a machine, on values worked out by hand and on recorded windows."""

from dataclasses import replace

import pytest
from domain_toys import make_example

from interp_assets.domain.machine_readable import matched_in_windows, readable
from interp_assets.domain.scoring import fuzzing, matcher
from interp_assets.domain.scoring.fuzzing import FuzzingSettings
from interp_assets.domain.scoring.matcher import MatcherSettings
from interp_assets.domain.trials import AnsweredTrial, ScorerInput, ScoreRow, Verdict

SETTINGS = MatcherSettings()


def verdicts_of(scorer_input: ScorerInput, settings: MatcherSettings = SETTINGS) -> tuple[Verdict, ...]:
    trials = matcher.plan(scorer_input, settings, 0)
    found = matched_in_windows([(readable(t.question.explanation), t.question.windows) for t in trials])  # type: ignore[union-attr]
    answered = [AnsweredTrial(t, matches=tuple(tuple(own.tolist()) for own in one)) for t, one in zip(trials, found, strict=True)]
    return matcher.grade(scorer_input, answered, settings)


def rows_of(scorer_input: ScorerInput) -> dict[tuple[str, int | None], ScoreRow]:
    rows = matcher.summarise(scorer_input, verdicts_of(scorer_input), SETTINGS, 100, 0)
    return {(row.metric, row.stratum): row for row in rows}


def test_by_hand(scorer_input) -> None:
    """Windows 0 to 4 hold " cat", window 5 holds " dog"; silent windows hold neither; " mat" stands in all but window 5."""
    both = rows_of(replace(scorer_input, explanation='the tokens "cat", "dog"'))
    assert {both[m, None].value for m in matcher.METRICS} == {1.0} == {both["fuzzing_" + m, None].value for m in matcher.METRICS}
    one = rows_of(replace(scorer_input, explanation='the tokens "cat"'))
    assert one["recall", None].value == 5 / 6 and one["balanced_accuracy", None].value == (5 / 6 + 1) / 2
    assert one["recall@stratum", 9].value == 0.0 and one["recall@stratum", 0].value == 1.0
    assert one["auroc", None].value == 11 / 12  # the window without a match ties with all silent windows
    everywhere = rows_of(replace(scorer_input, explanation='the tokens "a", "the", ","'))
    assert everywhere["balanced_accuracy", None].value == everywhere["balanced_accuracy", None].floor == 0.5
    assert everywhere["fuzzing_recall", None].value == 0.0


def test_the_number_of_matches_ranks_windows() -> None:
    windows = [([1, 1, 1], [1.0, 1, 1]), ([1, 0, 0], [1.0, 0, 0]), ([1, 1, 0], [0.0, 0, 0]), ([0, 0, 0], [0.0, 0, 0])]
    held_out = tuple(make_example(tokens, values, row=i) for i, (tokens, values) in enumerate(windows))
    rows = rows_of(ScorerInput(7, "m", 'the tokens "cat"', (), held_out, ("the", " cat")))
    assert rows["auroc", None].value == 3 / 4 and rows["balanced_accuracy", None].value == 3 / 4
    assert [v.value for v in verdicts_of(ScorerInput(7, "m", 'the tokens "cat"', (), held_out, ("the", " cat")))[:4]] == [3, 1, 2, 0]


@pytest.mark.parametrize("negatives", ["random", "active"])
def test_fuzzings_items_are_fuzzings_own(negatives: str, scorer_input) -> None:
    listed = replace(scorer_input, explanation='the tokens "cat"')
    judged = fuzzing.plan(listed, FuzzingSettings(negatives=negatives, per_prompt=100), 3)
    _, marked = matcher.plan(listed, MatcherSettings(negatives=negatives), 3)
    (trial,) = judged
    assert sorted(trial.items, key=str) == sorted(marked.items, key=str)


def test_the_share_of_marked_tokens_is_fuzzings_value() -> None:
    held_out = (make_example([1, 9, 0], [2.0, 1.5, 0.0]), make_example([0, 0, 0], [0.0, 0.0, 0.0], row=1))
    words = {0: "the", 1: " cat", 9: " dog"}
    found = verdicts_of(ScorerInput(7, "m", 'the tokens "cat"', (), held_out, words))
    assert [(v.value, v.prediction, v.truth) for v in found if v.trial_id.endswith("/fuzzing")] == [(0.5, True, True), (0.0, False, False)]


def test_patterns_are_read_too(scorer_input) -> None:
    rows = rows_of(replace(scorer_input, explanation="[:field animals: cat, dog, horse:]"))
    assert (rows["balanced_accuracy", None].value, rows["fuzzing_balanced_accuracy", None].value) == (1.0, 1.0)


def test_what_cannot_be_matched_has_a_name(scorer_input) -> None:
    for nothing, outcome in (
        (scorer_input, "not_matchable"),
        (replace(scorer_input, explanation=None), "no_explanation"),
        (replace(scorer_input, explanation='the tokens "a"', held_out=()), "no_examples"),
    ):
        assert matcher.plan(nothing, SETTINGS, 0) == ()
        rows = matcher.summarise(nothing, (), SETTINGS, 100, 0)
        assert {row.outcome for row in rows} == {outcome} and len(rows) == 2 * len(matcher.METRICS)


def test_one_kind_of_window_alone(scorer_input, held_out) -> None:
    rows = rows_of(replace(scorer_input, explanation='the tokens "cat"', held_out=tuple(held_out[:6])))
    assert rows["balanced_accuracy", None].outcome == "one_class" and rows["recall", None].value == 5 / 6


def test_every_window_ends_in_a_verdict_and_intervals_hold_the_value(scorer_input, held_out) -> None:
    listed = replace(scorer_input, explanation='the tokens "cat"')
    assert len(verdicts_of(listed)) == 2 * len(held_out) and {v.outcome for v in verdicts_of(listed)} == {"answered"}
    for row in rows_of(listed).values():
        assert row.value is None or row.ci_low is None or row.ci_low <= row.value <= row.ci_high, row
