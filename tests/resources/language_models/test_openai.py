"""The openai back end against a stub server: what it finds out, retries, gives up on, and never says."""

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from stub_server import Refusal, StubServer

from resources.language_models.ask_all import ask_all
from resources.language_models.interface import ChoiceList, JsonReply, Message, Request, SuffixChoices, UnsupportedRequest
from resources.language_models.openai_server.model import OpenAIModel, ServerGone, ServerRefused
from resources.language_models.reply_store import ReplyStore

KEY = "sk-secret-123456"


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., StubServer]]:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    servers: list[StubServer] = []

    def start(**options: Any) -> StubServer:
        servers.append(StubServer(**options))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


def model_at(server: StubServer, **options: Any) -> OpenAIModel:
    return OpenAIModel("stub", base_url=server.url, **{"backoff_seconds": 0.01, **options})


def trials(n: int, **fields: Any) -> list[Request]:
    return [Request((Message("user", f"trial {i}"),), max_reply_tokens=20, **fields) for i in range(n)]


def refuse_first(times: int, status: int, headers: dict[str, str], text: str = "busy") -> Callable[[str, int], Refusal | None]:
    def refuse(question: str, seen: int) -> Refusal | None:
        return (status, headers, {"error": {"message": text}}) if "trial" in question and seen < times else None

    return refuse


def test_lists_are_constrained_and_their_probabilities_read(serve: Callable[..., StubServer]) -> None:
    server = serve()
    model = model_at(server)
    ((_, reply),) = model.ask(trials(1, reply_format=ChoiceList(3, ("1", "0"))))
    assert server.bodies[-1]["structured_outputs"] == {"regex": r"\[(1|0), (1|0), (1|0)\]"}
    assert reply.text == "[1, 1, 1]" and (reply.prompt_tokens, reply.cached_tokens, reply.completion_tokens) == (10, 4, 7)
    # exp(-0.5108256) = 0.6 and exp(-1.6094379) = 0.2, over their sum.
    assert reply.answer_probabilities == tuple(pytest.approx((0.75, 0.25), abs=1e-6) for _ in range(3))
    assert model.capabilities == {"answer_probabilities", "structured_reply", "json_reply"}


def test_hosted_apis_get_a_json_schema_and_the_list_is_unwrapped(serve: Callable[..., StubServer]) -> None:
    server = serve(offers=frozenset({"json_schema"}))
    ((_, reply),) = model_at(server).ask(trials(1, reply_format=ChoiceList(2)))
    assert server.bodies[-1]["response_format"]["json_schema"]["schema"]["properties"]["answers"]["items"]["enum"] == [0, 1]
    assert (reply.text, reply.answer_probabilities) == ("[0, 0]", None)


def test_what_a_server_lacks_is_refused_by_name_and_probed_once(serve: Callable[..., StubServer]) -> None:
    server = serve(offers=frozenset())
    model = model_at(server)
    assert model.capabilities == frozenset()
    probes = len(server.bodies)
    with pytest.raises(UnsupportedRequest, match="does not offer prompt_logprobs"):
        list(model.ask(trials(1, suffix="the sea")))
    assert [reply.text for _, reply in model.ask(trials(1, reply_format=JsonReply("{}")))] == ["reply to trial 0"]
    assert len(server.bodies) == probes + 1


def given(suffix: str, **fields: Any) -> Request:
    return Request((Message("user", "trial"),), 0, suffix=suffix, **fields)


@pytest.mark.parametrize("chat", [True, False])
def test_suffixes_begin_the_reply_and_their_choices_are_read(serve: Callable[..., StubServer], chat: bool) -> None:
    server = serve(offers=frozenset({"prompt_logprobs"}))
    requests = [given("the sea"), given("ship\t?\nten\t?", suffix_choices=SuffixChoices("?", ("0", "1", "2")))]
    replies = dict(model_at(server, chat=chat, concurrency=1).ask(requests))
    body = server.bodies[-2]
    if chat:
        assert body["messages"][-1] == {"role": "assistant", "content": "the sea"}
        assert (body["continue_final_message"], body["add_generation_prompt"]) == (True, False)
    else:
        assert body["prompt"] == "trialthe sea"  # directly after the prompt's text, here within a word
    assert [b["prompt_logprobs"] for b in server.bodies[-2:]] == [0, 20] and body["max_tokens"] == 1
    if chat:
        assert (replies[0].suffix_logprobs, replies[0].suffix_choices) == ((-0.25,) * 3, None)
    else:
        assert replies[0].error is not None and "do not spell the suffix: they end 'trialthe sea'" in replies[0].error
    assert (replies[1].text, replies[1].finish_reason) == ("", "stop" if chat else "error")
    if chat:
        # exp(-1.6094379) = 0.2 and exp(-0.5108256) = 0.6 over their sum; "2" is not listed.
        assert replies[1].suffix_choices == tuple(pytest.approx((0.25, 0.75, 0.0), abs=1e-6) for _ in range(2))


def test_options_that_the_server_spells_alike_are_refused_by_name(serve: Callable[..., StubServer]) -> None:
    server = serve(offers=frozenset({"prompt_logprobs"}))
    request = given("ship\t?", suffix_choices=SuffixChoices("?", ("0", "1", "10")))
    with pytest.raises(UnsupportedRequest, match=r"option '10' begins with the same token as option '1'.*such as 0-9"):
        list(model_at(server).ask([request]))
    assert "trial" not in str([body["messages"] for body in server.bodies])


def test_a_place_where_no_option_is_listed_has_no_probabilities(serve: Callable[..., StubServer]) -> None:
    choices = SuffixChoices("?", ("7", "8"))
    ((_, reply),) = model_at(serve(offers=frozenset({"prompt_logprobs"}))).ask([given("ship\t?", suffix_choices=choices)])
    assert (len(reply.suffix_logprobs or ()), reply.suffix_choices) == (3, None)


def test_candidates_are_asked_with_their_seeds(serve: Callable[..., StubServer], tmp_path: Path) -> None:
    server = serve()
    requests = [replace(trials(1)[0], temperature=0.7, seed=seed) for seed in range(3)]
    assert len(list(ask_all(model_at(server), requests, ReplyStore(tmp_path)))) == 3
    asked = [body for body in server.bodies if "trial" in str(body["messages"])]
    assert sorted(body["seed"] for body in asked) == [0, 1, 2] and {body["temperature"] for body in asked} == {0.7}
    list(ask_all(model_at(server), requests, ReplyStore(tmp_path)))
    assert len([body for body in server.bodies if "trial" in str(body["messages"])]) == 3  # each is in the store by itself


def test_an_index_is_a_list_of_one_answer(serve: Callable[..., StubServer]) -> None:
    ((_, reply),) = model_at(serve()).ask(trials(1, reply_format=ChoiceList(1, ("1", "0"))))
    assert (reply.text, reply.answer_probabilities) == ("[1]", (pytest.approx((0.75, 0.25), abs=1e-6),))


def test_base_models_go_through_the_completions_endpoint(serve: Callable[..., StubServer]) -> None:
    server = serve()
    ((_, reply),) = model_at(server, chat=False).ask(trials(1, line_prefix="It is"))
    assert server.bodies[-1]["prompt"] == "trial 0\n\nIt is" and server.bodies[-1]["stop"] == ["\n"]
    assert reply.text.startswith("It is")


def test_retry_after_is_honoured(serve: Callable[..., StubServer]) -> None:
    server = serve(refuse=refuse_first(1, 429, {"Retry-After": "0.4"}))
    replies = dict(model_at(server).ask(trials(3)))
    assert {reply.error for reply in replies.values()} == {None}
    assert all(0.4 <= times[1] - times[0] < 2 for question, times in server.times.items() if "trial" in question)


def test_server_errors_are_retried_and_then_named(serve: Callable[..., StubServer]) -> None:
    server = serve(refuse=refuse_first(2, 500, {}))
    assert [reply.error for _, reply in model_at(server).ask(trials(1))] == [None]
    ((_, reply),) = model_at(serve(refuse=refuse_first(99, 503, {})), max_retries=2).ask(trials(1))
    assert (reply.finish_reason, reply.error) == ("error", "HTTP 503: busy (tried 3 times)")


def test_time_outs_end_in_an_error_reply(serve: Callable[..., StubServer]) -> None:
    server = serve()
    model = model_at(server, timeout_seconds=0.2, max_retries=1)
    assert model.capabilities
    server.latency_seconds = 1.0
    ((_, reply),) = model.ask(trials(1))
    assert reply.error == "no reply within 0.2 seconds (tried 2 times)"


def test_a_bad_request_is_an_error_reply_asked_once(serve: Callable[..., StubServer]) -> None:
    server = serve(refuse=lambda question, seen: (400, {}, {"error": {"message": "too long"}}) if question == "trial 1" else None)
    replies = dict(model_at(server).ask(trials(3)))
    assert [replies[i].error for i in range(3)] == [None, "HTTP 400: too long", None]
    assert len(server.times["trial 1"]) == 1


def test_the_key_is_sent_and_never_told(serve: Callable[..., StubServer], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    server = serve(refuse=refuse_first(9, 400, {}, f"bad key {KEY}"))
    model = model_at(server)
    ((_, reply),) = model.ask(trials(1))
    assert server.keys == {f"Bearer {KEY}"} and reply.error == "HTTP 400: bad key <key>"
    refused = model_at(serve(refuse=lambda question, seen: (401, {}, {"error": {"message": f"Incorrect API key: {KEY}"}})))
    with pytest.raises(ServerRefused) as raised:
        list(refused.ask(trials(1)))
    told = repr(model) + str(vars(model)) + str(model.identity) + str(raised.value) + caplog.text
    assert KEY not in told and "OPENAI_API_KEY" in str(raised.value)


def test_a_hosted_api_without_a_key_names_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MY_KEY", raising=False)
    with pytest.raises(ServerRefused, match="MY_KEY is not set"):
        list(OpenAIModel("m", base_url="https://models.example/v1", api_key_env="MY_KEY").ask(trials(1)))


def test_no_more_than_the_bound_run_at_once(serve: Callable[..., StubServer]) -> None:
    server = serve(latency_seconds=0.02)
    assert len(list(model_at(server, concurrency=5).ask(trials(40)))) == 40
    assert server.most_at_once == 5


def test_closing_the_iterator_cancels_the_rest(serve: Callable[..., StubServer]) -> None:
    server = serve(latency_seconds=0.05)
    replies = model_at(server, concurrency=4).ask(trials(100))
    next(replies)
    replies.close()
    time.sleep(0.1)  # what was under way arrives
    asked = len(server.bodies)
    time.sleep(0.2)
    assert asked == len(server.bodies) < 30


def test_a_server_that_goes_stops_the_batch_once_and_replies_are_kept(serve: Callable[..., StubServer], tmp_path: Path) -> None:
    server = serve()
    model = model_at(server, concurrency=4, max_connection_failures=3)
    store = ReplyStore(tmp_path)
    came = 0
    with pytest.raises(ServerGone, match="run again") as raised:
        for _ in ask_all(model, trials(300), store):
            came += 1
            if came == 20:
                _hang_up(server)
    assert server.url in str(raised.value)
    assert 20 <= came < 300 and store.size().n_replies == came


def _hang_up(server: StubServer) -> None:
    """Close the port, and every connection at its next request."""
    server.shutdown()
    server.server_close()

    def refuse(question: str, seen: int) -> None:
        raise ConnectionAbortedError

    server.refuse = refuse
    server.shutdown = lambda: None  # type: ignore[method-assign]


def test_a_server_that_comes_back_is_waited_for(serve: Callable[..., StubServer]) -> None:
    def hang_up_once(question: str, seen: int) -> None:
        if "trial" in question and seen == 0:
            raise ConnectionAbortedError

    replies = dict(model_at(serve(refuse=hang_up_once), concurrency=4).ask(trials(4)))
    assert [replies[i].text for i in range(4)] == [f"reply to trial {i}" for i in range(4)]
