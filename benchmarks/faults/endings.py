"""Attacks at the end of a batch: refusals, a spent budget, a server that dies, a deadline and interrupts, beside answers that are slow.

Whatever the server has answered is kept, the next run asks only the rest, and no question is begun once the batch is over. The judgement
compares what the server has done with what is kept, so that it is the same on a busy machine.
"""

import signal
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "resources" / "language_models"))

from odd_server import Answer, OddServer, completion

from benchmarks.faults.attacks import PATIENCE, REFUSED, WRONG, Result, attack
from resources.language_models.ask_all import ask_all
from resources.language_models.budget import Budget, BudgetExhausted, Spending
from resources.language_models.interface import Message, Request, request_key
from resources.language_models.openai_server.connection import ServerGone, ServerRefused
from resources.language_models.openai_server.model import OpenAIModel
from resources.language_models.reply_store import ReplyStore

AT_ONCE, N, LAST_GOOD = 4, 60, 17
SLOW_SECONDS = 0.3
QUESTIONS = [Request((Message("user", f"trial {n}"),), 20) for n in range(N)]
REFUSALS: dict[str, Answer] = {
    "HTTP 401": Answer({}, 401),
    "HTTP 402": Answer({"error": "no credit"}, 402),
    "HTTP 403": Answer([], 403),
    "a quota that is used up": Answer({"error": {"code": "insufficient_quota"}}, 429),
    "HTTP 402 inside HTTP 200": Answer({"error": {"code": 402, "message": "Insufficient credits"}}),
}


@dataclass(frozen=True)
class Ending:
    """What ends the batch at question `at`, and which of the questions that are good are answered slowly."""

    at: int
    refusal: Answer | None = None
    slow: bool = False
    hangs_up: bool = False
    interrupts: bool = False


class Server:
    """Answers every question well until its ending comes, and knows what it has done."""

    def __init__(self, ending: Ending | None) -> None:
        self.ending, self.good, self.bad = ending, list[int](), list[int]()
        self._lock = threading.Lock()

    def __call__(self, question: str, seen: int) -> Answer:
        if "trial" not in question:
            return Answer(completion())
        number, ending = int(question.split()[-1]), self.ending
        if ending is None or number < ending.at or not (ending.refusal or ending.hangs_up):
            if ending is not None and ending.interrupts and number == ending.at:
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
            if ending is not None and ending.slow:
                time.sleep(SLOW_SECONDS)
            with self._lock:
                self.good.append(number)
            return Answer(completion(f"answer to {number}"))
        with self._lock:
            self.bad.append(number)
        if ending.hangs_up:
            raise ConnectionAbortedError
        assert ending.refusal is not None
        return ending.refusal


def ended(folder: Path, quick: bool, ending: Ending, budget: int | None, takes: int | None) -> Result:
    """One run that ends early, and a second one that is answered whole; `takes`: the caller leaves after so many replies."""
    first = Server(ending)
    store, replies, why = ReplyStore(folder / "replies"), dict[int, str](), ""
    options: dict[str, Any] = {"backoff_seconds": 0.01, "structured": "off", "concurrency": AT_ONCE, "max_connection_failures": 3}
    with OddServer(first) as server:
        model = OpenAIModel("stub", base_url=server.url, timeout_seconds=20 * PATIENCE, **options)
        try:
            asked = ask_all(model, QUESTIONS, store, spending=Spending(Budget(tokens=budget)))
            for index, reply, _ in asked:
                replies[index] = reply.text
                if len(replies) == takes:
                    asked.close()
        except (ServerRefused, ServerGone, BudgetExhausted, KeyboardInterrupt) as error:
            why = str(error) or type(error).__name__
    keys = [request_key(model.identity, request) for request in QUESTIONS]
    found = ReplyStore(folder / "replies").get_many(keys)
    kept = {number for number, key in enumerate(keys) if key in found}
    if kept != set(first.good):
        return Result(WRONG, f"{len(set(first.good) - kept)} answers that were paid for are lost; {why}")
    if (takes is None and not why) or len(first.bad) > AT_ONCE * (1 if ending.refusal else 4):
        return Result(WRONG, f"{len(first.bad)} questions asked for nothing; {why}")
    if ending.refusal and set(replies) != kept:
        return Result(WRONG, f"the caller has {len(replies)} of {len(kept)} replies")
    second = Server(None)
    with OddServer(second) as server:
        model = OpenAIModel("stub", base_url=server.url, **options)
        whole = {index: reply.text for index, reply, _ in ask_all(model, QUESTIONS, ReplyStore(folder / "replies"))}
    right = whole == {number: f"answer to {number}" for number in range(N)}
    twice = len(second.good) != N - len(kept)
    return Result(WRONG, f"asked twice: {twice}, right: {right}") if twice or not right else Result(REFUSED, why)


def add(name: str, ending: Ending, budget: int | None = None, takes: int | None = None) -> None:
    attack(name, ending=ending, budget=budget, takes=takes)(ended)


for name, answer in REFUSALS.items():
    add(f"{name} after quick answers", Ending(LAST_GOOD, answer))
    add(f"{name} beside slow answers", Ending(LAST_GOOD, answer, slow=True))
    add(f"{name} before the first answer", Ending(0, answer))
    add(f"{name} to the last question", Ending(N - 1, answer))
for slow in (False, True):
    beside = "slow" if slow else "quick"
    add(f"a server that hangs up beside {beside} answers", Ending(LAST_GOOD, hangs_up=True, slow=slow))
    add(f"an interrupt beside {beside} answers", Ending(LAST_GOOD, interrupts=True, slow=slow))
    add(f"a spent budget beside {beside} answers", Ending(N, slow=slow), budget=12 * LAST_GOOD)
    add(f"a caller who leaves beside {beside} answers", Ending(N, slow=slow), takes=LAST_GOOD)


def never_answered(folder: Path, quick: bool) -> Result:
    """A refusal beside answers that never come: the batch ends by the time of one question."""
    over = threading.Event()

    def respond(question: str, seen: int) -> Answer:
        number = int(question.split()[-1]) if "trial" in question else -1
        if number in (0, 1, 2):
            over.wait(60)
        return Answer({}, 402) if number == 3 else Answer(completion())

    why, started = "", time.monotonic()
    with OddServer(respond) as server:
        model = OpenAIModel("stub", base_url=server.url, concurrency=AT_ONCE, timeout_seconds=1.0, structured="off")
        try:
            list(ask_all(model, QUESTIONS, ReplyStore(folder / "replies")))
        except ServerRefused as error:
            why = str(error)
        seconds = time.monotonic() - started
        over.set()
    return Result(REFUSED, why) if why and seconds < 10 * PATIENCE else Result(WRONG, f"{seconds:.0f} s; {why}")


attack("HTTP 402 beside answers that never come")(never_answered)
