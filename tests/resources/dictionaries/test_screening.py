"""Screens lose nothing: no entry is above its upper bound, and features are those of the whole product in float32."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from resources.dictionaries import encoding, screening
from resources.dictionaries.encoding import Gate, GroupMax, Threshold, TopK, encode_in_blocks
from resources.dictionaries.screening import LEAST_ROWS, ROUNDING, Screen, ScreenedColumns, ScreenedRows

N, D, WIDTH = LEAST_ROWS + 7, 48, 1024


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def with_one_massive_dimension(rows: torch.Tensor) -> torch.Tensor:
    return torch.cat([rows[:, :1] * 1000, rows[:, 1:]], dim=1)


FACTORS: dict[str, tuple[torch.Tensor, torch.Tensor]] = {
    "normal": (normal(N, D), normal(WIDTH, D, seed=1)),
    "one massive dimension": (with_one_massive_dimension(normal(N, D)), with_one_massive_dimension(normal(WIDTH, D, seed=1))),
    "all of one sign, where roundings add up": (normal(N, D).abs() + 1.0038, normal(WIDTH, D, seed=1).abs() + 1.0038),
    "columns of very different lengths": (normal(N, D), normal(WIDTH, D, seed=1) * torch.logspace(-6, 6, WIDTH)[:, None]),
    "rows of zeros": (normal(N, D) * (torch.arange(N) % 2)[:, None], normal(WIDTH, D, seed=1)),
    "columns of zeros": (normal(N, D), normal(WIDTH, D, seed=1) * (torch.arange(WIDTH) % 2)[:, None]),
    "many dimensions": (normal(N, 1000), normal(WIDTH, 1000, seed=1)),
}


@pytest.mark.parametrize("name", FACTORS)
@pytest.mark.parametrize("bias", [None, 0.1, 100.0])
def test_bounds_hold_for_every_entry(name: str, bias: float | None) -> None:
    rows, columns = FACTORS[name]
    added = None if bias is None else bias * normal(WIDTH, seed=2)
    entries = rows.double() @ columns.double().T + (0.0 if added is None else added.double())
    kept = ScreenedRows(rows), ScreenedColumns(columns, added)
    upper = Screen(*kept, torch.empty(N, WIDTH, dtype=torch.bfloat16)).upper.double()
    unrounded = upper + ROUNDING * upper.abs()  # at least, and upper itself is at most that much above
    assert (entries <= unrounded).all()
    assert (entries >= upper - 2 * ROUNDING * upper.abs() - kept[1].slack(kept[0]).double()).all()


def test_exact_entries_are_float32_and_in_the_order_asked_for() -> None:
    rows, columns = FACTORS["normal"]
    bias = normal(WIDTH, seed=2)
    screen = Screen(ScreenedRows(rows), ScreenedColumns(columns, bias), torch.empty(N, WIDTH, dtype=torch.bfloat16))
    row, column = (torch.rand(N, WIDTH, generator=torch.Generator().manual_seed(3)) < 0.01).nonzero(as_tuple=True)
    wanted = torch.addmm(bias, rows, columns.T)
    torch.testing.assert_close(screen.exact(row, column), wanted[row, column], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(screen.whole(), wanted, rtol=1e-5, atol=1e-5)
    assert screen.exact(row[:0], column[:0]).shape == (0,)


ACTIVATIONS: dict[str, Callable[[torch.Tensor], Any]] = {
    "relu": lambda hidden: Threshold(),
    "one threshold": lambda hidden: Threshold(float(hidden.flatten().quantile(0.99))),
    "thresholds": lambda hidden: Threshold(hidden.quantile(0.99, dim=0)),
    "thresholds of which some never open": lambda hidden: Threshold(
        hidden.quantile(0.99, dim=0).masked_fill(torch.arange(WIDTH) % 3 == 0, torch.inf)
    ),
    "topk": lambda hidden: TopK(5),
    "topk of many": lambda hidden: TopK(WIDTH // 3),
    "gate": lambda hidden: Gate(torch.rand(WIDTH) + 0.5, normal(WIDTH, seed=4)),
    "groupmax": lambda hidden: GroupMax(8),
}


@pytest.mark.parametrize("factors", FACTORS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("block_bytes", [64 << 20, 2 * LEAST_ROWS * 200])
def test_features_are_those_of_the_whole_product(
    factors: str, activation: str, block_bytes: int, monkeypatch: pytest.MonkeyPatch, dense: Any
) -> None:
    rows, columns = FACTORS[factors]
    bias = 0.1 * normal(WIDTH, seed=2) - 1.5 * (columns.norm(dim=1) if activation in ("relu", "gate") else 0.0)
    monkeypatch.setitem(encoding.BLOCK_BYTES, "cpu", block_bytes)
    chosen = ACTIVATIONS[activation](rows @ columns.T + bias)
    found = []
    for able in (True, False):
        monkeypatch.setattr(screening, "multiplies_in_bfloat16", lambda able=able: able)
        found.append(dense(encode_in_blocks(rows, columns.T, bias, chosen), N, WIDTH))
    scale = rows.norm(dim=1, keepdim=True) * columns.norm(dim=1) + bias.abs() + 1
    near = (found[0] - found[1]).abs() <= 1e-5 * scale
    at_the_limit = (found[0] == 0) != (found[1] == 0)  # a tie that float32 decides this way or that
    assert (near | at_the_limit).all() and int(at_the_limit.sum()) <= 4


@pytest.mark.parametrize("odd", [torch.nan, torch.inf, -torch.inf, 3e38])
def test_odd_numbers_come_through(odd: float, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, columns = (one.clone() for one in FACTORS["normal"])
    rows[3, 5] = odd
    counts = []
    for able in (True, False):
        monkeypatch.setattr(screening, "multiplies_in_bfloat16", lambda able=able: able)
        found = encode_in_blocks(rows, columns.T, None, TopK(5))
        counts.append(((found.token == 3) & ~found.value.isfinite()).sum())
        assert len(found.token[found.token != 3].unique()) == N - 1
    assert counts[0] == counts[1]


def test_screens_work_where_few_pre_activations_can_be_active(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(screening, "multiplies_in_bfloat16", lambda: True)
    made = []
    monkeypatch.setattr(encoding, "Screen", lambda *given: made.append(1) or Screen(*given))
    rows, columns = FACTORS["normal"]
    hidden = rows @ columns.T

    def n_screens(activation: Any, rows: torch.Tensor = rows, weight: torch.Tensor = columns.T) -> int:
        made.clear()
        encode_in_blocks(rows, weight, None, activation)
        return len(made)

    assert n_screens(TopK(5)) and n_screens(Threshold(hidden.quantile(0.99, dim=0)))
    assert not n_screens(Threshold()) and not n_screens(TopK(WIDTH // 3)) and not n_screens(GroupMax(8))
    assert not n_screens(TopK(5), rows[: LEAST_ROWS - 1])  # rounding the weights would take longer
    assert not n_screens(TopK(5), rows, columns.T.contiguous())  # a feature's weights do not lie together
