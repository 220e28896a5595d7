"""Silent windows of features: numbered so that a random number is a random silent window, without a list of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from interp_assets.domain.examples.passages import Passages
from interp_assets.domain.examples.windows import Places, WindowShape


@dataclass(frozen=True, eq=False)
class TextUnits:
    """The passages of a sample in order ("cells" builder: its cells), and the numbers that a feature's silent windows take in a unit in
    which the feature is silent throughout: `numbers_before` int64 [units + 1] sums them up.

    See `SilentWindows`. Built once for each sample: 8 bytes a unit.
    """

    shape: WindowShape
    n_rows: int

    @cached_property
    def passages(self) -> Passages:
        """The passages of the sample; without known passages, its rows from `first_position` on."""
        shape = self.shape
        if shape.passages is not None:
            return shape.passages
        rows, length = np.arange(self.n_rows, dtype=np.int64), shape.context_tokens - shape.first_position
        return Passages(rows, np.full(self.n_rows, shape.first_position), np.full(self.n_rows, length), shape.context_tokens)

    @cached_property
    def numbers_before(self) -> np.ndarray:
        """int64 [units + 1]: the numbers in all units before a unit."""
        n_units = self.shape.n_cells(self.n_rows) if self.shape.builder == "cells" else len(self.passages)
        numbers = self.whole(np.arange(n_units))[3]
        return np.concatenate([[0], np.cumsum(numbers)])

    def holding(self, place: np.ndarray) -> np.ndarray:
        """int64 [n]: the unit of each usable place."""
        row = place // self.shape.context_tokens
        if self.shape.builder == "cells":
            return self.shape.cell_of(row, place - row * self.shape.context_tokens)
        return row if self.shape.passages is None else self.passages.holding(place)

    def whole(self, unit: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """(first window start, numbers of the first start beside one, window starts, all numbers) of units, [n], in which a feature is
        silent."""
        shape = self.shape
        if shape.builder == "cells":
            cells = shape.cells_at(unit)
            return cells.row * shape.context_tokens + cells.start, cells.length - 1, np.ones_like(unit), cells.length
        size, length = shape.window_tokens, self.passages.length[unit]
        short = length <= size
        lead, count = np.where(short, length - 1, size // 2), np.where(short, 1, length - size + 1)
        return self.passages.begin[unit], lead, count, lead + count + np.where(short, 0, size - size // 2 - 1)


@dataclass(frozen=True, eq=False)
class SilentWindows:
    """All silent windows of several features. Every full window without an activation of its feature has a number below `totals` of the
    feature; a passage that is shorter than a window is one window.

    A window has as many numbers as there are ways to come to it: a random token of the text, put at a random place of its window
    (`WindowShape.placed`). So a random number is a window that is drawn as windows around peaks are, and stands no less often at the
    beginning or the end of a document, and no more often in a short one. Where a feature is silent between two activations, or between
    one and an end of the passage, is a run of window starts. A run's first window has `lead` numbers more than one, and the last window of
    a passage has the rest of the numbers. With the "cells" builder a silent cell has as many numbers as the cell has tokens.

    Only runs of units in which a feature fires are listed; all other numbers are read off `TextUnits`. So memory and time grow with the
    activations, not with the sample.
    """

    units: TextUnits
    n_features: int
    touched: "_Touched"

    @classmethod
    def of(cls, units: TextUnits, owner: np.ndarray, positions: np.ndarray, n_features: int = 1) -> "SilentWindows":
        """The silent windows of features that fire at usable `positions`, ascending for each `owner` (the feature's place), both [n]."""
        return cls(units, n_features, _Touched.of(units, owner, positions, n_features))

    @cached_property
    def totals(self) -> np.ndarray:
        """int64 [features]: the numbers of each feature."""
        found = np.zeros(self.n_features, dtype=np.int64)
        np.add.at(found, self.touched.owner, self.touched.change)
        return found + self.units.numbers_before[-1]

    def at(self, owners: Sequence[int], numbers: Sequence[np.ndarray], rngs: Sequence[np.random.Generator]) -> Places:
        """The windows with `numbers`, below the total, of each of the features `owners`, end to end, without parts of words at their ends:
        see `WindowShape.placed`. Each feature has its own generator."""
        owner = np.repeat(np.asarray(owners, dtype=np.int64), [len(part) for part in numbers])
        number = np.concatenate([np.empty(0, dtype=np.int64), *numbers])
        place, within, lead, count = self._run_of(owner, number)
        place = place + np.clip(within - lead, 0, count - 1)
        shape = self.units.shape
        row = place // shape.context_tokens
        start = place - row * shape.context_tokens
        begin, end = shape.bounds(row, start)
        length = np.minimum(shape.window_tokens, end - start)
        least, one, other = np.minimum(1, length - 1), np.empty_like(length), np.empty_like(length)
        first = 0
        for part, rng in zip(numbers, rngs, strict=True):
            span = slice(first, first + len(part))
            one[span], other[span] = (rng.integers(least[span], length[span]) for _ in range(2))
            first += len(part)
        stuck = (shape.builder == "centred") & (end - begin > shape.window_tokens)
        offset = np.where(stuck & (start == begin), np.minimum(one, other), one)
        offset = np.where(stuck & (start + length == end), np.maximum(one, other), offset)
        return shape.trimmed(Places(row, start, length), start + offset)

    def _run_of(self, owner: np.ndarray, number: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """(first start, number within the run, lead, count) of the run that holds each number of a feature."""
        touched, before = self.touched, self.units.numbers_before
        if not len(touched.keys):
            unit = np.searchsorted(before, number, side="right") - 1
            place, lead, count, _ = self.units.whole(unit)
            return place, number - before[unit], lead, count
        near = np.searchsorted(touched.keys, number + owner * touched.stride, side="right") - 1
        known = (near >= 0) & (touched.owner[near] == owner)
        past = number + owner * touched.stride - touched.keys[near]
        inside = known & (past < touched.total[near])
        # In a unit in which the feature is silent throughout: the number that it has of a feature that is silent everywhere.
        elsewhere = np.where(inside, 0, number - np.where(known, touched.changed[near], 0))
        unit = np.searchsorted(before, elsewhere, side="right") - 1
        place, lead, count, _ = self.units.whole(unit)
        within = elsewhere - before[unit]
        run_number = touched.runs_before[touched.first_run[near[inside]]] + past[inside]
        run = np.searchsorted(touched.runs_before, run_number, side="right") - 1
        is_first = run == touched.first_run[near[inside]]
        place[inside], count[inside] = touched.begin[run], touched.count[run]
        lead[inside] = np.where(is_first, self.units.shape.window_tokens // 2, 0)
        within[inside] = run_number - touched.runs_before[run]
        return place, within, lead, count


@dataclass(frozen=True, eq=False)
class _Touched:
    """The units in which features fire, [touched], feature by feature, ascending, and the silent runs in them, [runs].

    `change` is the numbers of a touched unit less the numbers of the unit had the feature been silent, `changed` its sum over the feature's
    touched units up to this one. `keys` ascending: the first number of each touched unit, plus `stride` for each feature before.
    """

    owner: np.ndarray
    total: np.ndarray
    change: np.ndarray
    changed: np.ndarray
    keys: np.ndarray
    stride: int
    first_run: np.ndarray
    runs_before: np.ndarray
    begin: np.ndarray
    count: np.ndarray

    @classmethod
    def of(cls, units: TextUnits, owner: np.ndarray, positions: np.ndarray, n_features: int) -> "_Touched":
        unit = units.holding(positions)
        is_first = np.ones(len(unit), dtype=bool)
        is_first[1:] = (unit[1:] != unit[:-1]) | (owner[1:] != owner[:-1])
        first = np.flatnonzero(is_first)
        unit, whose = unit[first], owner[first]
        if units.shape.builder == "cells":
            begin = count = numbers = np.empty(0, dtype=np.int64)
            first_run = total = np.zeros(len(first), dtype=np.int64)
        else:
            begin, count, numbers, first_run = _runs(units, positions, first, unit)
            total = np.add.reduceat(numbers, first_run) if len(first) else numbers[:0]
        before = units.numbers_before
        change = total - (before[unit + 1] - before[unit])
        starts = np.searchsorted(whose, np.arange(n_features))
        summed = np.concatenate([[0], np.cumsum(change)])
        changed = summed[1:] - summed[starts[whose]]
        stride = int(before[-1]) + 1
        keys = before[unit] + changed - change + whose * stride
        runs_before = np.concatenate([[0], np.cumsum(numbers)])
        return cls(whose, total, change, changed, keys, stride, first_run, runs_before, begin, count)


def _runs(
    units: TextUnits, positions: np.ndarray, first: np.ndarray, unit: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(begin, count, numbers) of the silent runs of touched passages, one before each activation and one after the last of each passage,
    and the first run of each passage. A run without a window has no numbers."""
    n_runs = np.diff(np.append(first, len(positions))) + 1
    first_run = np.cumsum(n_runs) - n_runs
    last_run = first_run + n_runs - 1
    is_last = np.zeros(len(positions) + len(first), dtype=bool)
    is_last[last_run] = True
    stop = np.empty(len(is_last), dtype=np.int64)
    stop[~is_last], stop[last_run] = positions, units.passages.end[unit]
    begin = np.empty_like(stop)
    begin[1:] = stop[:-1] + 1
    begin[first_run] = units.passages.begin[unit]
    size, length = units.shape.window_tokens, units.passages.length[unit]
    count = stop - begin - np.repeat(np.minimum(size, length) - 1, n_runs)
    numbers = np.maximum(count, 0)
    for run, ways in ((first_run, size // 2), (last_run, size - size // 2 - 1)):
        numbers[run] += ways * (count[run] > 0)  # a passage as short as a window has no window left
    return begin, count, numbers, first_run
