from dataclasses import replace

from explaining_toys import INPUT

from interp_assets.domain.explaining import token_change
from interp_assets.domain.explaining.shared.explainer_input import ExplainerInput, TokenChanges
from interp_assets.domain.explaining.token_change import TokenChangeExplainerSettings


def question(explainer_input: ExplainerInput, **settings) -> str:
    (prompt,) = token_change.plan(explainer_input, TokenChangeExplainerSettings(**settings), 0)
    return prompt.messages[-1][1]


def test_prompt(check_golden) -> None:
    (prompt,) = token_change.plan(INPUT, TokenChangeExplainerSettings(), 0)
    check_golden("token_change", prompt)


def test_ten_of_each_list_by_default() -> None:
    many = tuple((f"t{i}", 1.0) for i in range(30))
    explainer_input = replace(INPUT, clamped=(TokenChanges(1.0, many, many), TokenChanges(-1.0, many, many)))
    ten = ", ".join(f'"t{i}"' for i in range(10))
    both = [f"More likely: {ten}", f"Less likely: {ten}"]
    assert question(explainer_input).splitlines() == ["Switched on:", *both, "Turned the other way:", *both]
    assert question(INPUT, n_tokens=1).splitlines() == [
        "Switched on:", 'More likely: "cat"', 'Less likely: "dog"', "Turned the other way:", 'More likely: "dog"', 'Less likely: "cat"',
    ]  # fmt: skip


def test_no_example_is_needed_and_a_feature_that_was_not_clamped_is_named() -> None:
    assert token_change.plan(ExplainerInput(7, (), {}, clamped=INPUT.clamped), TokenChangeExplainerSettings(), 0) != "no_changes"
    assert token_change.plan(replace(INPUT, clamped=()), TokenChangeExplainerSettings(), 0) == "no_changes"
