"""Nearest features of every selected feature of a dictionary: by the direction they write, and by the tokens they fire on."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from interp_assets.dictionaries import DictionaryRecord
from interp_assets.domain.co_occurrence import Nearest, nearest_by_co_occurrence, sampled_positions
from interp_assets.partitions import FEATURE_RANGE_KEYS
from interp_assets.tables import ACTIVATIONS, FEATURE_NEIGHBOURS
from resources.dictionaries import NoDecoder
from resources.lake import Lake

if TYPE_CHECKING:
    import torch

ROW_BLOCK, COLUMN_BLOCK = 2048, 16_384
DECODER_COSINE, CO_OCCURRENCE = "decoder_cosine", "co_occurrence"


@dataclass(frozen=True)
class CoOccurrence:
    """Nearest features by co-occurrence, as indices of the selected features; on how many of the `n_positions` compared each fires."""

    nearest: Nearest
    firings: np.ndarray
    n_positions: int


def decoder_directions(dictionary: Any, features: np.ndarray) -> "torch.Tensor | None":
    """float16 Tensor[features, d_out]: the decoder row of each feature, scaled to length 1 (a row of zeros stays zeros).

    None for a dictionary without a decoder, and for one that reconstructs nothing, such as neurons: its rows are the axes, and no two are
    nearer than others. Half precision keeps 131,072 rows of 2,304 in 0.6 GB and moves a cosine by less than 1e-3.
    """
    import torch

    try:
        one = dictionary.decoder_row(0)
    except NoDecoder:
        return None
    probe = torch.ones(1, dictionary.d_in, device=one.device)
    if dictionary.reconstruct(probe, dictionary.encode(probe)) is None:
        return None
    directions = torch.empty(len(features), len(one), dtype=torch.float16, device=one.device)
    for i, feature in enumerate(features.tolist()):
        row = dictionary.decoder_row(feature).float()
        directions[i] = (row / row.norm().clamp_min(1e-12)).half()
    return directions


def nearest_by_decoder(directions: "torch.Tensor", n_nearest: int) -> Nearest:
    """The `n_nearest` others with the largest cosine to each of Tensor[features, d_out] of length 1, the smaller index of equals first."""
    width = len(directions)
    n = max(min(n_nearest, width - 1), 0)
    blocks = [nearest_of_rows(directions, first, n) for first in range(0, width, ROW_BLOCK)]
    neighbours = np.concatenate([np.empty(0, dtype=np.int64), *(index.ravel() for index, _ in blocks)])
    similarities = np.concatenate([np.empty(0, dtype=np.float32), *(cosine.ravel() for _, cosine in blocks)])
    return Nearest(np.arange(width + 1, dtype=np.int64) * n, neighbours, similarities)


def nearest_of_rows(directions: "torch.Tensor", first: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices int64 and cosines float32, both [rows, n], of the n others nearest to each of the ROW_BLOCK features from `first` on.

    Products are float32 on the device of `directions`, ROW_BLOCK × COLUMN_BLOCK at a time: all the memory there is beside them.
    """
    import torch

    rows = directions[first : first + ROW_BLOCK].float()
    best = torch.full((len(rows), n), -2.0, device=rows.device)
    index = torch.full((len(rows), n), len(directions), device=rows.device)
    for start in range(0, len(directions) if n else 0, COLUMN_BLOCK):
        cosines = rows @ directions[start : start + COLUMN_BLOCK].float().T
        own = torch.arange(first, first + len(rows), device=rows.device) - start
        inside = (own >= 0) & (own < cosines.shape[1])
        cosines[inside.nonzero()[:, 0], own[inside]] = -2.0
        best, index = _merged(best, index, cosines, start)
    return index.cpu().numpy(), best.cpu().numpy()


def nearest_both_ways(ours: "torch.Tensor", theirs: "torch.Tensor", n_nearest: int) -> tuple[Nearest, Nearest]:
    """Of two dictionaries' Tensor[features, d_in] of length 1: the `n_nearest` of theirs to each of ours, and of ours to each of theirs.

    One pass over blocks of ROW_BLOCK × COLUMN_BLOCK cosines on the device of both; beside a block, memory holds the nearest so far.
    """
    import torch

    def none_yet(n_features: int, n_others: int) -> tuple[torch.Tensor, torch.Tensor]:
        shape = n_features, min(n_nearest, n_others)
        return torch.full(shape, -2.0, device=ours.device), torch.full(shape, n_others, device=ours.device)

    rows, columns = none_yet(len(ours), len(theirs)), none_yet(len(theirs), len(ours))
    for first in range(0, len(ours), ROW_BLOCK):
        block = ours[first : first + ROW_BLOCK].float()
        own = slice(first, first + len(block))
        for start in range(0, len(theirs), COLUMN_BLOCK):
            cosines = block @ theirs[start : start + COLUMN_BLOCK].float().T
            other = slice(start, start + cosines.shape[1])
            rows[0][own], rows[1][own] = _merged(rows[0][own], rows[1][own], cosines, start)
            columns[0][other], columns[1][other] = _merged(columns[0][other], columns[1][other], cosines.T, first)
    return _as_nearest(*rows), _as_nearest(*columns)


def _as_nearest(cosines: "torch.Tensor", index: "torch.Tensor") -> Nearest:
    """Tensors [features, n], nearest first, end to end."""
    bounds = np.arange(len(index) + 1, dtype=np.int64) * index.shape[1]
    return Nearest(bounds, index.cpu().numpy().ravel(), cosines.cpu().numpy().ravel())


def _merged(best: "torch.Tensor", index: "torch.Tensor", cosines: "torch.Tensor", start: int) -> "tuple[torch.Tensor, torch.Tensor]":
    """The largest n of each row among `best` and `cosines`, whose columns begin at feature `start`, and their features.

    Only what beats a row's present n-th is sorted: after the first block of columns that is a handful.
    """
    import torch

    n = best.shape[1]
    beats = cosines > best[:, -1:]
    most = min(int(beats.sum(dim=1).max()), cosines.shape[1])
    if most == 0:
        return best, index
    value, column = cosines.topk(min(n, cosines.shape[1]), dim=1) if most > 4 * n else _compact(cosines, beats, most)
    value, column = torch.cat([best, value], dim=1), torch.cat([index, column + start], dim=1)
    by_column = column.argsort(dim=1, stable=True)
    value, column = value.gather(1, by_column), column.gather(1, by_column)
    order = value.argsort(dim=1, descending=True, stable=True)[:, :n]
    return value.gather(1, order), column.gather(1, order)


def _compact(cosines: "torch.Tensor", beats: "torch.Tensor", most: int) -> "tuple[torch.Tensor, torch.Tensor]":
    """Values and columns of the True entries of each row, in `most` columns, filled up with -2 and column 0."""
    import torch

    row, column = beats.nonzero(as_tuple=True)
    place = torch.arange(len(row), device=row.device) - torch.searchsorted(row, row)
    value = torch.full((len(cosines), most), -2.0, device=cosines.device)
    found = torch.zeros((len(cosines), most), dtype=torch.int64, device=cosines.device)
    value[row, place], found[row, place] = cosines[row, column], column
    return value, found


def nearest_in_store(lake: Lake, record: DictionaryRecord, n_tokens: int, n_nearest: int, max_pairs: int) -> CoOccurrence:
    """Nearest features by co-occurrence in the activation store.

    Indices count the record's selected features, which are all that the store holds. The store is read twice in batches: once to see
    how many features fire on each position, then to keep the activations on the positions that are compared.
    """
    firings = np.zeros(n_tokens, dtype=np.int32)
    for batch in _batches(lake, record.key, ["position"]):
        np.add.at(firings, batch["position"], 1)
    kept = sampled_positions(firings, max_pairs)
    number = np.cumsum(kept, dtype=np.int32) - 1
    positions = np.empty(int(firings[kept].sum(dtype=np.int64)), dtype=np.int32)
    del firings
    selected = record.selected_features
    sizes = np.zeros(len(selected), dtype=np.int64)
    filled = 0
    for batch in _batches(lake, record.key, ["feature", "position"]):
        compared = kept[batch["position"]]
        part = number[batch["position"][compared]]
        positions[filled : filled + len(part)] = part
        filled += len(part)
        sizes += np.bincount(np.searchsorted(selected, batch["feature"][compared]), minlength=len(selected))
    bounds = np.concatenate([[0], np.cumsum(sizes)])
    n_positions = int(kept.sum())
    del kept, number
    return CoOccurrence(nearest_by_co_occurrence(positions, bounds, n_positions, n_nearest), sizes, n_positions)


def read_neighbours(lake: Lake, dictionary: str, features: Sequence[int]) -> dict[int, list[int]]:
    """Each feature's neighbours, nearest first: by decoder cosine where the dictionary has a decoder, else by co-occurrence."""
    columns = ["feature", "measure", "rank", "neighbour", "outcome"]
    wanted = [("feature", "in", [int(feature) for feature in features])]
    rows = lake.read(FEATURE_NEIGHBOURS.name, {"dictionary": dictionary}, columns=columns, filters=wanted).to_pylist()
    found: dict[str, dict[int, list[int]]] = {measure: {int(f): [] for f in features} for measure in (DECODER_COSINE, CO_OCCURRENCE)}
    for row in sorted((row for row in rows if row["outcome"] == "ok"), key=lambda row: row["rank"]):
        found[row["measure"]][row["feature"]].append(row["neighbour"])
    return {feature: near or found[CO_OCCURRENCE][feature] for feature, near in found[DECODER_COSINE].items()}


def _batches(lake: Lake, dictionary: str, columns: list[str]) -> Iterator[dict[str, np.ndarray]]:
    """Arrays of the store's `columns`, a batch at a time, in the order of feature and then position."""
    for feature_range in FEATURE_RANGE_KEYS:
        for batch in lake.batches(ACTIVATIONS.name, {"dictionary": dictionary, "feature_range": feature_range}, columns):
            yield {name: batch.column(name).to_numpy() for name in columns}
