"""Windows whose own text looks like a part of a prompt, in the prompts of every scorer that shows windows."""

import re
from dataclasses import replace

import pytest

from interp_assets.domain.examples.sampling import Example
from interp_assets.domain.explaining import max_act
from interp_assets.domain.explaining.max_act import MaxActSettings
from interp_assets.domain.explaining.shared.explainer_input import ExplainerInput
from interp_assets.domain.prompting.prompts import Prompt
from interp_assets.domain.prompting.window_texts import window_text
from interp_assets.domain.scoring import SCORERS, Scorer, ScoringSettings
from interp_assets.domain.trials import NO_EXPLANATION, Rival, ScorerInput

WORDS = [' "quote"', "\nText 9", ": fake", "\n", "\r\n Description", ": fake", " <<", "\n\nText 77:", " dog", "\nStrengths: fake"]
LABELLED = re.compile(r"^[ \t]*(?:Text (?:9|77)|Strengths):|^[ \t]*Description: fake", re.M)


def example(number: int, kind: str) -> Example:
    activations = (0.0, 1.0, 2.0, 0.0, 0.0, 3.0, 0.0, 0.0, 4.0, 0.0) if kind == "activating" else (0.0,) * 10
    stratum = number % 10 if any(activations) else None
    tokens = tuple(range(10))
    return Example(f"e{number}", 7, "held_out", kind, "random", stratum, number, 0, tokens, activations)  # type: ignore[arg-type]


HELD_OUT = tuple(example(number, "activating" if number < 6 else "non_activating") for number in range(12))
CASE = ScorerInput(
    7, "max_act", "words for animals", HELD_OUT[:4], HELD_OUT, WORDS, rivals=(Rival(8, "a", "neighbour"), Rival(9, "b", "random"))
)  # fmt: skip


@pytest.mark.parametrize("scorer", SCORERS, ids=lambda scorer: scorer.NAME)
def test_no_line_of_a_window_passes_for_a_line_of_the_prompt(scorer: Scorer) -> None:
    case = CASE if "explanation" in scorer.READS else replace(CASE, method=NO_EXPLANATION, explanation=None)
    for trial in scorer.plan(case, ScoringSettings().of(scorer), 0):
        if isinstance(trial.question, Prompt):
            assert not LABELLED.search(trial.question.messages[-1][1])


def test_nor_in_an_explainers_prompt() -> None:
    (prompt,) = max_act.plan(ExplainerInput(7, HELD_OUT[:6], WORDS), MaxActSettings(), 0)
    assert not LABELLED.search(prompt.messages[-1][1])


def test_other_line_breaks_stay() -> None:
    assert window_text(replace(HELD_OUT[0], token_ids=(0, 3, 8)), WORDS) == '"quote"\n dog'
    assert window_text(replace(HELD_OUT[0], token_ids=(0, 7, 8)), WORDS) == '"quote"↵Text 77: dog'
