"""Estimates of a backfill's questions, made before it and kept for comparison with the ledger afterwards.

One small JSON file a dictionary in the home's folder `estimates`; the latest estimate of each asset and explanation method stays.
"""

import contextlib
import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import quote

import pyarrow as pa

ESTIMATE = pa.struct(
    [
        ("asset", pa.string()), ("explanation_method", pa.string()), ("model", pa.string()), ("n_features", pa.int64()),
        ("questions", pa.int64()), ("prompt_tokens", pa.int64()), ("completion_tokens", pa.int64()),
    ]
)  # fmt: skip


@dataclass(frozen=True)
class KeptEstimate:
    """An estimate: the most tokens of the questions about `n_features` features of one dictionary, all together."""

    asset: str
    explanation_method: str
    model: str
    n_features: int
    questions: int
    prompt_tokens: int
    completion_tokens: int


def keep_estimates(folder: Path, dictionary: str, estimates: Iterable[KeptEstimate]) -> None:
    """Keep estimates of a dictionary. They replace earlier estimates of the same assets and methods."""
    kept = {(one.asset, one.explanation_method): one for one in (*read_estimates(folder, dictionary), *estimates)}
    if kept:
        folder.mkdir(parents=True, exist_ok=True)
        path = _file(folder, dictionary)
        aside = path.with_name(f".{path.name}.{os.getpid()}")
        aside.write_text(json.dumps([asdict(one) for one in kept.values()], indent=1), encoding="utf-8")
        aside.replace(path)


def read_estimates(folder: Path, dictionary: str) -> list[KeptEstimate]:
    """The kept estimates of a dictionary; empty where there are none, or where the file is damaged: the next backfill estimates again."""
    try:
        rows = json.loads(_file(folder, dictionary).read_text(encoding="utf-8"))
        return [
            KeptEstimate(
                str(row["asset"]), str(row["explanation_method"]), str(row["model"]), int(row["n_features"]), int(row["questions"]),
                int(row["prompt_tokens"]), int(row["completion_tokens"]),
            )
            for row in rows
        ]  # fmt: skip
    except (OSError, ValueError, LookupError, TypeError):
        return []


def forget_estimates(folder: Path, dictionary: str) -> None:
    """Remove the estimates of a dictionary."""
    _file(folder, dictionary).unlink(missing_ok=True)


def move_estimates(folder: Path, old: str, new: str) -> None:
    """Keep the estimates of a dictionary under its new key; nothing happens where there are none."""
    with contextlib.suppress(FileNotFoundError):
        _file(folder, old).replace(_file(folder, new))


def _file(folder: Path, dictionary: str) -> Path:
    return folder / f"{quote(dictionary, safe='')}.json"
