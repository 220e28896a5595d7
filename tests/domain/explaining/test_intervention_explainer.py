from dataclasses import replace

from explaining_toys import INPUT

from interp_assets.domain.explaining import intervention
from interp_assets.domain.explaining.intervention import InterventionSettings
from interp_assets.domain.explaining.shared.explainer_input import ExplainerInput, SteeredPrompt


def question(explainer_input: ExplainerInput, **settings) -> str:
    (prompt,) = intervention.plan(explainer_input, InterventionSettings(**settings), 0)
    return prompt.messages[-1][1]


def test_prompt(check_golden) -> None:
    (prompt,) = intervention.plan(INPUT, InterventionSettings(), 0)
    check_golden("intervention_explainer", prompt)


def test_five_tokens_of_ten_texts_by_default() -> None:
    many = tuple((f" t{i}", 0.5 - i / 50) for i in range(10))
    lines = question(replace(INPUT, steered=tuple(SteeredPrompt(f" text {i}", many) for i in range(40)))).splitlines()
    assert len(lines) == 20 and lines[18] == "Text 10: text 9"
    assert lines[19] == 'Likelier next: "t0" +0.500, "t1" +0.480, "t2" +0.460, "t3" +0.440, "t4" +0.420'
    assert question(INPUT, n_prompts=1, n_tokens=1).splitlines() == ["Text 1: the cat", 'Likelier next: "cat" +0.250']


def test_tokens_that_gain_nothing_are_left_out() -> None:
    assert [line for line in question(INPUT).splitlines() if "Likelier" in line] == [
        'Likelier next: "cat" +0.250, "sat" +0.125', 'Likelier next: "ran" +0.060',
    ]  # fmt: skip
    mute = SteeredPrompt(" a mat", ((" cat", 0.0004), (" dog", -0.5)))
    assert question(replace(INPUT, steered=(mute, *INPUT.steered))).splitlines()[1] == "Likelier next: none"
    assert intervention.plan(replace(INPUT, steered=(mute, mute)), InterventionSettings(), 0) == "no_steering"


def test_no_example_is_needed_and_a_feature_that_was_not_steered_is_named() -> None:
    assert intervention.plan(ExplainerInput(7, (), {}, steered=INPUT.steered), InterventionSettings(), 0) != "no_steering"
    assert intervention.plan(replace(INPUT, steered=()), InterventionSettings(), 0) == "no_steering"
