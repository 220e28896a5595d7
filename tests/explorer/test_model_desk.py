"""Work that needs models: one at a time, waited for with patience, asked again under its key, and freed after a while."""

import threading
import time

import pytest

from interp_assets.explorer.model_desk import MOST_WAITING, Busy, ModelDesk, StillWorking
from resources.fakes import FakeModels


def test_an_answer_that_takes_long_is_there_when_it_is_asked_for_again() -> None:
    desk, ready, calls = ModelDesk(FakeModels()), threading.Event(), []

    def work() -> str:
        calls.append(1)
        ready.wait(10)
        return "done"

    with pytest.raises(StillWorking, match="the model"):
        desk.ask("key", "waits for the model", work, patience=0.01)
    ready.set()
    assert desk.ask("key", "", work, patience=10) == desk.ask("key", "", work) == "done" and calls == [1]
    desk.close()


def test_a_failure_is_told_and_tried_again() -> None:
    desk, answers = ModelDesk(FakeModels()), [1, 0]
    with pytest.raises(ZeroDivisionError):
        desk.ask("key", "", lambda: 1 // answers.pop())
    assert desk.ask("key", "", lambda: 1 // answers.pop()) == 1
    desk.close()


def test_too_many_questions_are_refused() -> None:
    desk, ready = ModelDesk(FakeModels()), threading.Event()
    for number in range(MOST_WAITING):
        with pytest.raises(StillWorking):
            desk.ask(number, "", lambda: ready.wait(10), patience=0)
    with pytest.raises(Busy):
        desk.ask("one more", "", lambda: True)
    ready.set()
    desk.close()


def test_models_are_freed_when_nothing_was_asked_for_a_while() -> None:
    desk = ModelDesk(FakeModels(), idle_seconds=0.05)
    desk.ask("encoder", "", lambda: desk.encoder().embed(["a text"]))
    assert desk._encoder is not None
    deadline = time.monotonic() + 10
    while desk._encoder is not None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert desk._encoder is None
    desk.close()
