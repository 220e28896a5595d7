"""Upper bounds of a float32 matrix product by a bfloat16 product, and exact values of the few entries that may count.

Some CPUs multiply bfloat16 matrices two to three times as fast as float32 matrices. Where few entries of `rows columnsᵀ + bias` matter,
such as the largest of each row, the bfloat16 product says which entries cannot matter, and the entries that are left are float32 dot
products. So nothing is lost: the results are results of float32.

A number rounded to bfloat16 is off by at most u = 2⁻⁸ of itself. With x and w rounded, Σ xᵢ wᵢ is off by at most (2 u + u²) Σ |xᵢ wᵢ|.
That is at most (2 u + u²) |x| |w| (Cauchy and Schwarz). The bound, and a bound of the sum's own rounding in float32, are a further
dimension of both factors. So is the bias, as the sum of two bfloat16 numbers. All are rounded up: the product is an upper bound of the
entry.
"""

import warnings
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

ROUNDING = 2.0**-8
"""Largest relative error of a number rounded to bfloat16."""
LEAST_ROWS = 256
"""With fewer rows it takes longer to round the columns than the product in bfloat16 saves."""
MOST_EXACT = 1 / 32
"""Largest share of entries that are worth to be computed one by one: a dot product by itself takes some ten times as long."""
EXTRA = 32
"""Dimensions that both factors get. Three are used, for the bound and the bias; products are faster with multiples of 32."""


def screens(rows: "torch.Tensor", columns: "torch.Tensor") -> bool:
    """Whether `rows columnsᵀ` is worth a screen: on a CPU that multiplies in bfloat16, for many rows, Tensor[n, d], and for `columns`,
    Tensor[m, d], whose rows lie together in memory."""
    import torch

    fits = rows.device.type == "cpu" and len(rows) >= LEAST_ROWS and columns.stride(-1) == 1 and rows.dtype == torch.float32
    return fits and multiplies_in_bfloat16()


@cache
def multiplies_in_bfloat16() -> bool:
    """Whether the CPU has instructions for products in bfloat16, and torch uses them."""
    import torch

    able = torch.cpu.get_capabilities()
    return torch.backends.mkldnn.is_available() and bool(able.get("avx512_bf16") or able.get("amx_bf16"))


class ScreenedRows:
    """The left factor of a product, float32 Tensor[n, d]."""

    def __init__(self, rows: "torch.Tensor") -> None:
        import torch

        n, d = rows.shape
        self.rows = rows
        self.norms = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
        self.rounded = torch.zeros(n, d + EXTRA, dtype=torch.bfloat16)
        self.rounded[:, :d] = rows
        self.rounded[:, d : d + 1] = _up(self.norms)
        self.rounded[:, d + 1 : d + 3] = 1.0


class ScreenedColumns:
    """The right factor of a product, float32 Tensor[m, d], and the bias of each column, Tensor[m]."""

    def __init__(self, columns: "torch.Tensor", bias: "torch.Tensor | None") -> None:
        import torch

        m, d = columns.shape
        self.columns, self.bias = columns, bias
        summing = (d + EXTRA) * 2.0**-22
        off = (2 * ROUNDING + ROUNDING**2 + summing) * torch.linalg.vector_norm(columns, dim=1)
        self.most_off = 2 * (1 + 8 * ROUNDING) * off.amax()
        self.most_bias_off = 0.0
        self.rounded = torch.zeros(m, d + EXTRA, dtype=torch.bfloat16)
        self.rounded[:, :d] = columns
        self.rounded[:, d] = _up(off)
        if bias is not None:
            high, spare = bias.bfloat16(), bias.abs() * (ROUNDING**2 + summing)
            self.rounded[:, d + 1] = high
            self.rounded[:, d + 2] = _up(bias - high.float() + spare)
            self.most_bias_off = 4 * ROUNDING * bias.abs().amax()

    def slack(self, rows: ScreenedRows) -> "torch.Tensor":
        """Tensor[n, 1]: an entry is at least its upper bound, before that is rounded, less the slack of its row."""
        return self.most_off * rows.norms + self.most_bias_off


class Screen:
    """Upper bounds of `rows columnsᵀ + bias`, rounded to bfloat16, in `upper`, Tensor[n, m], which is written over."""

    def __init__(self, rows: ScreenedRows, columns: ScreenedColumns, upper: "torch.Tensor") -> None:
        import torch

        self.rows, self.columns = rows, columns
        self.upper = torch.mm(rows.rounded, columns.rounded.T, out=upper)

    def lower(self, bounds: "torch.Tensor") -> "torch.Tensor":
        """float32 Tensor[n, 1]: lower bounds of the entries whose upper bounds are at least `bounds`, bfloat16 Tensor[n, 1]."""
        found = bounds.float()
        return found - 2 * ROUNDING * found.abs() - self.columns.slack(self.rows)

    def exact(self, row: "torch.Tensor", column: "torch.Tensor") -> "torch.Tensor":
        """float32 Tensor[entries]: the entries at (row, column), which are in order of their rows."""
        import torch

        _quiet()
        n, m = self.upper.shape
        first = torch.zeros(n + 1, dtype=torch.int64)
        torch.cumsum(torch.bincount(row, minlength=n), 0, out=first[1:])
        places = torch.sparse_csr_tensor(first, column, torch.zeros(len(column)), size=(n, m), check_invariants=False)
        values = torch.sparse.sampled_addmm(places, self.rows.rows, self.columns.columns.T, beta=0.0).values()
        return values if self.columns.bias is None else values.add_(self.columns.bias[column])

    def whole(self) -> "torch.Tensor":
        """float32 Tensor[n, m]: every entry."""
        product = self.rows.rows @ self.columns.columns.T
        return product if self.columns.bias is None else product.add_(self.columns.bias)


def _up(numbers: "torch.Tensor") -> "torch.Tensor":
    """Numbers that are at least these numbers once they are rounded to bfloat16."""
    return numbers + numbers.abs() * 2 * ROUNDING


@cache
def _quiet() -> None:
    """Keep torch from saying once in a process that its sparse matrices may change."""
    warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
