import re
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from domain_toys import split_texts

from interp_assets.domain.examples.sampling import Example
from interp_assets.domain.prompting.prompts import Choices
from interp_assets.domain.prompting.rendering import marked_positions
from interp_assets.domain.scoring import intruder
from interp_assets.domain.scoring.intruder import IntruderSettings
from interp_assets.domain.trials import NO_EXPLANATION, AnsweredTrial, ScorerInput, Trial

SETTINGS = IntruderSettings()
LETTERS = [f" w{i}" for i in range(50)]


def windows(n_activating: int, n_silent: int, seed: int = 0, length: int = 32, silent_length: int = 32) -> list[Example]:
    """Windows in ten strata, the stronger the more tokens are active, and the more to the left; then silent ones."""
    rng = np.random.default_rng(seed)
    examples = []
    for i in range(n_activating + n_silent):
        on = i < n_activating
        stratum = i * 10 // n_activating if on else None
        activations = np.zeros(length if on else silent_length)
        if on:
            first = 10 + stratum + int(rng.integers(0, 3))
            activations[first : first + 12 - stratum - int(rng.integers(0, 3))] = 2.0
        tokens = tuple(rng.integers(0, 50, len(activations)).tolist())
        kind = "activating" if on else "non_activating"
        examples.append(Example(f"e{i}", 7, "held_out", kind, "random", stratum, i, 0, tokens, tuple(activations.tolist())))
    return examples


def case_of(examples: list[Example], feature: int = 7) -> ScorerInput:
    return ScorerInput(feature, NO_EXPLANATION, None, (), tuple(examples), LETTERS)


@pytest.fixture
def unexplained(scorer_input: ScorerInput) -> ScorerInput:
    """The six activating and six silent windows of the common case, as a scorer gets them that reads no explanation."""
    return replace(scorer_input, method=NO_EXPLANATION, explanation=None)


def texts_of(trial: Trial) -> list[str]:
    return split_texts("\n" + trial.prompt.messages[-1][1])


def marks_of(text: str) -> tuple[int, ...]:
    """Places of the marked words of a text of LETTERS."""
    inside, places = False, []
    for place, word in enumerate(re.findall(r"(?:<<)?w\d+(?:>>)?", text)):
        inside = inside or word.startswith("<<")
        places += [place] if inside else []
        inside = inside and not word.endswith(">>")
    return tuple(places)


def scores(scorer_input: ScorerInput, judge, settings: IntruderSettings = SETTINGS, seed: int = 0) -> list:
    """Rows of a judge, a function from the texts of a trial to the place it names."""
    trials = intruder.plan(scorer_input, settings, seed)
    answered = [AnsweredTrial(trial, f"[{judge(texts_of(trial)) + 1}]") for trial in trials]
    return list(intruder.summarise(scorer_input, intruder.grade(scorer_input, answered, settings), settings, 1000, 0))


@pytest.mark.parametrize(("name", "few_shot"), [("intruder", 2), ("intruder_bare", 0)])
def test_prompts(name: str, few_shot: int, unexplained, check_golden) -> None:
    check_golden(name, intruder.plan(unexplained, replace(SETTINGS, few_shot=few_shot), 0)[0].prompt)


def test_a_trial_has_four_windows_of_a_stratum_and_a_silent_one_that_is_true() -> None:
    examples = {example.example_id: example for example in windows(100, 100)}
    trials = intruder.plan(case_of(list(examples.values())), SETTINGS, 0)
    assert len(trials) == 20 and len({trial.trial_id for trial in trials}) == 20
    for trial in trials:
        (true,) = (item for item in trial.items if item.truth)
        others = [item for item in trial.items if not item.truth]
        assert examples[true.example_id].kind == "non_activating" and (true.variant, true.activation) == ("random", 0.0)
        assert {examples[item.example_id].stratum for item in others} == {item.stratum for item in others} == {true.stratum}
        assert len(others) == 4 and trial.prompt.choices == Choices(1, ("1", "2", "3", "4", "5"))
        for item, text in zip(trial.items, texts_of(trial), strict=True):
            words = "".join(LETTERS[token] for token in examples[item.example_id].token_ids).strip()
            assert text.replace("<<", "").replace(">>", "") == words and "<<" in text


def test_no_window_is_used_twice_where_there_are_enough_and_their_marks_are_all_dealt_out() -> None:
    examples = windows(100, 100)
    trials = intruder.plan(case_of(examples), SETTINGS, 0)
    used = Counter(item.example_id for trial in trials for item in trial.items)
    assert set(used.values()) == {1}
    marks = Counter(marks_of(text) for trial in trials for text in texts_of(trial))
    own = Counter(tuple(np.flatnonzero(marked_positions(e.activations, 0.3)).tolist()) for e in examples if any(e.activations))
    assert marks == own  # the four shown windows' and, on the intruder, the fifth's


@pytest.mark.parametrize(
    "judge",
    [
        lambda texts: int(np.argmax([len(marks_of(text)) for text in texts])),
        lambda texts: int(np.argmin([len(marks_of(text)) for text in texts])),
        lambda texts: int(np.argmax(np.abs(np.array(n := [len(marks_of(text)) for text in texts]) - np.median(n)))),
        lambda texts: int(np.argmax(np.abs(np.array(p := [np.mean(marks_of(text)) for text in texts]) - np.median(p)))),
    ],
    ids=["most marks", "fewest marks", "odd number of marks", "odd place of marks"],
)
@pytest.mark.parametrize("n_activating", [100, 30])
def test_a_judge_of_marks_alone_is_at_chance(judge, n_activating: int) -> None:
    """With 30 windows each stratum of three borrows two of other strata. 1,000 trials: a standard error of 0.013."""
    hits: list[bool] = []
    seeds = range(50 if n_activating == 100 else 100)
    for seed in seeds:
        scorer_input = case_of(windows(n_activating, 100, seed), feature=seed)
        hits += [judge(texts_of(t)) == [i.truth for i in t.items].index(True) for t in intruder.plan(scorer_input, SETTINGS, 0)]
    assert len(hits) == 1000
    assert np.mean(hits) == pytest.approx(0.2, abs=0.045)


def test_one_who_always_says_the_same_is_at_chance_exactly() -> None:
    rows = scores(case_of(windows(100, 100)), lambda texts: 3)
    assert (rows[0].value, rows[0].floor, rows[0].n_positive) == (1 / 5, 1 / 5, 20)


def has_animal(text: str) -> bool:
    return bool(re.search("<<(cat|dog)", text))


def test_the_oracle_and_its_inverse(unexplained) -> None:
    rows = scores(unexplained, lambda texts: [has_animal(text) for text in texts].index(False))
    assert [(r.metric, r.stratum) for r in rows] == [("accuracy", None), *(("accuracy@stratum", s) for s in (0, 1, 2, 3, 4, 9))]
    assert {r.value for r in rows} == {1.0} and {r.floor for r in rows} == {1 / 5}
    assert all(r.ci_low <= r.value <= r.ci_high for r in rows)
    assert {r.value for r in scores(unexplained, lambda texts: [has_animal(text) for text in texts].index(True))} == {0.0}


def test_a_stratum_with_too_few_windows_borrows_from_the_nearest(unexplained) -> None:
    """Strata 0 to 4 and 9 of one window each: the trial of stratum 9 needs those of 4, 3, 2 and 1, never that of 0."""
    for seed in range(5):
        trials = intruder.plan(unexplained, SETTINGS, seed)
        assert len(trials) == 6
        (last,) = (trial for trial in trials if any(item.truth and item.stratum == 9 for item in trial.items))
        assert {item.stratum for item in last.items} <= {1, 2, 3, 4, 9}
    bearers = Counter(item.example_id for trial in trials for item in trial.items if item.truth)
    assert set(bearers.values()) == {1}


def test_a_stratum_has_no_more_trials_than_its_windows_fill() -> None:
    counts = {n: len(intruder.plan(case_of(windows(10 * n, 50)), replace(SETTINGS, per_stratum=3), 0)) for n in (1, 5, 9, 10, 15, 20)}
    assert counts == {1: 10, 5: 10, 9: 10, 10: 20, 15: 30, 20: 30}


@pytest.mark.parametrize(("n_activating", "n_silent"), [(0, 0), (4, 10), (10, 0), (0, 10)])
def test_without_five_windows_and_an_intruder_nothing_is_asked(n_activating: int, n_silent: int) -> None:
    scorer_input = case_of(windows(n_activating, n_silent))
    assert intruder.plan(scorer_input, SETTINGS, 0) == ()
    (row,) = intruder.summarise(scorer_input, (), SETTINGS, 1000, 0)
    assert (row.outcome, row.value, row.floor) == ("no_examples", None, None)


@pytest.mark.parametrize("silent_length", [20, 31, 34])
def test_an_intruder_of_another_length_bears_as_many_marks(silent_length: int) -> None:
    examples = {example.example_id: example for example in windows(20, 10, silent_length=silent_length)}
    counts = {int(marked_positions(e.activations, 0.3).count(True)) for e in examples.values() if e.kind == "activating"}
    trials = intruder.plan(case_of(list(examples.values())), SETTINGS, 0)
    bearers = [text for trial in trials for text, item in zip(texts_of(trial), trial.items, strict=True) if item.truth]
    assert len(bearers) == 10 and {len(marks_of(text)) for text in bearers} <= counts


@pytest.mark.parametrize("n_silent", [5, 10, 40])
def test_intruders_are_as_often_short_as_the_windows_beside_them(n_silent: int) -> None:
    """Four windows of ten are short, of both kinds. With intruders at least as long as their lenders, fewer were."""
    rng = np.random.default_rng(1)
    short: dict[bool, list[bool]] = {True: [], False: []}
    for seed in range(1200 // n_silent):
        cut = [
            replace(e, token_ids=e.token_ids[: int(rng.integers(24, 32))], activations=e.activations[:]) if rng.random() < 0.4 else e
            for e in windows(50, n_silent, seed)
        ]
        examples = {e.example_id: replace(e, activations=e.activations[: len(e.token_ids)]) for e in cut}
        for trial in intruder.plan(case_of(list(examples.values()), feature=seed), SETTINGS, 0):
            for item in trial.items:
                short[item.truth].append(len(examples[item.example_id].token_ids) < 32)
    assert np.mean(short[True]) == pytest.approx(np.mean(short[False]), abs=0.06)


def test_strata_are_mixed_so_that_the_first_trials_see_several() -> None:
    for seed in range(10):
        first = intruder.plan(case_of(windows(100, 100)), SETTINGS, seed)[:8]
        assert len({item.stratum for trial in first for item in trial.items if item.truth}) >= 4


def test_equal_seeds_ask_the_same_and_others_do_not() -> None:
    scorer_input = case_of(windows(100, 100))
    assert intruder.plan(scorer_input, SETTINGS, 0) == intruder.plan(scorer_input, SETTINGS, 0) != intruder.plan(scorer_input, SETTINGS, 1)
