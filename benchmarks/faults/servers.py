"""Attacks by servers of language models: odd replies, counts that are nonsense, waits without end, addresses that lead nowhere."""

import json
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "resources" / "language_models"))

from odd_server import Answer, OddServer, completion

from benchmarks.faults.attacks import BLOCKS, HANG, MENDED, REFUSED, RIGHT, WRONG, Result, attack
from resources.language_models.ask_all import ask_all
from resources.language_models.budget import Budget, BudgetExhausted, Spending
from resources.language_models.interface import Message, Reply, Request
from resources.language_models.openai_server.connection import ServerGone, ServerRefused
from resources.language_models.openai_server.model import OpenAIModel
from resources.language_models.reply_store import ReplyStore

N_QUESTIONS, ODD = 12, 5
TEXT = "Which of these texts does the description fit? " * 4
WHOLE = Answer(completion())
Respond = Callable[[str, int], Answer]


def asked(folder: Path, respond: Respond, budget: int | None = None, **options: Any) -> tuple[dict[int, Reply], str, float, int]:
    """Replies by question, the message that ended the batch, seconds, and how many different questions the server saw."""
    requests = [Request((Message("user", f"{TEXT}trial {n}."),), 20) for n in range(60 if budget else N_QUESTIONS)]
    replies: dict[int, Reply] = {}
    ended, started = "", time.monotonic()
    with OddServer(respond) as server:
        chosen = {"backoff_seconds": 0.01, "max_retries": 2, "structured": "off", "concurrency": 4, "timeout_seconds": 2.0, **options}
        model = OpenAIModel("stub", base_url=server.url, **chosen)
        try:
            for index, reply, _ in ask_all(model, requests, ReplyStore(folder / "replies"), spending=Spending(Budget(tokens=budget))):
                replies[index] = reply
        except (ServerGone, ServerRefused, BudgetExhausted) as error:
            ended = str(error)
        seen = len({question for question in server.asked if "trial" in question})
    return replies, ended, time.monotonic() - started, seen


def one(answer: Answer) -> Respond:
    """One question is answered so, all others as they should be."""
    return lambda question, seen: answer if f"trial {ODD}." in question else WHOLE


CHOICE = {"index": 0, "finish_reason": "stop"}
ODD_ANSWERS: dict[str, Answer] = {
    "a choice that is a string": Answer(completion(choices=["yes"])),
    "no choices": Answer(completion(choices=[])),
    "choices that are null": Answer({"id": "1"}),
    "a message that is a string": Answer(completion(choices=[{**CHOICE, "message": "yes"}])),
    "a text in parts": Answer(completion([{"type": "text", "text": "yes"}])),
    "a finish reason that is a list": Answer(completion(choices=[{"finish_reason": [], "message": {"content": "y"}}])),
    "usage as a list": Answer(completion(usage=[1])),
    "counts as strings": Answer(completion(usage={"prompt_tokens": "10", "completion_tokens": "2"})),
    "HTML": Answer(b"<html>Bad gateway</html>", headers={"Content-Type": "text/html"}),
    "nothing at all": Answer(b""),
    "half a JSON": Answer(json.dumps(completion()).encode()[:40]),
    "invalid UTF-8": Answer(b'{"choices": "\xff"}'),
    "10,000 brackets": Answer(b"[" * 10_000),
    "100 MB": Answer(b"x" * 100_000_000),
    "a length that lies": Answer(completion(), announced=10_000),
    "gzip that is none": Answer(b"no gzip", headers={"Content-Encoding": "gzip"}),
    "HTTP 400 with a list": Answer(["?"], 400),
    "HTTP 500 for ever": Answer({"error": {"message": "broken"}}, 500),
    "a byte each 0.4 s": Answer(completion(), piece_seconds=0.4),
    "Retry-After of a day, for ever": Answer({"error": {"message": "busy"}}, 429, {"Retry-After": "86400"}),
    "Retry-After of NaN": Answer({"error": {"message": "busy"}}, 429, {"Retry-After": "nan"}),
    "a redirect to itself": Answer(b"", 307, {"Location": "/v1/chat/completions"}),
}

LEGAL = {"a text in parts": "yes"}
"""What an answer says that is odd and legal."""


def odd_reply(folder: Path, quick: bool, answer: Answer, text: str | None) -> Result:
    """The error of one reply is its own; `text` is what the reply says where it is legal."""
    replies, ended, seconds, _ = asked(folder, one(answer))
    if seconds > 30:
        return Result(HANG, f"{seconds:.0f} s")
    if ended:
        return Result(REFUSED, ended) if "redirect" in ended else Result(BLOCKS, ended)
    others = [replies[n].error for n in range(N_QUESTIONS) if n != ODD]
    if any(others):
        return Result(BLOCKS, str(others))
    if replies[ODD].error:
        return Result(REFUSED, replies[ODD].error or "")
    return Result(RIGHT if replies[ODD].text == text else WRONG, replies[ODD].text)


for name, answer in ODD_ANSWERS.items():
    attack(f"one reply is {name}", answer=answer, text=LEGAL.get(name))(odd_reply)

NONSENSE: dict[str, Any] = {
    "absent": None, "empty": {}, "zero": {"prompt_tokens": 0, "completion_tokens": 0}, "a list": [1], "strings": {"prompt_tokens": "1"},
    "-57 million": {"prompt_tokens": -57_000_000, "completion_tokens": -3}, "huge": {"prompt_tokens": 10**12, "completion_tokens": 10**12},
    "1 for every question": {"prompt_tokens": 1, "completion_tokens": 1},
}  # fmt: skip


def nonsense_counts(folder: Path, quick: bool, usage: Any) -> Result:
    replies, ended, _, seen = asked(folder, lambda question, times: Answer(completion(usage=usage)), budget=500)
    if not ended.startswith("the budget"):
        return Result(WRONG, f"{seen} of 60 questions asked on a budget of 500 tokens; {ended}")
    told = all(reply.tokens_are_estimated for reply in replies.values())
    return Result(MENDED, f"{seen} of 60 questions") if told and seen <= 20 else Result(WRONG, f"{seen} of 60 questions, said: {told}")


for name, usage in NONSENSE.items():
    attack(f"a budget where usage is {name}", usage=usage)(nonsense_counts)


@attack("a server that only says wait")
def only_waits(folder: Path, quick: bool) -> Result:
    busy = Answer({"error": {"message": "busy"}}, 429, {"Retry-After": "86400"})
    _, ended, seconds, _ = asked(folder, lambda question, seen: busy if "trial" in question else WHOLE)
    return Result(REFUSED, ended) if ended and seconds < 30 else Result(HANG, f"{seconds:.0f} s")


@attack("another model answers")
def other_model(folder: Path, quick: bool) -> Result:
    replies, *_ = asked(folder, lambda question, seen: Answer(completion(model="cheaper")))
    noticed = {reply.other_model for reply in replies.values()}
    _, ended, *_ = asked(folder / "strict", lambda question, seen: Answer(completion(model="cheaper")), refuse_other_models=True)
    return Result(MENDED) if noticed == {"cheaper"} and "cheaper" in ended else Result(WRONG, f"{noticed}, {ended}")


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


ADDRESSES = {
    "file:///etc/passwd": "begins with file:", "127.0.0.1:8000/v1": "no", "http://": "begins with", "http://[::1": "not an address",
    "http://no-such-host.invalid/v1": "DNS", "http://127.0.0.1:{closed}/v1": "refused", "https://127.0.0.1:{open}/v1": "TLS",
}  # fmt: skip


def address(folder: Path, quick: bool, url: str, why: str) -> Result:
    with OddServer(lambda question, seen: WHOLE) as server:
        place = url.format(closed=closed_port(), open=server.server_address[1])
        try:
            model = OpenAIModel(
                "stub", base_url=place, max_connection_failures=2, backoff_seconds=0.01, timeout_seconds=3, api_key_env="PATH"
            )
            list(model.ask([Request((Message("user", "a"),), 5)]))
        except (ServerGone, ServerRefused) as error:
            return Result(REFUSED, str(error)) if why in str(error) else Result(WRONG, f"not told apart: {error}")
    return Result(WRONG, "answered")


for url, why in ADDRESSES.items():
    attack(f"base_url is {url}", url=url, why=why)(address)


def redirected(folder: Path, quick: bool, status: int, to: str, why: str) -> Result:
    with OddServer(lambda question, seen: WHOLE) as other:
        place = to.format(closed=closed_port(), open=other.server_address[1])
        _, ended, *_ = asked(folder, lambda question, seen: Answer(b"", status, {"Location": place}), max_connection_failures=2)
    return Result(REFUSED, ended) if why in ended else Result(WRONG, f"not told apart: {ended}")


for status, to, why in (
    (307, "http://127.0.0.1:{closed}/v1", "and there nothing listens"),
    (307, "file:///etc/passwd", "cannot be followed"),
    (302, "http://127.0.0.1:{open}/v1/chat/completions", "the question is lost on the way"),
):
    attack(f"HTTP {status} to {to}", status=status, to=to, why=why)(redirected)


@attack("a temporary redirect that keeps the question")
def followed(folder: Path, quick: bool) -> Result:
    with OddServer(lambda question, seen: WHOLE) as other:
        target = f"{other.url}/chat/completions"
        replies, ended, *_ = asked(folder, lambda question, seen: Answer(b"", 307, {"Location": target}))
    right = len(replies) == N_QUESTIONS and not any(reply.error for reply in replies.values())
    return Result(RIGHT) if right else Result(BLOCKS, ended)
