"""A home of a few made-up rows, written straight into the lake: every value is known, and any text can be hostile."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from httpx import Response
from starlette.testclient import TestClient

from interp_assets.config.keys import FEATURE_RANGE_KEYS, range_bounds
from interp_assets.config.records import DictionaryRecord
from interp_assets.domain.features.feature_statistics import N_BINS, histogram_bin
from interp_assets.installation.home import Home
from interp_assets.tables import (
    ACTIVATIONS,
    DICTIONARY_SAMPLES,
    DOCUMENTS,
    EXAMPLES,
    EXPLANATIONS,
    FEATURE_EXAMPLES,
    FEATURE_STATISTICS,
    SCORES,
    TOKEN_SAMPLES,
    TRIALS,
    VERDICTS,
    Table,
)

KEY = "toy/00/sae"
WIDTH = 32
DEAD = 5
PEAKS = (8.0, 5.0, 2.0, 0.5)
"""Largest activation of the four activating windows of each live feature."""


def settled(client: TestClient, address: str) -> Response:
    """The answer of a page that may have to wait for a model first."""
    for _ in range(100):
        answer = client.get(address)
        if answer.status_code != 503:
            return answer
    raise AssertionError(f"{address} still waits: {answer.text}")


def empty_home(root: Path) -> Home:
    """A home in a folder, its lake inside."""
    return Home(root, str(root / "lake"))


def small_home(root: Path, text: Callable[[str], str] = lambda said: said) -> Home:
    """One dictionary of WIDTH features, all alive but DEAD, explained by max_act and shuffled and scored by detection and fuzzing. `text`
    makes each token and explanation out of a plain one."""
    home = empty_home(root)
    home.registry.write(record(KEY))
    features = range(WIDTH)
    write(home, FEATURE_STATISTICS, KEY, [statistics(feature, text) for feature in features])
    write(home, FEATURE_EXAMPLES, KEY, [{"feature": f, "outcome": "dead" if f == DEAD else "ok", "n_windows": 4} for f in features])
    write(home, EXAMPLES, KEY, [window for feature in features if feature != DEAD for window in windows(feature, text)])
    for method in ("max_act", "shuffled"):
        write(home, EXPLANATIONS, KEY, [explanation(feature, method, text) for feature in features], explanation_method=method)
    for scorer in ("detection", "fuzzing"):
        rows = [score(f, method, scorer) for f in features if f != DEAD for method in ("max_act", "shuffled")]
        write(home, SCORES, KEY, rows, scorer=scorer)
        judged = [(f, method) for f in features if f != DEAD for method in ("max_act", "shuffled")]
        write(home, TRIALS, KEY, [trial(f, method, scorer, text) for f, method in judged], scorer=scorer)
        write(home, VERDICTS, KEY, [one for f, method in judged for one in verdicts(f, method, scorer)], scorer=scorer)
    write_sample(home, KEY, text)
    return home


def record(key: str, **changes: Any) -> DictionaryRecord:
    """A record of the first WIDTH of the stand-in model's 64 neurons."""
    neurons = {"hook": "blocks.0.mlp.hook_post", "kind": "topk_neurons", "k": 8, "width": 64}
    fields = {"key": key, **neurons, "features": tuple(range(WIDTH))}
    return DictionaryRecord(**{**fields, **changes})


def statistics(feature: int, text: Callable[[str], str]) -> dict[str, Any]:
    """Feature f fires on f + 1 of 1,000 tokens, a quarter of them at each of PEAKS; DEAD on none."""
    count = 0 if feature == DEAD else feature + 1
    histogram = [0] * N_BINS
    for place in range(count):
        histogram[int(histogram_bin(pa.array([PEAKS[place % 4]]).to_numpy())[0])] += 1
    alive = feature != DEAD
    return {
        "feature": feature, "sample": "s", "n_tokens": 1000, "firing_count": count, "token_density": count / 1000, "context_count": count,
        "context_density": count / 100, "mean_activation": 3.0 if alive else None, "max_activation": PEAKS[0] if alive else None,
        "histogram": histogram, "top_tokens": [{"token_id": 1, "token": text(f" top{feature}"), "mass": 1.0}] if alive else [],
        "top_token_share": 0.5 if alive else None, "kept_contexts_share": 1.0,
    }  # fmt: skip


def windows(feature: int, text: Callable[[str], str]) -> list[dict[str, Any]]:
    """Four activating windows and two silent ones of five tokens each."""
    rows = []
    for place, peak in enumerate([*PEAKS, 0.0, 0.0]):
        tokens = [text(f" w{place}"), text(" fires"), text("\n"), text(" on"), text(f" {feature}")]
        kind, sampling = ("activating", "quantiles") if peak > 0 else ("non_activating", "random")
        rows.append({
            "feature": feature, "example_id": f"{feature:x}-{place}", "role": "held_out", "kind": kind, "sampling": sampling,
            "stratum": place if peak > 0 else None, "row": place, "start": 3, "token_ids": [1, 2, 3, 4, 5], "tokens": tokens,
            "activations": [0.0, peak, 0.0, peak / 4, 0.0], "max_activation": peak,
        })  # fmt: skip
    return rows


def explanation(feature: int, method: str, text: Callable[[str], str]) -> dict[str, Any]:
    """An explanation of a live feature; shuffled is of the feature before."""
    if feature == DEAD:
        return {"feature": feature, "explanation_method": method, "outcome": "no_examples", "model": "", "prompt_version": "1"}
    said = feature if method == "max_act" else (feature - 1) % WIDTH
    return {
        "feature": feature, "explanation_method": method, "outcome": "ok", "explanation": text(f"words about number {said}"),
        "raw_reply": "", "donor_feature": None if method == "max_act" else said, "model": "toy-model", "prompt_version": "1",
    }  # fmt: skip


def score(feature: int, method: str, scorer: str) -> dict[str, Any]:
    """max_act gets 0.5 + feature / 100, shuffled 0.5."""
    value = 0.5 + (feature / 100 if method == "max_act" else 0)
    return {
        "feature": feature, "explanation_method": method, "scorer": scorer, "metric": "balanced_accuracy", "headline": True, "value": value,
        "ci_low": value - 0.1, "ci_high": value + 0.1, "floor": 0.5, "outcome": "ok", "n_positive": 4, "n_negative": 2,
    }  # fmt: skip


def trial(feature: int, method: str, scorer: str, text: Callable[[str], str]) -> dict[str, Any]:
    """One question about the six windows of a feature."""
    return {
        "feature": feature, "explanation_method": method, "scorer": scorer, "trial": f"{scorer}/{method}/{feature}/0",
        "outcome": "answered", "reply_text": text("[1, 0, 1, 1, 0, 1]"), "prompt_tokens": 300,
        "completion_tokens": 12, "model": "toy-judge",
    }  # fmt: skip


def verdicts(feature: int, method: str, scorer: str) -> list[dict[str, Any]]:
    """The judge is right on four windows, and wrong on the second, with probability 0.2, and on the last, with probability 0.9."""
    return [
        {
            "feature": feature, "explanation_method": method, "scorer": scorer, "trial": f"{scorer}/{method}/{feature}/0", "item": item,
            "example_id": f"{feature:x}-{item}", "truth": item < 4, "prediction": said, "probability": p, "outcome": "answered",
            "variant": "activating" if item < 4 else "random",
        }
        for item, (said, p) in enumerate(zip((True, False, True, True, False, True), (0.8, 0.2, 0.7, 0.6, 0.1, 0.9), strict=True))
    ]  # fmt: skip


def write_sample(home: Home, key: str, text: Callable[[str], str]) -> None:
    """A token sample of eight contexts of sixteen tokens in two documents each; feature f fires on position 5 of context 2."""
    use = {"dictionary": key, "sample": "s", "n_rows": 8, "context_tokens": 16}
    home.lake.write(DICTIONARY_SAMPLES.name, {"dictionary": key}, DICTIONARY_SAMPLES.schema, _table(DICTIONARY_SAMPLES, [use]), "made-up")
    contexts = [
        {"sample": "s", "row": row, "token_ids": list(range(3, 19)), "document_ids": [row, row + 1], "document_starts": [0, 10]}
        for row in range(8)
    ]
    documents = [{"sample": "s", "document_id": i, "source": "made up", "title": text(f"Document {i}")} for i in range(9)]
    for table, rows in ((TOKEN_SAMPLES, contexts), (DOCUMENTS, documents)):
        home.lake.write(table.name, {"sample": "s"}, table.schema, _table(table, rows), "made-up")
    write(home, ACTIVATIONS, key, [{"feature": f, "position": 2 * 16 + 5, "value": 4.0} for f in range(WIDTH) if f != DEAD])


def _table(table: Table, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist([filled(table, row) for row in rows], schema=table.schema)


def write(home: Home, table: Table, key: str, rows: Sequence[Mapping[str, Any]], n_features: int = WIDTH, **extra: str) -> None:
    """Write rows of a dictionary into the partitions of their ranges; columns that a row leaves out are null, or empty."""
    for index, name in enumerate(FEATURE_RANGE_KEYS):
        first, end = range_bounds(index, n_features)
        own = [row for row in rows if first <= row["feature"] < end]
        partition = {**extra, "dictionary": key, "feature_range": name}
        content = _table(table, [{**partition, **row} for row in own])
        home.lake.write(table.name, {column: partition[column] for column in table.partition_columns}, table.schema, content, "made-up")


def filled(table: Table, row: Mapping[str, Any]) -> dict[str, Any]:
    """A row with a value in every column that may not be null."""
    return {field.name: row.get(field.name, None if field.nullable else nothing(field.type)) for field in table.schema}


def nothing(type_: pa.DataType) -> Any:
    """The empty value of a type."""
    if pa.types.is_dictionary(type_) or pa.types.is_string(type_):
        return ""
    if pa.types.is_list(type_):
        return []
    return False if pa.types.is_boolean(type_) else 0
