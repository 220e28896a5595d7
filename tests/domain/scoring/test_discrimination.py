from collections import Counter
from dataclasses import replace

import pytest
from domain_toys import WORDS, make_example

from interp_assets.domain.scoring import discrimination
from interp_assets.domain.scoring.discrimination import DiscriminationSettings
from interp_assets.domain.trials import AnsweredTrial, Rival, ScorerInput, Trial

SETTINGS = DiscriminationSettings()
RIVALS = (
    Rival(3, "words for furniture", "neighbour"),
    Rival(5, "words for weather", "neighbour"),
    Rival(8, "punctuation", "neighbour"),
    Rival(1, "verbs of motion", "random"),
)


@pytest.fixture
def contested(scorer_input: ScorerInput) -> ScorerInput:
    """The common case, its explanation "words for animals" among those of four rivals."""
    return replace(scorer_input, rivals=RIVALS)


def many(n: int, **fields) -> ScorerInput:
    """n activating windows, all different."""
    examples = tuple(make_example([1, i % 16, i // 16], [1.0, 0, 0], row=i, stratum=i * 10 // n) for i in range(n))
    return ScorerInput(7, "max_act", "words for animals", (), examples, WORDS, rivals=fields.pop("rivals", RIVALS), **fields)


def explanations_of(trial: Trial) -> list[str]:
    lines = trial.prompt.messages[-1][1].splitlines()
    return [line.partition(": ")[2] for line in lines if line.startswith("Description ")]


def scores(scorer_input: ScorerInput, judge) -> list:
    """Rows of a judge, a function from the explanations of a trial to the place that it names."""
    trials = discrimination.plan(scorer_input, SETTINGS, 0)
    answered = [AnsweredTrial(trial, f"[{judge(explanations_of(trial)) + 1}]") for trial in trials]
    return list(discrimination.summarise(scorer_input, discrimination.grade(scorer_input, answered, SETTINGS), SETTINGS, 1000, 0))


@pytest.mark.parametrize(("name", "few_shot"), [("discrimination", 2), ("discrimination_bare", 0)])
def test_prompts(name: str, few_shot: int, contested, check_golden) -> None:
    check_golden(name, discrimination.plan(contested, replace(SETTINGS, few_shot=few_shot), 0)[0].prompt)


def test_items_are_the_features_whose_explanations_are_shown(contested) -> None:
    trials = discrimination.plan(contested, SETTINGS, 0)
    names = {f"feature/{rival.feature}": rival.text for rival in RIVALS} | {"feature/7": "words for animals"}
    for trial in trials:
        assert [names[item.example_id] for item in trial.items] == explanations_of(trial)
        assert {item.example_id: item.variant for item in trial.items if item.variant != "neighbour"} == {
            "feature/7": "own", "feature/1": "random"
        }  # fmt: skip
        assert [item.example_id for item in trial.items if item.truth] == ["feature/7"]
        assert {item.stratum for item in trial.items} == {None} and trial.prompt.choices.options == ("1", "2", "3", "4", "5")


def test_windows_are_activating_ones_marked_and_used_once(contested) -> None:
    texts = [line for t in discrimination.plan(many(100), SETTINGS, 0) for line in t.prompt.messages[-1][1].split("\n") if "<<" in line]
    assert len(texts) == 30 and all("<<cat>>" in text for text in texts)
    assert len(discrimination.plan(many(100), SETTINGS, 0)) == 10
    assert [len(discrimination.plan(many(n), SETTINGS, 0)) for n in (0, 1, 2, 3, 5, 6, 29)] == [0, 1, 1, 1, 1, 2, 9]


def test_two_methods_are_judged_on_the_same_windows_with_the_true_one_in_the_same_place() -> None:
    one = many(40)
    rivals = tuple(replace(rival, text=f"something else {rival.feature}") for rival in RIVALS)
    other = replace(one, method="contrastive", explanation="creatures", rivals=rivals)
    first, second = (discrimination.plan(scorer_input, SETTINGS, 0) for scorer_input in (one, other))
    assert [t.items for t in first] == [t.items for t in second]
    assert [t.prompt.messages[-1][1].split("Description")[0] for t in first] == [
        t.prompt.messages[-1][1].split("Description")[0] for t in second
    ]
    assert not {t.trial_id for t in first} & {t.trial_id for t in second}
    assert discrimination.plan(one, SETTINGS, 0) == first != discrimination.plan(one, SETTINGS, 1)


def test_the_oracle_and_its_inverse(contested) -> None:
    (row,) = scores(contested, lambda texts: texts.index("words for animals"))
    assert (row.metric, row.value, row.floor, row.n_positive, row.n_negative) == ("accuracy", 1.0, 1 / 5, 2, 0)
    (row,) = scores(contested, lambda texts: texts.index("punctuation"))
    assert row.value == 0.0


@pytest.mark.parametrize("n_rivals", [4, 1])
def test_one_who_always_says_the_same_is_at_the_floor_exactly(n_rivals: int) -> None:
    scorer_input = many(30, rivals=RIVALS[:n_rivals])
    for place in range(1 + n_rivals):
        (row,) = scores(scorer_input, lambda texts, place=place: place)
        assert row.value == row.floor == 1 / (1 + n_rivals)


def test_rivals_stand_in_all_places() -> None:
    places = Counter(trial.items[0].example_id for seed in range(20) for trial in discrimination.plan(many(30), SETTINGS, seed))
    assert set(places) == {"feature/1", "feature/3", "feature/5", "feature/7", "feature/8"}
    assert min(places.values()) > 20  # of 200


def test_nothing_to_ask_says_why(contested) -> None:
    silent = replace(contested, held_out=tuple(e for e in contested.held_out if e.kind == "non_activating"))
    for scorer_input, outcome in (
        (replace(contested, rivals=()), "no_rivals"),
        (replace(contested, explanation=None), "no_explanation"),
        (replace(contested, explanation=None, rivals=()), "no_explanation"),
        (silent, "no_examples"),
        (replace(silent, rivals=()), "no_examples"),
        (replace(contested, held_out=()), "no_examples"),
    ):
        assert discrimination.plan(scorer_input, SETTINGS, 0) == ()
        (row,) = discrimination.summarise(scorer_input, (), SETTINGS, 1000, 0)
        assert (row.outcome, row.value) == (outcome, None)


def test_worked_answers_differ() -> None:
    assert len({answer for *_, answer in discrimination._WORKED}) == len(discrimination._WORKED)
