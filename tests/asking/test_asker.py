"""Putting questions to a model: what comes back can be written down, whatever a server sent."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa

from interp_assets.asking.asker import Asker
from interp_assets.asking.questions import Question
from interp_assets.config.settings import LanguageModelSettings
from interp_assets.domain.prompting.prompts import Prompt
from resources.language_models.budget import Spending
from resources.language_models.interface import ModelIdentity, Reply, Request
from resources.language_models.reply_store import ReplyStore


class Halving:
    """A model behind a server that cuts replies in the middle of an emoji."""

    identity = ModelIdentity("openai", "m", "1")
    capabilities: frozenset[str] = frozenset()

    def ask(self, requests: Sequence[Request]) -> Iterator[tuple[int, Reply]]:
        for index, request in enumerate(requests):
            error = "no \ud83d" if "fail" in request.messages[0].content else None
            yield index, Reply("" if error else "a cat \ud83d", "error" if error else "stop", 1, 0, 1, 0.0, error=error)

    def close(self) -> None: ...


def test_half_a_character_in_a_reply_is_replaced_now_and_out_of_the_store(tmp_path: Path) -> None:
    models = SimpleNamespace(language_model=lambda *arguments: Halving())
    store = ReplyStore(tmp_path / "replies")
    questions = [Question(7, "max_act", Prompt((("user", text),), 0, 8)) for text in ("what?", "fail")]
    for source in ("model", "store"):
        with Asker(LanguageModelSettings(), models, store, Spending(), lambda progress: None) as asker:  # type: ignore[arg-type]
            answers = dict(asker.ask(questions))
        assert (answers[0].reply.text, answers[0].source, answers[1].reply.error) == ("a cat \ufffd", source, "no \ufffd")
        assert pa.array([answers[0].reply.text, answers[1].reply.error])
