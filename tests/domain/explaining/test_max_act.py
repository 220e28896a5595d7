import pytest
from domain_toys import WORDS, make_example

from interp_assets.domain.explaining import METHODS, max_act
from interp_assets.domain.explaining.material import ExplainerReply, Material
from interp_assets.domain.explaining.max_act import MaxActSettings

SHOWN = [
    make_example([0, 1, 2, 3, 4, 5, 13], [0, 4.0, 1.3, 0, 0, 0, 0], role="shown", row=0),
    make_example([8, 9, 10, 14, 15, 6, 7], [0, 2.0, 0.4, 0, 0.7, 0, 0], role="shown", row=1, stratum=5),
]
MATERIAL = Material(7, tuple(SHOWN), WORDS)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("max_act", MaxActSettings()),
        ("max_act_with_activations", MaxActSettings(few_shot=1, with_activations=True)),
        ("max_act_bare", MaxActSettings(few_shot=0, n_shown=1, max_reply_tokens=30)),
    ],
)
def test_prompts(name: str, settings: MaxActSettings, check_golden) -> None:
    (prompt,) = max_act.plan(MATERIAL, settings, 0)
    assert prompt.temperature == 0
    check_golden(name, prompt)


def test_the_shared_head_is_the_same_for_every_feature() -> None:
    (one,), (other,) = (max_act.plan(Material(7, (example,), WORDS), MaxActSettings(), 0) for example in SHOWN)
    assert one.messages[: one.shared_messages] == other.messages[: other.shared_messages]
    assert one.messages[one.shared_messages :] != other.messages[other.shared_messages :]


def test_a_feature_without_examples_gets_no_prompt_and_an_outcome() -> None:
    assert max_act.plan(Material(7, (), WORDS), MaxActSettings(), 0) == "no_examples"


@pytest.mark.parametrize(
    ("reply", "error", "outcome", "text"),
    [
        ("[EXPLANATION]: animals", None, "ok", "animals"),
        ("They are animals.", None, "unparsable", None),
        ("[EXPLANATION]:", None, "empty", None),
        ("", None, "empty", None),
        ("", "connection reset", "model_error", None),
    ],
)
def test_grades(reply: str, error: str | None, outcome: str, text: str | None) -> None:
    found = max_act.grade(MATERIAL, [ExplainerReply(reply, error)], MaxActSettings())
    assert (found.feature, found.method, found.outcome, found.text, found.raw_reply) == (7, "max_act", outcome, text, reply)
    assert found.prompt_version == max_act.VERSION


def test_methods_have_distinct_names() -> None:
    assert len(set(METHODS)) == len(METHODS)
