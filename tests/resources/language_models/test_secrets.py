"""A key is in no error, reply, log line or file, whatever the server makes of it and wherever it stands."""

import base64
import logging
from pathlib import Path
from typing import Any

import pytest
from odd_server import Answer, OddServer, completion

from resources.language_models.ask_all import ask_all
from resources.language_models.interface import Message, Request
from resources.language_models.openai_server.connection import ServerRefused
from resources.language_models.openai_server.model import OpenAIModel
from resources.language_models.reply_store import ReplyStore
from resources.secrets import Secrets

KEY = "c4n4ry+7f3a/9b2c51d8=/e6"
NOTHING = "http://127.0.0.1:8000/v1"


@pytest.mark.parametrize(
    "text",
    [
        f"key {KEY} is wrong", f"Bearer {KEY}", KEY.upper(), f"{KEY[:15]}***", "api_key=c4n4ry%2B7f3a%2F9b2c51d8%3D%2Fe6",
        base64.b64encode(KEY.encode()).decode(), base64.b64encode(f":{KEY}".encode()).decode(), ("x" * 490 + KEY)[:500],
    ],
)  # fmt: skip
def test_no_eight_characters_of_a_key_are_told(text: str) -> None:
    told = Secrets((KEY,)).hide(text)
    assert "<key>" in told and not any(KEY[at : at + 8] in told for at in range(len(KEY) - 7)) and "2b7f3a" not in told.lower()


def test_other_texts_stay_and_a_dummy_key_hides_whole_words_alone() -> None:
    assert Secrets((KEY,)).hide("HTTP 400: the prompt has 9b2c51 tokens, é and ☃") == "HTTP 400: the prompt has 9b2c51 tokens, é and ☃"
    assert Secrets(("none",)).hide("nonesuch: none") == "nonesuch: <key>" and Secrets(()).hide("Bearer sk-1") == "<key>"


@pytest.mark.parametrize("status", [200, 400, 401])
@pytest.mark.parametrize(
    "place",
    ["http://user:{key}@{host}/v1", "http://{host}/v1?api_key={key}&api-version=1", "http://{host}/v1"],
    ids=["user", "query", "env"],
)
def test_a_key_is_sent_and_not_told(
    place: str, status: int, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.DEBUG)
    key, sent = "canary7f3a9b2c51d8", []
    monkeypatch.setenv("MY_KEY", f"{key}\n" if "{key}" not in place else "another-key-of-mine")
    echo = Answer(
        {**completion(model=key), "error": {"message": f"bad {key}"}} if status > 200 else completion(model=key), status, {"X-Echo": key}
    )
    with OddServer(lambda question, seen: echo if "trial" in question else Answer(completion())) as server:
        handle = server.RequestHandlerClass.do_POST  # type: ignore[attr-defined]
        monkeypatch.setattr(
            server.RequestHandlerClass, "do_POST",
            lambda handler: [sent.append(handler.path + " " + handler.headers["Authorization"]), handle(handler)],
        )  # fmt: skip
        host = server.url.split("/")[2]
        options: dict[str, Any] = {"api_key_env": "MY_KEY", "structured": "off", "max_retries": 0, "backoff_seconds": 0.01}
        model = OpenAIModel("stub", base_url=place.format(key=key, host=host), **options)
        told = [repr(model), str(model.identity)]
        try:
            told += [str(reply) for _, reply, _ in ask_all(model, [Request((Message("user", "trial"),), 9)], ReplyStore(tmp_path))]
        except ServerRefused as error:
            told.append(str(error))
    expected = {
        "user": f"/v1/chat/completions Basic {base64.b64encode(f'user:{key}'.encode()).decode()}",
        "query": f"/v1/chat/completions?api_key={key}&api-version=1 Bearer another-key-of-mine",
        "env": f"/v1/chat/completions Bearer {key}",
    }["user" if "@" in place else "query" if "?" in place else "env"]
    assert sent and set(sent) == {expected}
    files = "".join(path.read_bytes().decode("latin-1") for path in tmp_path.rglob("*") if path.is_file())
    assert key not in "".join(told) + caplog.text + files and "127.0.0.1" in caplog.text


@pytest.mark.parametrize(
    ("place", "told"),
    [
        ("ftp://user:KEYKEYKEY@h/v1", "begins with ftp:"), ("http://user:KEYKEYKEY@h:port/v1", "host or port are not spelled so"),
        (" http://user:KEYKEYKEY@h/v1", "' http://h/v1' is not the address"), ("http://user:KEYKEYKEY@/v1", "is not"),
        ("http://user:KEY/KEY/KEY@h", "host or port"), ("user:KEYKEYKEY@h", "'h' is not"), ("http://h/v1#KEYKEYKEY", "goes on with a #"),
    ],
)  # fmt: skip
def test_an_address_that_is_refused_is_quoted_without_its_key(place: str, told: str) -> None:
    with pytest.raises(ServerRefused, match=told) as refused:
        OpenAIModel("stub", base_url=place)
    assert "KEY" not in str(refused.value)


def test_a_key_that_no_header_may_hold_is_refused_unquoted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "canary\n7f3a")
    with pytest.raises(ServerRefused, match="MY_KEY holds a character that no HTTP header may hold") as refused:
        list(OpenAIModel("stub", base_url=NOTHING, api_key_env="MY_KEY").ask([Request((Message("user", "trial"),), 9)]))
    assert "canary" not in str(refused.value) and "7f3a" not in str(refused.value)


def test_a_reply_is_kept_but_for_the_key_in_it() -> None:
    secrets = Secrets((KEY,))
    packed = base64.b64encode(KEY.encode()).decode()
    for told in (KEY, packed, KEY[:14], KEY[-12:], KEY.upper()):
        hidden = secrets.hide_in_reply(f"The word river ({told}).")
        assert hidden.startswith("The word river (") and "<key>" in hidden and not any(told[at : at + 9] in hidden for at in range(4))
    plain = 'sk-1 of "sk-learn", Bearer of news, 9b2c51'
    assert secrets.hide_in_reply(plain) == plain
    assert Secrets(("no-key-required",)).hide_in_reply("action-required, no-key-required") == "action-required, <key>"
