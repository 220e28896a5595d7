"""The subject's tokenizer, without its weights: text to ids, and each id's own text."""

from collections.abc import Sequence
from typing import Any

import numpy as np


class Tokenizer:
    """A Hugging Face tokenizer with the few members that the graph needs. `revision` names the tokenizer's files."""

    def __init__(self, tokenizer: Any, revision: str) -> None:
        self._tokenizer = tokenizer
        self._texts: dict[int, str] = {}
        self.revision = revision
        self.bos_token_id: int | None = tokenizer.bos_token_id
        self.eos_token_id: int | None = tokenizer.eos_token_id

    @property
    def special_token_ids(self) -> frozenset[int]:
        """Ids whose activations are left out."""
        return frozenset(self._tokenizer.all_special_ids)

    def encode(self, text: str) -> np.ndarray:
        """int32 [n] ids of a text, no special tokens added; empty for an empty text."""
        ids = self._tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        return np.asarray(ids, dtype=np.int32)

    def tokens(self, token_ids: Sequence[int] | np.ndarray) -> list[str]:
        """The text of each id on its own; a part of a multi-byte character reads as the replacement character."""
        ids = [int(i) for i in token_ids]
        for token_id in set(ids) - self._texts.keys():
            self._texts[token_id] = self._tokenizer.decode([token_id], clean_up_tokenization_spaces=False)
        return [self._texts[i] for i in ids]


def load_tokenizer(source: str, revision: str | None = None) -> Tokenizer:
    """The tokenizer at `source` (see `resources.weights.resolve_model_folder`, whose errors it raises)."""
    from resources.weights import load_hf_tokenizer, resolve_model_folder

    folder = resolve_model_folder(source, revision)
    return Tokenizer(load_hf_tokenizer(folder), folder.revision)
