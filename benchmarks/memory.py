"""Peak memory of the steps that hold something of every feature, each in a process of its own. None may have more than 4 GB.

    python -m benchmarks.memory [--quick] [--only STEP …]

    cosine      nearest features by decoder row, 131,072 of 2,304 dimensions, one block of rows against all columns
    matching    131,072 with 131,072 features of 64 dimensions, both ways and one to one. Real decoder rows are longer: the time of the
                cosines grows with their length, and the memory by twice 131,072 float16 rows (1.2 GB at 2,304)
    windows     the vectors of 1 M cells of a token sample, 384 dimensions each, as the asset `examples` reads them
    embed       `interp embed` of 1 M explanations, with an encoder that takes no time
    meaning     the search by meaning over their vectors: first opening, and eight searches
    report      the report on human correlation over 1 M features scored by ten scorers, of which people rated 1,000

`benchmarks/neighbours.py` measures the neighbours by co-occurrence, and `benchmarks/explorer.py` the explorer. Seconds are seconds of a
core. The last line is one JSON object.
"""

import argparse
import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks.explorer import filled, lists, words
from interp_assets.config.keys import FEATURE_RANGE_KEYS, range_bounds
from interp_assets.config.records import DictionaryRecord
from interp_assets.domain.scoring import SCORERS
from interp_assets.installation.home import Home
from interp_assets.tables import DICTIONARY_EMBEDDINGS, EXPLANATIONS, HUMAN_RATINGS, SCORES, WINDOW_EMBEDDINGS
from interp_assets.tables.columns import constant
from resources.fakes import FakeModels

BUDGET_GB = 4.0
KEY = "m/00/large"
DIMENSIONS = 384
BLOCK = 16_384
WINDOW_TOKENS = 32
RATED, CONTEXTS, RATERS = 1_000, 5, 3
WIDE = 131_072
"""Features of a dictionary of the report's home."""


class SpareEncoder:
    """Vectors of length 1 in no time: the same block of vectors for every batch of texts."""

    revision = "spare-1"

    def __init__(self) -> None:
        made = np.random.default_rng(0).standard_normal((BLOCK, DIMENSIONS), dtype=np.float32)
        self.vectors = made / np.linalg.norm(made, axis=1, keepdims=True)

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """float32 [n, DIMENSIONS], n up to BLOCK."""
        return self.vectors[: len(texts)]

    def close(self) -> None:
        """Nothing is held."""


class SpareModels(FakeModels):
    """Loads the encoder above."""

    def sentence_encoder(self, source: str, revision: str | None) -> SpareEncoder:  # type: ignore[override]
        return SpareEncoder()


def home_of(root: str) -> Home:
    """The home of the benchmark."""
    return Home(Path(root), f"{root}/lake")


def measured(name: str, work: Callable[[], dict[str, float]]) -> dict[str, float]:
    """What a step reports, with its core seconds and its peak memory, from a process of its own."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        figures = pool.submit(_run, work).result()
    return {f"{name}_{figure}": round(value, 2) for figure, value in figures.items()}


def _run(work: Callable[[], dict[str, float]]) -> dict[str, float]:
    started = time.process_time()
    figures = work()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e9
    return {"core_seconds": time.process_time() - started, "peak_gb": peak, **figures}


def cosine(width: int) -> dict[str, float]:
    """Nearest features of one block of rows."""
    import torch

    from interp_assets.config.settings import NeighbourSettings
    from interp_assets.measuring.directions import nearest_of_rows

    directions = torch.randn(2048, 2304, generator=torch.Generator().manual_seed(0)).half().repeat(width // 2048, 1)
    nearest_of_rows(directions, 0, NeighbourSettings().n_neighbours)
    return {}


def matching(width: int, related: bool) -> dict[str, float]:
    """Both steps of the matching."""
    from benchmarks.matching import run

    figures = run(width, 64, related)
    return {"assignment_seconds": figures["assignment_seconds"], "matched": figures["matched"]}


def write_windows(root: str, n: int) -> dict[str, float]:
    """The vectors of n cells, and the row of a dictionary that uses them."""
    lake, encoder = home_of(root).lake, SpareEncoder()

    def rows() -> Iterator[pa.Table]:
        for first in range(0, n, BLOCK):
            count = min(BLOCK, n - first)
            vectors = pa.array(encoder.vectors[:count].astype(np.float16).ravel())
            cells = np.arange(first, first + count, dtype=np.uint32)
            vector = lists(vectors, DIMENSIONS, WINDOW_EMBEDDINGS.schema.field("vector").type)
            yield pa.table({"embeddings": constant("v1", count), "cell": cells, "vector": vector}, schema=WINDOW_EMBEDDINGS.schema)

    lake.write(WINDOW_EMBEDDINGS.name, {"embeddings": "v1"}, WINDOW_EMBEDDINGS.schema, rows(), "v1")
    row = {"dictionary": KEY, "sample": "s", "embeddings": "v1", "window_tokens": WINDOW_TOKENS, "n_cells": n, "outcome": "ok"}
    lake.write(DICTIONARY_EMBEDDINGS.name, {"dictionary": KEY}, DICTIONARY_EMBEDDINGS.schema, filled(DICTIONARY_EMBEDDINGS, 1, row), "v1")
    return {}


def windows(root: str) -> dict[str, float]:
    """All vectors, as the asset `examples` reads them."""
    from interp_assets.reading.embeddings import read_embeddings

    return {"cells": len(read_embeddings(home_of(root).lake, KEY, WINDOW_TOKENS))}


def write_explanations(root: str, n: int) -> dict[str, float]:
    """An explanation of each of n features."""
    home = home_of(root)
    home.registry.write(DictionaryRecord(key=KEY, hook="blocks.0.mlp.hook_post", kind="neurons", width=n))
    for number, name in enumerate(FEATURE_RANGE_KEYS):
        first, end = range_bounds(number, n)
        said = words(np.random.default_rng(number), end - first, 8)
        where = {"explanation_method": "max_act", "dictionary": KEY, "feature_range": name}
        values = {**where, "feature": np.arange(first, end), "outcome": "ok", "explanation": said}
        home.lake.write(EXPLANATIONS.name, where, EXPLANATIONS.schema, filled(EXPLANATIONS, end - first, values), "v1")
    return {}


def embed(root: str) -> dict[str, float]:
    """`interp embed` of all explanations."""
    from interp_assets.explorer.embed_explanations import embed_explanations

    return {"explanations": embed_explanations(home_of(root), SpareModels(), KEY, lambda line: None)}


def meaning(root: str) -> dict[str, float]:
    """The first opening of the search by meaning, and eight searches."""
    from interp_assets.explorer.meaning import meaning_index

    index = meaning_index(home_of(root).lake, KEY)
    if index is None:
        raise SystemExit("meaning searches the vectors that embed leaves: --only embed meaning")
    query = SpareEncoder().vectors[7]
    rows, _ = index.nearest(query, 120)
    for _ in range(7):
        index.nearest(query, 120)
    return {"vectors": len(index.features), "found": len(rows)}


def write_scores(root: str, n: int) -> dict[str, float]:
    """n features in dictionaries of WIDE features at most, with two scores by each of ten scorers, and ratings of RATED of them."""
    home, rng = home_of(root), np.random.default_rng(0)
    keys = [f"m/{number:02d}/x" for number in range(-(-n // WIDE))]
    for key in keys:
        width = min(WIDE, n)
        home.registry.write(DictionaryRecord(key=key, hook="blocks.0.mlp.hook_post", kind="neurons", width=width))
        for number, name in enumerate(FEATURE_RANGE_KEYS):
            first, end = range_bounds(number, width)
            for scorer in SCORERS[:10]:
                where = {"scorer": scorer.NAME, "dictionary": key, "feature_range": name}
                count = 2 * (end - first)
                metric = pa.DictionaryArray.from_arrays(np.tile(np.arange(2), end - first).astype(np.int32), [scorer.HEADLINE, "other"])
                values = {
                    **where, "feature": np.repeat(np.arange(first, end), 2), "explanation_method": "max_act", "metric": metric,
                    "headline": pa.array(np.tile([True, False], end - first)), "value": rng.random(count), "outcome": "ok",
                }  # fmt: skip
                home.lake.write(SCORES.name, where, SCORES.schema, filled(SCORES, count, values), "v1")
    rated = [(keys[place % len(keys)], place * (min(WIDE, n) // RATED)) for place in range(RATED)]
    lines = [(*one, context, rater) for one in rated for context in range(CONTEXTS) for rater in range(RATERS)]
    stars = rng.integers(1, 6, len(lines)).astype(float)
    values = {
        "rater": [f"r{rater}" for *_, rater in lines], "rater_kind": "human", "dictionary": [key for key, *_ in lines],
        "feature": np.array([feature for _, feature, *_ in lines]), "explanation_id": [f"{key} {feature}" for key, feature, *_ in lines],
        "explanation": "a claim", "explanation_methods": [["max_act"]] * len(lines), "context": [str(context) for *_, context, _ in lines],
        "scale_min": 1.0, "scale_max": 5.0, "rating": stars, "normalised": (stars - 1) / 4,
    }  # fmt: skip
    home.lake.write(HUMAN_RATINGS.name, {}, HUMAN_RATINGS.schema, filled(HUMAN_RATINGS, len(lines), values), "v1")
    return {}


def report(root: str) -> dict[str, float]:
    """The tables, figures and page of the report."""
    from interp_assets.assets.human_correlation_report.correlations import rated_scores, report_version, write_report
    from interp_assets.assets.human_correlation_report.figures import figures
    from interp_assets.assets.human_correlation_report.page import ratings_by, report_text, write_page
    from interp_assets.domain.ratings.human_correlation import CorrelationSettings, correlation_report

    home, settings = home_of(root), CorrelationSettings()
    started = time.process_time()
    version, inputs = report_version(home.lake, home.registry, settings)
    rated = rated_scores(home.lake, home.registry, settings)
    read = time.process_time() - started
    made = correlation_report(rated.items, settings)
    write_report(home.lake, rated, made, version, inputs)
    write_page(report_text(rated, made, settings), figures(rated.items, made, ratings_by(rated)), Path(root) / "reports", version)
    return {"reading_core_seconds": read, "rated": len(rated.items)}


def main() -> None:
    """Run the steps, and print the table and the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a sixteenth of the features")
    steps = ("cosine", "matching", "windows", "embed", "meaning", "report")
    parser.add_argument("--only", nargs="*", choices=steps, default=steps, help="`meaning` reads what `embed` has written")
    given = parser.parse_args()
    width, n = (8_192, 65_536) if given.quick else (131_072, 1 << 20)
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as root:
        prepared = {"windows": write_windows, "embed": write_explanations, "report": write_scores}
        for step in given.only:
            if step in prepared:
                measured(step, partial(prepared[step], root, n))
            if step == "cosine":
                figures |= measured(step, partial(cosine, width))
            elif step == "matching":
                for name, related in (("matching", True), ("matching_unrelated", False)):
                    figures |= measured(name, partial(matching, width, related))
            else:
                work = {"windows": windows, "embed": embed, "meaning": meaning, "report": report}[step]
                figures |= measured(step, partial(work, root))
    for name, value in figures.items():
        print(f"{name:>36}  {value:,}")
    within = all(value <= BUDGET_GB for name, value in figures.items() if name.endswith("peak_gb"))
    print(json.dumps({"features": n, "width": width, **figures, "within_4_gb": within}))


if __name__ == "__main__":
    main()
