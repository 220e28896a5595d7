"""Search by meaning: the explanations nearest to a query by cosine of their sentence embeddings, exact over a million in one pass.

Vectors are compared as int8 first, blocks at a time, and the best of them again as they are. Rounding to 1/127 of a vector's largest entry
moves a cosine of D dimensions by at most √D · scale / 2. So after the best thousand every query says which other vectors could still be
among the best, and compares these as they are too.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from interp_assets.tables import EXPLANATION_EMBEDDINGS
from resources.store.lake import Lake

BLOCK = 8192
BATCH_VECTORS = 16_384
"""Vectors that are read and rounded at a time."""

THREADS = 2
LEAST_COMPARED = 1000
"""Vectors that are compared again as they are, besides the wanted ones, to know how near the nearest are."""

ROUNDING = np.float32(1e-4)
"""More than sums of single precision move a cosine."""


@dataclass(frozen=True)
class MeaningIndex:
    """Vectors of explanations: `codes` int8 [n, D] times `scales` float32 [n], and the float16 vectors [n, D] that they round."""

    features: np.ndarray
    methods: np.ndarray
    ids: pa.ChunkedArray
    codes: np.ndarray
    scales: np.ndarray
    vectors: np.ndarray
    encoder: str

    def nearest(self, query: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """(rows [k], cosines [k]) of the explanations nearest to a vector of length 1, nearest first: none is missed."""
        rough = rough_cosines(self.codes, self.scales, query)
        kept = min(len(rough), k + LEAST_COMPARED)
        rows = np.argpartition(-rough, kept - 1)[:kept] if kept < len(rough) else np.arange(len(rough))
        if kept < len(rough):
            least = np.partition(self._exact(rows, query), -k)[-k]
            furthest = self.scales * np.float32(self.codes.shape[1] ** 0.5 / 2) + ROUNDING
            rows = np.flatnonzero(rough + furthest >= least)
        rows = np.sort(rows)
        exact = self._exact(rows, query)
        order = np.argsort(-exact, kind="stable")[:k]
        return rows[order], exact[order]

    def _exact(self, rows: np.ndarray, query: np.ndarray) -> np.ndarray:
        """float32 [n]: cosines of some vectors as they are, in blocks."""
        parts = [self.vectors[rows[first : first + BLOCK]].astype(np.float32) @ query for first in range(0, len(rows), BLOCK)]
        return np.concatenate(parts) if parts else np.zeros(0, dtype=np.float32)


def rough_cosines(codes: np.ndarray, scales: np.ndarray, query: np.ndarray) -> np.ndarray:
    """float32 [n]: products of rounded vectors with a query, in blocks that stay in the processor's cache."""
    found = np.empty(len(codes), dtype=np.float32)
    query = np.ascontiguousarray(query, dtype=np.float32)

    def block(first: int) -> None:
        part = slice(first, first + BLOCK)
        np.matmul(codes[part].astype(np.float32), query, out=found[part])

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(block, range(0, len(codes), BLOCK)))
    found *= scales
    return found


def rounded(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(int8 codes [n, D], float32 scales [n]) of vectors, worked out in blocks: code · scale is the vector to half a scale."""
    codes, scales = np.empty(vectors.shape, dtype=np.int8), np.empty(len(vectors), dtype=np.float32)

    def block(first: int) -> None:
        part = slice(first, first + BLOCK)
        own = vectors[part].astype(np.float32)
        scales[part] = np.maximum(np.abs(own).max(axis=1, initial=0), 1e-12) / 127
        own /= scales[part, None]
        np.round(own, out=own)
        codes[part] = own

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(block, range(0, len(vectors), BLOCK)))
    return codes, scales


def meaning_index(lake: Lake, key: str) -> MeaningIndex | None:
    """The index of a dictionary's embedded explanations; None where they were not embedded."""
    partition = {"dictionary": key}
    manifest = lake.manifest(EXPLANATION_EMBEDDINGS.name, partition)
    if manifest is None or not manifest.rows:
        return None
    rows = lake.read(EXPLANATION_EMBEDDINGS.name, partition, columns=["feature", "explanation_method", "explanation_id", "encoder"])
    methods = rows["explanation_method"].combine_chunks().dictionary_decode().to_numpy(zero_copy_only=False)
    encoder = rows["encoder"][0].as_py()
    return MeaningIndex(rows["feature"].to_numpy(), methods, rows["explanation_id"], *_arrays(lake, partition, manifest.rows), encoder)


def of_texts(features: np.ndarray, methods: np.ndarray, ids: list[str], vectors: np.ndarray, encoder: str) -> MeaningIndex:
    """An index of vectors in memory."""
    return MeaningIndex(features, methods, pa.chunked_array([pa.array(ids)]), *rounded(vectors), vectors.astype(np.float16), encoder)


def _arrays(lake: Lake, partition: dict[str, str], n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(codes, scales, vectors) of the n > 0 stored vectors of a dictionary. Beside the arrays, memory holds a batch of vectors."""
    codes = scales = vectors = None
    done = 0
    for batch in lake.batches(EXPLANATION_EMBEDDINGS.name, partition, ["vector"], BATCH_VECTORS):
        lists = batch.column("vector")
        part = lists.flatten().to_numpy(zero_copy_only=False).reshape(len(lists), -1)
        if codes is None or scales is None or vectors is None:
            codes, scales, vectors = (
                np.empty((n, part.shape[1]), np.int8),
                np.empty(n, np.float32),
                np.empty((n, part.shape[1]), part.dtype),
            )
        rows = slice(done, done + len(part))
        vectors[rows] = part
        codes[rows], scales[rows] = rounded(part)
        done += len(part)
    assert codes is not None and scales is not None and vectors is not None and done == n, f"{done:,} vectors, and {n:,} in the manifest"
    return codes, scales, vectors
