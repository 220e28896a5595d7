"""A model behind a server is the model, wherever the server is: moving it, and what an earlier release kept, ask nothing again."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from stub_server import StubServer

from resources.language_models.ask_all import ask_all
from resources.language_models.interface import ChoiceList, Message, ModelIdentity, Reply, Request, earlier_identities, request_key
from resources.language_models.openai_server.model import OpenAIModel
from resources.language_models.replay import ReplayModel
from resources.language_models.reply_store import ReplyStore

REQUESTS = [Request((Message("user", f"trial {number}"),), 10, reply_format=ChoiceList(1)) for number in range(3)]


@pytest.fixture
def servers() -> Iterator[list[StubServer]]:
    both = [StubServer(), StubServer()]
    yield both
    for server in both:
        server.shutdown()


def model_at(server: StubServer, **options: object) -> OpenAIModel:
    return OpenAIModel("m", base_url=server.url, **options)  # type: ignore[arg-type]


def answers(model: OpenAIModel | ReplayModel, folder: Path) -> dict[int, str]:
    return {index: reply.text for index, reply, _ in ask_all(model, REQUESTS, ReplyStore(folder))}


def asked(server: StubServer) -> int:
    return sum("trial" in question for question in server.asked)


def test_moving_a_server_asks_nothing_again(servers: list[StubServer], tmp_path: Path) -> None:
    first = answers(model_at(servers[0]), tmp_path)
    assert answers(model_at(servers[1]), tmp_path) == first
    assert asked(servers[0]) == 3 and asked(servers[1]) == 0


def test_a_name_that_the_site_gives_tells_models_apart_and_outlives_a_move(servers: list[StubServer], tmp_path: Path) -> None:
    answers(model_at(servers[0], identity="llama-8b"), tmp_path)
    answers(model_at(servers[1], identity="llama-8b"), tmp_path)
    assert asked(servers[1]) == 0
    answers(model_at(servers[1], identity="llama-70b"), tmp_path)
    answers(model_at(servers[1], revision="2", identity="llama-70b"), tmp_path)
    assert asked(servers[1]) == 6


@pytest.mark.parametrize("options", [{}, {"chat": False}, {"structured": "off"}])
def test_replies_under_an_address_of_an_earlier_release_are_found(
    servers: list[StubServer], tmp_path: Path, options: dict[str, object]
) -> None:
    model = model_at(servers[0], **options)
    how = model.identity.revision.removeprefix("unversioned")
    store = ReplyStore(tmp_path)
    for address, text in ((f"old-host:8000{how}", "[1]"), ("old-host:8000-elsehow", "[0]")):
        earlier = ModelIdentity("openai", "m", f"unversioned@{address}")
        for request in REQUESTS:
            store.append(request_key(earlier, request), earlier, Reply(text, "stop", 1, 0, 1, 0.0))
    store.flush()
    assert answers(model, tmp_path) == dict.fromkeys(range(3), "[1]") and asked(servers[0]) == 0
    keys = [request_key(model.identity, request) for request in REQUESTS]
    assert ReplyStore(tmp_path).get_many(keys).keys() == set(keys), "found once, they are kept under the address of now"
    replay = ReplayModel("m", model.identity.revision, "openai", tmp_path)
    assert answers(replay, tmp_path) == dict.fromkeys(range(3), "[1]")


def test_earlier_identities_are_of_the_same_model_asked_in_the_same_way() -> None:
    known = [ModelIdentity(*one) for one in (
        ("openai", "m", "unversioned@a:1"), ("openai", "m", "unversioned@b-off.example"), ("openai", "m", "unversioned@a:1-completions"),
        ("openai", "n", "unversioned@a:1"), ("vllm", "m", "unversioned@a:1"), ("openai", "m", "2"), ("openai", "m", "unversioned"),
    )]  # fmt: skip
    assert earlier_identities(ModelIdentity("openai", "m", "unversioned"), known) == known[:2]
    assert earlier_identities(ModelIdentity("openai", "m", "unversioned-completions"), known) == [known[2]]
    assert earlier_identities(ModelIdentity("openai", "m", "2"), known) == []
