"""Judges people have: what a server refuses of a request is learnt once, thought is no answer, and no odd number becomes a probability."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from picky_server import PickyServer, Rule, answered, refused

from resources.language_models.interface import ChoiceList, Message, Reply, Request
from resources.language_models.openai_server.accepts import Accepts, adapted, learnt
from resources.language_models.openai_server.error_within import error_within
from resources.language_models.openai_server.model import OpenAIModel
from resources.language_models.tokens.folded_turns import folded

CHAT = (Message("system", "You judge."), Message("user", "Q1"), Message("assistant", "A1"), Message("user", "Q2"))


def model_at(server: PickyServer, **options: Any) -> OpenAIModel:
    return OpenAIModel("stub", base_url=server.url, **{"backoff_seconds": 0.01, "structured": "off", "max_retries": 1, **options})


def asked(rule: Rule, *requests: Request, **options: Any) -> tuple[list[Reply], list[dict[str, Any]]]:
    """The replies, and the bodies of all that was sent."""
    with PickyServer(rule) as server:
        replies = [reply for _, reply in sorted(model_at(server, **options).ask(requests))]
        return replies, server.bodies


def questions(n: int = 3) -> list[Request]:
    return [Request((*CHAT[:-1], Message("user", f"Q2 {i}")), max_reply_tokens=4, stop=("END",)) for i in range(n)]


def has_system(body: dict[str, Any]) -> bool:
    return body["messages"][0]["role"] == "system"


REFUSALS = {
    "no system role (Gemma on vLLM)": (has_system, "System role not supported", 400),
    "no system role (Mistral's template)": (has_system, "Conversation roles must alternate user/assistant/user/assistant/...", 400),
    "no system role (llama.cpp)": (has_system, "After the optional system message, conversation roles must alternate", 500),
    "no system role (o1-mini)": (has_system, "Unsupported value: 'messages[0].role' does not support 'system' with this model.", 400),
    "no system role (Ministral)": (has_system, "Only user, assistant and tool roles are supported, got system.", 500),
    "temperature (reasoning models)": (
        lambda body: "temperature" in body,
        "Unsupported value: 'temperature' does not support 0 with this model. Only the default (1) value is supported.",
        400,
    ),
    "temperature (TGI)": (
        lambda body: body.get("temperature") == 0,
        "Input validation error: `temperature` must be strictly positive",
        422,
    ),
    "max_tokens": (
        lambda body: "max_tokens" in body,
        "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
        400,
    ),
    "a floor of 16": (
        lambda body: body["max_tokens"] < 16,
        "Invalid 'max_output_tokens': integer below minimum value. Expected a value >= 16, but got 4 instead.",
        400,
    ),
    "stop": (lambda body: "stop" in body, "Unsupported parameter: 'stop' is not supported with this model.", 400),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_what_a_server_refuses_is_learnt_once_and_left_out(name: str) -> None:
    refuses, message, status = REFUSALS[name]
    replies, bodies = asked(lambda body: refused(message, status) if refuses(body) else answered("yes"), *questions(6), concurrency=1)
    assert [(reply.text, reply.error) for reply in replies] == [("yes", None)] * 6
    assert sum(refuses(body) for body in bodies) <= 2  # while probing, and on the first question that has more


def test_all_at_once_and_in_parallel() -> None:
    def rule(body: dict[str, Any]) -> tuple[int, Any]:
        for refuses, message, status in REFUSALS.values():
            if "floor" not in message and "max_output" not in message and refuses(body):
                return refused(message, status)
        return answered("yes")

    replies, bodies = asked(rule, *questions(20), concurrency=8)
    assert [reply.text for reply in replies] == ["yes"] * 20
    assert len(bodies) < 60
    last = bodies[-1]
    assert [turn["role"] for turn in last["messages"]] == ["user", "assistant", "user"]
    assert last["messages"][0]["content"] == "You judge.\n\nQ1"


def test_a_stop_that_a_server_does_not_take_is_cut_off_here() -> None:
    rule = lambda body: refused("'stop' is not supported") if "stop" in body else answered("yes END and more")  # noqa: E731
    replies, _ = asked(rule, *questions(1))
    assert replies[0].text == "yes "


def test_a_refusal_of_the_context_or_of_one_text_teaches_nothing() -> None:
    body = {"messages": [{"role": "user", "content": "temperature?"}], "temperature": 0, "max_tokens": 500, "stop": ["x"]}
    for told in (
        "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens (4500 in the messages, 500 in the "
        "completion). Reduce max_tokens.",
        "content policy: your question about the temperature of the stop was flagged",
        "model overloaded",
    ):
        assert learnt(Accepts(), body, told) is None


@pytest.mark.parametrize(
    ("told", "most"),
    [
        ("Invalid value for 'top_logprobs': must be less than or equal to 5.", 5),
        ("max 5", None),
        ("Requested sample logprobs of 20, which is greater than max allowed: 8", 8),
        ("top_logprobs: Input should be less than or equal to 5", 5),
        ("top_logprobs is too large", 5),
    ],
)
def test_fewer_alternatives_are_asked_for_where_the_server_has_a_most(told: str, most: int | None) -> None:
    logprobs = {"content": [{"token": token, "logprob": -0.1, "top_logprobs": []} for token in ("[", "1", "]")]}
    told = told if most else f"top_logprobs {told}"
    limit = most or 5

    def rule(body: dict[str, Any]) -> tuple[int, Any]:
        if body.get("top_logprobs", 0) > limit:
            return refused(told)
        return answered("[1]", logprobs=logprobs if body.get("logprobs") else None)

    request = Request((Message("user", "one?"),), 4, reply_format=ChoiceList(1))
    replies, bodies = asked(rule, request)
    assert bodies[-1]["top_logprobs"] == limit
    assert replies[0].answer_probabilities == ((0.0, 1.0),)


def test_a_server_that_has_no_logprobs_at_all_does_without() -> None:
    rule = lambda body: refused("'logprobs' is not supported with this model") if "logprobs" in body else answered("[1]")  # noqa: E731
    replies, _ = asked(rule, Request((Message("user", "one?"),), 4, reply_format=ChoiceList(1)))
    assert (replies[0].text, replies[0].answer_probabilities) == ("[1]", None)


def listed(chosen: Any, zero: Any, one: Any) -> dict[str, Any]:
    top = [{"token": "0", "logprob": zero}, {"token": "1", "logprob": one}]
    places = [{"token": "[", "logprob": 0.0, "top_logprobs": None}, {"token": "1", "logprob": chosen, "top_logprobs": top}]
    return {"content": [*places, {"token": "]", "logprob": 0.0}]}


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ((-0.5, -1.5, -0.5), 1 / (1 + math.exp(-1.0))),
        ((-0.5, None, -0.5), 1.0),
        ((None, -1.5, None), 0.0),
        ((math.nan, math.nan, math.nan), None),
        ((-0.5, -math.inf, -0.5), 1.0),
        ((-math.inf, -math.inf, -math.inf), None),
        ((-0.5, -9999.0, -0.5), 1.0),
        (("-0.5", "-1.5", "-0.5"), None),
        ((7.0, -1.0, 7.0), 0.0),
    ],
)
def test_what_is_no_log_probability_is_never_a_probability(numbers: tuple, expected: float | None) -> None:
    rule = lambda body: answered("[1]", logprobs=listed(*numbers))  # noqa: E731
    (reply,), _ = asked(rule, Request((Message("user", "one?"),), 4, reply_format=ChoiceList(1)))
    assert (reply.text, reply.error) == ("[1]", None)
    found = reply.answer_probabilities
    assert found is None if expected is None else found is not None and found[0][1] == pytest.approx(expected)


NO_ANSWER = {
    "null, cut by length": answered(None, "length"),
    "empty, cut by length": answered("", "length", reasoning_content="Let me see"),
    "thought alone": answered("", "stop", reasoning="The answer is Canberra."),
    "thought alone, in parts": answered([{"type": "thinking", "thinking": [{"type": "text", "text": "Hmm"}]}], "length"),
    "thought alone, as an object": answered(None, "stop", reasoning={"text": "Hmm"}),
    "a tool": answered(None, "tool_calls"),
}


@pytest.mark.parametrize("name", NO_ANSWER)
def test_a_reply_without_an_answer_is_an_error_and_is_not_kept(name: str) -> None:
    replies, _ = asked(lambda body: NO_ANSWER[name] if len(body["messages"]) > 1 else answered("hello"), *questions(1))
    assert replies[0].finish_reason == "error" and replies[0].error
    assert "tool" in replies[0].error or "thinking_tokens" in replies[0].error
    assert replies[0].completion_tokens == 3  # it was paid for


def test_the_answer_is_read_beside_its_thought() -> None:
    parts = [{"type": "thinking", "thinking": [{"type": "text", "text": "Hmm"}]}, {"type": "text", "text": "yes"}]
    for content in (answered("yes", reasoning_content="Hmm"), answered(parts), answered("", "stop")):
        (reply,), _ = asked(lambda body, content=content: content, *questions(1))
        assert (reply.text, reply.error) == (content[1]["choices"][0]["message"]["content"] and "yes", None)


def test_room_for_thought_and_further_fields_are_settings_and_part_of_the_identity() -> None:
    options = {"thinking_tokens": 2000, "extra_body": {"reasoning_effort": "low"}}
    _, bodies = asked(lambda body: answered(), *questions(1), **options)
    assert bodies[-1]["max_tokens"] == 2004 and bodies[-1]["reasoning_effort"] == "low"
    with PickyServer(lambda body: answered()) as server:
        assert len({model_at(server, **some).identity.revision for some in ({}, options, {"thinking_tokens": 1})}) == 3


WITHIN = {
    "OpenRouter": {"choices": None, "error": {"message": "Provider returned error", "code": 429, "metadata": {"raw": "Too Many"}}},
    "a choice": {"choices": [{"finish_reason": "error", "error": {"code": 502, "message": "upstream"}, "message": {"content": "ye"}}]},
    "a string": {"error": "model runner has unexpectedly stopped"},
    "old vLLM": {"object": "error", "message": "overloaded", "code": 503},
}


@pytest.mark.parametrize("name", WITHIN)
def test_an_error_inside_a_status_of_200_is_tried_again_and_is_then_an_error(name: str) -> None:
    seen = []

    def rule(body: dict[str, Any]) -> tuple[int, Any]:
        seen.append(body)
        return (
            (200, WITHIN[name]) if len(body["messages"]) > 1 and (always or sum(len(b["messages"]) > 1 for b in seen) == 1) else answered()
        )

    always = False
    replies, _ = asked(rule, *questions(1))
    assert replies[0].text == "yes"
    always = True
    replies, _ = asked(rule, *questions(1))
    assert replies[0].error and "HTTP 200 with error" in replies[0].error and "tried 2 times" in replies[0].error


def test_a_refusal_inside_a_status_of_200_teaches_too() -> None:
    inside = {"error": {"message": "System role not supported", "code": 400}}
    replies, _ = asked(lambda body: (200, inside) if has_system(body) else answered(), *questions(2))
    assert [reply.text for reply in replies] == ["yes", "yes"]
    assert error_within({"choices": [{"finish_reason": "stop", "message": {"content": "x"}}], "error": None}) is None


def test_a_server_that_always_names_another_bound_is_not_asked_for_ever() -> None:
    rule = lambda body: refused(f"max_tokens is below the minimum of {body['max_tokens'] + 1}") if len(body["messages"]) > 1 else answered()  # noqa: E731
    replies, bodies = asked(rule, *questions(1))
    assert replies[0].error and len(bodies) < 20


turns = st.lists(st.tuples(st.sampled_from(["system", "user", "assistant"]), st.text(max_size=5)), min_size=1, max_size=6)


@given(turns)
def test_folding_keeps_every_text_and_makes_roles_alternate(chat: list[tuple[str, str]]) -> None:
    made = folded([{"role": role, "content": text} for role, text in chat])
    assert all(role != after for role, after in zip([t["role"] for t in made], [t["role"] for t in made][1:], strict=False))
    assert all(turn["role"] != "system" for turn in made)
    whole = "\n\n".join(turn["content"] for turn in made)
    assert all(text in whole for _, text in chat)


@given(st.dictionaries(st.sampled_from(["temperature", "max_tokens", "stop", "seed", "top_logprobs"]), st.integers(0, 50)), st.text())
def test_whatever_a_refusal_says_a_body_can_be_adapted(body: dict[str, Any], told: str) -> None:
    found = learnt(Accepts(), {"messages": [], **body}, told)
    assert adapted({"messages": [], **body}, found or Accepts())["messages"] == []


TOO_LONG = {
    "OpenAI, vLLM": (400, "This model's maximum context length is 4096 tokens. However, you requested 5020 tokens (5000 in the messages, "
                     "20 in the completion). Please reduce the length of the messages or completion."),
    "vLLM of the reply": (400, "'max_tokens' or 'max_completion_tokens' is too large: 20. This model's maximum context length is 4096 "
                          "tokens and your request has 5000 input tokens (20 > 4096 - 5000)."),
    "vLLM of a length below 0": (400, "max_tokens must be at least 1, got -924 (4096 - 5020)."),
    "TGI": (422, "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: 5000 `inputs` tokens and 20 "
            "`max_new_tokens`"),
    "SGLang": (400, "The input (5000 tokens) is longer than the model's context length (4096 tokens)."),
    "Gemini": (400, "The input token count (5000) exceeds the maximum number of tokens allowed (4096)."),
    "Anthropic": (400, "prompt is too long: 5000 tokens > 4096 maximum"),
    "an engine behind a gateway": (500, "Prompt length 5000 plus max_tokens 20 is longer than max_seq_len 4096"),
}  # fmt: skip


@pytest.mark.parametrize("server", [*TOO_LONG, "llama.cpp", "200 with an error inside", "no numbers"])
def test_a_prompt_beyond_the_context_is_one_error_with_both_numbers_and_teaches_nothing(server: str) -> None:
    """No other question is refused, asked again, or asked otherwise than before."""
    status, said = TOO_LONG.get(server, (400, "the request exceeds the available context size. try increasing the context size"))
    error: dict[str, Any] = {"message": said, "code": status}
    if server == "llama.cpp":
        error |= {"type": "exceed_context_size_error", "n_prompt_tokens": 5000, "n_ctx": 4096}
    elif server == "200 with an error inside":
        error |= {"message": TOO_LONG["Anthropic"][1]}

    def rule(body: dict[str, Any]) -> tuple[int, Any]:
        long = len(str(body["messages"])) > 1000
        return (200 if "inside" in server else status, {"error": error}) if long else answered()

    long = [Request((*CHAT[:-1], Message("user", f"{i}" * 2000)), max_reply_tokens=20) for i in range(12)]
    replies, bodies = asked(rule, *long[:6], *questions(), *long[6:], max_retries=3)
    assert [reply.text for reply in replies[6:9]] == ["yes"] * 3
    for reply in [*replies[:6], *replies[9:]]:
        assert reply.finish_reason == "error" and "does not fit into the model's context" in (reply.error or "")
        numbers = ("about ", " tokens") if server == "no numbers" else ("5000", "4096") if "below" not in server else ("5020", "4096")
        assert all(number in (reply.error or "") for number in numbers), reply.error
    about = [body for body in bodies if any("Q2" in str(message["content"]) for message in body["messages"])]
    assert len(about) == 3 and {body.get("max_tokens") for body in about} == {4}
    assert len([body for body in bodies if len(str(body["messages"])) > 1000]) == 12
