"""A batch that ends early, by the server or by the caller: whatever the server has answered is kept, and the rerun asks only the rest."""

import logging
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from odd_server import Answer, OddServer, completion

from resources.language_models.ask_all import ask_all
from resources.language_models.budget import Budget, BudgetExhausted, Spending
from resources.language_models.interface import Message, ModelIdentity, Reply, Request
from resources.language_models.openai_server.model import OpenAIModel, ServerGone, ServerRefused
from resources.language_models.reply_store import ReplyStore

AT_ONCE, N = 4, 12
PATIENCE = 10.0
QUOTA = {"error": {"code": "insufficient_quota", "message": "no credit"}}


class Stage:
    """Answers trials by `play(stage, trial, seen)`, and knows which trials were answered well. The first AT_ONCE trials are all under way
    before one of them is answered; `refused` is set when the client says that it waits for the others."""

    def __init__(self, play: Callable[["Stage", int, int], Answer | None]) -> None:
        self._play, self.answered, self.asked = play, list[int](), list[int]()
        self._all_here = threading.Barrier(AT_ONCE)
        self.refused = threading.Event()

    def respond(self, question: str, seen: int) -> Answer:
        if "trial" not in question:
            return Answer(completion())
        trial = int(question.split()[-1])
        self.asked.append(trial)
        if trial < AT_ONCE and not seen:
            self._all_here.wait(PATIENCE)
        answer = self._play(self, trial, seen) or Answer(completion(f"reply to {trial}"))
        if answer.status == 200:
            self.answered.append(trial)
        return answer

    def emit(self, record: logging.LogRecord) -> None:
        if "are waited for" in record.getMessage():
            self.refused.set()


@pytest.fixture
def served() -> Iterator[Callable[..., tuple[Stage, OpenAIModel]]]:
    opened: list[tuple[OddServer, logging.Handler]] = []
    log = logging.getLogger("resources.language_models.openai_server.model")

    def start(play: Callable[[Stage, int, int], Answer | None], **options: object) -> tuple[Stage, OpenAIModel]:
        stage = Stage(play)
        handler = logging.Handler()
        handler.emit = stage.emit  # type: ignore[method-assign]
        log.addHandler(handler)
        server = OddServer(stage.respond)
        opened.append((server, handler))
        given = {"backoff_seconds": 0.01, "structured": "off", "concurrency": AT_ONCE, "timeout_seconds": PATIENCE, **options}
        return stage, OpenAIModel("stub", base_url=server.url, **given)  # type: ignore[arg-type]

    yield start
    for server, handler in opened:
        log.removeHandler(handler)
        server.__exit__()


def trials(n: int = N) -> list[Request]:
    return [Request((Message("user", f"trial {i}"),), max_reply_tokens=20) for i in range(n)]


def taken(model: OpenAIModel, folder: Path, error: type[BaseException], spending: Spending | None = None) -> dict[int, Reply]:
    """The replies that the caller gets before the error."""
    found: dict[int, Reply] = {}
    with pytest.raises(error):
        for index, reply, _ in ask_all(model, trials(), ReplyStore(folder), spending=spending):
            found[index] = reply
    return found


def rerun(stage: Stage, model: OpenAIModel, folder: Path, n: int = N) -> list[int]:
    """The trials that a second run asks, now that every trial is answered; it has a right reply to each."""
    before = len(stage.asked)
    stage._play = lambda stage, trial, seen: None
    found = {index: reply.text for index, reply, _ in ask_all(model, trials(n), ReplyStore(folder))}
    assert found == {trial: f"reply to {trial}" for trial in range(n)}
    return sorted(stage.asked[before:])


@pytest.mark.parametrize(("status", "body"), [(401, {}), (402, {"error": "no credit"}), (403, []), (429, QUOTA)])
def test_slow_answers_beside_a_quick_refusal_are_kept_and_yielded(
    status: int, body: object, served: Callable[..., tuple[Stage, OpenAIModel]], tmp_path: Path
) -> None:
    def play(stage: Stage, trial: int, seen: int) -> Answer | None:
        if trial == 3:
            return Answer(body, status)
        stage.refused.wait(PATIENCE)
        return None

    stage, model = served(play)
    found = taken(model, tmp_path, ServerRefused)
    assert sorted(found) == [0, 1, 2] and sorted(stage.asked) == [0, 1, 2, 3]
    assert rerun(stage, model, tmp_path) == list(range(3, N))


def test_a_refusal_after_quick_answers_and_one_before_every_answer(
    served: Callable[..., tuple[Stage, OpenAIModel]], tmp_path: Path
) -> None:
    stage, model = served(lambda stage, trial, seen: Answer({}, 402) if trial == N - 1 else None)
    assert sorted(taken(model, tmp_path / "last", ServerRefused)) == list(range(N - 1))
    assert rerun(stage, model, tmp_path / "last") == [N - 1]
    stage, model = served(lambda stage, trial, seen: Answer({}, 402))
    assert taken(model, tmp_path / "first", ServerRefused) == {} and sorted(stage.asked) == [0, 1, 2, 3]


def test_a_question_that_waits_for_its_next_try_is_not_tried_again(
    served: Callable[..., tuple[Stage, OpenAIModel]], tmp_path: Path
) -> None:
    def play(stage: Stage, trial: int, seen: int) -> Answer | None:
        return Answer({}, 401) if trial == 3 else Answer({"error": {"message": "busy"}}, 503, {"Retry-After": "50"})

    stage, model = served(play)
    assert taken(model, tmp_path, ServerRefused) == {} and sorted(stage.asked) == [0, 1, 2, 3]
    assert rerun(stage, model, tmp_path) == list(range(N))


def test_a_dead_server_does_not_cost_the_answers_that_it_still_gives(
    served: Callable[..., tuple[Stage, OpenAIModel]], tmp_path: Path
) -> None:
    def play(stage: Stage, trial: int, seen: int) -> Answer | None:
        if trial == 3:
            raise ConnectionAbortedError
        stage.refused.wait(PATIENCE)
        return None

    stage, model = served(play, max_connection_failures=3)
    assert sorted(taken(model, tmp_path, ServerGone)) == [0, 1, 2]
    assert rerun(stage, model, tmp_path) == list(range(3, N))


def test_an_answer_that_does_not_come_holds_the_end_up_no_longer_than_its_own_time(
    served: Callable[..., tuple[Stage, OpenAIModel]], tmp_path: Path
) -> None:
    over = threading.Event()

    def play(stage: Stage, trial: int, seen: int) -> Answer | None:
        if trial == 3:
            return Answer({}, 402)
        over.wait(PATIENCE)
        return None

    stage, model = served(play, timeout_seconds=0.4)
    assert taken(model, tmp_path, ServerRefused) == {}
    assert sorted(stage.asked) == [0, 1, 2, 3]  # none is tried again
    over.set()


def test_answers_under_way_at_the_end_of_the_budget_are_yielded(served: Callable[..., tuple[Stage, OpenAIModel]], tmp_path: Path) -> None:
    stage, model = served(lambda stage, trial, seen: None)
    found = taken(model, tmp_path, BudgetExhausted, Spending(Budget(tokens=12)))
    assert len(found) < N and sorted(found) == sorted(stage.answered)
    assert rerun(stage, model, tmp_path) == sorted(set(range(N)) - set(found))
    assert len(stage.asked) == N


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, GeneratorExit])
def test_answers_under_way_when_the_caller_fails_are_kept(
    error: type[BaseException], served: Callable[..., tuple[Stage, OpenAIModel]], tmp_path: Path
) -> None:
    stage, model = served(lambda stage, trial, seen: None)
    replies = ask_all(model, trials(100), ReplyStore(tmp_path))
    next(replies)
    with pytest.raises(error):
        replies.throw(error)
    answered = set(stage.answered)
    assert len(answered) < 100
    assert rerun(stage, model, tmp_path, 100) == sorted(set(range(100)) - answered)


def test_an_interrupt_while_answers_are_waited_for_keeps_them(served: Callable[..., tuple[Stage, OpenAIModel]], tmp_path: Path) -> None:
    main = threading.main_thread().ident
    assert main is not None

    def play(stage: Stage, trial: int, seen: int) -> Answer | None:
        if trial == 3:
            signal.pthread_kill(main, signal.SIGINT)
            stage.refused.set()
        stage.refused.wait(PATIENCE)
        return None

    stage, model = served(play)
    taken(model, tmp_path, KeyboardInterrupt)
    answered = set(stage.answered)
    assert {0, 1, 2, 3} <= answered and len(answered) < N
    assert rerun(stage, model, tmp_path) == sorted(set(range(N)) - answered)


def test_a_reply_that_was_being_kept_when_the_interrupt_came_is_kept(
    served: Callable[..., tuple[Stage, OpenAIModel]], tmp_path: Path
) -> None:
    class Interrupted(ReplyStore):
        def append(self, key: str, identity: ModelIdentity, reply: Reply) -> None:
            if not tries:
                tries.append(key)
                raise KeyboardInterrupt
            super().append(key, identity, reply)

    tries: list[str] = []
    stage, model = served(lambda stage, trial, seen: None)
    with pytest.raises(KeyboardInterrupt):
        list(ask_all(model, trials(), Interrupted(tmp_path)))
    answered = set(stage.answered)
    assert rerun(stage, model, tmp_path) == sorted(set(range(N)) - answered)
