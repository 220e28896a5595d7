"""Reads the window embeddings of a dictionary."""

import numpy as np

from interp_assets.config.base import UserError
from interp_assets.tables import DICTIONARY_EMBEDDINGS, WINDOW_EMBEDDINGS
from resources.store.lake import Lake

FLOAT32_BYTES = 1 << 30
"""Up to this size, embeddings are in float32 for speed; larger embeddings are in float16. Unit: bytes."""


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
    vectors: list[np.ndarray] = []
    for batch in lake.batches(WINDOW_EMBEDDINGS.name, {"embeddings": use["embeddings"]}, ["vector"], 65_536):
        lists = batch.column("vector")
        vectors.append(lists.flatten().to_numpy(zero_copy_only=False).reshape(len(lists), -1))
    embeddings = np.concatenate(vectors)
    return embeddings.astype(np.float32) if 4 * embeddings.size <= FLOAT32_BYTES else embeddings
