"""Writing a delphi cache, in the form that delphi's own loader reads: see `resources.formats.delphi`."""

import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from resources.formats.delphi import SMALLEST_ACTIVATION
from resources.formats.interface import ExchangeError

LARGEST_SHORT = 1 << 16


@dataclass(frozen=True)
class Written:
    """What was written: folder, files and number of activations of a cache, and the number left out because they are not above 1e-5."""

    folder: Path
    files: tuple[str, ...]
    activations: int
    n_small: int


def split_bounds(width: int, n_splits: int) -> list[tuple[int, int]]:
    """(first, last) feature of each file, both included. Raises `ExchangeError` unless 1 <= n_splits <= width."""
    if not 1 <= n_splits <= width:
        raise ExchangeError(f"a dictionary of width {width} cannot be cut into {n_splits} files; allowed are 1 to {width}: --n-splits N")
    return [(i * width // n_splits, (i + 1) * width // n_splits - 1) for i in range(n_splits)]


def write_cache(
    folder: Path,
    tokens: np.ndarray,
    bounds: list[tuple[int, int]],
    activations_of: Callable[[int, int], tuple[np.ndarray, np.ndarray, np.ndarray]],
    config: Mapping[str, Any],
) -> Written:
    """Write `folder`, the folder of one hook point, which must not exist yet, and return what was written. It appears whole or not at all.

    `tokens` integers [rows, context]. `activations_of(first, last)` gives (feature, position = row · context + place in the row, value) of
    an interval of features; the activations of one file are in memory at a time. Values that are not above 1e-5 are left out, as in delphi.
    """
    from safetensors.numpy import save_file

    if folder.exists():
        raise ExchangeError(f"{folder} exists already. Name another folder, or delete it first.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    total = small = 0
    names = [f"{first}_{last}.safetensors" for first, last in bounds]
    try:
        for name, (first, last) in zip(names, bounds, strict=True):
            feature, position, value = activations_of(first, last)
            kept = value > SMALLEST_ACTIVATION
            small += int((~kept).sum())
            locations, activations = _entries(feature[kept], position[kept], value[kept], first, tokens.shape[1])
            total += len(activations)
            save_file({"locations": locations, "activations": activations, "tokens": tokens.astype(np.int64)}, aside / name)
        (aside / "config.json").write_text(json.dumps(dict(config), indent=4), encoding="utf-8")
        aside.rename(folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return Written(folder, tuple(names), total, small)


def _entries(feature: np.ndarray, position: np.ndarray, value: np.ndarray, first: int, context: int) -> tuple[np.ndarray, np.ndarray]:
    """(locations [n, 3], activations [n] of the type of `value`) by row, position and feature; locations are 16-bit where all fit."""
    order = np.lexsort((feature, position))
    row, place = np.divmod(position[order].astype(np.int64), context)
    locations = np.stack([row, place, feature[order].astype(np.int64) - first], axis=1)
    short = not len(locations) or int(locations.max()) < LARGEST_SHORT
    return locations.astype(np.uint16 if short else np.uint32), np.ascontiguousarray(value[order])
