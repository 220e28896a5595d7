import re
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from domain_toys import ask, split_texts

from interp_assets.domain.examples.sampling import Example
from interp_assets.domain.scoring import fuzzing
from interp_assets.domain.scoring.fuzzing import FuzzingSettings, dealt_marks, moved_marks
from interp_assets.domain.trials import ScorerInput, Trial

SETTINGS = FuzzingSettings()
LETTERS = [f" w{i}" for i in range(50)]
METRICS = {"auroc", "balanced_accuracy"}


def many(n: int, seed: int, length: int = 32) -> list[Example]:
    """n activating windows with one to six active tokens around position 24, and n silent ones."""
    rng = np.random.default_rng(seed)
    examples = []
    for i in range(2 * n):
        activations = np.zeros(length)
        if i < n:
            first = 24 - int(rng.integers(0, 3))
            activations[first : first + int(rng.integers(1, 7))] = rng.uniform(0.5, 3)
        kind = "activating" if i < n else "non_activating"
        tokens = tuple(rng.integers(0, 50, length).tolist())
        examples.append(
            Example(f"e{i}", 7, "held_out", kind, "random", i * 10 // n if i < n else None, i, 0, tokens, tuple(activations.tolist()))
        )
    return examples


def marks_of(trials: tuple[Trial, ...]) -> dict[bool, list[tuple[int, ...]]]:
    """Positions of the marked words of every item, by truth."""
    found: dict[bool, list[tuple[int, ...]]] = {True: [], False: []}
    for trial in trials:
        for text, item in zip(split_texts(trial.prompt.messages[-1][1]), trial.items, strict=True):
            inside, places = False, []
            for place, word in enumerate(re.findall(r"(?:<<)?w\d+(?:>>)?", text)):
                inside = inside or word.startswith("<<")
                places += [place] if inside else []
                inside = inside and not word.endswith(">>")
            found[item.truth].append(tuple(places))
    return found


def letters(examples: list[Example]) -> ScorerInput:
    return ScorerInput(7, "max_act", "some letters", (), tuple(examples), LETTERS)


def auroc_of_judge(judge, settings: FuzzingSettings) -> float:
    """Mean AUROC of a judge over twenty features, which has a standard error of about 0.009 where the judge knows nothing."""
    values = []
    for seed in range(20):
        scorer_input = letters(many(100, seed))
        answered = ask(fuzzing.plan(scorer_input, settings, seed), judge)
        rows = fuzzing.summarise(scorer_input, fuzzing.grade(scorer_input, answered, settings), settings, 2, 0)
        values += [row.value for row in rows if row.metric == "auroc"]
    return float(np.mean(values))


@pytest.mark.parametrize("negatives", ["random", "active"])
def test_prompts(negatives: str, scorer_input, check_golden) -> None:
    trials = fuzzing.plan(scorer_input, replace(SETTINGS, negatives=negatives), run_seed=0)
    check_golden(f"fuzzing_{negatives}", trials[0].prompt)


def test_positives_mark_the_tokens_at_or_above_the_threshold(scorer_input) -> None:
    trials = fuzzing.plan(scorer_input, replace(SETTINGS, per_prompt=12), 0)
    texts = dict(zip((i.example_id for i in trials[0].items), split_texts(trials[0].prompt.messages[-1][1]), strict=True))
    assert texts["7/0/0"] == "the <<cat>> sat on a mat."
    assert texts["7/5/0"] == "the <<dog ran>> in snow, and"  # 1.0 and 0.5 are marked, 0.1 is below 0.3


@pytest.mark.parametrize("negatives", ["random", "active"])
def test_a_judge_that_counts_marks_is_at_chance(negatives: str) -> None:
    settings = replace(SETTINGS, negatives=negatives)

    def marked_words(text: str) -> float:
        return sum(part.count("w") for part in re.findall(r"<<(.*?)>>", text)) / 40

    assert auroc_of_judge(marked_words, settings) == pytest.approx(0.5, abs=0.03)


def test_a_judge_that_looks_at_the_places_of_marks_is_at_chance() -> None:
    assert auroc_of_judge(lambda text: text.index("<<") / 500, SETTINGS) == pytest.approx(0.5, abs=0.03)


def test_negatives_carry_the_marks_of_positives_one_for_one_and_not_all_the_same() -> None:
    marks = marks_of(fuzzing.plan(letters(many(60, 1)), SETTINGS, 0))
    assert Counter(marks[True]) == Counter(marks[False])
    assert len(set(marks[False])) > 5


def test_active_negatives_mark_as_many_tokens_and_never_an_active_one() -> None:
    examples = many(60, 2)
    trials = fuzzing.plan(letters(examples), replace(SETTINGS, negatives="active"), 0)
    marks = marks_of(trials)
    assert Counter(map(len, marks[True])) == Counter(map(len, marks[False]))
    assert len(marks[True]) == len(marks[False]) == 60
    by_id = {e.example_id: e for e in examples}
    asked = [item for trial in trials for item in trial.items]
    negatives = [item for item in asked if not item.truth]
    for item, places in zip(negatives, marks[False], strict=True):
        assert by_id[item.example_id].kind == "activating"
        assert all(by_id[item.example_id].activations[place] == 0 for place in places)


def test_a_window_without_room_for_wrong_marks_is_in_neither_class() -> None:
    full = Example("full", 7, "held_out", "activating", "quantiles", 0, 0, 0, (1, 2, 3), (1.0, 1.0, 1.0))
    assert moved_marks(full.activations, (True, True, True), np.random.default_rng(0)) is None
    trials = fuzzing.plan(letters([full, *many(5, 0)]), replace(SETTINGS, negatives="active"), 0)
    assert "full" not in {item.example_id for trial in trials for item in trial.items}


def test_marks_are_drawn_one_by_one_where_they_cannot_be_turned() -> None:
    moved = moved_marks((1.0, 1.0, 0.0, 1.0, 0.0), (True, True, False, False, False), np.random.default_rng(0))
    assert moved == (False, False, True, False, True)


def test_the_deck_of_marks_is_dealt_through_before_it_is_dealt_again() -> None:
    deck = [(True, False), (False, True), (True, True)]
    dealt = dealt_marks(deck, [2] * 6, np.random.default_rng(0))
    assert Counter(dealt) == dict.fromkeys(deck, 2)
    assert dealt_marks([], [2], np.random.default_rng(0)) == [(False, False)]
    assert dealt_marks([(True, True, True)], [2], np.random.default_rng(0)) == [(True, True)]


def test_the_oracle_and_its_inverse(scorer_input) -> None:
    trials = fuzzing.plan(scorer_input, SETTINGS, 0)
    for right, expected in ((1.0, 1.0), (0.0, 0.0)):
        answered = ask(trials, lambda text, right=right: right if re.search("<<(cat|dog)", text) else 1 - right)
        rows = fuzzing.summarise(scorer_input, fuzzing.grade(scorer_input, answered, SETTINGS), SETTINGS, 1000, 0)
        assert {row.value for row in rows if row.metric in METRICS} == {expected}
