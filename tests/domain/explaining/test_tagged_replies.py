"""Every explainer that asks for a tagged line reads it alike, whatever small models make of it."""

from dataclasses import replace
from types import ModuleType

import pytest
from explaining_toys import INPUT, REPLIES

from interp_assets.domain.explaining import (
    EXPLAINERS,
    METHODS,
    Explainer,
    ExplainingSettings,
    contrastive,
    ensemble_raw,
    intervention,
    max_act,
    max_act_cot,
    single_token,
    token_change,
    vocab_proj,
)
from interp_assets.domain.explaining.shared.explainer_input import ExplainerInput, ExplainerReply

TAGGED = (max_act, max_act_cot, contrastive, single_token, vocab_proj, token_change, intervention, ensemble_raw)


@pytest.mark.parametrize("explainer", TAGGED, ids=lambda explainer: explainer.NAME)
@pytest.mark.parametrize(("reply", "error", "outcome", "text"), REPLIES)
def test_replies_end_in_an_explanation_or_a_name(
    explainer: ModuleType, reply: str, error: str | None, outcome: str, text: str | None
) -> None:
    found = explainer.grade(INPUT, [ExplainerReply(reply, error)], ExplainingSettings().of(explainer))
    assert (found.feature, found.method, found.outcome, found.text, found.raw_reply) == (7, explainer.NAME, outcome, text, reply)
    assert found.prompt_version == explainer.VERSION


@pytest.mark.parametrize("explainer", TAGGED, ids=lambda explainer: explainer.NAME)
def test_the_shared_head_is_the_same_for_every_feature_and_seed(explainer: ModuleType) -> None:
    settings = ExplainingSettings().of(explainer)
    clamped, steered = INPUT.clamped[::-1], INPUT.steered[:1]
    other = ExplainerInput(
        8, INPUT.shown[:1], INPUT.token_texts, INPUT.contrast[:1], (), INPUT.promoted[:1], (), "x", 1.0, clamped, steered
    )
    (one,), (two,) = explainer.plan(INPUT, settings, 0), explainer.plan(other, settings, 1)
    assert one == explainer.plan(INPUT, settings, 1)[0]
    assert one.shared_messages == two.shared_messages == len(one.messages) - 1 == 1 + 2 * settings.few_shot
    assert one.messages[:-1] == two.messages[:-1]
    assert one.messages[-1] != two.messages[-1]


UNREAD = {
    "examples": {"shown": (), "contrast": (), "validation": ()},
    "feature_statistics": {"top_token": None, "top_token_share": None},
    "vocabulary_projections": {"promoted": (), "suppressed": ()},
    "token_changes": {"clamped": ()},
    "steering": {"steered": ()},
}


@pytest.mark.parametrize("explainer", EXPLAINERS, ids=lambda explainer: explainer.NAME)
def test_what_an_explainer_reads_is_all_that_it_uses(explainer: Explainer) -> None:
    settings = ExplainingSettings().of(explainer)
    whole = replace(INPUT, validation=(*INPUT.shown, *INPUT.contrast))
    planned = explainer.plan(whole, settings, 0)
    assert not isinstance(planned, str)
    for evidence, left_empty in UNREAD.items():
        without = explainer.plan(replace(whole, **left_empty), settings, 0)
        assert isinstance(without, str) if evidence in ExplainingSettings().reads(explainer) else without == planned


@pytest.mark.parametrize("explainer", TAGGED, ids=lambda explainer: explainer.NAME)
def test_worked_examples_are_questions_of_the_same_form(explainer: ModuleType) -> None:
    """Each reply of theirs is read back, and none of their lines begins as no line of the question does."""
    settings = ExplainingSettings().of(explainer)
    (prompt,) = explainer.plan(INPUT, settings, 0)
    asked = {line.split(":")[0].strip("0123456789 ") for line in prompt.messages[-1][1].splitlines() if line[0] != '"' and ":" in line}
    for (_, question), (_, reply) in zip(prompt.messages[1:-1:2], prompt.messages[2:-1:2], strict=True):
        assert {line.split(":")[0].strip("0123456789 ") for line in question.splitlines() if line[0] != '"'} <= asked
        assert explainer.grade(INPUT, [ExplainerReply(reply)], settings).text == reply.splitlines()[-1].removeprefix("[EXPLANATION]: ")


def test_methods_have_distinct_names() -> None:
    assert len(set(METHODS)) == len(METHODS)


def test_one_that_chooses_says_how() -> None:
    assert [explainer.NAME for explainer in EXPLAINERS if explainer.CHOOSES] == ["candidates"]
    assert all(hasattr(explainer, "choose") == hasattr(explainer, "compare") == explainer.CHOOSES for explainer in EXPLAINERS)
