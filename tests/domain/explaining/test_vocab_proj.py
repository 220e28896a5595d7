from dataclasses import replace

from explaining_toys import INPUT

from interp_assets.domain.explaining import vocab_proj
from interp_assets.domain.explaining.shared.explainer_input import ExplainerInput
from interp_assets.domain.explaining.vocab_proj import VocabProjSettings


def question(explainer_input: ExplainerInput, **settings) -> str:
    (prompt,) = vocab_proj.plan(explainer_input, VocabProjSettings(**settings), 0)
    return prompt.messages[-1][1]


def test_prompt(check_golden) -> None:
    (prompt,) = vocab_proj.plan(INPUT, VocabProjSettings(), 0)
    check_golden("vocab_proj", prompt)


def test_fifty_of_each_list_by_default() -> None:
    many = tuple((f"up{i}", 1.0) for i in range(60)), tuple((f"down{i}", -1.0) for i in range(60))
    more, less = question(replace(INPUT, promoted=many[0], suppressed=many[1])).splitlines()
    assert more == "More likely: " + ", ".join(f'"up{i}"' for i in range(50))
    assert less == "Less likely: " + ", ".join(f'"down{i}"' for i in range(50))
    assert question(INPUT, n_tokens=1) == 'More likely: "cat"\nLess likely: "the"'


def test_tokens_that_look_the_same_stand_there_once() -> None:
    assert question(replace(INPUT, suppressed=())) == 'More likely: "cat", "Cat", "↵", """'


def test_a_feature_without_examples_is_explained_too() -> None:
    dead = ExplainerInput(7, (), {}, promoted=INPUT.promoted, suppressed=INPUT.suppressed)
    assert vocab_proj.plan(dead, VocabProjSettings(), 0) == vocab_proj.plan(INPUT, VocabProjSettings(), 0)


def test_one_list_is_enough_and_none_is_named() -> None:
    assert question(replace(INPUT, promoted=())) == 'Less likely: "the", "snow"'
    assert vocab_proj.plan(replace(INPUT, promoted=(), suppressed=()), VocabProjSettings(), 0) == "no_projection"
