"""Stopping early, simulated: judges of known quality are asked in rounds, and it is counted what they were asked."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from domain_toys import ask

from interp_assets.domain.examples.sampling import Example
from interp_assets.domain.scoring import Scorer, detection, fuzzing, intruder, simulation, surprisal
from interp_assets.domain.scoring.shared.classifier import ClassifierSettings, score_row
from interp_assets.domain.scoring.shared.sequential import SequentialSettings, is_known, next_round
from interp_assets.domain.statistics.metrics import Estimate, wilson
from interp_assets.domain.trials import NO_EXPLANATION, AnsweredTrial, ScorerInput, ScoreRow, evenly_mixed

SETTINGS = SequentialSettings(ci_width=0.2)
OWN = ClassifierSettings()
WORDS = [f" w{i}" for i in range(50)]
CASE = ScorerInput(7, "m", "x", (), (), ())


def windows(n: int = 100) -> tuple[Example, ...]:
    """n activating windows, on whose last token word 0 makes the feature fire, and n silent ones."""
    rng = np.random.default_rng(3)
    examples = []
    for i in range(2 * n):
        on = i < n
        tokens = (*rng.integers(1, 50, 8).tolist(), 0 if on else 1)
        activations = (*[0.0] * 8, 2.0 if on else 0.0)
        kind = "activating" if on else "non_activating"
        examples.append(Example(f"e{i}", 7, "held_out", kind, "random", i * 10 // n if on else None, i, 0, tokens, activations))
    return tuple(examples)


def row(low: float | None, high: float | None, counts: tuple[int, int]) -> list[ScoreRow]:
    found = Estimate(None if low is None else 0.7, low, high)
    return [score_row("s", CASE, "other", Estimate(1.0, 1.0, 1.0), 0.5, (1, 1, 0), "undefined"),
            score_row("s", CASE, "m", found, 0.5, (*counts, 0), "undefined")]  # fmt: skip


def asked_in_rounds(
    judge, scorer_input: ScorerInput, settings: SequentialSettings, scorer: Scorer = detection
) -> tuple[int, list[int], list[ScoreRow]]:
    """Trials planned, how many had been asked after each round, and the last rows; `judge` answers trials."""
    trials = scorer.plan(scorer_input, OWN, 0)
    given: list[AnsweredTrial] = []
    ends, rows = [], []
    while chosen := next_round(len(trials), len(given), settings):
        given += judge([trials[i] for i in chosen])
        ends.append(len(given))
        verdicts = scorer.grade(scorer_input, given, OWN)
        assert Counter(v.trial_id for v in verdicts) == {t.trial_id: len(t.items) for t in trials[: len(given)]}
        rows = list(scorer.summarise(scorer_input, verdicts, OWN, 300, 0))
        if is_known(rows, scorer.HEADLINE, settings):
            break
    return len(trials), ends, rows


def noisy(error: float, seed: int = 0):
    """A judge that is wrong on a share of the windows; always the same of a window."""
    flips = np.random.default_rng(seed).random(10_000) < error

    def judge(text: str) -> float:
        return float(("w0" in text.split()) != flips[sum(map(ord, text)) % 10_000])

    return lambda trials: ask(trials, judge)


def test_rounds_by_hand() -> None:
    assert next_round(20, 0, None) == range(0, 20)
    assert [next_round(14, asked, SETTINGS) for asked in (0, 8, 12, 14)] == [range(0, 8), range(8, 12), range(12, 14), range(14, 14)]
    assert next_round(0, 0, SETTINGS) == next_round(0, 0, None) == range(0)
    assert next_round(5, 0, SETTINGS) == range(0, 5)


@pytest.mark.parametrize(
    ("low", "high", "counts", "known"),
    [
        (0.6, 0.79, (50, 50), True),
        (0.6, 0.81, (50, 50), False),
        (None, None, (50, 50), False),
        (1.0, 1.0, (3, 90), False),  # Wilson's interval of 3 of 3 is 0.56 wide,
        (1.0, 1.0, (15, 90), False),  # of 15 of 15 0.204,
        (1.0, 1.0, (16, 90), True),  # of 16 of 16 0.194
        (0.9, 1.0, (40, 0), True),  # a metric of one class
        (0.9, 1.0, (10, 0), False),
    ],
)
def test_what_counts_as_known_by_hand(low, high, counts, known: bool) -> None:
    assert is_known(row(low, high, counts), "m", SETTINGS) is known


def test_nobody_answered_nothing_is_known() -> None:
    assert not is_known(row(None, None, (0, 0)), "m", SETTINGS)


def test_a_feature_on_which_the_judge_is_sure_is_done_soon_and_a_hard_one_is_not(scorer_input) -> None:
    scorer_input = replace(scorer_input, held_out=windows(), token_texts=WORDS)
    planned, easy, _ = asked_in_rounds(noisy(0.02), scorer_input, SETTINGS)
    _, hard, _ = asked_in_rounds(noisy(0.4), scorer_input, SETTINGS)
    assert planned == 40 and easy[-1] <= 12 < 16 <= hard[-1] < 40


@pytest.mark.parametrize("error", [0.0, 0.1, 0.25, 0.5])
@pytest.mark.parametrize("ci_width", [0.4, 0.2, 0.1])
def test_no_more_is_asked_than_needed(error: float, ci_width: float, scorer_input) -> None:
    """It stops at the first round after which all that was asked, summed up at once, is known; and at none before."""
    scorer_input = replace(scorer_input, held_out=windows(), token_texts=WORDS)
    settings = replace(SETTINGS, ci_width=ci_width)
    planned, ends, rows = asked_in_rounds(noisy(error), scorer_input, settings)
    every = noisy(error)(detection.plan(scorer_input, OWN, 0))
    known = []
    for end in (8, 12, 16, 20, 25, 31, 38, 40):  # by 4 at first, then by a quarter of what was asked
        found = detection.summarise(scorer_input, detection.grade(scorer_input, every[:end], OWN), OWN, 300, 0)
        known.append((end, is_known(found, "balanced_accuracy", settings), found))
    needed = next((end for end, enough, _ in known if enough), planned)
    assert ends == [end for end, *_ in known if end <= needed]
    assert rows == list(dict((end, found) for end, _, found in known)[ends[-1]])
    assert (ends, rows) == asked_in_rounds(noisy(error), scorer_input, settings)[1:]


def test_a_judge_that_never_answers_is_asked_everything_and_knows_nothing(scorer_input) -> None:
    scorer_input = replace(scorer_input, held_out=windows(), token_texts=WORDS)
    planned, ends, rows = asked_in_rounds(lambda trials: [AnsweredTrial(t, "hm") for t in trials], scorer_input, SETTINGS)
    assert ends[-1] == planned == 40
    assert {r.outcome for r in rows} == {"no_answers"}


def test_the_first_trials_of_every_scorer_hold_both_classes_and_several_strata(scorer_input) -> None:
    explained = replace(scorer_input, held_out=windows(), token_texts=WORDS)
    bare = replace(explained, method=NO_EXPLANATION, explanation=None)
    for scorer, own in ((detection, OWN), (fuzzing, fuzzing.FuzzingSettings()), (simulation, simulation.SimulationSettings()),
                        (surprisal, surprisal.SurprisalSettings()), (intruder, intruder.IntruderSettings())):  # fmt: skip
        for seed in range(10):
            trials = scorer.plan(bare if scorer is intruder else explained, own, seed)[:16]
            items = [item for trial in trials for item in trial.items]
            assert {item.truth for item in items} == {True, False}, scorer.NAME
            assert len({item.stratum for item in items if item.stratum is not None}) >= 2, scorer.NAME


@pytest.mark.parametrize(("n_activating", "n_silent"), [(100, 100), (7, 3), (100, 10), (0, 4), (5, 0)])
def test_any_first_windows_hold_both_kinds_in_proportion(n_activating: int, n_silent: int) -> None:
    examples = [e for i, e in enumerate(windows(100)) if i < n_activating or 100 <= i < 100 + n_silent]
    mixed = evenly_mixed(examples, np.random.default_rng(0))
    assert sorted(e.example_id for e in mixed) == sorted(e.example_id for e in examples)
    for n in range(1, len(mixed) + 1):
        expected = n * n_activating / len(mixed)
        assert sum(e.kind == "activating" for e in mixed[:n]) == pytest.approx(expected, abs=1)
    assert mixed != evenly_mixed(examples, np.random.default_rng(1))


@pytest.mark.parametrize("accuracy", [0.2, 0.5, 0.9])
def test_what_stopping_costs(accuracy: float) -> None:
    """Accuracies of at most 100 trials, stopped at a width of 0.2: nearly unbiased, and within their intervals as often as promised."""
    draw = np.random.default_rng(1)
    found, asked = [], []
    for _ in range(300):
        hits = draw.random(100) < accuracy
        n = 0
        while chosen := next_round(100, n, SETTINGS):
            n = chosen.stop
            share = wilson(int(hits[:n].sum()), n)
            if is_known([score_row("s", CASE, "m", share, 0.2, (n, 0, 0), "undefined")], "m", SETTINGS):
                break
        found.append(share)
        asked.append(n)
    assert np.mean([share.value for share in found]) == pytest.approx(accuracy, abs=0.03)
    assert np.mean([share.ci_low <= accuracy <= share.ci_high for share in found]) > 0.9
    assert np.mean(asked) < 99


@pytest.mark.parametrize(
    ("wrong", "message"),
    [({"ci_width": 0.0}, "ci_width .* above 0, got 0.0"), ({"step_trials": 0}, "step_trials .* got 0"), ({"first_trials": -1}, "got -1")],
)
def test_settings_under_which_asking_would_never_end_are_refused(wrong: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SequentialSettings(**{"ci_width": 0.2, **wrong})
