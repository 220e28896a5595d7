import pytest
from domain_toys import WORDS
from explaining_toys import INPUT

from interp_assets.domain.explaining import max_act, max_act_cot
from interp_assets.domain.explaining.max_act_cot import MaxActCotSettings
from interp_assets.domain.explaining.shared.explainer_input import ExplainerInput, ExplainerReply

STEPS = "Step 1: the marked tokens are cat and dog.\nStep 2: the comes before them.\nStep 3: each is an animal."


def test_prompt(check_golden) -> None:
    (prompt,) = max_act_cot.plan(INPUT, MaxActCotSettings(), 0)
    assert prompt.line_prefix == ""  # it would leave no room to reason
    check_golden("max_act_cot", prompt)


def test_the_question_is_that_of_max_act_and_a_reminder() -> None:
    settings = MaxActCotSettings(few_shot=3, with_activations=True)
    (prompt,), (plain,) = (
        max_act_cot.plan(INPUT, settings, 0),
        max_act.plan(INPUT, max_act.MaxActSettings(few_shot=3, with_activations=True), 0),
    )
    users, plain_users = ([text for role, text in p.messages if role == "user"] for p in (prompt, plain))
    assert users == [f"{text}\nWrite Step 1, Step 2, Step 3 and the [EXPLANATION]: line." for text in plain_users]
    assert len(users) == 4


@pytest.mark.parametrize(
    ("reply", "outcome", "text"),
    [
        (f"{STEPS}\n[EXPLANATION]: animals", "ok", "animals"),
        (f"Step 1: a guess.\n[EXPLANATION]: mats\n{STEPS}\n[EXPLANATION]: animals", "ok", "animals"),
        (f"{STEPS}\nExplanation: mats\nStep 4: no.\n[EXPLANATION]: animals", "ok", "animals"),
        (f"{STEPS}\n[EXPLANATION]: animals\nExplanation: each text has one.", "ok", "animals"),
        (f"{STEPS}\n**Explanation:** animals", "ok", "animals"),
        (STEPS, "unparsable", None),
        ("Text 11: the gate is closed.\n" * 9 + "Text 20: the", "unparsable", None),
        ("Step 1: the marked tokens are 11.1%, 12.1%, 13.1%, 14.1%, 15.", "unparsable", None),
        (f"{STEPS}\n[EXPLANATION]:", "empty", None),
    ],
)
def test_the_last_tag_counts(reply: str, outcome: str, text: str | None) -> None:
    found = max_act_cot.grade(INPUT, [ExplainerReply(reply)], MaxActCotSettings())
    assert (found.outcome, found.text, found.raw_reply) == (outcome, text, reply)


def test_without_examples_nothing_is_asked() -> None:
    assert max_act_cot.plan(ExplainerInput(7, (), WORDS), MaxActCotSettings(), 0) == "no_examples"
