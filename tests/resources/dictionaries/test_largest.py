"""The k largest of blocks are `torch.topk` of the whole, whatever the numbers are."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from resources.dictionaries.largest import LEAST_COLUMNS, Largest

ROWS = 23


def drawn(n: int, seed: int = 0) -> torch.Tensor:
    """Tensor[ROWS, n] without two equal numbers in a row."""
    generator = torch.Generator().manual_seed(seed)
    return torch.stack([torch.randperm(n, generator=generator) for _ in range(ROWS)]).float() - n / 3


def largest_of(hidden: torch.Tensor, k: int, n_block: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(numbers, columns) of the largest of `hidden`, in blocks of `n_block`."""
    largest = Largest(k)
    for first in range(0, hidden.shape[1], n_block):
        block = hidden[:, first : first + n_block].contiguous()
        largest.take(block, torch.empty_like(block, dtype=torch.bool), first)
    assert largest.values is not None and largest.columns is not None
    return largest.values, largest.columns


@settings(max_examples=60, deadline=None)
@given(n=st.integers(1, 700), k=st.integers(1, 9), n_block=st.integers(1, 300), seed=st.integers(0, 9))
def test_blocks_have_the_largest_of_the_whole(n: int, k: int, n_block: int, seed: int) -> None:
    hidden = drawn(n, seed)
    values, columns = largest_of(hidden, k, n_block)
    order = values.argsort(descending=True)
    wanted = hidden.topk(min(k, n))
    assert torch.equal(values.gather(1, order), wanted.values)
    assert torch.equal(columns.gather(1, order), wanted.indices)


@pytest.mark.parametrize(
    "change",
    [
        lambda hidden: hidden.sort(-1).values,  # every block is above all blocks before it
        lambda hidden: hidden.sort(-1, descending=True).values,
        torch.zeros_like,
        lambda hidden: torch.full_like(hidden, -torch.inf),
        lambda hidden: torch.full_like(hidden, torch.nan),
        lambda hidden: hidden.masked_fill(hidden % 7 == 0, torch.nan),
        lambda hidden: hidden.masked_fill(hidden > 500, torch.inf),
        lambda hidden: hidden.round(decimals=-2),  # many equal numbers
    ],
    ids=["ascending", "descending", "zeros", "-inf", "nan", "some nan", "inf", "equal"],
)
def test_no_numbers_are_too_odd(change: Callable[[torch.Tensor], torch.Tensor]) -> None:
    hidden, k = change(drawn(1000)), 5
    values, columns = largest_of(hidden, k, 200)
    wanted = hidden.topk(k).values
    torch.testing.assert_close(values.sort(-1).values, wanted.sort(-1).values, equal_nan=True, rtol=0, atol=0)
    torch.testing.assert_close(hidden.gather(1, columns), values, equal_nan=True, rtol=0, atol=0)
    assert all(len(set(row)) == k for row in columns.tolist())


def test_wide_blocks_are_not_sorted_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only maxima of groups and candidates are sorted."""
    k, widths, topk = 5, [], torch.Tensor.topk

    def counted(tensor: torch.Tensor, *arguments: int, **options: bool) -> tuple[torch.Tensor, torch.Tensor]:
        widths.append(tensor.shape[1])
        return topk(tensor, *arguments, **options)

    monkeypatch.setattr(torch.Tensor, "topk", counted)
    n = 20 * LEAST_COLUMNS * k
    largest_of(torch.randn(ROWS, n, generator=torch.Generator().manual_seed(1)), k, n // 4)
    assert len(widths) == 5 and max(widths) < n // 16
