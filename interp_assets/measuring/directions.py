"""Decoder directions of features, and the nearest features by direction."""

from typing import TYPE_CHECKING, Any

import numpy as np

from interp_assets.domain.features.co_occurrence import Nearest
from resources.dictionaries import Dictionary, NoDecoder, rows_by_hook

if TYPE_CHECKING:
    import torch


ROW_BLOCK, COLUMN_BLOCK = 2048, 16_384


def decoder_directions(dictionary: Any, features: np.ndarray) -> "torch.Tensor | None":
    """float16 Tensor[features, d_out]: the decoder row of each feature, scaled to length 1 (a row of zeros stays zeros).

    Rows at several written hooks stand side by side, so a cosine is over all of them. None for a dictionary without a decoder, and for a
    dictionary that reconstructs nothing, such as neurons: its rows are the axes, and no two axes are nearer than others. Half precision
    keeps 131,072 rows of 2,304 in 0.6 GB and moves a cosine by less than 1e-3.
    """
    import torch

    try:
        one = dictionary.decoder_row(0)
    except NoDecoder:
        return None
    if getattr(dictionary, "writes", None) is None:
        probe = torch.ones(1, dictionary.d_in, device=one.device)
        if dictionary.reconstruct(probe, dictionary.encode(probe)) is None:
            return None
    directions = torch.empty(len(features), len(one), dtype=torch.float16, device=one.device)
    for i, feature in enumerate(features.tolist()):
        row = dictionary.decoder_row(feature).float()
        directions[i] = (row / row.norm().clamp_min(1e-12)).half()
    return directions


def nearest_by_decoder(directions: "torch.Tensor", n_nearest: int) -> Nearest:
    """For each of Tensor[features, d_out] of length 1 the `n_nearest` other features of largest cosine; of equal cosines the smaller
    index."""
    width = len(directions)
    n = max(min(n_nearest, width - 1), 0)
    blocks = [nearest_of_rows(directions, first, n) for first in range(0, width, ROW_BLOCK)]
    neighbours = np.concatenate([np.empty(0, dtype=np.int64), *(index.ravel() for index, _ in blocks)])
    similarities = np.concatenate([np.empty(0, dtype=np.float32), *(cosine.ravel() for _, cosine in blocks)])
    return Nearest(np.arange(width + 1, dtype=np.int64) * n, neighbours, similarities)


def nearest_of_rows(directions: "torch.Tensor", first: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices int64 and cosines float32, both [rows, n]: the n nearest other features of each of the ROW_BLOCK features from `first` on.

    Products are float32 on the device of `directions`, ROW_BLOCK × COLUMN_BLOCK at a time; nothing else takes memory.
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
    """Nearest features of two dictionaries, both Tensor[features, d_in] of length 1: for each of `ours` the `n_nearest` of `theirs`, and
    for each of `theirs` the `n_nearest` of `ours`.

    One pass over blocks of ROW_BLOCK × COLUMN_BLOCK cosines on the device of both tensors. Beside a block, memory holds the nearest so far.
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
    """Tensors [features, n], nearest first, as one flat list of neighbours."""
    bounds = np.arange(len(index) + 1, dtype=np.int64) * index.shape[1]
    return Nearest(bounds, index.cpu().numpy().ravel(), cosines.cpu().numpy().ravel())


def _merged(best: "torch.Tensor", index: "torch.Tensor", cosines: "torch.Tensor", start: int) -> "tuple[torch.Tensor, torch.Tensor]":
    """The n largest of each row among `best` and `cosines`, and their features; the columns of `cosines` begin at feature `start`.

    Only cosines above the present n-th best of a row are sorted: a handful, after the first block of columns.
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


def decoder_rows(dictionary: Dictionary, features: np.ndarray) -> "torch.Tensor | None":
    """float32 Tensor[n, d_out]: the decoder row of each feature, n > 0; None for a dictionary without a decoder."""
    import torch

    try:
        return torch.stack([dictionary.decoder_row(feature).float() for feature in features.tolist()])
    except NoDecoder:
        return None


def summed_directions(dictionary: Dictionary, features: np.ndarray) -> "torch.Tensor | None":
    """float16 Tensor[n, d]: as `decoder_directions`, of the sum of each feature's rows over the hooks that it writes at; None where these
    have different widths."""
    import torch

    found = []
    for feature in features.tolist():
        parts = rows_by_hook(dictionary, dictionary.decoder_row(feature).float())
        if len({part.shape[-1] for part in parts}) > 1:
            return None
        row = torch.stack(parts).sum(0)
        found.append((row / row.norm().clamp_min(1e-12)).half())
    return torch.stack(found) if found else None
