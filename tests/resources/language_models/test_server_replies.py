"""One odd reply is an error of itself; counts that cannot be true are estimated; refusals of all stop at once; every wait has a bound."""

import gzip
import json
import math
import socket
import threading
import time
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
from odd_server import Answer, OddServer, completion

from resources.language_models.ask_all import ask_all
from resources.language_models.budget import Budget, BudgetExhausted, Spending
from resources.language_models.interface import Message, Reply, Request
from resources.language_models.openai_server import connection
from resources.language_models.openai_server.answer_text import without_an_answer
from resources.language_models.openai_server.connection import checked_url
from resources.language_models.openai_server.model import OpenAIModel, ServerGone, ServerRefused
from resources.language_models.openai_server.refusals import refusal_of, retry_after_seconds
from resources.language_models.openai_server.shape import other_model
from resources.language_models.openai_server.usage import bytes_estimate, read_usage
from resources.language_models.reply_store import ReplyStore

ODD = 3


def trials(n: int, text: str = "trial") -> list[Request]:
    return [Request((Message("user", f"{text} {i}"),), max_reply_tokens=20) for i in range(n)]


def model_at(url: str, **options: Any) -> OpenAIModel:
    return OpenAIModel("stub", base_url=url, **{"backoff_seconds": 0.01, "structured": "off", "max_retries": 2, **options})


def one_odd(answer: Answer) -> dict[int, Reply]:
    """The replies to eight questions, of which number ODD is answered oddly."""
    with OddServer(lambda question, seen: answer if question == f"trial {ODD}" else Answer(completion())) as server:
        return dict(model_at(server.url).ask(trials(8)))


CHOICE = {"index": 0, "finish_reason": "stop"}
ODD_ANSWERS = {
    "a choice that is a string": (completion(choices=["yes"]), r"choices\[0\] is a str: yes"),
    "no choices": (completion(choices=[]), "choices is empty"),
    "choices that are null": ({"id": 1}, "choices is absent: .*id"),
    "choices by name": (completion(choices={"0": "yes"}), "choices is a dict"),
    "a message that is a string": (completion(choices=[{**CHOICE, "message": "yes"}]), "message is a str: yes"),
    "a message that is null": (completion(choices=[{**CHOICE, "message": None}]), "message is absent"),
    "a part without its text": (completion([{"type": "text", "text": None}]), "the text of a part is absent"),
    "a text in bare parts": (completion(["yes"]), "content is a list"),
    "a number for a text": (completion(17), "content is a int: 17"),
    "a finish reason that is a list": (
        completion(choices=[{"finish_reason": ["stop"], "message": {"content": "y"}}]),
        "finish_reason is a list",
    ),
    "usage as a list": (completion(usage=[1, 2]), r"usage is a list: \[1, 2\]"),
    "usage as a text": (completion(usage="12"), "usage is a str: 12"),
    "counts as strings": (completion(usage={"prompt_tokens": "10", "completion_tokens": "2"}), "usage.prompt_tokens is a str: 10"),
    "a list": ([completion()], "it is a list"),
    "a number": (b"17", "it is a int: 17"),
    "HTML": (b"<html>Bad gateway</html>", "is not JSON .*: <html>Bad gateway</html>"),
    "nothing": (b"", "is not JSON"),
    "half": (json.dumps(completion()).encode()[:40], "is not JSON"),
    "invalid UTF-8": (b'{"choices": "\xff\xfe"}', r"is not JSON .*\\xff"),
    "a number of 6,000 digits": (b'{"choices": ' + b"1" * 6000 + b"}", "is not JSON"),
    "10,000 brackets": (b"[" * 10_000, "is not JSON"),
}


@pytest.mark.parametrize("name", ODD_ANSWERS)
def test_an_odd_reply_is_an_error_of_itself_that_quotes_it(name: str) -> None:
    content, quoted = ODD_ANSWERS[name]
    replies = one_odd(Answer(content))
    assert [replies[i].error for i in range(8) if i != ODD] == [None] * 7
    with pytest.raises(AssertionError, match=quoted):
        raise AssertionError(replies[ODD].error)
    assert len(replies[ODD].error or "") < 400
    # It was answered, so it counts: a budget also holds against a server of odd replies alone.
    assert replies[ODD].prompt_tokens > 0 and replies[ODD].tokens_are_estimated


def test_half_of_a_character_becomes_the_sign_for_it_everywhere(tmp_path: Path) -> None:
    half = lambda content: Answer(json.dumps(content).replace("HALF", "\\ud800").encode())  # noqa: E731
    assert one_odd(half(completion("yesHALF")))[ODD].text == "yes\ufffd"
    odd = [half(completion(choices="HALF")), half({"error": {"message": "HALF", "code": 400}}), half(completion(model="HALF"))]
    for answer in odd:
        reply = one_odd(answer)[ODD]
        assert (reply.error or reply.other_model or "").encode()


def test_a_wrong_content_type_is_read_all_the_same() -> None:
    assert one_odd(Answer(completion(), headers={"Content-Type": "text/plain"}))[ODD].text == "yes"


@pytest.mark.parametrize("packed", [False, True])
def test_a_huge_reply_is_an_error_of_itself(packed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection.BoundedClient.__init__, "__defaults__", (100_000, None))
    body = json.dumps(completion("x" * 1_000_000)).encode()
    answer = Answer(gzip.compress(body), headers={"Content-Encoding": "gzip"}) if packed else Answer(body)
    replies = one_odd(answer)
    assert "larger than 100,000 bytes" in (replies[ODD].error or "") and [replies[i].error for i in range(ODD)] == [None] * ODD


def test_a_reply_that_breaks_off_is_an_error_of_itself_and_one_that_cannot_be_unpacked() -> None:
    replies = one_odd(Answer(completion(), announced=10_000))
    assert "broke off after" in (replies[ODD].error or "") and [replies[i].error for i in range(8) if i != ODD] == [None] * 7
    replies = one_odd(Answer(b"no gzip", headers={"Content-Encoding": "gzip"}))
    assert "cannot be read" in (replies[ODD].error or "") and [replies[i].error for i in range(8) if i != ODD] == [None] * 7


@pytest.mark.parametrize("behind", ["a whole answer", "half an answer"])
def test_what_comes_behind_an_answer_is_no_answer_to_the_next_question(behind: str) -> None:
    """A server that answers one question twice over one connection: all later answers would be one question late."""
    yes, no = (json.dumps(completion(word)).encode() for word in ("yes", "no"))
    second = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(no) + no
    twice = Answer(yes + second[: len(second) if "whole" in behind else 60], announced=len(yes))
    with OddServer(lambda question, seen: twice if question == "trial 3" else Answer(completion())) as server:
        replies = dict(model_at(server.url, concurrency=1).ask(trials(8)))
    assert [(reply.text, reply.error) for _, reply in sorted(replies.items())] == [("yes", None)] * 8


ENDS = {
    "abort": ({"content": "ye"}, r"finish_reason abort"),
    "insufficient_system_resource": ({"content": "ye"}, "the model behind the server failed"),
    "MAX_TOKENS": ({"content": ""}, "was cut at"),
    "SAFETY": ({"content": "ye"}, "the model refused: stopped by the server's content filter"),
    "tool_calls": ({"content": ""}, "called a tool"),
    "stop": ({"content": "", "tool_calls": [{"function": {"name": "f"}}]}, "called a tool"),
    "eos": ({"content": [{"type": "refusal", "refusal": "I cannot"}]}, "the model refused: I cannot"),
    "end": ({"content": [{"type": "image_url"}]}, "the answer has no text"),
}


@pytest.mark.parametrize("end", ENDS)
def test_an_end_that_is_no_answer_is_an_error_in_whatever_words(end: str) -> None:
    message, told = ENDS[end]
    replies = one_odd(Answer(completion(choices=[{"index": 0, "finish_reason": end, "message": {"role": "assistant", **message}}])))
    assert told in (replies[ODD].error or "") and [replies[i].error for i in range(8) if i != ODD] == [None] * 7


def test_a_reply_that_drips_ends_with_its_time() -> None:
    dripping = Answer(completion(), piece_seconds=0.1)
    with OddServer(lambda question, seen: dripping if question == "trial 3" else Answer(completion())) as server:
        model = model_at(server.url, timeout_seconds=0.4, max_retries=1)
        started = time.monotonic()
        replies = dict(model.ask(trials(5)))
    assert replies[3].error == "no reply within 0.4 seconds (tried 2 times)" and time.monotonic() - started < 3
    assert replies[4].error is None


DAY_AHEAD = formatdate(time.time() + 86400, usegmt=True)


@pytest.mark.parametrize("asked", ["86400", "1e9", "nan", "inf", "-5", "soon", "", pytest.param(DAY_AHEAD, id="a day ahead")])
def test_no_wait_is_longer_than_the_bound(asked: str) -> None:
    busy = Answer({"error": {"message": "busy"}}, 429, {"Retry-After": asked})
    with OddServer(lambda question, seen: busy if question == "trial 1" and seen == 0 else Answer(completion())) as server:
        started = time.monotonic()
        replies = dict(model_at(server.url).ask(trials(3)))
    assert {reply.error for reply in replies.values()} == {None} and time.monotonic() - started < 3


def test_a_wait_that_is_asked_for_is_read_in_all_its_spellings() -> None:
    assert retry_after_seconds({"retry-after": "7"}) == 7 and retry_after_seconds({"retry-after-ms": "250"}) == 0.25
    assert 50 < (retry_after_seconds({"retry-after": formatdate(time.time() + 60, usegmt=True)}) or 0) <= 60
    assert all(retry_after_seconds({"retry-after": text}) is None for text in ("nan", "inf", "soon", ""))


@pytest.mark.parametrize(
    ("status", "why"), [(401, "key is wrong or was withdrawn"), (402, "no credit left"), (403, "may not use this model")]
)
def test_a_refusal_of_all_stops_the_batch_at_once(status: int, why: str, tmp_path: Path) -> None:
    def respond(question: str, seen: int) -> Answer:
        return Answer({"error": {"message": "no"}}, status) if question >= "trial 5" else Answer(completion())

    with OddServer(respond) as server:
        model = model_at(server.url, concurrency=2)
        with pytest.raises(ServerRefused, match=rf"{why} \(HTTP {status}: no\)\. Replies that came are kept.*run again"):
            list(ask_all(model, trials(10), ReplyStore(tmp_path)))
        asked = [question for question in server.asked if question >= "trial 5"]
    assert 1 <= len(asked) <= 2 and ReplyStore(tmp_path).size().n_replies >= 4


def test_a_quota_that_is_used_up_stops_and_a_filter_does_not() -> None:
    assert refusal_of(429, {"message": "x", "code": "insufficient_quota"}) == "all" and refusal_of(429, {"message": "x"}) == "for_a_while"
    assert refusal_of(403, {"message": "flagged", "metadata": {"reasons": ["violence"], "flagged_input": "…"}}) == "question"
    assert refusal_of(403, None) == "all" and refusal_of(400, ["?"]) == "question" and refusal_of(529, "?") == "for_a_while"


def test_a_server_that_only_says_wait_ends_the_batch() -> None:
    busy = Answer({"error": {"message": "busy"}}, 429, {"Retry-After": "86400"})
    with OddServer(lambda question, seen: busy if "trial" in question else Answer(completion())) as server:
        model = model_at(server.url, concurrency=2)
        with pytest.raises(ServerGone, match=r"last 8 questions.*asks to wait 86,400 seconds.*Run again"):
            list(model.ask(trials(1000)))
    assert len(set(server.asked)) < 20


NONSENSE: dict[str, Any] = {
    "absent": None, "empty": {}, "null": {"prompt_tokens": None, "completion_tokens": None},
    "none": {"prompt_tokens": 0, "completion_tokens": 0},
    "negative": {"prompt_tokens": -57_000_000, "completion_tokens": -3}, "huge": {"prompt_tokens": 10**12, "completion_tokens": 10**12},
    "one for all": {"prompt_tokens": 1, "completion_tokens": 1}, "a list": [1],
    "strings": {"prompt_tokens": "1", "completion_tokens": "2"},
}  # fmt: skip


@pytest.mark.parametrize("name", NONSENSE)
def test_a_budget_holds_whatever_the_server_counts(name: str, tmp_path: Path) -> None:
    with OddServer(lambda question, seen: Answer(completion(usage=NONSENSE[name]))) as server:
        requests = trials(60, "a trial of about as many words as an English question of the kind that is asked has " * 3)
        spending = Spending(Budget(tokens=500))
        with pytest.raises(BudgetExhausted):
            for _, reply, _ in ask_all(model_at(server.url, concurrency=1), requests, ReplyStore(tmp_path), spending=spending):
                assert reply.tokens_are_estimated and 0 < reply.prompt_tokens < 1000
        assert len(set(server.asked)) < 15


def test_no_more_is_asked_than_is_taken() -> None:
    with OddServer(lambda question, seen: Answer(completion())) as server:
        replies = model_at(server.url, concurrency=3).ask(trials(200))
        next(replies)
        time.sleep(0.3)  # whoever takes them is slow: 3 wait, 3 are under way, 1 was taken
        assert len({question for question in server.asked if "trial" in question}) <= 7
        replies.close()


def test_counts_that_can_be_true_are_the_servers() -> None:
    request = Request((Message("user", "a question"),), 20)
    used = read_usage(
        {"usage": {"prompt_tokens": 900, "completion_tokens": 5000, "prompt_tokens_details": {"cached_tokens": 999}}}, request, "a"
    )
    # A server's own system prompt, a model's thinking; more cached than asked is clamped.
    assert (used.prompt_tokens, used.cached_tokens, used.completion_tokens, used.is_estimate) == (900, 900, 5000, False)
    assert bytes_estimate("a" * 30) == 10 and bytes_estimate("\ud83d") == 1  # a lone surrogate has three bytes
    assert read_usage({"usage": {"prompt_tokens": math.nan, "completion_tokens": 3}}, request, "a").is_estimate


def test_the_tokenizer_that_is_named_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    from resources.language_models.openai_server import model as openai

    monkeypatch.setattr(openai, "tokenizer_counter", lambda source: lambda text: 100 * (source == "mine"))
    with OddServer(lambda question, seen: Answer(completion(usage=None))) as server:
        ((_, reply),) = model_at(server.url, tokenizer="mine").ask(trials(1))
    assert (reply.prompt_tokens, reply.completion_tokens) == (108, 100)


def test_another_model_is_noticed_and_on_request_refused() -> None:
    with OddServer(lambda question, seen: Answer(completion(model="cheaper-model"))) as server:
        assert {reply.other_model for _, reply in model_at(server.url).ask(trials(3))} == {"cheaper-model"}
        with pytest.raises(ServerRefused, match="answers as 'cheaper-model' for model 'stub'"):
            list(model_at(server.url, refuse_other_models=True).ask(trials(3)))


@pytest.mark.parametrize(
    ("asked", "said", "same"),
    [
        ("gpt-x", "gpt-x", True), ("gpt-x", "gpt-x-2024-08-06", True), ("owner/M", "m", True), ("m", "owner/m", True),
        ("m", "m:free", True), ("owner/m", "owner/m@main", True), ("m", "m@6f3c1a9", True), ("m", "other@main", False),
        ("gpt-x", "gpt-x-mini", False), ("m-70b", "m-8b", False), ("m", "other", False), ("/models/m", "m", True),
        ("m-latest", "m-2", False), ("opus-4", "opus-4-1", False), ("o/sonnet-4", "o/sonnet-4-5", False), ("m-4", "m-4-20250514", True),
        ("m-4", "m-4-0613", True), ("m", "m-001", True), ("m-preview", "m-preview-05-20", True), ("m", "m-v3-0324", True),
        ("m-latest", "m-2411", True), ("m:free", "m", True), ("m", "/models/m.gguf", True), ("C:\\m.gguf", "m.gguf", True),
        ("m", " m\n", True), ("m", "m-Q4_K_M.gguf", False),
    ],
)  # fmt: skip
def test_what_is_the_same_model(asked: str, said: str, same: bool) -> None:
    assert (other_model({"model": said}, asked) is None) == same
    assert other_model({"model": 7}, asked) is None and other_model({}, asked) is None


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "127.0.0.1:8000/v1", "ftp://host/v1", "http://", "http://[::1", "http://h:99999/v1", " http://h"]
)
def test_an_address_that_no_server_can_have_is_refused_at_once(url: str) -> None:
    with pytest.raises(ServerRefused, match=r"base_url .* is not (an|the) address.*http://127"):
        checked_url(url)


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that was just closed."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        yield probe.getsockname()[1]


def why(url: str, **options: Any) -> str:
    with pytest.raises((ServerGone, ServerRefused)) as raised:
        list(model_at(url, **{"max_connection_failures": 2, "timeout_seconds": 2, **options}).ask(trials(2)))
    return str(raised.value)


def test_causes_are_told_apart(silent_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "canary-0123456789")
    assert "nothing listens there (connection refused)" in why(f"http://127.0.0.1:{silent_port}/v1")
    assert "the name is not known (DNS" in why("http://no-such-host.invalid/v1")
    with OddServer(lambda question, seen: Answer(completion())) as server:
        assert "does not speak TLS there: try http://" in why(server.url.replace("http:", "https:"))

    def moved(to: str, status: int = 307) -> str:
        with OddServer(lambda question, seen: Answer(b"", status, {"Location": to})) as server:
            return why(server.url)

    dead = f"http://127.0.0.1:{silent_port}/v1/chat/completions"
    assert f"it redirects to {dead}, and there nothing listens there" in moved(dead)
    assert "redirects in a circle" in moved("/v1/chat/completions")
    assert "cannot be followed" in moved("file:///etc/passwd")
    with OddServer(lambda question, seen: Answer(completion())) as other:
        target = f"{other.url}/chat/completions"
        assert f"redirects to {target}, and the question is lost on the way: set base_url" in moved(target, 301)
        with OddServer(lambda question, seen: Answer(b"", 308, {"Location": target})) as server:
            assert dict(model_at(server.url).ask(trials(1)))[0].text == "yes"


def test_a_server_that_hangs_up_or_speaks_otherwise_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        stopped = threading.Event()

        def speak() -> None:
            listener.settimeout(0.1)
            while not stopped.is_set():
                try:
                    with listener.accept()[0] as peer:
                        peer.recv(100)
                        peer.sendall(b"SSH-2.0-OpenSSH_9\r\n")
                except OSError:
                    pass

        thread = threading.Thread(target=speak)
        thread.start()
        try:
            assert "does not speak HTTP" in why(f"http://127.0.0.1:{listener.getsockname()[1]}/v1")
        finally:
            stopped.set()
            thread.join()


def test_a_text_of_null_is_an_error_and_an_empty_text_an_answer() -> None:
    assert without_an_answer(None, "", "stop", 0) == "the answer has no text: its content is null"
    assert without_an_answer("", "", "stop", 1) is None and without_an_answer("yes", "", "stop", 1) is None


def test_a_header_outside_ascii_spoils_no_answer() -> None:
    with OddServer(lambda question, seen: Answer(completion(), headers={"X-Server": "caf\xe9"})) as server:
        assert [reply.text for _, reply in model_at(server.url).ask(trials(3))] == ["yes"] * 3
