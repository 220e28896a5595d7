from dataclasses import replace

import numpy as np
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


def test_the_narrow_prompt_differs_in_one_clause() -> None:
    (wide,), (narrow,) = (max_act.plan(INPUT, MaxActSettings(breadth=breadth), 0) for breadth in ("all", "strong"))
    assert wide.messages[1:] == narrow.messages[1:]
    assert wide.messages[0][1].replace(max_act.BREADTHS["all"], max_act.BREADTHS["strong"]) == narrow.messages[0][1]
    assert "cover all of the texts" not in narrow.messages[0][1] and wide == max_act.plan(INPUT, MaxActSettings(), 0)[0]


def test_next_tokens_stand_below_each_text_and_below_worked_texts() -> None:
    """The strongest token of the first window is " cat" (4.0), and " sat" follows it."""
    settings = MaxActSettings(few_shot=1, next_tokens=True, with_activations=True)
    (prompt,) = max_act.plan(INPUT, settings, 0)
    (plain,) = max_act.plan(INPUT, MaxActSettings(few_shot=1, with_activations=True), 0)
    assert prompt.messages[0][1] == plain.messages[0][1].replace(max_act.STRENGTHS, max_act.STRENGTHS + max_act.NEXT_TOKENS)
    worked = [line for line in prompt.messages[1][1].splitlines() if line.startswith("Next token: ")]
    assert worked == ['Next token: "at"', 'Next token: "in"', "Next token: none"]
    shown = prompt.messages[-1][1]
    assert "\n".join(line for line in shown.splitlines() if not line.startswith("Next token: ")) == plain.messages[-1][1]
    assert shown.count("Next token: ") == len(SHOWN)
    assert [max_act.next_token(one, INPUT) for one in SHOWN] == [
        next((f'"{WORDS[i].strip() or WORDS[i]}"' for i in one.token_ids[int(np.argmax(one.activations)) + 1 :] if WORDS[i]), "none")
        for one in SHOWN
    ]


def test_a_peak_at_the_end_has_no_next_token_and_a_line_break_is_written_out() -> None:
    last = replace(SHOWN[0], activations=(*[0.0] * (len(SHOWN[0].token_ids) - 1), 1.0))
    assert max_act.next_token(last, INPUT) == "none"
    broken = replace(SHOWN[0], token_ids=(0, 1, 2, *SHOWN[0].token_ids[3:]), activations=(1.0, *[0.0] * (len(SHOWN[0].token_ids) - 1)))
    texts = {**dict(enumerate(WORDS)), 1: "", 2: "\n"}
    assert max_act.next_token(broken, replace(INPUT, token_texts=texts)) == '"↵"'
