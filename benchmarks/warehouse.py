"""SQL at the size of the job: how long questions and every shipped view take over a million features, warm and from cold.

    python -m benchmarks.warehouse [--quick] [--dictionaries 61] [--width 16384] [--home FOLDER]

Writes scores (eight rows a feature and scorer), explanations, statistics, examples, verdicts and ledger of every dictionary by the store's
own writer: 61 dictionaries of 16,384 features have 80 M scores in 9,760 partitions. Then makes the copies and asks: each question and view
over all dictionaries and over one, warm (in one process, median and 95 of 100) and from cold (a new process, imports apart). A partition is
written between two questions, and the second must show it. `--home` keeps the home, and uses it again where it was written with the same
sizes. The last line is one JSON object.
"""

import json
import os
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import polars  # noqa: F401  (loaded here, not in the first question)
import pyarrow as pa

from benchmarks.explorer import filled, lists, words
from interp_assets.config.keys import FEATURE_RANGE_KEYS, range_bounds
from interp_assets.config.records import DictionaryRecord
from interp_assets.domain.scoring import SCORERS
from interp_assets.installation.home import Home
from interp_assets.tables import EXAMPLES, EXPLANATIONS, FEATURE_EXAMPLES, FEATURE_STATISTICS, LEDGER, SCORES, VERDICTS, Table

METHODS = ("max_act", "shuffled")
ASKED = (
    "detection",
    "fuzzing",
    "embedding",
    "simulation",
    "purity",
    "surprisal",
    "clarity",
    "responsiveness",
    "intervention",
    "output_based",
)
METRICS = 4
WINDOWS = 2
TOKENS = 8
ONE = "m/00/x"
QUESTIONS = {
    "one_feature": f"SELECT scorer, explanation_method, value FROM scores WHERE dictionary = '{ONE}' AND feature = 200 AND headline",
    "one_dictionary": f"SELECT scorer, explanation_method, median(value) FROM scores WHERE dictionary = '{ONE}' AND headline GROUP BY ALL",
    "best_20": "SELECT dictionary, feature, scorer, value FROM scores WHERE headline ORDER BY value DESC LIMIT 20",
    "count": "SELECT count(*) FROM scores",
    "one_feature_of_five_tables": f"SELECT * FROM feature_overview WHERE dictionary = '{ONE}' AND feature = 200",
}


def tables_of_range(key: str, number: int, width: int, scorers: tuple[str, ...]) -> Iterator[tuple[Table, dict[str, str], pa.Table]]:
    """(table, first partition column, rows) of all partitions of a feature range of a dictionary."""
    name, (first, end) = FEATURE_RANGE_KEYS[number], range_bounds(number, width)
    features, n = np.arange(first, end), end - first
    rng = np.random.default_rng([*key.encode(), number])
    where = {"dictionary": key, "feature_range": name}
    top = pa.array([[{"token_id": 1, "token": "a", "mass": 1.0}]] * n, FEATURE_STATISTICS.schema.field("top_tokens").type)
    counted = {
        "feature": features,
        "n_tokens": 10_000_000,
        "firing_count": rng.integers(0, 10**6, n),
        "token_density": 10 ** rng.uniform(-5, -0.9, n),
    }
    counted |= {"top_token_share": rng.beta(2, 3, n), "max_activation": rng.exponential(5, n), "top_tokens": top}
    yield FEATURE_STATISTICS, {}, filled(FEATURE_STATISTICS, n, {**where, **counted})
    yield FEATURE_EXAMPLES, {}, filled(FEATURE_EXAMPLES, n, {**where, "feature": features, "outcome": "ok", "n_windows": WINDOWS})
    many = n * WINDOWS
    texts = {
        "token_ids": lists(pa.array(rng.integers(9_999, size=many * TOKENS)), TOKENS, EXAMPLES.schema.field("token_ids").type),
        "tokens": lists(pa.array(words(rng, many * TOKENS, 1)), TOKENS, EXAMPLES.schema.field("tokens").type),
        "activations": lists(pa.array(rng.random(many * TOKENS)), TOKENS, EXAMPLES.schema.field("activations").type),
        "example_id": [f"{number}-{place}" for place in range(many)], "feature": np.repeat(features, WINDOWS), "role": "held_out",
    }  # fmt: skip
    yield EXAMPLES, {}, filled(EXAMPLES, many, {**where, **texts})
    for method in METHODS:
        said = {**where, "feature": features, "explanation_method": method, "outcome": "ok", "explanation": words(rng, n, 6)}
        yield EXPLANATIONS, {"explanation_method": method}, filled(EXPLANATIONS, n, said)
    each = len(METHODS) * METRICS
    metrics = [headline_of(scorers[0]), *(f"other_{place}" for place in range(1, METRICS))]
    for scorer in scorers:
        metrics[0] = headline_of(scorer)
        value = rng.beta(4, 3, n * each)
        scored = {
            **where, "feature": np.repeat(features, each), "scorer": scorer, "value": value, "ci_low": value - rng.random(n * each) / 9,
            "ci_high": value + rng.random(n * each) / 9, "floor": 0.5, "outcome": "ok", "n_positive": 20, "n_negative": 20,
            "explanation_method": pa.DictionaryArray.from_arrays(np.tile(np.repeat(np.arange(len(METHODS)), METRICS), n).astype(np.int32), list(METHODS)),
            "metric": pa.DictionaryArray.from_arrays(np.tile(np.arange(METRICS), n * len(METHODS)).astype(np.int32), metrics),
            "headline": pa.array(np.tile(np.arange(METRICS) == 0, n * len(METHODS))),
        }  # fmt: skip
        yield SCORES, {"scorer": scorer}, filled(SCORES, n * each, scored)
        judged = {
            "feature": features,
            "scorer": scorer,
            "explanation_method": "max_act",
            "trial": [f"{scorer}-{f}" for f in features.tolist()],
        }
        yield VERDICTS, {"scorer": scorer}, filled(VERDICTS, n, {**where, **judged, "probability": rng.random(n), "outcome": "answered"})
        asked = {"feature": features, "asset": f"scores/{scorer}", "question": np.arange(n), "model": "m", "explanation_method": "max_act"}
        yield LEDGER, {"asset": f"scores/{scorer}"}, filled(LEDGER, n, {**where, **asked, "source": "model", "prompt_tokens": 500})


def headline_of(scorer: str) -> str:
    """The metric that stands for a scorer."""
    return {one.NAME: one.HEADLINE for one in SCORERS}[scorer]


def write_dictionary(root: str, key: str, width: int, scorers: tuple[str, ...]) -> float:
    """Write all partitions of a dictionary, and return the seconds that it took."""
    started = time.process_time()
    home = Home(Path(root), f"{root}/lake")
    for number in range(len(FEATURE_RANGE_KEYS)):
        for table, first, rows in tables_of_range(key, number, width, scorers):
            partition = {**first, "dictionary": key, "feature_range": FEATURE_RANGE_KEYS[number]}
            home.lake.write(table.name, partition, table.schema, rows, "v1", row_group_rows=table.row_group_rows)
    return time.process_time() - started


def write_home(root: Path, n: int, width: int) -> dict[str, float]:
    """Write the home where it is not there yet, and return its sizes."""
    mark, sizes = root / "written.json", {"dictionaries": n, "width": width}
    if mark.exists() and json.loads(mark.read_text())["sizes"] == sizes:
        return json.loads(mark.read_text())["figures"]
    home = Home(root, str(root / "lake"))
    keys = [f"m/{number:02d}/x" for number in range(n)]
    for key in keys:
        home.registry.write(DictionaryRecord(key=key, hook="blocks.0.mlp.hook_post", kind="neurons", width=width))
    started = time.monotonic()
    with ProcessPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        spent = sum(pool.map(write_dictionary, [str(root)] * n, keys, [width] * n, [ASKED] * n))
    gigabytes = sum(path.stat().st_size for path in (root / "lake" / "scores").rglob("*.parquet")) / 1e9
    partitions = n * len(FEATURE_RANGE_KEYS)
    figures = {
        "features": n * width, "scores_rows": n * width * len(ASKED) * len(METHODS) * METRICS, "scores_partitions": partitions * len(ASKED),
        "partitions": partitions * (3 + len(METHODS) + 3 * len(ASKED)), "scores_gigabytes": gigabytes, "write_core_seconds": spent,
        "write_seconds": time.monotonic() - started,
    }  # fmt: skip
    mark.write_text(json.dumps({"sizes": sizes, "figures": figures}))
    return figures
