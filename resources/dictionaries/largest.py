"""The k largest numbers of each row of a matrix that comes block by block, on a CPU several times as fast as `torch.topk` of each block.

A lower bound of a row's k-th largest number leaves few candidates of a block, and the largest are taken of these. Before the first block
the bound is the k-th largest of the maxima of groups of columns: k groups have a number at least as large. Later it is the smallest of the
k numbers so far.
"""

from typing import TYPE_CHECKING

import numpy as np

from resources.dictionaries.screening import MOST_EXACT, Screen

if TYPE_CHECKING:
    import torch

GROUPS = 4
"""The columns of the first block are dealt into this many times k groups."""
LEAST_COLUMNS = 16
"""A block has at least this many times k columns, or `torch.topk` is as fast."""


class Largest:
    """The k largest numbers of each row of the blocks so far, in any order; NaN is the largest number. Among equal numbers any may be kept.

    `values` and `columns` are Tensor[rows, min(k, columns so far)], both None before the first block.
    """

    def __init__(self, k: int) -> None:
        self.k = k
        self.values: torch.Tensor | None = None
        self.columns: torch.Tensor | None = None

    def take(self, hidden: "torch.Tensor", mask: "torch.Tensor", first: int, screen: Screen | None = None) -> None:
        """Take a block, Tensor[rows, n], whose columns are numbered from `first`. `mask` is bool Tensor[rows, n] that is written over.

        With a screen, `hidden` are its upper bounds, and the numbers of the block are its exact values."""
        found = self._candidates(hidden, mask, screen)
        if found is None:
            hidden = hidden if screen is None else screen.whole()
            values, columns = hidden.topk(min(self.k, hidden.shape[1]), dim=-1, sorted=False)
            self._add(values, columns.add_(first))
        else:
            self._add(found[0], found[1].add_(first))

    def _add(self, values: "torch.Tensor", columns: "torch.Tensor") -> None:
        """Join the numbers so far with more numbers of each row, and keep the k largest."""
        import torch

        if self.values is not None and self.columns is not None:
            values, columns = torch.cat([self.values, values], dim=-1), torch.cat([self.columns, columns], dim=-1)
        if values.shape[1] > self.k:
            values, place = values.topk(self.k, dim=-1, sorted=False)
            columns = columns.gather(-1, place)
        self.values, self.columns = values, columns

    def _candidates(
        self, hidden: "torch.Tensor", mask: "torch.Tensor", screen: Screen | None
    ) -> "tuple[torch.Tensor, torch.Tensor] | None":
        """(numbers, columns of the block), Tensor[rows, most candidates of a row] each, missing numbers -inf; None where `torch.topk` is
        better."""
        import torch

        rows, n = hidden.shape
        full = self.values is None or self.values.shape[1] == self.k
        if hidden.device.type != "cpu" or n < LEAST_COLUMNS * self.k or not rows or not full:
            return None
        if self.values is None:
            groups = GROUPS * self.k
            maxima = hidden[:, : n // groups * groups].unflatten(1, (-1, groups)).amax(1)
            bound = maxima.topk(self.k, dim=-1, sorted=False).values.amin(-1, keepdim=True)
            torch.lt(hidden, bound if screen is None else screen.lower(bound).bfloat16(), out=mask)
        else:
            bound = self.values.amin(-1, keepdim=True)
            torch.le(hidden, bound, out=mask) if screen is None else torch.lt(hidden, bound.bfloat16(), out=mask)
        flat = np.flatnonzero(mask.logical_not_().numpy())  # several times as fast as torch's own on a mask with few True
        row, column = np.divmod(flat, n)
        counts = np.bincount(row, minlength=rows)
        widest = int(counts.max())
        many = widest > n // 4 if screen is None else len(flat) > 2 * MOST_EXACT * rows * n
        if many:  # equal numbers, NaNs, or columns in ascending order
            return None
        place = row * widest + np.arange(len(flat)) - np.repeat(np.cumsum(counts) - counts, counts)
        numbers = (
            hidden.reshape(-1)[torch.from_numpy(flat)] if screen is None else screen.exact(torch.from_numpy(row), torch.from_numpy(column))
        )
        values, columns = torch.full((rows * widest,), -torch.inf, dtype=numbers.dtype), torch.zeros(rows * widest, dtype=torch.int64)
        where = torch.from_numpy(place)
        values[where] = numbers
        columns[where] = torch.from_numpy(column)
        return values.view(rows, widest), columns.view(rows, widest)
