import pytest
from domain_toys import WORDS
from explaining_toys import INPUT, SHOWN

from interp_assets.domain.explaining import max_act
from interp_assets.domain.explaining.max_act import MaxActSettings
from interp_assets.domain.explaining.shared.explainer_input import ExplainerInput


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("max_act", MaxActSettings()),
        ("max_act_with_activations", MaxActSettings(few_shot=1, with_activations=True)),
        ("max_act_bare", MaxActSettings(few_shot=0, n_shown=1, max_reply_tokens=30)),
    ],
)
def test_prompts(name: str, settings: MaxActSettings, check_golden) -> None:
    (prompt,) = max_act.plan(INPUT, settings, 0)
    assert (prompt.temperature, prompt.line_prefix) == (0, "[EXPLANATION]:")
    check_golden(name, prompt)


def test_a_part_of_the_examples_keeps_the_scale_of_all() -> None:
    """2.0 is half of the feature's largest shown activation, 4.0, even where only the weaker example stands in the prompt."""
    prompt = max_act.prompt(INPUT, SHOWN[1:], MaxActSettings(few_shot=0, with_activations=True))
    assert prompt.messages[-1][1] == 'Text 1: the <<dog>> ran\n << <b> >>, and\nStrengths: ("dog", 5), ("<b>", 2)'


def test_a_feature_without_examples_gets_no_prompt_and_an_outcome() -> None:
    assert max_act.plan(ExplainerInput(7, (), WORDS), MaxActSettings(), 0) == "no_examples"
