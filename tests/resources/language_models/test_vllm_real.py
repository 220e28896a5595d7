"""The vLLM engine for real, in process and as `vllm serve` behind the openai back end. Run by `make test-vllm`, which installs it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
from vllm_server import EMBEDDED, QUICK_START, VllmServer

from resources.language_models.interface import ChoiceList, JsonReply, LanguageModel, Message, Request, SuffixChoices, UnsupportedRequest
from resources.language_models.tokens.prompt_tokens import prompt_token_ids
from resources.language_models.transformers_local.model import TransformersModel

pytest.importorskip("vllm", reason="the vLLM engine is not installed: make test-vllm")
pytestmark = [pytest.mark.vllm, pytest.mark.slow]
TOLERANCE = 2e-2  # engines add in other orders
SYSTEM = Message("system", "You judge whether texts match a description. Answer with a list of 0 and 1, one number for each text.")
TEXTS = ("the ship sailed at dawn", "bread and butter", "a long winter in the north", "two plus two", "the red barn", "he ran home")


def judging(count: int = 3) -> list[Request]:
    questions = [f"Description: ships\nText 0: {text}\nText 1: {text[::-1]}\nText 2: {text[:5]}" for text in TEXTS]
    return [Request((SYSTEM, Message("user", q)), 24, reply_format=ChoiceList(count), shared_messages=1) for q in questions]


@contextmanager
def engine() -> Iterator[LanguageModel]:
    """SmolLM2 in a vLLM engine in this process."""
    from resources.language_models.vllm_engine.model import VLLMModel

    os.environ.update(QUICK_START)
    model = VLLMModel(EMBEDDED, dtype="float32", max_model_len=2048, engine_options={"enforce_eager": True})
    yield model
    model.close()


@contextmanager
def served() -> Iterator[LanguageModel]:
    """The same model behind vLLM's server."""
    from resources.language_models.openai_server.model import OpenAIModel

    server = VllmServer()
    try:
        server.start()
        yield OpenAIModel(server.NAME, revision="test", base_url=server.base_url, concurrency=8)
    finally:
        server.stop()


@pytest.fixture(scope="module", params=[engine, served], ids=["engine", "served"])
def model(request: pytest.FixtureRequest) -> Iterator[LanguageModel]:
    """Either of the two; the first is gone before the second starts."""
    with request.param() as running:
        yield running


def test_every_list_of_choices_parses_and_has_probabilities(model: LanguageModel) -> None:
    assert {"answer_probabilities", "structured_reply", "prompt_logprobs"} <= model.capabilities
    requests = judging()
    replies = dict(model.ask(requests))
    assert sorted(replies) == list(range(len(requests)))
    for reply in replies.values():
        answers = [int(answer) for answer in reply.text.strip("[]").split(", ")]
        assert len(answers) == 3
        assert reply.finish_reason == "stop"
        assert reply.answer_probabilities is not None
        for answer, shares in zip(answers, reply.answer_probabilities, strict=True):
            assert sum(shares) == pytest.approx(1.0, abs=1e-6)
            assert shares[answer] >= 0.5 - 1e-3  # greedy takes the likelier option


def test_answers_agree_with_the_transformers_back_end(model: LanguageModel) -> None:
    requests = judging(1)
    transformers = reference()
    expected = {index: reply.answer_probabilities[0][1] for index, reply in transformers.ask(requests)}  # type: ignore[index]
    transformers.close()
    found = {index: reply.answer_probabilities[0][1] for index, reply in model.ask(requests)}  # type: ignore[index]
    assert found == pytest.approx(expected, abs=2e-3)


def test_free_text_is_bounded_and_json_satisfies_its_schema(model: LanguageModel) -> None:
    import json

    schema = '{"type":"object","properties":{"n":{"type":"integer","minimum":0,"maximum":9}},"required":["n"],"additionalProperties":false}'
    text = Request((Message("user", "Tell me about the sea."),), 6)
    number = Request((Message("user", "How many legs has a dog? Reply as JSON."),), 40, reply_format=JsonReply(schema))
    replies = dict(model.ask([text, number]))
    assert replies[0].finish_reason == "length"
    assert replies[0].completion_tokens == 6
    assert set(json.loads(replies[1].text)) == {"n"}


def reference() -> TransformersModel:
    return TransformersModel(EMBEDDED, device="cpu", dtype="float32")


def test_suffixes_and_their_choices_agree_with_the_transformers_back_end(model: LanguageModel) -> None:
    digits = SuffixChoices("_", tuple("0123456789"))
    question = (Message("user", "How much is each word about the sea, from 0 to 9?"),)
    requests = [
        Request(question, 0, suffix="ship\t_\nbread\t_\nharbour\t_", suffix_choices=digits, shared_messages=1),
        Request(question, 0, suffix="The sea is “wide” and déjà vu.", shared_messages=1),
        Request(question, 0, suffix="The sea is “wide” and déjà vu.", shared_messages=1),  # in the cache by now, where there is one
        Request((Message("user", "Write."),), 4, suffix="Once upon a time"),
    ]
    transformers = reference()
    expected = dict(transformers.ask(requests))
    transformers.close()
    replies = dict(model.ask(requests))
    for index, reply in replies.items():
        assert reply.error is None
        assert reply.suffix_logprobs == pytest.approx(expected[index].suffix_logprobs, abs=TOLERANCE)
        assert reply.text == expected[index].text
        assert reply.finish_reason == expected[index].finish_reason
    shares = replies[0].suffix_choices
    assert shares is not None and expected[0].suffix_choices is not None and len(shares) == 3
    if model.identity.backend == "vllm":  # a server lists 20 tokens a place, and what is beyond them counts as 0
        assert np.asarray(shares) == pytest.approx(np.asarray(expected[0].suffix_choices), abs=TOLERANCE)
    else:
        known = np.asarray(shares) > 0
        assert known.any(axis=1).all()
        listed = np.where(known, np.asarray(expected[0].suffix_choices), 0)
        assert np.asarray(shares) == pytest.approx(listed / listed.sum(axis=1, keepdims=True), abs=TOLERANCE)


def test_suffixes_behind_a_cached_prefix_are_those_of_whole_prompts(model: LanguageModel) -> None:
    """The CPU engine caches whole blocks of 128 tokens: of prompts with a long question before the suffix, and of suffixes that begin
    alike. Behind a server the engine computes whole prompts."""
    digits = SuffixChoices("_", tuple("0123456789"))
    lines = "\n".join(f"{word}\t_" for word in ("ship", "bread", "harbour", "law", "sail"))
    transformers = reference()

    def asked(n_tokens: int, suffix: str, choices: SuffixChoices | None = None) -> Request:
        question = Request((Message("user", "Rate each word."),), 0, suffix=suffix, suffix_choices=choices, shared_messages=1)
        short = len(prompt_token_ids(transformers._tokenizer, question))
        return replace(question, messages=(Message("user", question.messages[0].content + " the" * (n_tokens - short)),))

    same = "the sea and the " * 60
    requests = [
        *(asked(n_tokens, f"{word}\t_\n{lines}", digits) for n_tokens in (270, 256) for word in ("rope", "tree", "law")),
        *(asked(270, same + word) for word in ("ship", "bread")),
    ]
    assert [len(prompt_token_ids(transformers._tokenizer, requests[place])) for place in (0, 3, 7)] == [270, 256, 270]
    expected = dict(transformers.ask(requests))
    transformers.close()
    alone = [next(iter(model.ask([request])))[1] for request in requests]  # one after another, so that earlier prompts are cached
    for index, reply in enumerate(alone):
        right = expected[index]
        assert reply.suffix_logprobs == pytest.approx(right.suffix_logprobs, abs=TOLERANCE)
        if model.identity.backend == "vllm" and right.suffix_choices:
            assert np.asarray(reply.suffix_choices) == pytest.approx(np.asarray(right.suffix_choices), abs=TOLERANCE)
    if model.identity.backend == "vllm":
        cached = [reply.cached_tokens for reply in alone]
        assert min(cached[1], cached[2], cached[4], cached[5], cached[7]) >= 256


def test_options_that_begin_alike_are_refused_in_a_suffix_before_anything_is_asked(model: LanguageModel) -> None:
    scale = SuffixChoices("_", tuple(map(str, range(11))))
    request = Request((Message("user", "Rate the words."),), 0, suffix="ship\t_", suffix_choices=scale)
    with pytest.raises(UnsupportedRequest, match=r"option '10' begins with the same token as option '1'.*0-9"):
        list(model.ask([request]))


def test_lists_of_options_that_begin_alike_are_exact_or_absent(model: LanguageModel) -> None:
    options = tuple(map(str, range(11)))
    texts = ("the ship sailed at dawn", "bread and butter", "a long winter in the north")
    asked = "Rate from 0 to 10 how much the text is about the sea. Answer with a list of two ratings, such as [10, 1]."
    requests = [Request((Message("user", f"{asked}\nText: {t}"),), 24, reply_format=ChoiceList(2, options)) for t in texts]
    requests.append(Request((Message("user", "Write a list of two numbers, [10, 10]."),), 24, reply_format=ChoiceList(2, options)))
    transformers = reference()
    replies = dict(model.ask(requests))
    for index, reply in replies.items():
        assert len(reply.text.strip("[]").split(", ")) == 2 and set(reply.text.strip("[]").split(", ")) <= set(options)
        if model.identity.backend == "vllm":
            assert reply.answer_probabilities is not None
        if reply.answer_probabilities is None:
            continue
        # The reply's own beginning is given, so that both are about the same answers.
        assert np.asarray(reply.answer_probabilities).sum(axis=1) == pytest.approx(1.0, abs=1e-6)
        ((_, first),) = transformers.ask([replace(requests[index], reply_format=ChoiceList(2, options))])
        assert first.answer_probabilities is not None
        found = np.asarray(reply.answer_probabilities[0])
        known = found > 0 if model.identity.backend == "openai" else np.full(11, True)
        expected = np.where(known, np.asarray(first.answer_probabilities[0]), 0)
        assert found == pytest.approx(expected / expected.sum(), abs=TOLERANCE)
    transformers.close()


def test_an_index_is_a_list_of_one_answer_with_probabilities(model: LanguageModel) -> None:
    form = ChoiceList(1, ("1", "2", "3", "4", "5"))
    question = "Which word is about the sea? 1: bread 2: ten 3: ship 4: law 5: red. Answer with its number in brackets, such as [4]."
    request = Request((Message("user", question),), 8, reply_format=form)
    ((_, reply),) = model.ask([request])
    transformers = reference()
    ((_, expected),) = transformers.ask([request])
    transformers.close()
    assert reply.text == expected.text and reply.answer_probabilities is not None and expected.answer_probabilities is not None
    assert reply.answer_probabilities[0] == pytest.approx(expected.answer_probabilities[0], abs=TOLERANCE)


def test_candidates_differ_by_their_seeds_and_come_again(model: LanguageModel) -> None:
    requests = [Request((Message("user", "Tell me a story."),), 8, temperature=1.0, seed=seed) for seed in range(4)]
    texts = [reply.text for _, reply in sorted(model.ask(requests))]
    assert len(set(texts)) > 1
    assert [reply.text for _, reply in sorted(model.ask(requests))] == texts


def test_the_shared_prefix_is_cached(model: LanguageModel) -> None:
    # The CPU engine caches whole blocks of 128 tokens: a prefix of 300 has two.
    long = Message("system", SYSTEM.content + " Read every text with care." * 45)
    requests = [replace(request, messages=(long, *request.messages[1:])) for request in judging(1)]
    replies = [reply for _, reply in model.ask([requests[0]])] + [reply for _, reply in model.ask(requests[1:])]
    assert all(reply.cached_tokens >= 256 for reply in replies[1:])
