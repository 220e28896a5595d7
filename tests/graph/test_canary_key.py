"""A key that a run used is nowhere on disk afterwards, whatever the server said of it."""

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml
from installation import Installation
from scripted_server import StubServer

from resources.fakes import scripted_answer
from resources.language_models import load_language_model
from resources.language_models.interface import Message, Request

CANARY = "sk-canary-7f3a9b2c51d8"


class EchoingServer(StubServer):
    """Answers as the stand-in judge, and tells the key that it was given in its refusals, its answers' ids and its headers."""

    def answer(self, body: dict[str, Any], question: str) -> dict[str, Any]:
        text = scripted_answer(Request(tuple(Message(one["role"], one["content"]) for one in body["messages"]), body["max_tokens"]))
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
        usage = {"prompt_tokens": 5, "completion_tokens": 5}
        return {"id": CANARY, "object": "chat.completion", "created": 0, "model": body["model"], "choices": [choice], "usage": usage}


def refusing(question: str, seen: int) -> tuple[int, dict[str, str], dict[str, Any]] | None:
    """The first time of every third question: an error that quotes the key."""
    if seen == 0 and len(question) % 3 == 0:
        return 400, {}, {"error": {"message": f"bad key {CANARY}, Bearer {CANARY}"}}
    return None


def told(root: Path) -> list[Path]:
    """Files below a folder that hold the key, Parquet files decompressed."""
    found = [path for path in root.rglob("*") if path.is_file() and CANARY.encode() in path.read_bytes()]
    return found + [path for path in root.rglob("*.parquet") if CANARY in str(pq.read_table(path).to_pylist())]


def test_a_key_is_nowhere_after_a_run(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CANARY_KEY", CANARY)
    server = EchoingServer(refuse=refusing)
    try:
        options = {"base_url": server.url, "api_key_env": "CANARY_KEY", "backoff_seconds": 0.01}
        model = {"backend": "openai", "model": "judge", "options": options}
        installation.register(installation.record())
        installation.home.settings_file.write_text(yaml.safe_dump({"explainer": model, "scorer": model}))
        monkeypatch.setattr(
            installation.models, "language_model",
            lambda backend, model, revision, options: load_language_model(backend, model=model, revision=revision, **options),
        )  # fmt: skip
        installation.run("token_sample", "activation_shards")
        installation.run("examples", "explanations/max_act", "scores/detection", raise_on_error=False)
        installation.home.warehouse.copy()
        installation.home.warehouse.build()
        assert server.keys == {f"Bearer {CANARY}"}, "the server was asked, with the key"
        assert installation.home.replies.size().n_replies > 0
        assert not told(installation.home.root)
    finally:
        server.shutdown()
