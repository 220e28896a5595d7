"""Naming one of several after a few sentences of reasons: `reason: true` of intruder and output_based."""

from dataclasses import replace

import pytest

from interp_assets.domain.prompting.prompts import Prompt
from interp_assets.domain.scoring import intruder, output_based
from interp_assets.domain.scoring.intruder import IntruderSettings
from interp_assets.domain.scoring.output_based import OutputBasedSettings
from interp_assets.domain.scoring.shared import choice
from interp_assets.domain.steering.steered_texts import CompletionSet
from interp_assets.domain.trials import NO_EXPLANATION, AnsweredTrial, ScorerInput, Trial, TrialItem


@pytest.mark.parametrize(
    ("reply", "named"),
    [
        ("Text [1] is about bread, [3] is not.\n[2]", 1), ("Days everywhere but in 2.\n**[2]**", 1), ("So the answer is [3].", 2),
        ("Set 1 names 7 days.\n2", 1), ("[2]", 1), ("<think>[1]\n</think>\nIt is boats.\n[3]", 2), ("All of the 3 sets fit.", None),
        ("Boats.\nAnswer: 2", 1), ("Boats.\n\\boxed{2}", 1), ("Boats.\n**Final answer: Set 2.**", 1), ("Boats.\nTherefore [Set 2]", 1),
        ("Boats.\nSet 2 speaks of boats.", None), ("[THINK]Is it [1]?[/THINK]Boats.\n[3]", 2), ("[1]\n２", 1),
        ("It is [9].", None), ("[" + "9" * 5000 + "]", None), ("", None), ("<think>[1]", None), ("[0]", None),
    ],
)  # fmt: skip
def test_the_last_number_counts(reply: str, named: int | None) -> None:
    assert choice.parse_reasoned_choice(reply, 3) == named


def test_a_reply_that_was_cut_off_is_no_answer() -> None:
    trial = Trial("t", 7, "m", "s", Prompt((("user", "?"),), 0, 8), tuple(TrialItem(f"f/{i}", i == 1, None, "v") for i in range(3)))
    cut = AnsweredTrial(trial, "Set [1] speaks of", finish_reason="length")
    assert {verdict.outcome for verdict in choice.grade([cut], reasoned=True)} == {"truncated"}
    whole = AnsweredTrial(trial, "Set [1] speaks of boats.\n[2]")
    assert [verdict.prediction for verdict in choice.grade([whole], reasoned=True)] == [False, True, False]
    assert {verdict.outcome for verdict in choice.grade([whole])} == {"unparsable"}  # without reasons two numbers are no answer


@pytest.fixture
def cases(scorer_input: ScorerInput) -> dict[str, ScorerInput]:
    """The common case as either scorer gets it."""
    sets = [CompletionSet(feature, ((0.5, f"We saw {feature}"),)) for feature in (7, 8, 9)]
    return {
        "intruder": replace(scorer_input, method=NO_EXPLANATION, explanation=None),
        "output_based": replace(scorer_input, held_out=(), steered_set=sets[0], rival_sets=tuple(sets[1:])),
    }


@pytest.mark.parametrize(
    ("scorer", "settings"), [(intruder, IntruderSettings(reason=True)), (output_based, OutputBasedSettings(reason=True))]
)
def test_the_judge_is_shown_how_to_reason(cases: dict[str, ScorerInput], scorer, settings) -> None:
    case = cases[scorer.NAME]
    trial = scorer.plan(case, settings, 0)[0]
    plain = scorer.plan(case, replace(settings, reason=False), 0)[0]
    assert trial.prompt.choices is None and trial.prompt.max_reply_tokens == 300 + plain.prompt.max_reply_tokens
    assert choice.REASONED_REPLY in trial.prompt.messages[0][1] and choice.REPLY not in trial.prompt.messages[0][1]
    assert choice.REPLY in plain.prompt.messages[0][1] and plain.prompt.choices is not None
    assert trial.prompt.messages[-1] == plain.prompt.messages[-1] and trial.items == plain.items
    for (_, reasoned), (role, bare) in zip(trial.prompt.messages[1:-1], plain.prompt.messages[1:-1], strict=True):
        assert reasoned.endswith(bare) and (len(reasoned) > len(bare) + 20) == (role == "assistant")
        if role == "assistant":
            assert choice.parse_reasoned_choice(reasoned, 5) == choice.parse_choice(bare, 5)
    place = next(number for number, item in enumerate(trial.items, start=1) if item.truth)
    answered = [AnsweredTrial(one, f"The first looks odd: [1].\n[{place}]") for one in [trial]]
    rows = scorer.summarise(case, scorer.grade(case, answered, settings), settings, 100, 0)
    assert rows[0].value == 1.0
