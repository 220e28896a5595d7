"""Sparse matrices of scipy, which carries no types: the members that the domain uses, with their types. scipy is imported at the first use,
since every process of Dagster imports this module, and few use it."""

from typing import Protocol, cast

import numpy as np


class SparseRows(Protocol):
    """Compressed sparse rows: row i has the entries `data[part]` in the columns `indices[part]`, part = `indptr[i]` to `indptr[i + 1]`."""

    data: np.ndarray
    indices: np.ndarray
    indptr: np.ndarray
    nnz: int

    def __getitem__(self, rows: slice, /) -> "SparseRows": ...

    def __add__(self, other: "SparseRows", /) -> "SparseRows": ...

    def __matmul__(self, other: "SparseRows", /) -> "SparseRows": ...

    def transpose(self) -> "SparseRows": ...

    def tocsr(self) -> "SparseRows": ...


def no_entries(shape: tuple[int, int]) -> SparseRows:
    """float64 [shape] without entries."""
    from scipy import sparse  # pyright: ignore[reportMissingTypeStubs]

    return cast(SparseRows, sparse.csr_array(shape, dtype=np.float64))


def from_rows(data: np.ndarray, indices: np.ndarray, indptr: np.ndarray, shape: tuple[int, int]) -> SparseRows:
    """[shape] of the three arrays of `SparseRows`, which are not copied."""
    from scipy import sparse  # pyright: ignore[reportMissingTypeStubs]

    return cast(SparseRows, sparse.csr_matrix((data, indices, indptr), shape=shape, copy=False))


def from_entries(data: np.ndarray, row: np.ndarray, column: np.ndarray, shape: tuple[int, int]) -> SparseRows:
    """[shape] of entries in any order; entries of the same place are summed."""
    from scipy import sparse  # pyright: ignore[reportMissingTypeStubs]

    return cast(SparseRows, sparse.coo_array((data, (row, column)), shape=shape)).tocsr()


def cheapest_full_matching(costs: SparseRows) -> tuple[np.ndarray, np.ndarray]:
    """(row, column) of the matching of all rows of least summed costs, rows ascending; `ValueError` where no matching has all rows."""
    from scipy.sparse.csgraph import (  # pyright: ignore[reportMissingTypeStubs]
        min_weight_full_bipartite_matching,  # pyright: ignore[reportUnknownVariableType]
    )

    return cast(tuple[np.ndarray, np.ndarray], min_weight_full_bipartite_matching(costs))
