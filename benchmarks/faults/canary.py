"""Attacks on the secrecy of a key: a server that tells it again in every way, keys of odd forms, and all that a real run leaves behind."""

import base64
import contextlib
import html
import io
import json
import logging
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "resources" / "language_models"))

from odd_server import Answer, OddServer, completion

from benchmarks.faults.attacks import REFUSED, RIGHT, WRONG, Result, attack
from resources.language_models.ask_all import ask_all
from resources.language_models.interface import Message, Request
from resources.language_models.openai_server.model import OpenAIModel
from resources.language_models.reply_store import ReplyStore

VARIABLE = "FAULT_CANARY"
FRAGMENT = 9
"""So many characters of a key in a row are a leak."""
KEYS = {
    "an ordinary key": "sk-canary-7f3a9b2c51d8e6",
    "a key without a prefix": "7f3a9b2c51d8e64410aabbcc",
    "a key of base64": "c4n4ry+7f3a/9b2c51d8=/e6+44==",
    "a key with a line break at its end": "sk-canary-7f3a9b2c51d8e6\n",
    "a key with quotes and a backslash": 'canary"7f3a\\9b2c51d8"e6',
    "a key of 900 characters": "".join(f"{n:03d}canary" for n in range(100)),
    "a key with a percent sign and an ampersand": "canary%7f3a&9b2c<51d8>e6",
}


def error_text(text: str) -> dict[str, Any]:
    return {"error": {"message": text}}


ECHOES: dict[str, Callable[[str], Answer]] = {
    "HTTP 401 with the key": lambda key: Answer(error_text(f"Incorrect API key provided: {key}."), 401),
    "HTTP 401 with the header": lambda key: Answer({"headers": {"Authorization": f"Bearer {key}"}}, 401),
    "HTTP 401 of HTML": lambda key: Answer(f"<html><pre>Authorization: Bearer {html.escape(key)}</pre></html>".encode(), 401),
    "HTTP 401 in capitals": lambda key: Answer(f"AUTHORIZATION: BEARER {key}".encode(), 401),
    "HTTP 400 with the key": lambda key: Answer(error_text(f"key {key} may not ask this"), 400),
    "HTTP 400 with the key behind 490 characters": lambda key: Answer(error_text("x" * 490 + key), 400),
    "HTTP 400 with the key behind 190 characters": lambda key: Answer(("x" * 190 + key).encode(), 400),
    "HTTP 400 with half of the key": lambda key: Answer(error_text(f"key {key[: len(key) // 2 + 3]}*** may not ask this"), 400),
    "HTTP 500 with the key": lambda key: Answer(error_text(f"upstream refused {key}"), 500),
    "HTTP 400 with the key, URL-quoted": lambda key: Answer(error_text(f"/v1?api_key={quote(key)}"), 400),
    "HTTP 400 with the key in base64": lambda key: Answer(error_text(f"Basic {base64.b64encode(key.encode()).decode()}"), 400),
    "HTTP 200 with an error that quotes the key": lambda key: Answer({"error": {"message": f"bad {key}", "code": 502}}),
    "an answer that is no JSON": lambda key: Answer(f"Authorization: Bearer {key}".encode()),
    "an answer with the key as its model": lambda key: Answer(completion(model=key)),
    "a header with the key": lambda key: Answer(error_text("no"), 401, {"X-Echo": quote(key), "WWW-Authenticate": f"Bearer {quote(key)}"}),
    "a redirect to the key": lambda key: Answer(b"", 307, {"Location": f"http://127.0.0.1:1/?api_key={quote(key)}"}),
}


def leaks(key: str, text: str) -> str:
    """A part of the key that the text tells; empty where it tells none."""
    own = key.strip()
    forms = {own, json.dumps(own)[1:-1], repr(own)[1:-1], quote(own), html.escape(own), base64.b64encode(own.encode()).decode()}
    parts = (form[at : at + FRAGMENT] for form in forms for at in range(max(len(form) - FRAGMENT + 1, 1)))
    return next((part for part in parts if part in text), "")


@contextlib.contextmanager
def logged() -> Iterator[io.StringIO]:
    """All that is logged in the block, of every module."""
    text, level, off = io.StringIO(), logging.getLogger().level, logging.root.manager.disable
    handler = logging.StreamHandler(text)
    logging.getLogger().addHandler(handler)
    logging.getLogger().setLevel(logging.DEBUG)
    logging.disable(logging.NOTSET)
    try:
        yield text
    finally:
        logging.disable(off)
        logging.getLogger().setLevel(level)
        logging.getLogger().removeHandler(handler)


def told(folder: Path, key: str, answer: Answer, address: str = "{url}") -> str:
    """All that a batch tells whose every question gets this answer: errors, tracebacks, logs, replies and the files of the store."""
    os.environ[VARIABLE] = key
    said = []
    with OddServer(lambda question, seen: answer if "trial" in question else Answer(completion())) as server, logged() as log:
        try:
            options: dict[str, Any] = {"backoff_seconds": 0.001, "max_retries": 1, "structured": "off", "concurrency": 2}
            model = OpenAIModel(
                "stub",
                base_url=address.format(url=server.url, host=server.url.split("/")[2]),
                api_key_env=VARIABLE,
                timeout_seconds=5.0,
                **options,
            )
            said.append(repr(model) + str(model.identity))
            requests = [Request((Message("user", f"trial {n}"),), 20) for n in range(2)]
            said += [str(reply) for _, reply, _ in ask_all(model, requests, ReplyStore(folder / "replies"))]
        except Exception:
            said.append(traceback.format_exc())
    files = [path.read_bytes().decode("latin-1") for path in folder.rglob("*") if path.is_file()]
    return "\n".join([*said, log.getvalue(), *files])


def echoed(folder: Path, quick: bool, name: str, answer: Callable[[str], Answer]) -> Result:
    for number, (kind, key) in enumerate(list(KEYS.items())[:: 4 if quick else 1]):
        if part := leaks(key, told(folder / str(number), key, answer(key))):
            return Result(WRONG, f"{kind}: {part!r}")
    return Result(REFUSED)


for name, answer in ECHOES.items():
    attack(f"a server tells the key by {name}", name=name, answer=answer)(echoed)

ADDRESSES = {
    "its address": "http://user:{key}@{host}/v1",
    "its address, as the user": "http://{key}@{host}/v1",
    "the query of its address": "http://{host}/v1?api_key={key}",
    "an address that nobody answers at": "http://user:{key}@127.0.0.1:1/v1",
    "an address of another scheme": "ftp://user:{key}@{host}/v1",
    "an address with a port that is none": "http://user:{key}@127.0.0.1:port/v1",
    "an address with a blank": " http://user:{key}@{host}/v1",
    "an address without a host": "http://user:{key}@/v1",
    "a fragment": "http://{host}/v1#{key}",
}


def in_an_address(folder: Path, quick: bool, address: str) -> Result:
    key = "canary7f3a9b2c51d8e6"
    for number, status in enumerate((200, 401) if quick else (200, 401, 400)):
        answer = Answer(completion(), status)
        text = told(folder / str(number), "another key", answer, address.replace("{key}", key))
        if part := leaks(key, text):
            return Result(WRONG, f"HTTP {status}: {part!r} in {text[max(text.find(part) - 150, 0) : text.find(part) + 20]!r}")
    return Result(RIGHT)


for name, address in ADDRESSES.items():
    attack(f"a key in {name}", address=address)(in_an_address)
