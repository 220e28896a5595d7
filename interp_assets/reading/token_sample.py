"""Reading the token sample of a dictionary."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from interp_assets.tables import DICTIONARY_SAMPLES, TOKEN_SAMPLES
from resources.store.lake import Lake


@dataclass(frozen=True)
class TokenSample:
    """The contexts of one dictionary: `tokens` int32 [rows, context_tokens]; `sample` their content address."""

    sample: str
    tokens: np.ndarray

    def first_position(self, bos_token_id: int | None) -> int:
        """1 where every row begins with BOS, which no window may contain; else 0 (rows of other tools have none)."""
        return int(bos_token_id is not None and bool((self.tokens[:, 0] == bos_token_id).all()))


def token_matrix(rows: pa.Table) -> np.ndarray:
    """int32 [rows, context_tokens] of a token_samples partition."""
    lists = rows.column("token_ids").combine_chunks()
    return lists.values.to_numpy(zero_copy_only=False).reshape(len(lists), -1)


def read_token_sample(lake: Lake, dictionary: str) -> TokenSample:
    """The sample that `dictionary` is harvested on. Raises `LakeError` when token_sample has not been materialised for it."""
    use = lake.read(DICTIONARY_SAMPLES.name, {"dictionary": dictionary}).to_pylist()[0]
    rows = lake.read(TOKEN_SAMPLES.name, {"sample": use["sample"]}, columns=["token_ids"])
    return TokenSample(use["sample"], token_matrix(rows))
