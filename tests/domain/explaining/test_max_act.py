import pytest
from domain_toys import WORDS, make_example

from interp_assets.domain.explaining import EXPLAINERS, max_act
from interp_assets.domain.explaining.max_act import ExplainerSettings

SHOWN = [
    make_example([0, 1, 2, 3, 4, 5, 13], [0, 4.0, 1.3, 0, 0, 0, 0], role="shown", row=0),
    make_example([8, 9, 10, 14, 15, 6, 7], [0, 2.0, 0.4, 0, 0.7, 0, 0], role="shown", row=1, stratum=5),
]


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("max_act", ExplainerSettings()),
        ("max_act_with_activations", ExplainerSettings(few_shot=1, with_activations=True)),
        ("max_act_bare", ExplainerSettings(few_shot=0, n_shown=1, max_reply_tokens=30)),
    ],
)
def test_prompts(name: str, settings: ExplainerSettings, check_golden) -> None:
    prompt = max_act.plan(7, SHOWN, WORDS, settings)
    assert prompt is not None and prompt.temperature == 0
    check_golden(name, prompt)


def test_the_shared_head_is_the_same_for_every_feature() -> None:
    one, other = (max_act.plan(7, [example], WORDS, ExplainerSettings()) for example in SHOWN)
    assert one is not None and other is not None
    assert one.messages[: one.shared_messages] == other.messages[: other.shared_messages]
    assert one.messages[one.shared_messages :] != other.messages[other.shared_messages :]


def test_a_feature_without_examples_gets_no_prompt_and_an_outcome() -> None:
    assert max_act.plan(7, [], WORDS, ExplainerSettings()) is None
    assert max_act.grade(7, None).outcome == "no_examples"


@pytest.mark.parametrize(
    ("reply", "error", "outcome", "text"),
    [
        ("[EXPLANATION]: animals", None, "ok", "animals"),
        ("They are animals.", None, "unparsable", None),
        ("[EXPLANATION]:", None, "empty", None),
        ("", None, "empty", None),
        ("", "connection reset", "model_error", None),
        (None, "connection reset", "model_error", None),
    ],
)
def test_grades(reply: str | None, error: str | None, outcome: str, text: str | None) -> None:
    found = max_act.grade(7, reply, error)
    assert (found.feature, found.method, found.outcome, found.text, found.raw_reply) == (7, "max_act", outcome, text, reply or "")
    assert found.prompt_version == max_act.VERSION


def test_explainers_have_distinct_names() -> None:
    assert [explainer.NAME for explainer in EXPLAINERS] == ["max_act"]
