"""Silent windows of similar meaning: the cells whose embeddings are nearest to those of a feature's shown windows.

Cells are multiplied and ranked a block at a time. Most cells of a block are farther from a query than the cells that it has already, which
one comparison shows; only the others are sorted in.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from interp_assets.domain.examples.negatives import CANDIDATES_PER_WINDOW
from interp_assets.domain.examples.windows import Places, WindowShape

MODELS = 8
"""Most shown windows of a feature whose nearest silent windows are looked for."""

LOOKED_AT_FIRST = 1024
"""Cells among which the nearest are sorted out, so that most further cells are seen to be farther by one comparison."""


def similar_to_each(
    cells: Sequence[np.ndarray], active_cells: Sequence[np.ndarray], embeddings: np.ndarray, count: int, shape: WindowShape
) -> list[Places]:
    """For each feature the silent cells nearest to each of some of its shown windows: the nearest of each, then the second nearest of each.

    `cells[i]` are the cells of feature i's shown windows, of which MODELS at even steps are taken; a feature without any has no places.
    What is nearest to the mean of all windows would be the most ordinary text, and "ordinary" would be an answer.
    """
    models = [own[np.linspace(0, len(own) - 1, min(MODELS, len(own))).round().astype(np.int64)] for own in cells]
    owner = np.repeat(np.arange(len(models)), [len(own) for own in models])
    if not len(owner):
        return [Places.joined([]) for _ in cells]
    queries = embeddings[np.concatenate(models)].astype(np.float32)
    each = [-(-count // max(len(own), 1)) for own in models]
    active = [active_cells[i] for i in owner.tolist()]
    near = similar_places(queries, active, embeddings, max(each), shape, block_cells=8192)
    found: list[Places] = []
    for i in range(len(cells)):
        nearest: list[Places] = [near[place] for place in np.flatnonzero(owner == i).tolist()]
        turn = np.concatenate([np.empty(0, dtype=np.int64), *(np.arange(len(places)) for places in nearest)])
        by_turn = np.argsort(turn, kind="stable")
        joined = Places.joined(nearest).take(by_turn[turn[by_turn] < CANDIDATES_PER_WINDOW * each[i]])
        _, first = np.unique(joined.row * shape.context_tokens + joined.start, return_index=True)
        found.append(joined.take(np.sort(first)[: CANDIDATES_PER_WINDOW * count]))
    return found


def similar_places(
    queries: np.ndarray,
    active_cells: Sequence[np.ndarray],
    embeddings: np.ndarray,
    count: int,
    shape: WindowShape,
    block_cells: int = 65_536,
) -> list[Places]:
    """For each feature the cells in which it is silent and whose embeddings are nearest to its query, by dot product, nearest first.

    `queries` float32 [features, d] (a feature may stand there more than once); `embeddings` [n_cells, d], float16 or float32; products are
    float32. `active_cells[i]` are the cells, ascending, in which feature i fires. With the "centred" builder the short cell at the end of a
    row is no candidate, since its length would give it away. Memory: features · block_cells numbers.
    """
    if not count:
        return [Places.joined([]) for _ in queries]
    best = _NearestCells.none(len(queries), CANDIDATES_PER_WINDOW * count)
    rows = np.repeat(np.arange(len(queries)), [len(active) for active in active_cells])
    active = np.concatenate([np.empty(0, dtype=np.int64), *active_cells])
    block_of = active // block_cells
    order = np.argsort(block_of, kind="stable")
    rows, active, block_of = rows[order], active[order], block_of[order]
    for number, first in enumerate(range(0, len(embeddings), block_cells)):
        block = embeddings[first : first + block_cells].astype(np.float32, copy=False)
        scores = queries @ block.T
        if shape.builder == "centred":
            cells = np.arange(first, first + len(block))
            scores += np.where(shape.is_short(shape.cells_at(cells)), np.float32(-np.inf), np.float32(0))
        here = slice(*np.searchsorted(block_of, [number, number + 1]))
        scores[rows[here], active[here] - first] = -np.inf
        best = best.with_block(scores, first)
    return [shape.cells_at(cell[score > -np.inf]) for cell, score in zip(best.cells, best.scores, strict=True)]


@dataclass(frozen=True, eq=False)
class _NearestCells:
    """The cells nearest to each query so far: `scores` float32 and `cells` int64, both [queries, wanted], by score, of equals by cell. A
    query with fewer cells has scores of -inf at its end."""

    scores: np.ndarray
    cells: np.ndarray

    @classmethod
    def none(cls, n_queries: int, wanted: int) -> "_NearestCells":
        """No cells yet, of `wanted` cells for each query."""
        return cls(np.full((n_queries, wanted), -np.inf, dtype=np.float32), np.zeros((n_queries, wanted), dtype=np.int64))

    def with_block(self, scores: np.ndarray, first: int) -> "_NearestCells":
        """The nearest cells with those of the next block, whose `scores` float32 [queries, cells] begin with the cell `first`; -inf stands
        for a cell that is no candidate."""
        n_queries, wanted = self.scores.shape
        least = self.scores[:, -1]
        looked_at = scores[:, : max(LOOKED_AT_FIRST, 2 * wanted)]
        if looked_at.shape[1] > wanted and not np.isfinite(least).all():
            place = looked_at.shape[1] - wanted
            least = np.maximum(least, np.partition(looked_at, place, axis=1)[:, place])
        near = np.flatnonzero(scores >= np.maximum(least, np.finfo(np.float32).min)[:, None])
        query, cell = np.divmod(near, scores.shape[1])
        counts = np.bincount(query, minlength=n_queries)
        column = wanted + np.arange(len(query)) - np.repeat(np.cumsum(counts) - counts, counts)
        width = wanted + int(counts.max(initial=0))
        all_scores, all_cells = np.full((n_queries, width), -np.inf, dtype=np.float32), np.zeros((n_queries, width), dtype=np.int64)
        all_scores[:, :wanted], all_cells[:, :wanted] = self.scores, self.cells
        all_scores[query, column], all_cells[query, column] = scores.reshape(-1)[near], cell + first
        order = np.argsort(-all_scores, axis=1, kind="stable")[:, :wanted]  # of equals the first, which is the smaller cell
        return _NearestCells(np.take_along_axis(all_scores, order, axis=1), np.take_along_axis(all_cells, order, axis=1))
