"""The subject's tokenizer, without its weights: text to ids, and each token's text in its place."""

import re
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from typing import Any

import numpy as np

from resources.subject.chat_texts import found_pieces, rendered_pieces
from resources.subject.control_tokens import encodable, text_encoder
from resources.subject.token_texts import TokenTexts

_BYTE = re.compile(r"<0x[0-9A-F]{2}>")
_CONTINUATION_LETTERS = frozenset(chr(code) for code in [*range(0xA1, 0xAD), *range(0xAE, 0xC0), *range(0x122, 0x144)])
"""The letters of the bytes 0x80 to 0xBF in byte-level vocabularies: a byte without a printable letter has a letter from 0x100 on."""


class Tokenizer:
    """A Hugging Face tokenizer with the few members that the graph needs. `revision` names the tokenizer's files.

    Control tokens are never made out of text (see `control_tokens`), and a token's text depends on the tokens around it (see
    `token_texts`).
    """

    def __init__(self, tokenizer: Any, revision: str) -> None:
        self._tokenizer = tokenizer
        self._encoder = text_encoder(tokenizer)
        self._decode_ids = _decoder(tokenizer)
        self._ids_by_text: tuple[dict[str, int], dict[str, int]] | None = None
        self.revision = revision
        self.bos_token_id: int | None = tokenizer.bos_token_id
        self.eos_token_id: int | None = tokenizer.eos_token_id

    @property
    def special_token_ids(self) -> frozenset[int]:
        """Ids whose activations are left out: control tokens, and the token for unknown characters."""
        return self._special_token_ids

    @cached_property
    def _special_token_ids(self) -> frozenset[int]:
        return frozenset(self._tokenizer.all_special_ids) | self._encoder.control_ids

    @property
    def control_token_ids(self) -> frozenset[int]:
        """Ids of the tokens that stand for no text; the token for unknown characters is not among them."""
        return self._encoder.control_ids

    @property
    def text_token_ids(self) -> np.ndarray:
        """int64 [n] ids that stand for text, ascending.

        Left out are special tokens, control tokens, and ids beyond the tokenizer or without a token in it. Added tokens that are text, such
        as runs of spaces, stay.
        """
        return np.array(sorted(set(self._tokenizer.get_vocab().values()) - self.special_token_ids), dtype=np.int64)

    @property
    def vocabulary_size(self) -> int:
        """All ids are below this number."""
        return len(self._tokenizer)

    @property
    def has_chat_template(self) -> bool:
        """Whether the tokenizer can encode messages."""
        return bool(self._tokenizer.chat_template)

    def encode(self, text: str) -> np.ndarray:
        """int32 [n] ids of a text; empty for an empty text. Special tokens are neither added nor made out of the text. Lone surrogates read
        as U+FFFD."""
        return np.asarray(self._encoder.encode(self._tokenizer, text), dtype=np.int32)

    def encode_messages(self, messages: Sequence[tuple[str, str]]) -> tuple[np.ndarray, np.ndarray]:
        """(int32 [n] ids of a chat through the chat template, int64 [n] the number of the message that holds the whole token).

        The number is -1 for text of the template. Raises `ChatTemplateError` where the template refuses the messages.
        """
        named = [{"role": role, "content": encodable(content)} for role, content in messages]
        pieces = rendered_pieces(self._tokenizer, named, add_generation_prompt=False) or found_pieces(self._tokenizer, named)
        ids, spans = self._encoder.encode_pieces(self._tokenizer, [(text, number is None) for text, number in pieces])
        whole, bounds = "".join(text for text, _ in pieces), np.cumsum([0, *(len(text) for text, _ in pieces)])
        numbers = np.array([-1 if number is None else number for _, number in pieces] or [-1])
        first, end = np.array([_without_lead(span, whole) for span in spans], dtype=np.int64).reshape(-1, 2).T
        piece = np.searchsorted(bounds, first, side="right") - 1
        inside = (end > first) & (end <= bounds[np.minimum(piece + 1, len(bounds) - 1)])
        return np.asarray(ids, dtype=np.int32), np.where(inside, numbers[np.minimum(piece, len(numbers) - 1)], -1)

    def tokens(self, token_ids: Sequence[int] | np.ndarray) -> list[str]:
        """The text of each token of a run; joined they are `text(token_ids)`.

        A character of several tokens is shown at the first of them, and its further tokens have no text.
        """
        return self._texts.of_run([int(i) for i in token_ids])

    def texts(self, token_ids: Sequence[int] | np.ndarray) -> list[str]:
        """Each token's own text, as in the middle of a text; a part of a multi-byte character reads as the replacement character."""
        return self._texts.alone([int(i) for i in token_ids])

    def is_plain(self, token_ids: np.ndarray) -> np.ndarray:
        """Bool [n]: whether a token's text in `texts` is the same in every place, except at the beginning of a run."""
        return self._texts.is_plain(token_ids)

    def begins_inside_character(self, token_ids: np.ndarray) -> np.ndarray:
        """Bool [n]: whether a token begins with a byte that continues the character of the token before it."""
        spelt = self._tokenizer.convert_ids_to_tokens(token_ids.tolist())
        parts = zip(self.texts(token_ids), spelt, strict=True)
        return np.array(
            [text[:1] == "\ufffd" and _begins_with_continuation(token) for text, token in parts],
            dtype=bool,
        )

    def text(self, token_ids: Sequence[int] | np.ndarray) -> str:
        """The text of a run of ids, whole characters where the run has them."""
        return self._decode([int(i) for i in token_ids])

    def ids_of(self, texts: Sequence[str]) -> list[int]:
        """The id of each token text, -1 for the text of no id or of several ids. A text may also be spelt as in the vocabulary: Ġthe,
        ▁the."""
        if self._ids_by_text is None:
            ids = range(self.vocabulary_size)
            self._ids_by_text = _distinct(self.texts(ids)), _distinct(self._tokenizer.convert_ids_to_tokens(list(ids)))
        read, spelt = self._ids_by_text
        return [read[text] if text in read else spelt.get(text, -1) for text in texts]

    @cached_property
    def _texts(self) -> TokenTexts:
        letters = self._encoder.encode(self._tokenizer, "a") or [0]
        vocabulary = self._tokenizer.get_vocab().items()
        return TokenTexts(self._decode, letters[-1], frozenset(token_id for token, token_id in vocabulary if _BYTE.fullmatch(token)))

    def _decode(self, token_ids: Sequence[int]) -> str:
        return self._decode_ids(list(token_ids))


def _decoder(tokenizer: Any) -> Callable[[list[int]], str]:
    """Gives the text of ids, control tokens included, no spaces cleaned up.

    Where a tokenizer decodes by the methods of transformers' fast tokenizers, its `tokenizers.Tokenizer` is asked at once, which takes a
    fifth of the time of a token.
    """
    homes = [getattr(getattr(type(tokenizer), name, None), "__module__", "") for name in ("decode", "_decode")]
    if homes == ["transformers.tokenization_utils_base", "transformers.tokenization_utils_tokenizers"]:
        return partial(tokenizer.backend_tokenizer.decode, skip_special_tokens=False)
    return partial(tokenizer.decode, clean_up_tokenization_spaces=False)


def _without_lead(span: tuple[int, int], text: str) -> tuple[int, int]:
    """The span from its first character that is no whitespace: the space of "[INST] The" belongs to the template, but is in the token
    ▁The."""
    first, end = span
    lead = len(text[first:end]) - len(text[first:end].lstrip())
    return (first + lead, end) if first + lead < end else span


def _begins_with_continuation(token: str) -> bool:
    """Whether a token in the vocabulary's spelling (<0x9F>, or GPT-2's letters for bytes) begins with a byte from 0x80 to 0xBF."""
    return "0x80" <= token[1:5] <= "0xBF" if _BYTE.fullmatch(token) else token[:1] in _CONTINUATION_LETTERS


def _distinct(texts: Sequence[str]) -> dict[str, int]:
    """The index of each text, -1 for a text that occurs several times."""
    places: dict[str, int] = {}
    for place, text in enumerate(texts):
        places[text] = -1 if text in places else place
    return places


def load_tokenizer(source: str, revision: str | None = None) -> Tokenizer:
    """The tokenizer at `source` (see `resources.weights.resolve_model_folder`). Raises the same errors."""
    from resources.weights import load_hf_tokenizer, resolve_model_folder

    folder = resolve_model_folder(source, revision)
    return Tokenizer(load_hf_tokenizer(folder), folder.revision)
