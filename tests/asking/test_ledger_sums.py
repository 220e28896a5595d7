"""What a materialisation says of costs: sums, estimates, and other models that answered."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from interp_assets.asking.asker import Asker
from interp_assets.asking.ledger import LedgerSums, ledger_rows
from interp_assets.asking.questions import Answer, Question
from interp_assets.config.keys import RangeKey
from interp_assets.config.settings import LanguageModelSettings
from interp_assets.domain.prompting.prompts import Prompt
from resources.language_models.budget import Budget, Spending
from resources.language_models.interface import Reply
from resources.language_models.reply_store import ReplyStore
from resources.language_models.scripted import ScriptedModel

KEY = RangeKey("m/00/n", "00of16")
REPLY = Reply("yes", "stop", 10, 0, 2, 0.1)
ODD = replace(REPLY, tokens_are_estimated=True, other_model="cheaper")


def question(text: str) -> Question:
    return Question(0, "max_act", Prompt((("user", text),), 0, 5))


def test_estimates_and_other_models_are_counted_and_a_repeated_question_is_not() -> None:
    answers = [Answer(question("a"), REPLY, "k", "model", "m"), Answer(question("b"), ODD, "l", "store", "m")]
    answers.append(Answer(question("b"), ODD, "l", "repeated", "m"))
    sums = LedgerSums()
    sums.add(ledger_rows("scores/fuzzing", KEY, answers, 0), answers)
    assert sums.numbers["prompt_tokens"] == 20 and sums.numbers["questions_with_estimated_tokens"] == 1
    assert sums.numbers["answered_by_other_models"] == "cheaper (1 questions)"
    plain = LedgerSums()
    plain.add(ledger_rows("scores/fuzzing", KEY, answers[:1], 0), answers[:1])
    assert not {"questions_with_estimated_tokens", "answered_by_other_models"} & set(plain.numbers)


def test_what_is_odd_is_said_once_and_survives_the_store(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Models:
        def language_model(self, *_: Any) -> ScriptedModel:
            return ScriptedModel(lambda request: ODD)

    caplog.set_level(logging.WARNING)
    with Asker(LanguageModelSettings(), Models(), ReplyStore(tmp_path), Spending(), lambda progress: None) as asker:  # type: ignore[arg-type]
        assert len(list(asker.ask([question(str(n)) for n in range(5)]))) == 5
    assert [("estimated" in text, "cheaper" in text) for text in caplog.messages] == [(True, False), (False, True)]
    with Asker(LanguageModelSettings(), Models(), ReplyStore(tmp_path), Spending(), lambda progress: None) as asker:  # type: ignore[arg-type]
        ((_, answer),) = asker.ask([question("1")])
    assert answer.source == "store" and answer.reply == ODD


def test_the_shares_of_prompts_from_and_for_a_prefix_cache_are_said(tmp_path: Path) -> None:
    class Models:
        def language_model(self, *_: Any) -> ScriptedModel:
            return ScriptedModel(lambda request: replace(REPLY, prompt_tokens=100, cached_tokens=30))

    # "user " with its text and a separator has 16 characters: the first 14 of the second question stand in the first one.
    with Asker(LanguageModelSettings(), Models(), ReplyStore(tmp_path), Spending(), lambda progress: None) as asker:  # type: ignore[arg-type]
        answers = [answer for _, answer in sorted(asker.ask([question("name it, a"), question("name it, b")]))]
    assert [answer.shareable for answer in answers] == [0, 14 / 16]
    ledger = ledger_rows("scores/fuzzing", KEY, answers, 0)
    assert ledger.column("shareable_tokens").to_pylist() == [0, 88]
    sums = LedgerSums()
    sums.add(ledger, answers)
    assert (sums.numbers["cached_share"], sums.numbers["shareable_share"]) == (0.3, 0.44)
    assert not {"cached_share", "shareable_share"} & set(LedgerSums().numbers)  # nothing asked, no share


def test_no_reply_gives_a_budget_back() -> None:
    spending = Spending(Budget(tokens=100))
    for reply in (replace(REPLY, prompt_tokens=-57_000_000, completion_tokens=-1), REPLY):
        spending.add("m", reply)
    assert spending.tokens == 12
