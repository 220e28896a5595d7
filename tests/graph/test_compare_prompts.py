"""`interp prompts compare`: two texts of a prompt on the same windows, on stand-in models."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from installation import KEY
from small_lab import Lab

from interp_assets.config.base import UserError
from interp_assets.domain.prompting.instructions import PROMPTS
from interp_assets.single_features.compare_prompts import Compared, planned_comparison
from interp_assets.single_features.told_comparison import told_comparison, told_costs
from resources.fakes import FakeModels, scripted_answer
from resources.language_models.interface import ChoiceList, LanguageModel, Request
from resources.language_models.scripted import ScriptedModel

MARK = "Say 1 to all."
OTHER = PROMPTS["detection"].text + " " + MARK


@dataclass
class Marked(FakeModels):
    """Judges that say 1 to every window where the instructions hold MARK; counts the questions."""

    n_asked: int = 0

    def language_model(self, backend: str, model: str, revision: str | None, options: dict[str, Any]) -> LanguageModel:
        """The scripted judge."""

        def answer(request: Request) -> Any:
            self.n_asked += 1
            if MARK in request.messages[0].content and isinstance(request.reply_format, ChoiceList):
                return str([1] * request.reply_format.count)
            return scripted_answer(request)

        return ScriptedModel(answer)


@pytest.fixture(scope="module")
def compared(lab: Lab) -> tuple[Any, Compared, Marked]:
    models = Marked()
    planned = planned_comparison(lab.home, KEY, PROMPTS["detection"], OTHER, 20, None, None)
    return planned, planned.ask(models, lambda line: None), models


def test_a_scorers_prompt_is_compared_on_the_lakes_explanations(lab: Lab, compared: tuple[Any, Compared, Marked]) -> None:
    planned, found, models = compared
    assert found.features == (5, 40) and planned.method == "max_act" and models.n_asked
    stored = lab.rows("SELECT value FROM scores WHERE headline AND scorer = 'detection' ORDER BY feature")
    assert found.present.tolist() == [value for (value,) in stored]
    assert found.other.tolist() == [0.5, 0.5]  # a judge that says 1 to all has balanced accuracy 1/2
    assert found.difference.value == pytest.approx(0.5 - np.mean([value for (value,) in stored])) and found.difference.ci_low is None
    told = told_comparison(planned, found)
    assert "too few features for an interval, paired over 2 features" in told[1]


def test_the_same_comparison_again_asks_nothing(lab: Lab, compared: tuple[Any, Compared, Marked]) -> None:
    planned, found, _ = compared
    again = Marked()
    repeated = planned.ask(again, lambda line: None)
    assert again.n_asked == 0 and repeated.tokens == 0 and repeated.other.tolist() == found.other.tolist()


def test_the_cost_is_an_upper_bound_and_nothing_is_asked(lab: Lab, compared: tuple[Any, Compared, Marked]) -> None:
    planned, found, _ = compared
    (cost,) = planned.costs()
    assert cost.tokens >= found.tokens > 0 and f"at most {cost.questions:,} questions" in told_costs(planned)[1]


def test_an_explainers_prompt_is_compared_by_the_scores_of_its_explanations(lab: Lab) -> None:
    models, before = Marked(), lab.rows("SELECT count(*) FROM explanations")
    planned = planned_comparison(lab.home, KEY, PROMPTS["max_act"], "Say {tag} something.", 20, "fuzzing", None)
    found = planned.ask(models, lambda line: None)
    assert models.n_asked and not np.isnan(found.present).any() and len(found.other) == 2
    stored = lab.rows("SELECT value FROM scores WHERE headline AND scorer = 'fuzzing' ORDER BY feature")
    assert found.present.tolist() == [value for (value,) in stored]
    assert lab.rows("SELECT count(*) FROM explanations") == before
    assert [cost.questions > 0 for cost in planned.costs()] == [True]  # one model writes and judges


def test_the_difference_is_paired_over_features_with_both_scores() -> None:
    present, other = np.array([0.5, 0.6, 0.7, 0.8, np.nan]), np.array([0.6, 0.7, 0.8, 0.9, 0.2])
    found = Compared((1, 2, 3, 4, 5), present, other, {}, 0, 0.0)  # type: ignore[arg-type]
    assert found.difference.value == pytest.approx(0.1) and found.difference.ci_low == pytest.approx(0.1)
    assert found.means == pytest.approx((0.65, 0.75))


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        (lambda lab: planned_comparison(lab.home, KEY, PROMPTS["detection"], PROMPTS["detection"].text, 20, None, None), "are the same"),
        (lambda lab: planned_comparison(lab.home, KEY, PROMPTS["detection"], "a", 20, "fuzzing", None), "leave --scorer out"),
        (
            lambda lab: planned_comparison(lab.home, KEY, PROMPTS["detection"], "a", 20, None, "vocab_proj"),
            "has explanations by max_act, not by",
        ),
        (lambda lab: planned_comparison(lab.home, KEY, PROMPTS["max_act"], "{tag}", 20, "intruder", None), "reads nothing else: detection"),
        (lambda lab: planned_comparison(lab.home, KEY, PROMPTS["max_act"], "{tag}", 20, None, "max_act"), "leave it out"),
    ],
)
def test_what_cannot_be_compared_is_refused(lab: Lab, asked: Callable[[Lab], Any], why: str) -> None:
    with pytest.raises(UserError, match=why):
        asked(lab)
