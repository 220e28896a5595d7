"""Silent windows of a feature, from easy to hard: anywhere, of similar meaning, of neighbouring features, around its own tokens.

Each kind offers candidates in its order of preference, all of them silent; `first_distinct` then takes the candidates whose text is new. A
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
"""The kinds of hard negatives, in the order in which they are taken: similar, neighbour, token."""

CANDIDATES_PER_WINDOW = 4
"""Most candidates for each window asked for. Candidates that repeat a text are left out; more candidates are seldom needed."""

OCCURRENCES_PER_WINDOW = 16
"""Most occurrences of a token that are examined for each window asked for; many occurrences of a peak token are not silent."""


def negative_counts(shares: NegativeKind | Mapping[NegativeKind, float], total: int) -> dict[NegativeKind, int]:
    """How many of `total` windows each kind gives: its share, rounded down; the rest goes to the largest remainders (earlier kind first).

    Raises ValueError with all shares when a share is negative or the shares do not sum to 1.
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
    """bool [places]: whether no position of the place is among `positions`."""
    begin = places.row * context_tokens + places.start
    return np.searchsorted(positions, begin) == np.searchsorted(positions, begin + places.length)


def first_distinct(candidates: Places, count: int, taken_hashes: np.ndarray, token_rows: np.ndarray) -> tuple[Places, np.ndarray]:
    """The first `count` candidates, and their hashes, whose token sequences differ from each other and from `taken_hashes`."""
    hashes = window_hashes(candidates.row, candidates.start, candidates.length, token_rows)
    _, first = np.unique(hashes, return_index=True)
    kept = np.sort(first)
    taken = np.sort(taken_hashes)  # np.isin would also look for repeats in the taken hashes, which takes longer than everything else
    is_taken = np.searchsorted(taken, hashes[kept], side="left") < np.searchsorted(taken, hashes[kept], side="right")
    kept = kept[~is_taken][:count]
    return candidates.take(kept), hashes[kept]


@dataclass(frozen=True, eq=False)
class SilentWindows:
    """All silent windows of a feature, as runs [runs] of window starts from `start` of `row` on.

    Windows are numbered over all runs; `ends` is the number after a run's last window. `step` is 1 where each number of a run is a window
    start of its own. A passage shorter than the window is a run with one window and `step` 0: as many numbers as the passage has tokens
    stand for this window, so that short passages are drawn in proportion to their tokens. With the "cells" builder each silent cell is a
    run.
    """

    row: np.ndarray
    start: np.ndarray
    step: np.ndarray
    ends: np.ndarray
    shape: WindowShape

    @classmethod
    def of(cls, positions: np.ndarray, n_rows: int, shape: WindowShape) -> "SilentWindows":
        """The silent windows of a feature with these activations, in a sample of `n_rows` rows."""
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
        """The windows with these numbers; numbers are below the length."""
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
    """At most `count` of the windows, and their hashes, drawn uniformly without replacement; fewer where fewer exist.

    The windows are distinct in text, and none has the text of a window in `taken_hashes`.
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

    All neighbours give equally many windows, spread over the quantiles of their own strength, the strongest quantile first. Where a
    neighbour has too few windows, other neighbours give more.
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
    """All indices, in rounds: a round takes one random index from each of `n_strata` equal-count strata of `strength`, strongest first."""
    by_strength = np.argsort(-strength, kind="stable")
    stratum = np.arange(len(strength)) * n_strata // max(len(strength), 1)
    shuffled = np.lexsort((rng.permutation(len(strength)), stratum))
    turn = np.arange(len(strength)) - np.searchsorted(stratum, stratum, side="left")
    return by_strength[shuffled[np.lexsort((stratum, turn))]]


@dataclass(frozen=True)
class TokenIndex:
    """The positions of each token id in a token sample: `order[first[id] : first[id + 1]]`, ascending.

    Built once per sample; takes 4 bytes a token, 8 bytes above 2^32 tokens. Positions that no window may contain are left out.
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
        """Positions of a token, ascending; empty for an id that does not occur."""
        if token_id + 1 >= len(self.first):
            return self.order[:0]
        return self.order[self.first[token_id] : self.first[token_id + 1]]


def peak_tokens(positions: np.ndarray, values: np.ndarray, token_rows: np.ndarray, n_tokens: int) -> tuple[np.ndarray, np.ndarray]:
    """Ids of the `n_tokens` tokens with most activation mass, and their shares in the mass of these tokens; heaviest first, of equals the
    smaller id first."""
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
    """Silent windows around the feature's `n_tokens` heaviest tokens; the token stands where an activating window has its peak.

    The first k windows, for every k, hold the tokens in proportion to their activation mass, as far as the tokens occur in silence. Of a
    frequent token at most OCCURRENCES_PER_WINDOW · count occurrences are examined, drawn at random. A dead feature: no places.
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
    """float32 [d] of length 1: the direction of the mean of the embeddings of `cells` [n], n > 0."""
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
    """For each feature the cells in which it is silent and whose embeddings are nearest to its query, by dot product, nearest first.

    `queries` float32 [features, d]; `embeddings` [n_cells, d], float16 or float32; products are float32. `active_cells[i]` are the cells,
    ascending, in which feature i fires. With the "centred" builder the short cell at the end of a row is no candidate, since its length
    would give it away. Memory: features · block_cells numbers.
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

    Unequal sequences have equal hashes with a chance of 2^-64 a pair. Such a collision drops a window; it never lets a repeated text
    through.
    """
    if len(row) == 0:
        return np.empty(0, dtype=np.uint64)
    longest = int(length.max())
    offset = np.arange(longest)
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
