import json
from dataclasses import replace

import pytest
from domain_toys import WORDS, make_example
from explaining_toys import INPUT

from interp_assets.domain.explaining import candidates, max_act
from interp_assets.domain.explaining.candidates import CandidatesSettings
from interp_assets.domain.explaining.shared.explainer_input import ExplainerInput, ExplainerReply
from interp_assets.domain.prompting.similarity import query

ACTIVATING = [make_example([0, 1 + i, 13], [0, 1.0, 0], role="validation", row=i) for i in range(2)]
SILENT = [make_example([0, 10 + i, 13], [0.0] * 3, role="validation", row=2 + i) for i in range(2)]
SHOWN = tuple(make_example([i], [9.0 - i], role="shown", row=i) for i in range(8))
READY = replace(INPUT, shown=SHOWN, validation=(*ACTIVATING, *SILENT))
SETTINGS = CandidatesSettings()


def replies(*texts: str) -> list[ExplainerReply]:
    return [ExplainerReply(text) for text in texts]


THREE = replies("[EXPLANATION]: mats", "no tag", "[EXPLANATION]: animals", "[EXPLANATION]: mats", "[EXPLANATION]: cats")
# AUROC of each row over two activating windows, then two silent ones: 2 of 4 pairs won; 3½ of 4; 4 of 4.
MATS, ANIMALS, CATS = (0.9, 0.1, 0.5, 0.4), (0.9, 0.5, 0.5, 0.4), (0.2, 0.3, -0.1, 0.1)


def test_prompts(check_golden) -> None:
    planned = candidates.plan(READY, SETTINGS, 0)
    assert isinstance(planned, tuple) and len(planned) == 5
    assert all(prompt.temperature == 0.7 and prompt.line_prefix == "[EXPLANATION]:" for prompt in planned)
    check_golden("candidates", planned[0])


def test_each_candidate_sees_half_of_the_examples_in_order_under_a_seed_of_its_own() -> None:
    planned = candidates.plan(READY, SETTINGS, 0)
    assert not isinstance(planned, str)
    texts = [max_act.numbered_texts(max_act.marked_texts([example], READY, 0.3), False).removeprefix("Text 1: ") for example in SHOWN]
    seen = [[texts.index(line.split(": ", 1)[1]) for line in prompt.messages[-1][1].splitlines()] for prompt in planned]
    assert all(len(places) == 4 and places == sorted(set(places)) for places in seen)
    assert len({tuple(places) for places in seen}) > 1
    assert len({prompt.seed for prompt in planned}) == 5
    assert len({prompt.messages[: prompt.shared_messages] for prompt in planned}) == 1


def test_prompts_depend_on_the_seed_and_the_feature_alone() -> None:
    assert candidates.plan(READY, SETTINGS, 0) == candidates.plan(READY, SETTINGS, 0)
    assert candidates.plan(READY, SETTINGS, 0) != candidates.plan(READY, SETTINGS, 1)
    assert candidates.plan(READY, SETTINGS, 0) != candidates.plan(replace(READY, feature=8), SETTINGS, 0)


def test_one_example_is_shown_to_all_and_all_of_them_where_wanted() -> None:
    alone = candidates.plan(replace(READY, shown=SHOWN[:1]), SETTINGS, 0)
    whole = candidates.plan(READY, CandidatesSettings(shown_share=1.0), 0)
    (plain,) = max_act.plan(READY, max_act.MaxActSettings(), 0)
    assert not isinstance(alone, str) and not isinstance(whole, str) and isinstance(plain, max_act.Prompt)
    assert len({prompt.messages for prompt in alone}) == 1 and len({prompt.seed for prompt in alone}) == 5
    assert {prompt.messages for prompt in whole} == {plain.messages}


@pytest.mark.parametrize("validation", [(), tuple(ACTIVATING), tuple(SILENT)])
def test_a_choice_needs_both_kinds_of_windows(validation: tuple) -> None:
    assert candidates.plan(replace(READY, validation=validation), SETTINGS, 0) == "no_validation"


def test_without_examples_nothing_is_asked() -> None:
    assert candidates.plan(ExplainerInput(7, (), WORDS, validation=READY.validation), SETTINGS, 0) == "no_examples"


def test_distinct_candidates_are_compared_with_the_validation_windows() -> None:
    asked = candidates.compare(READY, THREE, SETTINGS)
    assert asked is not None
    assert asked.queries == tuple(map(query, ("mats", "animals", "cats")))
    assert asked.queries[0] == "mats"
    assert asked.texts == ("the cat.", "the sat.", "the ran.", "the in.")


def test_the_best_candidate_is_kept_with_all_that_was_compared() -> None:
    found = candidates.choose(READY, THREE, SETTINGS, (MATS, ANIMALS, CATS))
    assert (found.feature, found.method, found.text, found.outcome) == (7, "candidates", "cats", "ok")
    assert json.loads(found.raw_reply) == {
        "chosen": 4,
        "candidates": [
            {"outcome": "ok", "explanation": "mats", "auroc": 0.5, "reply": "[EXPLANATION]: mats"},
            {"outcome": "unparsable", "explanation": None, "auroc": None, "reply": "no tag"},
            {"outcome": "ok", "explanation": "animals", "auroc": 0.875, "reply": "[EXPLANATION]: animals"},
            {"outcome": "ok", "explanation": "mats", "auroc": 0.5, "reply": "[EXPLANATION]: mats"},
            {"outcome": "ok", "explanation": "cats", "auroc": 1.0, "reply": "[EXPLANATION]: cats"},
        ],
    }


@pytest.mark.parametrize(
    ("rows", "kept"),
    [
        ((ANIMALS, ANIMALS, MATS), "mats"),
        ((MATS, CATS, CATS), "animals"),
        ((MATS, ANIMALS, ANIMALS), "animals"),
        (((0.0,) * 4,) * 3, "mats"),
    ],
)
def test_of_equals_the_first_is_kept(rows: tuple, kept: str) -> None:
    assert candidates.choose(READY, THREE, SETTINGS, rows).text == kept


def test_a_perfect_candidate_beats_an_inverted_one_in_any_order() -> None:
    two = replies("[EXPLANATION]: wrong", "[EXPLANATION]: right")
    wrong, right = (0.1, 0.2, 0.3, 0.4), (0.4, 0.3, 0.2, 0.1)
    assert candidates.choose(READY, two, SETTINGS, (wrong, right)).text == "right"
    assert candidates.choose(READY, two[::-1], SETTINGS, (right, wrong)).text == "right"


def test_a_single_explanation_is_kept_without_a_comparison() -> None:
    given = [*replies("", "They are animals.", "[EXPLANATION]: animals", "[EXPLANATION]: animals")]
    assert candidates.compare(READY, given, SETTINGS) is None
    found = candidates.grade(READY, given, SETTINGS)
    raw = json.loads(found.raw_reply)
    assert (found.text, found.outcome, raw["chosen"]) == ("animals", "ok", 2)
    assert [one["outcome"] for one in raw["candidates"]] == ["empty", "unparsable", "ok", "ok"]
    assert {one["auroc"] for one in raw["candidates"]} == {None}


def test_the_choice_waits_for_a_reply_that_did_not_come() -> None:
    given = [ExplainerReply("", "timeout"), *replies("[EXPLANATION]: animals", "[EXPLANATION]: birds")]
    assert candidates.compare(READY, given, SETTINGS) is None
    found = candidates.grade(READY, given, SETTINGS)
    assert (found.text, found.outcome) == (None, "model_error")
    assert [one["explanation"] for one in json.loads(found.raw_reply)["candidates"]] == [None, "animals", "birds"]


@pytest.mark.parametrize(
    ("first", "outcome"),
    [(ExplainerReply("animals"), "unparsable"), (ExplainerReply(""), "empty"), (ExplainerReply("", "timeout"), "model_error")],
)
def test_without_any_the_first_reply_says_why(first: ExplainerReply, outcome: str) -> None:
    given = [first, *replies("Text 1: the <<cat sat>>", "[EXPLANATION]:")]
    assert candidates.compare(READY, given, SETTINGS) is None
    found = candidates.grade(READY, given, SETTINGS)
    assert (found.text, found.outcome, json.loads(found.raw_reply)["chosen"]) == (None, outcome, None)
