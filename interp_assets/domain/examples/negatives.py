"""Silent windows of a feature, from easy to hard: anywhere, of similar meaning, of neighbouring features, around its own tokens.

Each kind offers candidates in its order of preference, all of them silent; `first_distinct` then takes those whose text is new. A
feature's activations come as `positions` int64 [n], ascending, row · context_tokens + position in the row.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal, get_args

import numpy as np

from interp_assets.domain.examples.windows import Places, Windows, WindowShape, silent_windows

NegativeKind = Literal["random", "similar", "neighbour", "token"]
NEGATIVE_KINDS: tuple[NegativeKind, ...] = get_args(NegativeKind)
HARD_KINDS = NEGATIVE_KINDS[1:]
"""The kinds whose windows are looked for, hardest first."""

CANDIDATES_PER_WINDOW = 4
"""Candidates looked at for each window asked for: what repeats a text is left out, and more than this seldom does."""

OCCURRENCES_PER_WINDOW = 16
"""Occurrences of a token looked at for each window asked for: of a peak token many are not silent."""


def negative_counts(shares: NegativeKind | Mapping[NegativeKind, float], total: int) -> dict[NegativeKind, int]:
    """How many of `total` windows each kind gives: by share, rounded down, the rest to the largest remainders (earlier kind first).

    Shares are of 1. Raises ValueError naming the share that is negative, or their sum when it is not 1.
    """
    shares = {shares: 1.0} if isinstance(shares, str) else shares
    negative = {kind: share for kind, share in shares.items() if share < 0}
    if negative or abs(sum(shares.values()) - 1) > 1e-6:
        raise ValueError(f"shares of non-activating windows must be 0 or more and sum to 1, got {dict(shares)}")
    exact = [shares.get(kind, 0.0) * total for kind in NEGATIVE_KINDS]
    counts = [int(number + 1e-9) for number in exact]
    by_remainder = sorted(range(len(counts)), key=lambda i: counts[i] - exact[i])
    for i in by_remainder[: total - sum(counts)]:
        counts[i] += 1
    return dict(zip(NEGATIVE_KINDS, counts, strict=True))


def are_silent(places: Places, positions: np.ndarray, context_tokens: int) -> np.ndarray:
    """bool [places]: no position of the place is among `positions`."""
    begin = places.row * context_tokens + places.start
    return np.searchsorted(positions, begin) == np.searchsorted(positions, begin + places.length)


def first_distinct(candidates: Places, count: int, taken_hashes: np.ndarray, token_rows: np.ndarray) -> tuple[Places, np.ndarray]:
    """The first `count` candidates, and their hashes, whose token sequences differ from each other and from `taken_hashes`."""
    hashes = window_hashes(candidates.row, candidates.start, candidates.length, token_rows)
    _, first = np.unique(hashes, return_index=True)
    kept = np.sort(first)
    taken = np.sort(taken_hashes)  # np.isin would look for repeats in it too, which takes longer than all the rest
    is_taken = np.searchsorted(taken, hashes[kept], side="left") < np.searchsorted(taken, hashes[kept], side="right")
    kept = kept[~is_taken][:count]
    return candidates.take(kept), hashes[kept]


@dataclass(frozen=True, eq=False)
class SilentWindows:
    """All silent windows of a feature, not listed: in runs [runs] of window starts, from `start` of `row` on, ending at number `ends`.

    `step` is 1, or 0 for a passage shorter than the window: it has one window, which as many numbers stand for as it has tokens, so that
    short passages are drawn as often as the feature could fire in them. With the "cells" builder the runs are the silent cells.
    """

    row: np.ndarray
    start: np.ndarray
    step: np.ndarray
    ends: np.ndarray
    shape: WindowShape

    @classmethod
    def of(cls, positions: np.ndarray, n_rows: int, shape: WindowShape) -> "SilentWindows":
        """Those of a feature with these activations, in a sample of `n_rows` rows."""
        positions = positions[shape.usable(positions)]
        row, position = positions // shape.context_tokens, positions % shape.context_tokens
        if shape.builder == "cells":
            silent = np.ones(shape.n_cells(n_rows), dtype=bool)
            silent[shape.cell_of(row, position)] = False
            places = shape.cells_at(np.flatnonzero(silent))
            ones = np.ones(len(places), dtype=np.int64)
            return cls(places.row, places.start, ones, np.cumsum(ones), shape)
        row, start, count = silent_windows(
            row, position, n_rows, shape.window_tokens, shape.context_tokens, shape.first_position, shape.passages
        )
        step = np.ones(len(row), dtype=np.int64)
        if shape.passages is not None:
            length = shape.passages.length[shape.passages.holding(row * shape.context_tokens + start)]
            step = (length >= shape.window_tokens).astype(np.int64)
            count = np.where(step, count, length)
        return cls(row, start, step, np.cumsum(count), shape)

    def __len__(self) -> int:
        return int(self.ends[-1]) if len(self.ends) else 0

    def at(self, number: np.ndarray) -> Places:
        """The windows of these numbers, each below the length."""
        run = np.searchsorted(self.ends, number, side="right")
        first_number = np.concatenate([[0], self.ends])[run]
        starts = self.start[run] + (number - first_number) * self.step[run]
        if self.shape.builder == "cells":
            return self.shape.cells_at(self.shape.cell_of(self.row[run], starts))
        end = np.full(len(run), self.shape.context_tokens)
        if (passages := self.shape.passages) is not None:
            passage = passages.holding(self.row[run] * self.shape.context_tokens + starts)
            end = passages.start[passage] + passages.length[passage]
        return Places(self.row[run], starts, np.minimum(self.shape.window_tokens, end - starts))


def random_places(
    windows: SilentWindows, token_rows: np.ndarray, taken_hashes: np.ndarray, count: int, rng: np.random.Generator
) -> tuple[Places, np.ndarray]:
    """At most `count` of the windows and their hashes, uniform and without replacement, distinct in text and from `taken_hashes`.

    Fewer come back when fewer exist.
    """
    total = len(windows)
    drawn = min(total, 2 * count)
    while True:
        number = rng.choice(total, size=drawn, replace=False) if drawn else np.empty(0, dtype=np.int64)
        found, hashes = first_distinct(windows.shape.trimmed(windows.at(number)), count, taken_hashes, token_rows)
        if len(found) == count or drawn == total:
            return found, hashes
        drawn = min(total, 4 * drawn)


def neighbour_places(
    neighbours: Sequence[Windows], positions: np.ndarray, count: int, shape: WindowShape, rng: np.random.Generator
) -> Places:
    """Windows of neighbouring features, the nearest first, on which this feature is silent; no neighbours: no places.

    Every neighbour gives the same number, spread over the quantiles of its own strength, its strongest first; what one lacks the
    others make up for.
    """
    offered: list[Places] = []
    turns: list[np.ndarray] = []
    for windows in neighbours:
        places = Places(windows.row, windows.start, windows.length)
        silent = are_silent(places, positions, shape.context_tokens)
        places, strength = places.take(silent), windows.max_activation[silent]
        wanted = min(CANDIDATES_PER_WINDOW * count, len(places))
        order = spread_over_quantiles(strength, max(count // max(len(neighbours), 1), 1), rng)[:wanted]
        offered.append(places.take(order))
        turns.append(np.arange(len(order)))
    if not offered:
        return Places.joined([])
    by_turn = np.argsort(np.concatenate(turns), kind="stable")
    return Places.joined(offered).take(by_turn[: CANDIDATES_PER_WINDOW * count])


def spread_over_quantiles(strength: np.ndarray, n_strata: int, rng: np.random.Generator) -> np.ndarray:
    """All indices, in rounds: each round takes one at random from each of `n_strata` equal-count strata of `strength`, strongest first."""
    by_strength = np.argsort(-strength, kind="stable")
    stratum = np.arange(len(strength)) * n_strata // max(len(strength), 1)
    shuffled = np.lexsort((rng.permutation(len(strength)), stratum))
    turn = np.arange(len(strength)) - np.searchsorted(stratum, stratum, side="left")
    return by_strength[shuffled[np.lexsort((stratum, turn))]]


@dataclass(frozen=True)
class TokenIndex:
    """Where each token id stands in a token sample: its positions are `order[first[id] : first[id + 1]]`, ascending.

    Built once per sample; 4 bytes a token, 8 above 2^32 tokens. Positions that no window may contain are left out.
    """

    order: np.ndarray
    first: np.ndarray

    @classmethod
    def of(cls, token_rows: np.ndarray, shape: WindowShape) -> "TokenIndex":
        """The index of int [rows, context_tokens], ids >= 0."""
        flat = token_rows.ravel()
        order = np.argsort(flat, kind="stable").astype(np.uint32 if flat.size < 2**32 else np.int64)
        order = order[shape.usable(order)]
        counts = np.bincount(flat[order]) if len(order) else np.empty(0, dtype=np.int64)
        return cls(order, np.concatenate([[0], np.cumsum(counts)]))

    def occurrences(self, token_id: int) -> np.ndarray:
        """Positions of a token, ascending; none for an id that does not occur."""
        if token_id + 1 >= len(self.first):
            return self.order[:0]
        return self.order[self.first[token_id] : self.first[token_id + 1]]


def peak_tokens(positions: np.ndarray, values: np.ndarray, token_rows: np.ndarray, n_tokens: int) -> tuple[np.ndarray, np.ndarray]:
    """Ids and shares (of their sum) of the `n_tokens` tokens with most activation mass, heaviest first, the smaller id of equals."""
    ids, inverse = np.unique(token_rows.ravel()[positions], return_inverse=True)
    mass = np.bincount(inverse, weights=values, minlength=len(ids))
    top = np.argsort(-mass, kind="stable")[:n_tokens]
    return ids[top], mass[top] / mass[top].sum()


def token_places(
    positions: np.ndarray,
    values: np.ndarray,
    token_rows: np.ndarray,
    index: TokenIndex,
    count: int,
    n_tokens: int,
    shape: WindowShape,
    rng: np.random.Generator,
) -> Places:
    """Silent windows around the feature's `n_tokens` heaviest tokens, each standing where an activating window has its peak.

    Any first part of them holds the tokens in proportion to their activation mass, as far as they occur in silence. Of a frequent
    token no more than OCCURRENCES_PER_WINDOW · count occurrences, drawn at random, are looked at. A dead feature: no places.
    """
    offered: list[Places] = []
    turns: list[np.ndarray] = []
    for token_id, share in zip(*peak_tokens(positions, values, token_rows, n_tokens), strict=True):
        places_of_token = index.occurrences(int(token_id))
        looked_at = min(len(places_of_token), OCCURRENCES_PER_WINDOW * count)
        drawn = np.sort(places_of_token[rng.choice(len(places_of_token), size=looked_at, replace=False)]).astype(np.int64)
        places = shape.around(drawn // shape.context_tokens, drawn % shape.context_tokens)
        silent = np.flatnonzero(are_silent(places, positions, shape.context_tokens))
        places = places.take(rng.permutation(silent)[: CANDIDATES_PER_WINDOW * count])
        offered.append(places)
        turns.append((np.arange(len(places)) + 0.5) / share)
    if not offered:
        return Places.joined([])
    by_turn = np.argsort(np.concatenate(turns), kind="stable")
    return Places.joined(offered).take(by_turn[: CANDIDATES_PER_WINDOW * count])


def mean_embedding(cells: np.ndarray, embeddings: np.ndarray) -> np.ndarray:
    """float32 [d] of length 1: the mean direction of the embeddings of `cells` [n], n > 0."""
    mean = embeddings[cells].astype(np.float32).mean(axis=0)
    return mean / max(float(np.linalg.norm(mean)), 1e-12)


def similar_places(
    queries: np.ndarray,
    active_cells: Sequence[np.ndarray],
    embeddings: np.ndarray,
    count: int,
    shape: WindowShape,
    block_cells: int = 65_536,
) -> list[Places]:
    """For each query float32 [features, d]: the cells nearest to it by dot product in which its feature is silent, nearest first.

    `embeddings` [n_cells, d] may be float16; products are float32. `active_cells[i]` are the cells, ascending, in which feature i
    fires. With the "centred" builder the short cell at the end of a row is no candidate: its length would give it away. Memory:
    features · block_cells numbers.
    """
    wanted = CANDIDATES_PER_WINDOW * count
    best_score = np.empty((len(queries), 0), dtype=np.float32)
    best_cell = np.empty((len(queries), 0), dtype=np.int64)
    for first in range(0, len(embeddings), block_cells):
        block = embeddings[first : first + block_cells].astype(np.float32, copy=False)
        scores = queries @ block.T
        for i, active in enumerate(active_cells):
            low, high = np.searchsorted(active, [first, first + len(block)])
            scores[i, active[low:high] - first] = -np.inf
        if shape.builder == "centred":
            cells = np.arange(first, first + len(block))
            scores[:, shape.is_short(shape.cells_at(cells))] = -np.inf
        top = np.argpartition(-scores, min(wanted, len(block)) - 1, axis=1)[:, :wanted]
        best_score = np.concatenate([best_score, np.take_along_axis(scores, top, axis=1)], axis=1)
        best_cell = np.concatenate([best_cell, top + first], axis=1)
        order = np.lexsort((best_cell, -best_score))[:, :wanted]
        best_score, best_cell = np.take_along_axis(best_score, order, axis=1), np.take_along_axis(best_cell, order, axis=1)
    return [shape.cells_at(cell[score > -np.inf]) for cell, score in zip(best_cell, best_score, strict=True)]


def window_hashes(row: np.ndarray, start: np.ndarray, length: np.ndarray, token_rows: np.ndarray) -> np.ndarray:
    """uint64 [n]: equal token sequences have equal hashes.

    Unequal ones collide with a chance of 2^-64 a pair, which would drop a window, never let a repeated text through.
    """
    if len(row) == 0:
        return np.empty(0, dtype=np.uint64)
    offset, longest = np.arange(length.max()), int(length.max())
    begin = row * token_rows.shape[1] + start
    outside = offset >= length[:, None] if length.min() < longest else None
    place = begin[:, None] + offset
    if outside is not None:
        place = np.where(outside, begin[:, None], place)
    mixed = token_rows.ravel()[place].astype(np.uint64)
    mixed += np.uint64(1)
    mixed *= np.uint64(0x9E3779B97F4A7C15)
    mixed ^= mixed >> np.uint64(29)
    if outside is not None:
        mixed[outside] = 0
    return mixed @ _hash_weights(longest)


@cache
def _hash_weights(n: int) -> np.ndarray:
    """uint64 [n]: a fixed odd factor for each place in a window."""
    return np.random.Generator(np.random.PCG64(0)).integers(1, 2**64 - 1, size=n, dtype=np.uint64) | np.uint64(1)
