"""A delphi cache: the sparse activations of one hook point, in files that each hold an interval of features.

    latents/layers.9/0_409.safetensors       features 0 to 409, both included
        locations    uint16 | uint32 [N, 3]  (row, position, feature - 0); per feature, rows never decrease
        activations  float16 [N]
        tokens       int64 [rows, context]   the same in every file; may be absent
    latents/layers.9/config.json             dataset_repo, cache_ctx_len, n_tokens, n_splits, model_name and so on

    cache = open_cache(find_hookpoint(Path("results/run"), "layers.9"))
    findings = check_cache(cache)
    feature, row, position, value = read_activations(cache, np.arange(128), findings.rows, findings.context_tokens)

Files are read a million entries at a time: memory holds one such piece, and the result.
"""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from resources.formats.interface import ExchangeError

SMALLEST_ACTIVATION = 1e-5
"""delphi keeps activations of a larger absolute value; an entry that is not kept counts as absent."""

PIECE_ENTRIES = 1 << 20
PIECE_ROWS = 4_096
INTEGERS = ("U8", "U16", "U32", "U64", "I8", "I16", "I32", "I64")
FLOATS = ("F16", "F32", "F64")
AGAIN = "The file is damaged or not from this cache: copy or write the cache again."

_SPLIT_NAME = re.compile(r"(\d+)_(\d+)\.safetensors")


@dataclass(frozen=True)
class Split:
    """One file: features `first` to `last`, both included, in `entries` entries; `tokens_shape` is None without tokens."""

    path: Path
    first: int
    last: int
    entries: int
    tokens_shape: tuple[int, int] | None


@dataclass(frozen=True)
class DelphiCache:
    """The cache of one hook point: its files by feature, without overlaps, and its config.json (empty when there is none)."""

    folder: Path
    splits: tuple[Split, ...]
    config: Mapping[str, Any]

    @property
    def width(self) -> int:
        """One more than the last feature of the files."""
        return self.splits[-1].last + 1

    @property
    def files(self) -> list[Path]:
        """The files that determine the activations."""
        return [split.path for split in self.splits]

    @property
    def tokens_shape(self) -> tuple[int, int] | None:
        """(rows, context tokens), or None when no file has tokens."""
        return next((split.tokens_shape for split in self.splits if split.tokens_shape), None)


@dataclass(frozen=True)
class Findings:
    """The content of a checked cache. `activations` counts the kept entries; each `n_…` counts entries left out for one reason.

    `firing_counts` int64 [width] has the kept entries of each feature.
    """

    rows: int
    context_tokens: int
    activations: int
    features_alive: int
    n_small: int
    n_negative: int
    firing_counts: np.ndarray = field(compare=False, repr=False)


def find_hookpoint(folder: Path, hookpoint: str | None) -> Path:
    """The folder of one hook point, given a run's folder, its `latents` folder, or the folder itself.

    `hookpoint` may be None where the run has only one hook point. Raises `ExchangeError` listing the hook points that exist.
    """
    if not folder.is_dir():
        raise ExchangeError(f"there is no folder {folder}. Name a delphi run, its latents folder, or one hook point's folder in it.")
    base = folder / "latents" if (folder / "latents").is_dir() else folder
    found = {path.parent.relative_to(base).as_posix(): path.parent for path in sorted(base.rglob("*.safetensors"))}
    if list(found) == ["."] and hookpoint in (None, folder.name):
        return base
    if hookpoint is None and len(found) == 1:
        return next(iter(found.values()))
    if hookpoint in found:
        return found[hookpoint]
    there = ", ".join(found) or "none (no folder below it has .safetensors files)"
    raise ExchangeError(f"{folder} has no single hook point {hookpoint or '(none was named)'}; it has {there}. Name one: --hookpoint NAME")


def open_cache(folder: Path) -> DelphiCache:
    """The cache in `folder`. File names and headers are checked; activations and tokens are not read yet. Raises `ExchangeError`."""
    splits = sorted((_split(path) for path in folder.glob("*.safetensors")), key=lambda split: split.first)
    if not splits:
        raise ExchangeError(f"{folder} has no .safetensors files. Name the folder of one hook point, such as results/run/latents/layers.9")
    for before, after in pairwise(splits):
        if after.first <= before.last:
            raise ExchangeError(f"{after.path} begins at feature {after.first}, but {before.path.name} ends at {before.last}. {AGAIN}")
    shapes = {split.tokens_shape: split.path.name for split in splits if split.tokens_shape}
    if len(shapes) > 1:
        raise ExchangeError(f"{folder}: tokens differ in shape between files: {shapes}; allowed is one shape. {AGAIN}")
    config = folder / "config.json"
    try:
        content = json.loads(config.read_text(encoding="utf-8")) if config.is_file() else {}
    except ValueError as error:
        raise ExchangeError(f"{config} is not JSON: {error}. Restore it, or delete it: only its description of the run is lost.") from None
    return DelphiCache(folder, tuple(splits), content if isinstance(content, dict) else {})


def check_cache(cache: DelphiCache, shape: tuple[int, int] | None = None) -> Findings:
    """Findings of one pass over all files. `shape` is (rows, context tokens) where the cache has no tokens.

    Raises `ExchangeError` at the first bad entry: row, position or feature out of bounds, a value that is not finite, a row smaller than
    the previous row of its feature, or a repeated entry. Also raises where tokens differ between two files.
    """
    rows, context = cache.tokens_shape or shape or (0, 0)
    assert rows and context, "a cache without tokens needs the shape of its token sample"
    _check_tokens(cache)
    counts = np.zeros(cache.width, dtype=np.int64)
    small = negative = 0
    for split in cache.splits:
        last_row = np.full(split.last - split.first + 1, -1, dtype=np.int64)
        for start, location, value in _pieces(split, rows, context):
            _check_order(split, start, location, last_row, context)
            counts[split.first : split.last + 1] += np.bincount(location[value > SMALLEST_ACTIVATION, 2], minlength=len(last_row))
            is_small = np.abs(value) <= SMALLEST_ACTIVATION
            small += int(is_small.sum())
            negative += int((value < 0).sum() - (is_small & (value < 0)).sum())
    return Findings(rows, context, int(counts.sum()), int((counts > 0).sum()), small, negative, counts)


def require_features(cache: DelphiCache, features: np.ndarray) -> None:
    """Raise `ExchangeError` naming the first of `features` (ascending) that no file covers."""
    missing = features[~_in_files(cache, features)]
    if len(missing):
        raise ExchangeError(
            f"{cache.folder} has no file with feature {missing[0]} ({len(missing):,} of {len(features):,} features are in no file; "
            f"files are {', '.join(path.name for path in cache.files[:8])}). Restore missing files, or name features: --features 0-99"
        )


def features_in_files(cache: DelphiCache, width: int) -> np.ndarray:
    """int64 [n], ascending: the features below `width` that the cache's files cover."""
    features = np.arange(width)
    return features[_in_files(cache, features)]


def _in_files(cache: DelphiCache, features: np.ndarray) -> np.ndarray:
    """bool, as `features`: whether a file covers the feature."""
    covered = np.zeros(len(features), dtype=bool)
    for split in cache.splits:
        covered |= (features >= split.first) & (features <= split.last)
    return covered


def read_tokens(cache: DelphiCache) -> np.ndarray:
    """int64 [rows, context]: the tokens of a cache that has tokens."""
    split = next(split for split in cache.splits if split.tokens_shape)
    with _opened(split.path) as file:
        return file.get_tensor("tokens").astype(np.int64)


def read_activations(
    cache: DelphiCache, features: np.ndarray, rows: int, context_tokens: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(feature uint32, row uint32, position uint16, value float32) of `features` (ascending), by feature, row and position.

    Only values above 1e-5; negative values are left out, as everywhere on this platform. Raises `ExchangeError` for an entry out of bounds
    and for a repeated entry.
    """
    features = np.asarray(features, dtype=np.int64)
    parts: list[tuple[np.ndarray, ...]] = [
        (np.empty(0, np.uint32), np.empty(0, np.uint32), np.empty(0, np.uint16), np.empty(0, np.float32))
    ]
    for split in cache.splits:
        wanted = np.zeros(split.last - split.first + 1, dtype=bool)
        wanted[features[(features >= split.first) & (features <= split.last)] - split.first] = True
        if not wanted.any():
            continue
        pieces = []
        for _, location, value in _pieces(split, rows, context_tokens):
            keep = wanted[location[:, 2]] & (value > SMALLEST_ACTIVATION)
            row, position, feature = location[keep].T
            pieces.append((feature * rows * context_tokens + row * context_tokens + position, value[keep]))
        key = np.concatenate([key for key, _ in pieces] or [np.empty(0, np.int64)])
        value = np.concatenate([value for _, value in pieces] or [np.empty(0, np.float32)])
        order = np.argsort(key, kind="stable")
        key = key[order]
        _check_distinct(split, key, rows, context_tokens)
        feature, place = np.divmod(key, rows * context_tokens)
        row, position = np.divmod(place, context_tokens)
        parts.append(((feature + split.first).astype(np.uint32), row.astype(np.uint32), position.astype(np.uint16), value[order]))
    feature, row, position, value = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return feature, row, position, value


def _split(path: Path) -> Split:
    """The file with the contents of its name and header."""
    name = _SPLIT_NAME.fullmatch(path.name)
    if not name or int(name[1]) > int(name[2]):
        raise ExchangeError(f"{path} is not named <first feature>_<last feature>.safetensors, as in 0_409.safetensors. Move it elsewhere.")
    with _opened(path) as file:
        keys = sorted(file.keys())
        if missing := {"locations", "activations"} - set(keys):
            raise ExchangeError(f"{path} has no {' and no '.join(sorted(missing))}; it has {keys}. {AGAIN}")
        locations, activations = file.get_slice("locations"), file.get_slice("activations")
        shape, n = locations.get_shape(), activations.get_shape()
        if len(shape) != 2 or shape[1] != 3 or n != [shape[0]]:
            raise ExchangeError(f"{path} has locations {shape} and activations {n}; allowed are [N, 3] and [N]. {AGAIN}")
        if locations.get_dtype() not in INTEGERS or activations.get_dtype() not in FLOATS:
            raise ExchangeError(
                f"{path} has locations of type {locations.get_dtype()} and activations of type {activations.get_dtype()}; allowed are "
                f"{', '.join(INTEGERS)} and {', '.join(FLOATS)}. {AGAIN}"
            )
        tokens = file.get_slice("tokens") if "tokens" in keys else None
        if tokens is not None and (len(tokens.get_shape()) != 2 or tokens.get_dtype() not in INTEGERS or 0 in tokens.get_shape()):
            raise ExchangeError(
                f"{path} has tokens {tokens.get_shape()} of type {tokens.get_dtype()}; allowed are integers [rows, context]. {AGAIN}"
            )
        return Split(path, int(name[1]), int(name[2]), shape[0], tuple(tokens.get_shape()) if tokens is not None else None)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """The file, memory-mapped. Raises `ExchangeError` naming the file where it is not a whole safetensors file."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "np") as file:
            yield file
    except (SafetensorError, OSError) as error:
        raise ExchangeError(f"{path} is not a whole safetensors file: {error}. {AGAIN}") from None


def _pieces(split: Split, rows: int, context: int) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """(number of the first entry, locations int64 [n, 3], values float32 [n]) in file order, checked against their bounds."""
    with _opened(split.path) as file:
        locations, activations = file.get_slice("locations"), file.get_slice("activations")
        for start in range(0, split.entries, PIECE_ENTRIES):
            end = min(start + PIECE_ENTRIES, split.entries)
            location = locations[start:end].astype(np.int64)
            value = activations[start:end].astype(np.float32)
            limits = (("row", rows), ("position", context), ("feature (less the file's first)", split.last - split.first + 1))
            for column, (name, limit) in enumerate(limits):
                _refuse(split, start, location[:, column], (location[:, column] < 0) | (location[:, column] >= limit), name, limit)
            infinite = ~np.isfinite(value)
            if infinite.any():
                at = int(np.flatnonzero(infinite)[0])
                raise ExchangeError(f"{split.path}: entry {start + at} has activation {value[at]}; allowed are finite numbers. {AGAIN}")
            yield start, location, value


def _refuse(split: Split, start: int, values: np.ndarray, wrong: np.ndarray, name: str, limit: int) -> None:
    if wrong.any():
        at = int(np.flatnonzero(wrong)[0])
        raise ExchangeError(f"{split.path}: entry {start + at} has {name} {values[at]}; allowed are 0 to {limit - 1}. {AGAIN}")


def _check_order(split: Split, start: int, location: np.ndarray, last_row: np.ndarray, context: int) -> None:
    """Refuse an entry whose row is below the last row of its feature, and an entry that is repeated in the piece. Updates `last_row`."""
    order = np.argsort(location[:, 2], kind="stable")
    row, feature = location[order, 0], location[order, 2]
    begins = np.concatenate([[True], feature[1:] != feature[:-1]])
    before = np.where(begins, last_row[feature], np.concatenate([[-1], row[:-1]]))
    if (row < before).any():
        at = np.flatnonzero(row < before)
        at = at[np.argmin(order[at])]
        raise ExchangeError(
            f"{split.path}: entry {start + order[at]} has row {row[at]} for feature {split.first + feature[at]} after row {before[at]}; "
            f"the rows of a feature may not decrease. {AGAIN}"
        )
    last_row[feature[np.append(begins[1:], True)]] = row[np.append(begins[1:], True)]
    rows = int(location[:, 0].max()) + 1
    _check_distinct(split, np.sort((location[:, 2] * rows + location[:, 0]) * context + location[:, 1]), rows, context)


def _check_distinct(split: Split, sorted_keys: np.ndarray, rows: int, context: int) -> None:
    twice = np.flatnonzero(sorted_keys[1:] == sorted_keys[:-1])
    if len(twice):
        feature, place = divmod(int(sorted_keys[twice[0]]), rows * context)
        raise ExchangeError(
            f"{split.path}: feature {split.first + feature} has two activations at row {place // context}, position {place % context}; "
            f"allowed is one. {AGAIN}"
        )


def _check_tokens(cache: DelphiCache) -> None:
    """Refuse negative ids, and files whose tokens differ from the tokens of the first file with tokens."""
    with_tokens = [split for split in cache.splits if split.tokens_shape]
    for split in with_tokens:
        with _opened(with_tokens[0].path) as first_file, _opened(split.path) as file:
            theirs, ours = first_file.get_slice("tokens"), file.get_slice("tokens")
            n_rows = ours.get_shape()[0]
            for start in range(0, n_rows, PIECE_ROWS):
                end = min(start + PIECE_ROWS, n_rows)
                piece = ours[start:end]
                wrong = (piece != theirs[start:end]) | (piece < 0)
                if wrong.any():
                    row, position = (int(i) for i in np.argwhere(wrong)[0])
                    raise ExchangeError(
                        f"{split.path}: token {piece[row, position]} at row {start + row}, position {position} is negative or differs from "
                        f"{with_tokens[0].path.name}; every file holds the same tokens. {AGAIN}"
                    )
