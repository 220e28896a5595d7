"""The subject's tokenizer, without its weights: text to ids, and each id's own text."""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

_RESERVED = re.compile(r"<\|?(unused|reserved)")


class Tokenizer:
    """A Hugging Face tokenizer with the few members that the graph needs. `revision` names the tokenizer's files."""

    def __init__(self, tokenizer: Any, revision: str) -> None:
        self._tokenizer = tokenizer
        self._texts: dict[int, str] = {}
        self._ids_by_text: tuple[dict[str, int], dict[str, int]] | None = None
        self.revision = revision
        self.bos_token_id: int | None = tokenizer.bos_token_id
        self.eos_token_id: int | None = tokenizer.eos_token_id

    @property
    def special_token_ids(self) -> frozenset[int]:
        """Ids whose activations are left out."""
        return frozenset(self._tokenizer.all_special_ids)

    @property
    def text_token_ids(self) -> np.ndarray:
        """int64 [n] ids that stand for text, ascending: not the special ones, nor tokens added as control marks or kept in reserve
        (<unused7>). Added tokens that are text, such as runs of spaces, stay. Ids beyond
        the tokenizer, or without a token in it, are not among them."""
        added = self._tokenizer.added_tokens_decoder.items()
        marks = {token_id for token_id, token in added if token.special or _RESERVED.match(token.content)}
        reserved = {token_id for text, token_id in self._tokenizer.get_vocab().items() if _RESERVED.match(text)}
        return np.array(sorted(set(self._tokenizer.get_vocab().values()) - marks - reserved - self.special_token_ids), dtype=np.int64)

    @property
    def vocabulary_size(self) -> int:
        """Ids are below this."""
        return len(self._tokenizer)

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

    def text(self, token_ids: Sequence[int] | np.ndarray) -> str:
        """The text of a run of ids, whole characters where the run has them."""
        return self._tokenizer.decode([int(i) for i in token_ids], clean_up_tokenization_spaces=False)

    def ids_of(self, texts: Sequence[str]) -> list[int]:
        """The id of each token text, -1 where no id or several ids have it. A text may also be spelt as in the vocabulary: Ġthe, ▁the."""
        if self._ids_by_text is None:
            ids = range(self.vocabulary_size)
            self._ids_by_text = _distinct(self.tokens(ids)), _distinct(self._tokenizer.convert_ids_to_tokens(list(ids)))
        read, spelt = self._ids_by_text
        return [read[text] if text in read else spelt.get(text, -1) for text in texts]


def _distinct(texts: Sequence[str]) -> dict[str, int]:
    """The place of each text, -1 for a text that stands in several places."""
    places: dict[str, int] = {}
    for place, text in enumerate(texts):
        places[text] = -1 if text in places else place
    return places


def load_tokenizer(source: str, revision: str | None = None) -> Tokenizer:
    """The tokenizer at `source` (see `resources.weights.resolve_model_folder`, whose errors it raises)."""
    from resources.weights import load_hf_tokenizer, resolve_model_folder

    folder = resolve_model_folder(source, revision)
    return Tokenizer(load_hf_tokenizer(folder), folder.revision)
