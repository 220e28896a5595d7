"""Silent windows of a feature, from easy to hard: anywhere, of similar meaning, of neighbouring features, around its own tokens.

Each kind offers candidates in its order of preference, all of them silent; `first_distinct` then takes the candidates whose text is new. A
feature's activations come as `positions` int64 [n], ascending, row · context_tokens + position in the row.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from interp_assets.domain.examples.text_hashes import HashedTokens, first_of_equal, in_sorted
from interp_assets.domain.examples.windows import Places, WindowShape

NegativeKind = Literal["random", "similar", "neighbour", "token"]
NEGATIVE_KINDS: tuple[NegativeKind, ...] = get_args(NegativeKind)
HARD_KINDS = NEGATIVE_KINDS[1:]
"""The kinds of hard negatives, in the order in which they are taken: similar, neighbour, token."""

CANDIDATES_PER_WINDOW = 4
"""Most candidates for each window asked for. Candidates that repeat a text are left out; more candidates are seldom needed."""

PLACES_TRIED = 8
"""Random tokens of a cell around which a silent window is looked for."""

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
    return no_position_in(positions, begin, begin + places.length)


def no_position_in(positions: np.ndarray, begin: np.ndarray, end: np.ndarray) -> np.ndarray:
    """bool [n]: whether none of `positions`, ascending, lies from `begin` [n] to `end` [n], exclusive."""
    if not len(positions):
        return np.ones(len(begin), dtype=bool)
    following = np.searchsorted(positions, begin)
    return (following == len(positions)) | (positions.take(following, mode="clip") >= end)


def first_distinct(candidates: Places, count: int, taken_hashes: np.ndarray, hashed: HashedTokens) -> tuple[Places, np.ndarray]:
    """The first `count` candidates, and their hashes, whose token sequences differ from each other and from `taken_hashes`."""
    hashes = hashed.of_runs(candidates.row * hashed.rows.shape[1] + candidates.start, candidates.length)
    kept = np.flatnonzero(first_of_equal(hashes) & ~in_sorted(hashes, np.sort(taken_hashes)))[:count]
    return candidates.take(kept), hashes[kept]


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
    ids: np.ndarray,
    weights: np.ndarray,
    positions: np.ndarray,
    index: TokenIndex,
    count: int,
    shape: WindowShape,
    rng: np.random.Generator,
) -> Places:
    """Silent windows around tokens with these distinct `ids` [n]; the token stands at a random place, as the feature's peaks do.

    The expected share of a token in the first k windows, for every k, is its share in the `weights` [n], as far as the token occurs in
    silence; where weights are counts, the first sum(weights) windows hold each token as often as its count. An occurrence gives one window.
    At most OCCURRENCES_PER_WINDOW occurrences are examined for each window that a token is asked for. No ids: no places.
    """
    shares = np.asarray(weights, dtype=np.float64) / max(float(np.sum(weights)), 1e-300)
    drawn: list[np.ndarray] = []
    for token_id, share in zip(ids.tolist(), shares.tolist(), strict=True):
        places_of_token = index.occurrences(token_id)
        looked_at = min(len(places_of_token), OCCURRENCES_PER_WINDOW * int(np.ceil(share * count)))
        drawn.append(places_of_token[rng.choice(len(places_of_token), size=looked_at, replace=False)].astype(np.int64))
    if not drawn:
        return Places.joined([])
    at = np.concatenate(drawn)
    whose = np.repeat(np.arange(len(drawn)), [len(own) for own in drawn])
    places = shape.placed(at // shape.context_tokens, at % shape.context_tokens, rng)
    silent = np.flatnonzero(are_silent(places, positions, shape.context_tokens))
    whose = whose[silent]
    turn = np.arange(len(whose)) - np.searchsorted(whose, whose, side="left")
    # A random beginning for each token: else many rare tokens would all come after a few frequent tokens.
    by_turn = np.argsort((turn + rng.random(len(drawn))[whose]) / shares[whose], kind="stable")
    return places.take(silent[by_turn[: CANDIDATES_PER_WINDOW * count]])


@dataclass(frozen=True, eq=False)
class TokensOfFeature:
    """The tokens around which silent windows of a feature are looked for: `heaviest`, (ids, shares in their activation mass), and `peaks`,
    (ids, numbers of peaks) of the windows that scorers see."""

    heaviest: tuple[np.ndarray, np.ndarray]
    peaks: tuple[np.ndarray, np.ndarray]

    @classmethod
    def of(cls, positions: np.ndarray, values: np.ndarray, peaks: np.ndarray, token_rows: np.ndarray, n_heaviest: int) -> "TokensOfFeature":
        """The `n_heaviest` tokens of a feature's activations, and the tokens at the places `peaks` [windows]."""
        ids, counts = np.unique(token_rows.ravel()[peaks], return_counts=True)
        return cls(peak_tokens(positions, values, token_rows, n_heaviest), (ids, counts))

    def places(
        self, positions: np.ndarray, index: TokenIndex, n_shown: int, n_scored: int, shape: WindowShape, rng: np.random.Generator
    ) -> Places:
        """Silent windows (`token_places`): `n_shown` around the heaviest tokens for an explainer, then candidates for `n_scored` around the
        tokens of peaks, as often as the peaks stand on them.

        Were scored windows around the heaviest tokens alone, then a judge could tell silent windows by how common their words are.
        """
        shown = token_places(*self.heaviest, positions, index, n_shown, shape, rng)
        scored = token_places(*self.peaks, positions, index, n_scored, shape, rng)
        return Places.joined([shown.take(np.arange(min(n_shown, len(shown)))), scored])


def placed_around(cells: Places, positions: np.ndarray, shape: WindowShape, rng: np.random.Generator) -> Places:
    """For each silent cell a silent window around a random token of the cell (`WindowShape.placed`), so that no more windows begin with a
    document than windows around peaks do; the cell itself where none of PLACES_TRIED tokens has one.

    A short passage is one cell, however short: it is kept as often as it has tokens, against the tokens of a window.
    """
    cells = cells.take(np.flatnonzero(rng.random(len(cells)) * shape.full_length < cells.length))
    row, start, length = cells.row.copy(), cells.start.copy(), cells.length.copy()
    pending = np.arange(len(cells))
    for _ in range(PLACES_TRIED):
        anchor = cells.start[pending] + rng.integers(0, cells.length[pending])
        tried = shape.placed(cells.row[pending], anchor, rng)
        silent = are_silent(tried, positions, shape.context_tokens)
        start[pending[silent]], length[pending[silent]] = tried.start[silent], tried.length[silent]
        pending = pending[~silent]
    return Places(row, start, length)
