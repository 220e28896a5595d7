"""Attacks by what people report of vLLM, Ollama, llama.cpp, LM Studio, OpenRouter and LiteLLM: log-probabilities in other forms, errors
with status 200, thought alone, streams that nobody asked for, and connections that end at every place."""

import contextlib
import gzip
import json
import os
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "resources" / "language_models"))

from odd_server import Answer, OddServer, completion

from benchmarks.faults.attacks import BLOCKS, HANG, MENDED, REFUSED, RIGHT, SKIPPED, WRONG, Result, attack
from benchmarks.faults.servers import CHOICE, N_QUESTIONS, ODD, asked
from resources.language_models.ask_all import ask_all
from resources.language_models.interface import ChoiceList, Message, Reply, Request
from resources.language_models.openai_server.connection import ServerGone, ServerRefused
from resources.language_models.openai_server.model import OpenAIModel
from resources.language_models.reply_store import ReplyStore

LIST = Answer(completion("[1, 0]"))
LOGPROBS: dict[str, Any] = {
    "a list": [],
    "a text": "x",
    "a number": 5,
    "content null": {"content": None},
    "content a text": {"content": "abc"},
    "places null": {"content": [None, None]},
    "places empty": {"content": [{}]},
    "tokens null": {"content": [{"token": None, "logprob": -1.0, "top_logprobs": []}]},
    "tokens numbers": {"content": [{"token": 1, "logprob": -1.0, "top_logprobs": []}]},
    "alternatives null": {"content": [{"token": "[1, 0]", "logprob": -1.0, "top_logprobs": [None]}]},
    "alternatives a mapping": {"content": [{"token": "[1, 0]", "logprob": -1.0, "top_logprobs": {"1": -1.0}}]},
    "values texts": {"content": [{"token": "1", "logprob": "-1", "top_logprobs": [{"token": "1", "logprob": "x"}]}]},
    "values of 10^400": {"content": [{"token": "1", "logprob": -(10**400), "top_logprobs": []}]},
    "of merged tokens": {"content": [{"token": "[1, 0]", "logprob": -0.1, "top_logprobs": [{"token": "[1, 0]", "logprob": -0.1}]}]},
    "in the form of completions": {
        "tokens": ["[", "1", ", ", "0", "]"],
        "token_logprobs": [-1.0] * 5,
        "top_logprobs": [{"1": -1.0}] * 5,
        "content": None,
    },
    "too short": {"content": [{"token": "[", "logprob": -0.1, "top_logprobs": []}]},
}


def odd_logprobs(folder: Path, quick: bool, logprobs: Any) -> Result:
    """A judge's list is read whatever stands beside it; what is no probability is none."""
    choice = {**completion("[1, 0]")["choices"][0], "logprobs": logprobs}
    form = ChoiceList(2)
    requests = [Request((Message("user", f"trial {n}."),), 20, reply_format=form) for n in range(N_QUESTIONS)]

    def respond(question: str, seen: int) -> Answer:
        return Answer(completion(choices=[choice])) if f"trial {ODD}." in question else LIST

    replies: dict[int, Reply] = {}
    with OddServer(respond) as server:
        model = OpenAIModel("stub", base_url=server.url, backoff_seconds=0.01, max_retries=1, structured="off", timeout_seconds=5.0)
        for index, reply, _ in ask_all(model, requests, ReplyStore(folder / "replies")):
            replies[index] = reply
    if len(replies) != N_QUESTIONS or any(reply.error for n, reply in replies.items() if n != ODD):
        return Result(BLOCKS, str(replies)[:200])
    odd = replies[ODD]
    if odd.error:
        return Result(REFUSED, odd.error)
    shares = [share for place in odd.answer_probabilities or () for share in place]
    right = odd.text == "[1, 0]" and all(0 <= share <= 1 for share in shares)
    return Result(RIGHT) if right else Result(WRONG, str(odd)[:200])


for name, logprobs in LOGPROBS.items():
    attack(f"log-probabilities that are {name}", logprobs=logprobs)(odd_logprobs)


def message(**fields: Any) -> Answer:
    return Answer(completion(choices=[{**CHOICE, "message": {"role": "assistant", **fields}}]))


def finished(reason: Any, text: Any = "") -> Answer:
    return Answer(completion(choices=[{"index": 0, "finish_reason": reason, "message": {"role": "assistant", "content": text}}]))


YES, NO = (json.dumps(completion(word)).encode() for word in ("yes", "no"))
SECOND = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(NO) + NO
STREAM = b'data: {"choices": [{"delta": {"content": "yes"}}]}\n\ndata: [DONE]\n\n'
REPORTED: dict[str, tuple[Answer, str | None]] = {
    "an error object with status 200": (Answer({"error": {"message": "Provider returned error", "code": 502}}), None),
    "an error text with status 200": (Answer({"error": "model not loaded"}), None),
    "an error list with status 200": (Answer({"error": [1]}), None),
    "an error within a choice": (
        Answer(completion(choices=[{"error": {"code": 502, "message": "x"}, "message": {"content": "ye"}}])),
        None,
    ),
    "an object that is an error": (Answer({"object": "error", "message": "bad", "code": 50002}), None),
    "a detail alone": (Answer({"detail": "Not Found"}), None),
    "white space and a dot": (Answer(b" \n \n ."), None),
    "white space before the answer": (Answer(b"\n" * 5_000 + json.dumps(completion()).encode()), "yes"),
    "a BOM before the answer": (Answer(b"\xef\xbb\xbf" + json.dumps(completion()).encode()), "yes"),
    "a stream that nobody asked for": (Answer(STREAM, headers={"Content-Type": "text/event-stream"}), None),
    "JSON under the name of a stream": (Answer(completion(), headers={"Content-Type": "text/event-stream"}), "yes"),
    "no choices, by a content filter": (Answer(completion(choices=[], prompt_filter_results=[{}])), None),
    "a filter's end with half a text": (finished("content_filter", "ye"), None),
    "an end by length without a text": (finished("length", ""), None),
    "an end by length with null": (finished("length", None), None),
    "an end that is unknown": (finished("eos_token", "yes"), "yes"),
    "an end that is null": (finished(None, "yes"), "yes"),
    "a call of a tool": (finished("tool_calls", None), None),
    "a call of a tool beside an empty text": (finished("tool_calls", ""), None),
    "calls of tools and an end like any other": (message(content="", tool_calls=[{"function": {"name": "f", "arguments": "{}"}}]), None),
    "an end by abort, with half a text": (finished("abort", "ye"), None),
    "an end for want of resources, with half a text": (finished("insufficient_system_resource", "ye"), None),
    "an end by length in Gemini's words": (finished("MAX_TOKENS", ""), None),
    "an end by a filter in Gemini's words": (finished("SAFETY", "ye"), None),
    "an end by a filter in Bedrock's words": (finished("guardrail_intervened", "Sorry"), None),
    "an end in Anthropic's words": (finished("end_turn", "yes"), "yes"),
    "a refusal as a part": (message(content=[{"type": "refusal", "refusal": "I cannot"}]), None),
    "parts without a text": (message(content=[{"type": "image_url", "image_url": {"url": "data:,"}}]), None),
    "an answer with a second answer behind it": (Answer(YES + SECOND, announced=len(YES)), "yes"),
    "an answer with bytes behind it": (Answer(YES + b"\r\n\0", announced=len(YES)), "yes"),
    "an answer with half a second answer behind it": (Answer(YES + SECOND[:60], announced=len(YES)), "yes"),
    "comments of a stream before JSON": (Answer(b": OPENROUTER PROCESSING\n\n" + YES), None),
    "JSON in UTF-16": (Answer(json.dumps(completion()).encode("utf-16")), "yes"),
    "gzip that is cut": (Answer(gzip.compress(YES)[:-12], headers={"Content-Encoding": "gzip"}), None),
    "gzip with a wrong checksum": (Answer(gzip.compress(YES)[:-8] + bytes(8), headers={"Content-Encoding": "gzip"}), None),
    "Brotli that is none": (Answer(YES, headers={"Content-Encoding": "br"}), "yes"),
    "an error in Zhipu's form": (Answer({"code": 1301, "msg": "unsafe", "data": None, "success": False}), None),
    "an error that says success": (Answer({**completion(), "error": {"code": 0, "message": "success"}}), None),
    "two contents under one name": (Answer(YES.replace(b'"content": "yes"', b'"content": "no", "content": "yes"')), "yes"),
    "HTTP 520 of HTML": (Answer(b"<html>Web server is returning an unknown error</html>", 520), None),
    "HTTP 413": (Answer(b"<html>Request Entity Too Large</html>", 413), None),
    "thought alone": (message(content=None, reasoning_content="hm, " * 90), None),
    "thought alone, as an object": (message(content=None, reasoning={"text": "hm"}), None),
    "thought in parts": (message(content=[{"type": "thinking", "thinking": [{"text": "hm"}]}, {"type": "text", "text": "yes"}]), "yes"),
    "parts with null": (message(content=[{"type": "text", "text": None}]), None),
    "parts that are null": (message(content=[None]), None),
    "a refusal that is true": (message(content="", refusal=True), None),
    "a refusal": (message(content=None, refusal="I cannot"), None),
    "a message that is null": (Answer(completion(choices=[{**CHOICE, "message": None}])), None),
    "usage null": (Answer({**completion(), "usage": None}), "yes"),
    "usage of NaN": (Answer(completion(usage={"prompt_tokens": float("nan"), "completion_tokens": float("inf")})), "yes"),
    "usage of null": (Answer(completion(usage={"prompt_tokens": None, "completion_tokens": None})), "yes"),
    "cached tokens below zero": (
        Answer(completion(usage={"prompt_tokens": 10, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": -7}})),
        "yes",
    ),
    "details of usage that are a list": (
        Answer(completion(usage={"prompt_tokens": 10, "completion_tokens": 2, "prompt_tokens_details": [1]})),
        "yes",
    ),
    "a model that is null": (Answer({**completion(), "model": None}), "yes"),
    "a model with a suffix": (Answer(completion(model="owner/stub:free")), "yes"),
    "a model that is a list": (Answer(completion(model=["stub"])), "yes"),
    "a text with NUL": (Answer(completion("y\0s")), "y\0s"),
    "a text with half a character": (Answer(json.dumps(completion("yXs")).replace("yXs", "y\\ud800s").encode()), None),
    "two choices": (Answer(completion(choices=[*completion()["choices"], *completion("no")["choices"]])), "yes"),
    "a header outside ASCII": (Answer(completion(), headers={"X-Server": "caf\xe9"}), "yes"),
    "cookies": (Answer(completion(), headers={"Set-Cookie": "session=" + "x" * 3000}), "yes"),
    "content and refusal null with counts of zero": (
        Answer(
            completion(
                choices=[{**CHOICE, "message": {"role": "assistant", "content": None, "refusal": None}, "logprobs": None}],
                usage={"prompt_tokens": 0, "completion_tokens": 0},
            )
        ),
        None,
    ),
    "content and thought null with tokens counted": (message(content=None, reasoning=None, reasoning_content=None), None),
    "an empty text with thought in `reasoning`": (message(content="", reasoning="The user asks"), None),
    "thought before the answer, in its text": (Answer(completion("<think>hm\n</think>\n\nyes")), "<think>hm\n</think>\n\nyes"),
    "thought without an end, in its text": (finished("length", "<think>hm, hm"), "<think>hm, hm"),
    "an error of null beside the answer": (Answer({**completion(), "error": None}), "yes"),
    "choices null beside other keys": (Answer({**completion(), "choices": None}), None),
    "the form of the Responses API": (
        Answer({"object": "response", "output": [{"content": [{"type": "output_text", "text": "yes"}]}]}),
        None,
    ),
    "Ollama's own form": (Answer({"model": "stub", "message": {"role": "assistant", "content": "yes"}, "done": True}), None),
    "white space alone": (Answer(completion(" \n\t ")), " \n\t "),
    "a text that is a mapping": (message(content={"text": "yes"}), None),
    "a choice in a mapping": (Answer(completion(choices={"0": completion()["choices"][0]})), None),
    "a JSON text within JSON": (Answer(json.dumps(json.dumps(completion())).encode()), None),
    "two answers one after the other": (Answer(json.dumps(completion()).encode() * 2), None),
    "a list with the answer": (Answer([completion()]), None),
    "HTTP 529": (Answer({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}, 529), None),
    "HTTP 503 of HTML": (Answer(b"<html>no healthy upstream</html>", 503), None),
    "HTTP 408": (Answer({}, 408), None),
    "HTTP 204": (Answer(b"", 204), None),
    "HTTP 206": (Answer(completion(), 206), "yes"),
    "HTTP 304": (Answer(b"", 304), None),
    "HTTP 599": (Answer(b"\xff", 599), None),
}


def reported(folder: Path, quick: bool, answer: Answer, text: str | None) -> Result:
    """The reply is read, or its error is its own; the others are answered."""

    def respond(question: str, seen: int) -> Answer:
        return answer if f"trial {ODD}." in question else Answer(completion())

    replies, ended, seconds, _ = asked(folder, respond)
    if seconds > 40:
        return Result(HANG, f"{seconds:.0f} s")
    if ended or any(replies[n].error for n in range(N_QUESTIONS) if n != ODD):
        return Result(BLOCKS, ended or str(replies)[:200])
    if wrong := [n for n in range(N_QUESTIONS) if n != ODD and replies[n].text != "yes"]:
        return Result(WRONG, f"question {wrong[0]} has the answer of another question")
    if replies[ODD].error:
        return (
            Result(REFUSED, replies[ODD].error or "")
            if text is None
            else Result(BLOCKS, f"a sound reply is an error: {replies[ODD].error}")
        )
    if text is None and "\ufffd" not in replies[ODD].text:
        return Result(WRONG, f"read as {replies[ODD].text!r}")
    return Result(RIGHT) if text is None or replies[ODD].text == text else Result(WRONG, repr(replies[ODD].text))


for name, (answer, text) in REPORTED.items():
    attack(f"one reply is {name}", answer=answer, text=text)(reported)


BODY = json.dumps(completion()).encode()
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
WHOLE = HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY
CONNECTIONS: dict[str, tuple[bytes, bool]] = {
    "HTTP/1.0 without a length": (b"HTTP/1.0 200 OK\r\n\r\n" + BODY, True),
    "a connection that ends after each answer": (WHOLE.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1), True),
    "a connection that ends after each answer, without a word": (WHOLE, True),
    "chunks": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY), True),
    "chunks that end early": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n" % (len(BODY) + 50, BODY), False),
    "a length that is no number": (HEAD + b"Content-Length: x\r\n\r\n" + BODY, False),
    "two lengths": (HEAD + b"Content-Length: 5\r\nContent-Length: 9\r\n\r\n" + BODY, False),
    "a header of 2 MB": (HEAD + b"X-Y: " + b"z" * (2 << 20) + b"\r\n\r\n" + BODY, False),
    "a status that is none": (b"HTTP/1.1 abc\r\n\r\n", False),
    "half of the headers": (HEAD, False),
    "nothing": (b"", False),
    "a reset in the middle of the answer": (HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY[:40], False),
}


@contextlib.contextmanager
def raw_server(respond: Callable[[int], bytes], reset: bool, family: int = socket.AF_INET) -> Iterator[int]:
    """A server that answers its n-th question by bytes and closes the connection; with `reset` it resets it."""
    listening = socket.socket(family)
    listening.bind(("::1" if family == socket.AF_INET6 else "127.0.0.1", 0))
    listening.listen(64)
    count, lock, over = iter(range(10**9)), threading.Lock(), threading.Event()

    def answer(one: socket.socket) -> None:
        with contextlib.suppress(OSError), one:
            one.settimeout(10)
            got = b""
            while b"\r\n\r\n" not in got:
                got += one.recv(65_536) or b"\r\n\r\n"
            head, _, body = got.partition(b"\r\n\r\n")
            length = next((int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")), 0)
            while len(body) < length:
                body += one.recv(65_536)
            with lock:
                number = next(count)
            one.sendall(respond(number) if head.startswith(b"POST") else WHOLE)
            if reset:
                time.sleep(0.05)
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def accept() -> None:
        while not over.is_set():
            with contextlib.suppress(OSError):
                threading.Thread(target=answer, args=(listening.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listening.getsockname()[1]
    finally:
        over.set()
        listening.close()


def over_a_connection(folder: Path, quick: bool, sent: bytes, sound: bool, reset: bool, family: int = socket.AF_INET) -> Result:
    """A third of the answers come so: they are read or asked again; nothing is lost, and nothing waits for ever."""
    requests = [Request((Message("user", f"trial {n}."),), 20) for n in range(N_QUESTIONS)]
    replies: dict[int, Reply] = {}
    started = time.monotonic()
    with raw_server(lambda number: sent if sound or number % 3 == 2 else WHOLE, reset and not sound, family) as port:
        host = "[::1]" if family == socket.AF_INET6 else "127.0.0.1"
        options: dict[str, Any] = {"backoff_seconds": 0.01, "max_retries": 6, "structured": "off", "concurrency": 3, "timeout_seconds": 4.0}
        model = OpenAIModel("stub", base_url=f"http://{host}:{port}/v1", max_connection_failures=20, **options)
        for index, reply, _ in ask_all(model, requests, ReplyStore(folder / "replies")):
            replies[index] = reply
    if time.monotonic() - started > 60:
        return Result(HANG, "more than a minute")
    errors = [reply.error for reply in replies.values() if reply.error]
    if len(replies) != N_QUESTIONS or any(reply.text != "yes" for reply in replies.values() if not reply.error):
        return Result(WRONG, str(replies)[:200])
    return Result(RIGHT) if not errors else Result(BLOCKS if sound else REFUSED, str(errors[0]))


for name, (sent, sound) in CONNECTIONS.items():
    attack(f"a server's connection: {name}", sent=sent, sound=sound, reset="reset" in name)(over_a_connection)


@attack("a server that has an IPv6 address alone")
def ipv6_alone(folder: Path, quick: bool) -> Result:
    try:
        return over_a_connection(folder, quick, WHOLE, True, False, socket.AF_INET6)
    except OSError as error:
        return Result(SKIPPED, f"no IPv6 here: {error}")


SURROUNDINGS: dict[str, dict[str, str]] = {
    "a dead proxy": {"HTTP_PROXY": "http://127.0.0.1:9"},
    "a proxy that speaks SOCKS": {"ALL_PROXY": "socks5://127.0.0.1:9"},
    "a proxy of another scheme": {"HTTP_PROXY": "ftp://x:1"},
    "an IPv6 network without proxy": {"NO_PROXY": "fd00::/8,[::1]"},
    "certificates that are not there": {"SSL_CERT_FILE": "/nowhere/certificates.pem"},
    "a log of keys that cannot be written": {"SSLKEYLOGFILE": "/nowhere/keys"},
    "an organisation outside ASCII": {"OPENAI_ORG_ID": "ключ"},
}


def surrounded(folder: Path, quick: bool, variables: dict[str, str]) -> Result:
    """A server on this machine is asked all the same; elsewhere, the variable is named."""
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        replies, ended, *_ = asked(folder, lambda question, seen: Answer(completion()))
        (name,) = variables
        if ended:
            return Result(REFUSED, ended) if name in ended else Result(WRONG, ended)
        right = len(replies) == N_QUESTIONS and not any(reply.error for reply in replies.values())
        try:
            base_url = "https://judge.invalid/v1" if name.startswith("SSL") else "http://judge.invalid/v1"
            options: dict[str, Any] = {"max_connection_failures": 1, "timeout_seconds": 3.0, "api_key_env": "PATH"}
            list(OpenAIModel("stub", base_url=base_url, **options).ask([Request((Message("user", "a"),), 5)]))
            return Result(WRONG, "nobody answers there")
        except (ServerGone, ServerRefused) as error:
            named = name in str(error) or name == "NO_PROXY"
            return Result(RIGHT if right else BLOCKS, str(error)) if named else Result(WRONG, f"not told apart: {error}")
    finally:
        os.environ.clear()
        os.environ.update(before)


for name, variables in SURROUNDINGS.items():
    attack(f"the environment names {name}", variables=variables)(surrounded)


@attack("a sibling of the model answers")
def sibling(folder: Path, quick: bool) -> Result:
    replies, *_ = asked(folder, lambda question, seen: Answer(completion(model="stub-1")))
    noticed = {reply.other_model for reply in replies.values()}
    return Result(MENDED) if noticed == {"stub-1"} else Result(WRONG, f"{noticed}")
