"""The vLLM engine for real, in process and as `vllm serve` behind the openai back end. Run by `make test-vllm`, which installs it."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from resources.language_models.interface import ChoiceList, JsonReply, LanguageModel, Message, Request
from resources.weights import resolve_model_folder

pytest.importorskip("vllm", reason="the vLLM engine is not installed: make test-vllm")
pytestmark = [pytest.mark.vllm, pytest.mark.slow]
EMBEDDED = "embedded:smollm2-135m-instruct"
SYSTEM = Message("system", "You judge whether texts match a description. Answer with a list of 0 and 1, one number for each text.")
TEXTS = ("the ship sailed at dawn", "bread and butter", "a long winter in the north", "two plus two", "the red barn", "he ran home")


def judging(count: int = 3) -> list[Request]:
    questions = [f"Description: ships\nText 0: {text}\nText 1: {text[::-1]}\nText 2: {text[:5]}" for text in TEXTS]
    return [Request((SYSTEM, Message("user", q)), 24, reply_format=ChoiceList(count), shared_messages=1) for q in questions]


@contextmanager
def engine() -> Iterator[LanguageModel]:
    """SmolLM2 in a vLLM engine in this process."""
    from resources.language_models.vllm import VLLMModel

    os.environ["VLLM_CPU_KVCACHE_SPACE"] = "1"
    model = VLLMModel(EMBEDDED, dtype="float32", max_model_len=2048)
    yield model
    model.close()


@contextmanager
def served() -> Iterator[LanguageModel]:
    """The same model behind vLLM's server on a free port of this machine.

    The server is started by its module: the `vllm serve` command looks for the GPU package's metadata.
    """
    from resources.language_models.openai import OpenAIModel

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = resolve_model_folder(EMBEDDED).location
    command = [
        sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", folder, "--served-model-name", "smollm2",
        "--host", "127.0.0.1", "--port", str(port), "--dtype", "float32", "--max-model-len", "2048", "--enable-prefix-caching",
        "--enable-prompt-tokens-details",
    ]  # fmt: skip
    server = subprocess.Popen(command, env={**os.environ, "VLLM_CPU_KVCACHE_SPACE": "1"}, start_new_session=True)
    try:
        _wait_until_healthy(f"http://127.0.0.1:{port}/health", server)
        yield OpenAIModel("smollm2", revision="test", base_url=f"http://127.0.0.1:{port}/v1", concurrency=8)
    finally:
        server.terminate()
        server.wait(timeout=60)


def _wait_until_healthy(url: str, server: subprocess.Popen[bytes], seconds: float = 300.0) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert server.poll() is None, f"vllm serve ended with {server.returncode}"
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except OSError:
            time.sleep(1.0)
    pytest.fail(f"vllm serve was not up after {seconds:g} seconds")


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
    from resources.language_models.transformers import TransformersModel

    requests = judging(1)
    reference = TransformersModel(EMBEDDED, device="cpu", dtype="float32")
    expected = {index: reply.answer_probabilities[0][1] for index, reply in reference.ask(requests)}  # type: ignore[index]
    reference.close()
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


def test_prompt_logprobs_are_those_of_every_token_after_the_first(model: LanguageModel) -> None:
    request = Request((Message("user", "The capital of France is Paris."),), 1, prompt_logprobs=True)
    ((_, reply),) = model.ask([request])
    assert reply.prompt_logprobs is not None
    assert len(reply.prompt_logprobs) == reply.prompt_tokens - 1
    assert all(value <= 0 for value in reply.prompt_logprobs)


def test_the_shared_prefix_is_cached(model: LanguageModel) -> None:
    # The CPU engine caches whole blocks of 128 tokens: a prefix of 300 has two.
    long = Message("system", SYSTEM.content + " Read every text with care." * 45)
    requests = [replace(request, messages=(long, *request.messages[1:])) for request in judging(1)]
    replies = [reply for _, reply in model.ask([requests[0]])] + [reply for _, reply in model.ask(requests[1:])]
    assert all(reply.cached_tokens >= 256 for reply in replies[1:])
