"""Windows of one feature: short runs of tokens around its activations, inside one row.

All functions take one feature's activations as arrays of equal length [n], sorted by (row, position): `row`, `position` within the row, and
`value` > 0. `first_position` is the first position that a window may contain: 1 where rows begin with BOS, else 0. With `passages` every
window lies in one passage, and activations outside all passages are left out. Without `passages` every window lies in one row.
"""

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from interp_assets.domain.examples.passages import Passages, SampleText

Builder = Literal["centred", "cells"]

PEAK_SHARE = 0.75
"""Place of the peak in a centred window that explainers see: the window shows more tokens before the peak than after it. In windows that
scorers see peaks stand at random places (`peak_places`), so that a place is no answer."""


@dataclass(frozen=True)
class Windows:
    """n windows of one feature, sorted by (row, start); every field is an array [n].

    A window covers positions [start, start + length) of its row. `peak_position`, also counted in the row, is the window's strongest token
    (of equals the first), and `max_activation` the activation on this token.
    """

    row: np.ndarray
    start: np.ndarray
    length: np.ndarray
    peak_position: np.ndarray
    max_activation: np.ndarray

    def __len__(self) -> int:
        return len(self.row)

    def take(self, index: np.ndarray | slice) -> "Windows":
        """The windows at `index`, in the order of `index`."""
        arrays = (self.row, self.start, self.length, self.peak_position, self.max_activation)
        return Windows(*(array[index] if isinstance(index, slice) else array.take(index) for array in arrays))


@dataclass(frozen=True)
class Places:
    """n runs of consecutive tokens; a run covers positions [start, start + length) of its row; every field is int64 [n], lengths > 0."""

    row: np.ndarray
    start: np.ndarray
    length: np.ndarray

    def __len__(self) -> int:
        return len(self.row)

    def take(self, index: np.ndarray) -> "Places":
        """The places at `index`, int or bool, in the order of `index`."""
        index = np.flatnonzero(index) if index.dtype == bool else index
        return Places(self.row.take(index), self.start.take(index), self.length.take(index))

    @staticmethod
    def joined(parts: "list[Places]") -> "Places":
        """All places of `parts`, in order; no parts: no places."""
        fields = ([getattr(part, name) for part in parts] for name in ("row", "start", "length"))
        return Places(*(np.concatenate([np.empty(0, dtype=np.int64), *arrays]) for arrays in fields))


class DrawsIntegers(Protocol):
    """Draws random whole numbers; a generator, or several."""

    def integers(self, low: int, high: int, n: int, /) -> np.ndarray:
        """int64 [n] in [low, high)."""
        ...


@dataclass(frozen=True)
class WindowShape:
    """How windows are cut out of rows of `context_tokens`: by which builder, how long, from which position on, and out of which text.

    Without `text` each row is text from `first_position` on, and words are not known.
    """

    builder: Builder
    window_tokens: int
    context_tokens: int
    first_position: int = 0
    text: SampleText | None = None

    @property
    def passages(self) -> Passages | None:
        """The passages whose ends windows may not run over; None: windows may not run over the ends of rows."""
        return self.text.passages if self.text else None

    @property
    def full_length(self) -> int:
        """Tokens of a window that the end of its row or passage does not cut short."""
        return min(self.window_tokens, self.context_tokens - self.first_position)

    def usable(self, positions: np.ndarray) -> np.ndarray:
        """Bool [n]: whether a window may contain each place, row · context + position in the row."""
        if self.passages is not None:
            return self.passages.holding(positions) >= 0
        return positions % self.context_tokens >= self.first_position

    def windows(self, row: np.ndarray, position: np.ndarray, value: np.ndarray) -> Windows:
        """The windows of a feature by this builder, without parts of words at their ends: see `centred_windows` and `cell_windows`."""
        place = np.asarray(row, dtype=np.int64) * self.context_tokens + np.asarray(position, dtype=np.int64)
        usable = self.usable(place)
        place, value = place[usable], np.asarray(value)[usable]
        owner = np.zeros(len(place), dtype=np.int64)
        found = windows_of_features(owner, place, value.astype(np.float64), descending(value), self)
        return self.in_whole_words(found.windows)

    def in_whole_words(self, windows: Windows) -> Windows:
        """The windows without parts of words at their ends, but with their peaks."""
        places = self.trimmed(Places(windows.row, windows.start, windows.length), windows.peak_position)
        return Windows(windows.row, places.start, places.length, windows.peak_position, windows.max_activation)

    def trimmed(self, places: Places, kept: np.ndarray) -> Places:
        """The places without parts of words at their ends, but with the position `kept` [n] of their rows."""
        if self.text is None:
            return places
        at = places.row * self.context_tokens
        begin, length = self.text.trimmed(at + places.start, places.length, at + kept)
        return Places(places.row, begin - at, length)

    def is_cut(self, places: Places) -> tuple[np.ndarray, np.ndarray]:
        """Bool [n] twice: whether each place begins, and whether it ends, inside a word; False where words are not known."""
        if self.text is None:
            return np.zeros(len(places), dtype=bool), np.zeros(len(places), dtype=bool)
        return self.text.is_cut(places.row * self.context_tokens + places.start, places.length)

    def placed(self, row: np.ndarray, position: np.ndarray, rng: "np.random.Generator | DrawsIntegers") -> Places:
        """For each (row, position) a window in which the position stands at a random place, without parts of words at its ends.

        A window must be able to contain the position. Every place of a window but the first is as likely; windows that would run over an
        end of their row or passage are shifted. With the "cells" builder it is the cell that holds the position.
        """
        if self.builder == "cells":
            return self.trimmed(self.cells_at(self.cell_of(row, position)), position)
        before = rng.integers(min(1, self.window_tokens - 1), self.window_tokens, len(row))
        return self.trimmed(Places(row, *_around(position, before, *_bounds(row, position, self)[1:], self.window_tokens)), position)

    def n_cells(self, n_rows: int) -> int:
        """Fixed cells of a sample of `n_rows` rows."""
        if self.passages is not None:
            return int(_first_cells(self.passages, self.window_tokens)[-1])
        return n_rows * self.cells_per_row

    def cell_of(self, row: np.ndarray, position: np.ndarray) -> np.ndarray:
        """Number [n] of the fixed cell that holds each (row, position), whatever the builder; cells are numbered over all rows or
        passages."""
        if self.passages is not None:
            passage, begin, _ = _bounds(row, position, self)
            return _first_cells(self.passages, self.window_tokens)[passage] + (position - begin) // self.window_tokens
        return row * self.cells_per_row + (position - self.first_position) // self.window_tokens

    def cells_at(self, cell: np.ndarray) -> Places:
        """The cells with these numbers; the last cell of a row or passage is shorter where the window does not divide the row or
        passage."""
        if self.passages is not None:
            firsts = _first_cells(self.passages, self.window_tokens)
            passage = np.searchsorted(firsts, cell, side="right") - 1
            offset = (cell - firsts[passage]) * self.window_tokens
            length = np.minimum(self.window_tokens, self.passages.length[passage] - offset)
            return Places(self.passages.row[passage], self.passages.start[passage] + offset, length)
        start = self.first_position + cell % self.cells_per_row * self.window_tokens
        return Places(cell // self.cells_per_row, start, np.minimum(self.window_tokens, self.context_tokens - start))

    def bounds(self, row: np.ndarray, position: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(first position, position after the last), both int64 [n], of the row or passage that holds each (row, position)."""
        return _bounds(row, position, self)[1:]

    def is_short(self, places: Places) -> np.ndarray:
        """Bool [n]: whether a place is shorter than the windows around peaks in its row or passage; its length would give it away."""
        _, begin, end = _bounds(places.row, places.start, self)
        return places.length < np.minimum(self.window_tokens, end - begin)

    @property
    def cells_per_row(self) -> int:
        """Fixed cells that a row without passages is cut into, with the short cell at the end of the row."""
        return len(cell_starts(self.window_tokens, self.context_tokens, self.first_position))


def centred_windows(
    row: np.ndarray,
    position: np.ndarray,
    value: np.ndarray,
    window_tokens: int,
    context_tokens: int,
    first_position: int = 0,
    passages: Passages | None = None,
) -> Windows:
    """One window for each chosen peak, with the peak at three quarters of the window.

    At the ends of a row or passage windows are shifted, not dropped. Peaks are chosen greedily, strongest first (of equals the earlier),
    each at least `window_tokens` from every peak chosen before in its row. So unshifted windows do not overlap, and no chosen peak is
    inside the window of another. A window can hold a stronger token than the peak it was cut around: a token too near to a yet stronger
    peak is not chosen. This stronger token is then the window's `peak_position`. Rows shorter than the window give windows of the whole
    row. No activations: no windows.
    """
    text = None if passages is None else SampleText(passages)
    return WindowShape("centred", window_tokens, context_tokens, first_position, text).windows(row, position, value)


def cell_windows(
    row: np.ndarray,
    position: np.ndarray,
    value: np.ndarray,
    window_tokens: int,
    context_tokens: int,
    first_position: int = 0,
    passages: Passages | None = None,
) -> Windows:
    """The fixed cells in which the feature fires; cells are cut every `window_tokens` of a row from `first_position` on, or of a passage.

    The last cell of a row or passage is shorter where the window does not divide the row or passage. No activations: no windows.
    """
    text = None if passages is None else SampleText(passages)
    return WindowShape("cells", window_tokens, context_tokens, first_position, text).windows(row, position, value)


@dataclass(frozen=True, eq=False)
class FeatureWindows:
    """The windows of several features, feature by feature: `owner` [n] is the place of each window's feature among the features, and
    `peak` [n] the place of its strongest token among the activations."""

    owner: np.ndarray
    windows: Windows
    peak: np.ndarray


def windows_of_features(
    owner: np.ndarray, place: np.ndarray, value: np.ndarray, strongest_first: np.ndarray, shape: "WindowShape"
) -> FeatureWindows:
    """The windows of several features by the shape's builder, whole words or not: see `centred_windows` and `cell_windows`.

    `owner`, `place` (row · context + position in the row, usable) and `value` are [n], ascending by owner and place. `strongest_first`
    orders the activations of each feature: `descending(value)`.
    """
    rank = np.empty_like(strongest_first)
    rank[strongest_first] = np.arange(len(strongest_first))
    build = _centred if shape.builder == "centred" else _cells
    peak, row, start, length = build(owner, place, rank, strongest_first, shape)
    return FeatureWindows(owner[peak], Windows(row, start, length, place[peak] - row * shape.context_tokens, value[peak]), peak)


_Built = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]  # (strongest activation, row, start, length) of each window


def _centred(owner: np.ndarray, place: np.ndarray, rank: np.ndarray, by_rank: np.ndarray, shape: "WindowShape") -> _Built:
    row = place // shape.context_tokens
    group, begin, end = _bounds(row, place - row * shape.context_tokens, shape)
    # Activations of different rows, passages or features are never within a window of each other.
    key = place + group * shape.window_tokens
    if len(key) and owner[-1] > owner[0]:
        key += owner * (int(key.max()) + shape.window_tokens)
    chosen = _separated_peaks(key, rank, shape.window_tokens)
    row = row[chosen]
    position = place[chosen] - row * shape.context_tokens
    start, length = _around(position, int(shape.window_tokens * PEAK_SHARE), begin[chosen], end[chosen], shape.window_tokens)
    first_key = key[chosen] - position + start
    return by_rank[_best_rank(key, rank, chosen, first_key, first_key + length)], row, start, length


def _best_rank(key: np.ndarray, rank: np.ndarray, inside: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """The least rank among the activations with keys in [low, high), for each of several ranges; `inside` is an activation in the range."""
    best = rank[inside]
    for step in (1, -1):
        waiting, there = np.arange(len(inside)), inside
        while len(waiting):
            there = there + step
            kept = (there >= 0) & (there < len(key))
            waiting, there = waiting[kept], there[kept]
            found = key[there]
            kept = found < high[waiting] if step > 0 else found >= low[waiting]
            waiting, there = waiting[kept], there[kept]
            best[waiting] = np.minimum(best[waiting], rank[there])
    return best


def _cells(owner: np.ndarray, place: np.ndarray, rank: np.ndarray, by_rank: np.ndarray, shape: "WindowShape") -> _Built:
    row = place // shape.context_tokens
    cell = shape.cell_of(row, place - row * shape.context_tokens)
    first = np.flatnonzero(np.concatenate([[True], (cell[1:] != cell[:-1]) | (owner[1:] != owner[:-1])])[: len(cell)])
    cells = shape.cells_at(cell[first])
    best = np.minimum.reduceat(rank, first) if len(first) else rank[:0]
    return by_rank[best], cells.row, cells.start, cells.length


def _bounds(row: np.ndarray, position: np.ndarray, shape: WindowShape) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(number, first position, end) of the row or passage that holds each (row, position), all [n]."""
    if shape.passages is None:
        return row, np.full(len(row), shape.first_position), np.full(len(row), shape.context_tokens)
    passage = shape.passages.holding(row * shape.context_tokens + position)
    assert (passage >= 0).all(), "a place outside all passages"
    begin = shape.passages.start[passage]
    return passage, begin, begin + shape.passages.length[passage]


def _around(
    position: np.ndarray, before: np.ndarray | int, begin: np.ndarray, end: np.ndarray, window_tokens: int
) -> tuple[np.ndarray, np.ndarray]:
    """(start, length) of the window with `before` tokens before each position, shifted to lie between `begin` and `end`."""
    length = np.minimum(window_tokens, end - begin)
    return np.clip(position - before, begin, end - length), length


def _first_cells(passages: Passages, window_tokens: int) -> np.ndarray:
    """int64 [passages + 1]: the number of the first cell of each passage, then the number of all cells."""
    return np.concatenate([[0], np.cumsum(-(-passages.length // window_tokens))])


def cell_starts(window_tokens: int, context_tokens: int, first_position: int = 0) -> np.ndarray:
    """Start positions of the cells of any row, ascending."""
    return np.arange(first_position, context_tokens, window_tokens)


MOST_PAIRS = 8
"""Most pairs of near activations, for each activation, that are listed to choose peaks; of denser features neighbourhoods are searched."""


def _separated_peaks(key: np.ndarray, rank: np.ndarray, separation: int) -> np.ndarray:
    """Indices, ascending, of a greedy choice, strongest first, with every two chosen keys at least `separation` apart.

    In each round every activation that is the strongest of its neighbourhood is chosen, and its neighbours are removed. Since neighbours
    are neighbours of each other, this gives exactly the greedy choice, in a few vectorised rounds instead of one step for each activation.
    """
    pairs = _near_pairs(key, separation)
    if pairs is None:
        return _separated_densely(key, rank, separation)
    first, second = pairs
    is_first = rank[first] < rank[second]
    stronger, weaker = np.where(is_first, first, second), np.where(is_first, second, first)
    alive = np.ones(len(key), dtype=bool)
    chosen = np.zeros(len(key), dtype=bool)
    while True:
        taken = alive.copy()
        taken[weaker] = False
        chosen |= taken
        alive[taken] = False
        alive[weaker[taken[stronger]]] = False
        left = np.flatnonzero(alive[stronger] & alive[weaker])
        if not len(left):
            return np.flatnonzero(chosen | alive)
        stronger, weaker = stronger[left], weaker[left]


def _near_pairs(key: np.ndarray, separation: int) -> tuple[np.ndarray, np.ndarray] | None:
    """All pairs (earlier, later) of activations with keys less than `separation` apart; None above MOST_PAIRS pairs an activation."""
    earlier: list[np.ndarray] = []
    total, step = 0, 1
    near = np.flatnonzero(key[1:] - key[:-1] < separation)
    while len(near):
        earlier.append(near)
        total += len(near)
        if total > MOST_PAIRS * len(key):
            return None
        step += 1
        near = near[: np.searchsorted(near, len(key) - step)]
        near = near[key[near + step] - key[near] < separation]
    first = np.concatenate([np.empty(0, dtype=np.int64), *earlier])
    return first, first + np.repeat(np.arange(1, len(earlier) + 1), [len(part) for part in earlier])


def _separated_densely(key: np.ndarray, rank: np.ndarray, separation: int) -> np.ndarray:
    """`_separated_peaks` without a list of pairs: each round searches the neighbourhoods of the activations that are left."""
    alive = np.arange(len(key))
    chosen: list[np.ndarray] = []
    while len(alive):
        keys, ranks = key[alive], rank[alive]
        low = np.searchsorted(keys, keys - separation, side="right")
        high = np.searchsorted(keys, keys + separation, side="left")
        bounds = np.stack([low, high], axis=1).ravel()
        taken = np.minimum.reduceat(np.append(ranks, ranks[-1]), bounds)[::2] == ranks
        chosen.append(alive[taken])
        covered_before = np.concatenate([[0], np.cumsum(taken)])
        alive = alive[covered_before[high] == covered_before[low]]
    return np.sort(np.concatenate(chosen)) if chosen else alive


def descending(values: np.ndarray) -> np.ndarray:
    """int64 [n]: the indices of positive values, largest first, of equals the first."""
    if values.dtype == np.float16:
        return np.argsort(np.uint16(0xFFFF) - values.view(np.uint16), kind="stable")  # a radix sort; positive floats sort as their bits
    return np.argsort(-values, kind="stable")


def descending_by(owner: np.ndarray, values: np.ndarray) -> np.ndarray:
    """int64 [n]: the indices ordered by owner, ascending, then by positive value, largest first, then by index."""
    by_value = descending(values)
    return by_value[np.argsort(owner[by_value].astype(np.uint16), kind="stable")]
