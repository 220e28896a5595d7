"""Reads the window embeddings of a dictionary."""

import numpy as np

from interp_assets.config.base import UserError
from interp_assets.tables import DICTIONARY_EMBEDDINGS, WINDOW_EMBEDDINGS
from resources.store.lake import Lake

FLOAT32_BYTES = 1 << 30
"""Up to this size, embeddings are in float32 for speed; larger embeddings are in float16. Unit: bytes."""

BATCH_CELLS = 65_536
"""Vectors that are read at a time, beside the array that holds all of them."""


def read_embeddings(lake: Lake, dictionary: str, window_tokens: int) -> np.ndarray:
    """[n_cells, dimensions] of the cells of `window_tokens` tokens, in float32, or in float16 above FLOAT32_BYTES.

    Raises `LakeError` when window_embeddings has not been made, and `UserError` when it was made under settings that asked for other
    windows.
    """
    use = lake.read(DICTIONARY_EMBEDDINGS.name, {"dictionary": dictionary}).to_pylist()[0]
    if use["outcome"] != "ok" or use["window_tokens"] != window_tokens:
        raise UserError(
            f"dictionary {dictionary}: examples asks for similar windows of {window_tokens} tokens, but window_embeddings has outcome "
            f"{use['outcome']} for windows of {use['window_tokens']}: the settings changed since. Materialise window_embeddings again."
        )
    partition = {"embeddings": use["embeddings"]}
    n = lake.require(WINDOW_EMBEDDINGS.name, partition).rows
    embeddings, done = np.empty((0, 0), dtype=np.float32), 0
    for batch in lake.batches(WINDOW_EMBEDDINGS.name, partition, ["vector"], BATCH_CELLS):
        lists = batch.column("vector")
        part = lists.flatten().to_numpy(zero_copy_only=False).reshape(len(lists), -1)
        if not done:  # the array is made once: vectors that are joined at the end would be in memory twice
            embeddings = np.empty((n, part.shape[1]), dtype=np.float32 if 4 * n * part.shape[1] <= FLOAT32_BYTES else part.dtype)
        embeddings[done : done + len(part)] = part
        done += len(part)
    return embeddings
