"""The process of models gives the models' own vectors and replies, and wherever it cannot, the own model answers or says why."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from resources import models_process
from resources.fakes import FakeModels
from resources.kept_models import KeptModels
from resources.language_models import load_language_model
from resources.language_models.interface import ChoiceList, FreeText, Message, NoMoreQuestions, Request
from resources.models_process import EncoderAhead, LanguageModelAhead, ModelsProcess, start_models_process
from resources.sentence_encoder import load_sentence_encoder

EMBEDDED = "embedded:all-minilm-l6-v2"
JUDGE = "embedded:smollm2-135m-instruct"
TEXTS = ["a dog runs", "", "你好 🎉", "word " * 400, "half a character \ud83c"[:-1]]


@pytest.fixture(autouse=True)
def _two_cores_and_no_card(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models_process.os, "sched_getaffinity", lambda _: {0, 1}, raising=False)
    monkeypatch.setattr(models_process, "CARDS", ())


@pytest.fixture
def process() -> Iterator[ModelsProcess]:
    started = start_models_process()
    assert started is not None
    yield started
    started.close()


def has_ended(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def asked(question: str, **fields: Any) -> Request:
    return Request((Message("user", question),), fields.pop("max_reply_tokens", 4), **fields)


REQUESTS = [
    asked("Say hello \ud83c."), asked("Is 2 more than 1?", reply_format=ChoiceList(3), max_reply_tokens=12), asked("a " * 9000),
    asked("Paris is in", suffix=" France", max_reply_tokens=0), asked("Go on:", reply_format=FreeText(), temperature=0.7, seed=3),
]  # fmt: skip


@pytest.mark.real_model
def test_vectors_and_replies_are_the_models_own_to_the_last_bit(process: ModelsProcess) -> None:
    """Texts with half a character and prompts that are too long among them."""
    process.load_language_model(JUDGE, None, {})
    process.load_encoder(EMBEDDED, None)
    loaded = process.loaded_language_model()
    own: Any = load_language_model("transformers", model=JUDGE)
    assert loaded is not None and loaded == (own.identity, own.capabilities)
    model = LanguageModelAhead(process, loaded, lambda: pytest.fail("the own model was loaded"))
    first = next(replies := model.ask(REQUESTS[:2]))
    with pytest.raises(NoMoreQuestions):
        replies.throw(NoMoreQuestions(1.0))  # type: ignore[attr-defined]
    found, expected = dict(model.ask(REQUESTS)), dict(own.ask(REQUESTS))
    assert first[0] in found and sorted(found) == list(range(len(REQUESTS)))
    assert [{**found[i].content(), "seconds": 0} for i in found] == [{**expected[i].content(), "seconds": 0} for i in found]
    encoder = load_sentence_encoder(EMBEDDED)
    vectors = EncoderAhead(encoder, process).embed(TEXTS)
    assert vectors.dtype == np.float32 and vectors.tobytes() == encoder.embed(TEXTS).tobytes()


@pytest.mark.real_model
def test_damaged_weights_have_the_models_own_message_and_leave_the_process_at_work(process: ModelsProcess, tmp_path: Path) -> None:
    own = load_sentence_encoder(EMBEDDED)
    assert own.folder.path is not None
    damaged = tmp_path / "damaged"
    shutil.copytree(own.folder.path, damaged)
    with (damaged / "model.safetensors").open("r+b") as file:
        file.truncate(1000)
    process.load_encoder(str(damaged), None)
    with pytest.raises(Exception) as ahead:
        EncoderAhead(load_sentence_encoder(str(damaged)), process).embed(TEXTS)
    with pytest.raises(Exception) as alone:
        load_sentence_encoder(str(damaged)).embed(TEXTS)
    assert (ahead.type, str(ahead.value)) == (alone.type, str(alone.value))
    assert not process.loads_encoder(str(damaged), None)
    process.load_language_model(str(damaged), None, {"batch_tokens": 64})
    assert process.loaded_language_model() is None
    process.load_encoder(EMBEDDED, None)
    assert process.embed(["a"]) is not None


def test_the_own_model_answers_where_the_process_has_ended(process: ModelsProcess) -> None:
    """Killed by the system, say for want of memory, at any moment."""
    own, judge = FakeModels().sentence_encoder("e", None), FakeModels().language_model("scripted", "m", None, {})
    process.load_encoder("e", None)
    os.kill(process._process.pid, signal.SIGKILL)
    assert np.array_equal(EncoderAhead(own, process).embed(["a b"]), own.embed(["a b"]))
    assert process.embed(["a"]) is None and not process.loads_encoder("e", None)
    assert process.loaded_language_model() is None
    requests = [asked("one"), asked("two")]
    model = LanguageModelAhead(process, (judge.identity, judge.capabilities), lambda: judge)
    assert list(model.ask(requests)) == list(judge.ask(requests))


def test_what_the_process_has_not_answered_the_own_model_answers() -> None:
    judge = FakeModels().language_model("scripted", "m", None, {})
    requests = [asked(f"question {number}") for number in range(4)]
    expected = dict(judge.ask(requests))

    class Half:
        """Answers the last two questions, and ends."""

        freed = 0

        def replies(self, requests: list[Request]) -> Iterator[tuple[int, Any]]:
            yield from ((number, expected[number]) for number in (3, 2))

        def free_language_model(self) -> None:
            self.freed += 1

    half: Any = Half()
    model = LanguageModelAhead(half, (judge.identity, judge.capabilities), lambda: judge)
    assert list(model.ask(requests)) == [(number, expected[number]) for number in (3, 2, 0, 1)]
    assert half.freed == 1
    assert dict(model.ask(requests)) == expected  # by the own model alone, which is loaded once
    assert half.freed == 1


def test_kept_models_ask_the_process_that_loads_their_models_and_end_it(process: ModelsProcess) -> None:
    process.load_encoder("e", "1")
    kept = KeptModels(FakeModels(), process)
    assert isinstance(kept.sentence_encoder("e", "1")._encoder, EncoderAhead)  # type: ignore[attr-defined]
    other = kept.sentence_encoder("another", None)
    assert not isinstance(other._encoder, EncoderAhead)  # type: ignore[attr-defined]
    kept.close()
    assert has_ended(process._process.pid) and not process.loads_encoder("e", "1")


def test_a_language_model_loads_in_the_process_unless_it_cannot_and_is_freed_before_a_subject(process: ModelsProcess) -> None:
    sent: list[tuple[str, Any]] = []
    own = FakeModels().language_model("scripted", "m", None, {})
    process._send = lambda what, number, content: sent.append((what, content))  # type: ignore[method-assign]
    process.loaded_language_model = lambda: None if "bad" in str(sent[-1]) else (own.identity, own.capabilities)  # type: ignore[method-assign]

    class Models(FakeModels):
        def language_model(self, backend: str, model: str, revision: str | None, options: dict[str, Any]) -> Any:
            sent.append(("own", model))
            return own

        def subject(self, source: str, revision: str | None, dtype: str | None, hooks: Any = None) -> Any:
            sent.append(("subject", source))

    kept = KeptModels(Models(), process)
    process.load_language_model("good", None, {})  # ahead
    assert isinstance(kept.language_model("transformers", "good", None, {})._model, LanguageModelAhead)  # type: ignore[attr-defined]
    kept.language_model("transformers", "bad", "1", {})
    kept.language_model("scripted", "served", None, {})
    process.load_language_model("early", None, {})
    kept.subject("s", None, None)
    names = [(what, content[0] if isinstance(content, tuple) else content) for what, content in sent]
    assert names == [
        ("language_model", "good"), ("language_model", None), ("language_model", "bad"), ("own", "bad"), ("own", "served"),
        ("language_model", "early"), ("language_model", None), ("subject", "s"),
    ]  # fmt: skip


def test_the_process_ends_with_a_killed_caller_and_hears_no_interrupt() -> None:
    program = (
        "import time; from resources import models_process as e; e.CARDS = (); e.os.sched_getaffinity = lambda _: {0, 1}; "
        "p = e.start_models_process(); p.load_encoder('embedded:all-minilm-l6-v2', None); print(p._process.pid, flush=True); time.sleep(60)"
    )
    caller = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, start_new_session=True)
    assert caller.stdout is not None
    pid = int(caller.stdout.readline())
    assert os.getpgid(pid) != os.getpgid(caller.pid)  # Ctrl-C in a terminal goes to the caller's group
    caller.kill()
    caller.wait()
    caller.stdout.close()
    deadline = time.monotonic() + 20
    while not has_ended(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert has_ended(pid)


@pytest.mark.real_model
def test_a_folder_of_the_user_with_our_name_is_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "resources").mkdir()
    (tmp_path / "resources" / "__init__.py").write_text("raise RuntimeError('the folder of the user was imported')")
    monkeypatch.chdir(tmp_path)
    process = start_models_process()
    assert process is not None
    try:
        process.load_encoder(EMBEDDED, None)
        assert process.embed(["a"]) is not None
    finally:
        process.close()


def test_no_process_beside_a_card_or_on_one_core(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(models_process, "CARDS", (str(tmp_path),))
    assert start_models_process() is None
    monkeypatch.setattr(models_process, "CARDS", ())
    monkeypatch.setattr(models_process.os, "sched_getaffinity", lambda _: {3}, raising=False)
    assert start_models_process() is None
