"""Documents to token ids, with the ids that are text: plain text, chats through the model's own template, rows of token ids.

encode = DocumentEncoder(tokenizer, turns=("assistant",))
ids, is_text = encode(document)
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from resources.corpus.interface import CorpusError, Document
from resources.subject.chat_texts import ChatTemplateError
from resources.subject.interface import SubjectTokenizer

CHECKED_DOCUMENTS = 32
"""Documents of ids that are decoded and encoded again."""

LEAST_CHECKED_TOKENS = 128
"""Fewest tokens for this check: a share of fewer tokens says too little."""

LEAST_SAME_SHARE = 0.95
"""Least share of tokens that must come back when their text is encoded again. The tokenizer's own ids of prose, code and Chinese reach 0.97
to 1, ids of another vocabulary 0.85 to 0.94."""


class DocumentEncoder:
    """Encodes documents with a subject's tokenizer.

    In a chat, the contents of the turns by the roles `turns` are text (None: all roles), and the text of the template is not. In rows of
    ids all tokens but special tokens are text.
    """

    def __init__(self, tokenizer: SubjectTokenizer, turns: Sequence[str] | None = None) -> None:
        self._tokenizer, self._turns = tokenizer, turns
        self._checked = self._same = self._total = 0

    def __call__(self, document: Document) -> tuple[np.ndarray, np.ndarray | None]:
        """(int32 [n] ids, bool [n] whether each id is text, None where all are). Raises `CorpusError` naming the document."""
        if document.messages:
            return self._chat(document)
        if document.token_ids is not None:
            return self._ids(document, document.token_ids)
        return self._tokenizer.encode(document.text), None

    def _chat(self, document: Document) -> tuple[np.ndarray, np.ndarray]:
        if not self._tokenizer.has_chat_template:
            raise CorpusError(
                f"{document.title} holds messages, but the model's tokenizer has no chat template. Take an instruct model, "
                "or a field of text."
            )
        try:
            ids, message = self._tokenizer.encode_messages(document.messages)
        except ChatTemplateError as error:
            raise CorpusError(f"{document.title}: the model's chat template refuses these messages: {error}. Leave the row out.") from error
        counted = [self._turns is None or role in self._turns for role, _ in document.messages]
        is_text = np.array([number >= 0 and counted[number] for number in message], dtype=bool)
        first = int(len(ids) > 0 and ids[0] == self._tokenizer.bos_token_id)  # rows begin with BOS themselves
        return ids[first:], is_text[first:]

    def _ids(self, document: Document, token_ids: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
        """The ids without the special tokens around them: rows get BOS, the end of the document and padding from us."""
        ids = np.asarray(token_ids, dtype=np.int64)
        size = self._tokenizer.vocabulary_size
        if len(ids) and (ids.min() < 0 or ids.max() >= size):
            wrong = int(ids.max()) if ids.max() >= size else int(ids.min())
            raise CorpusError(
                f"{document.title} has token {wrong}, but the model's tokenizer has tokens 0 to {size - 1}: these ids are another "
                "tokenizer's. Name the model that they were made for, or a field of text."
            )
        is_text = ~np.isin(ids, list(self._tokenizer.special_token_ids))
        inner = np.flatnonzero(is_text)
        span = slice(int(inner[0]), int(inner[-1]) + 1) if len(inner) else slice(0, 0)
        ids, is_text = ids[span].astype(np.int32), is_text[span]
        self._check(document, ids[is_text])
        return ids, is_text

    def _check(self, document: Document, ids: np.ndarray) -> None:
        """Raise `CorpusError` where too few tokens of the first documents come back when their text is encoded again."""
        if self._checked >= CHECKED_DOCUMENTS or not len(ids):
            return
        again = self._tokenizer.encode(self._tokenizer.text(ids)).tolist()
        self._checked += 1
        self._same += sum((Counter(ids.tolist()) & Counter(again)).values())
        self._total += max(len(ids), len(again))
        if self._total >= LEAST_CHECKED_TOKENS and self._same < LEAST_SAME_SHARE * self._total:
            raise CorpusError(
                f"{document.source}: of the first {self._total:,} tokens {self._same / self._total:.0%} come out again when their text is "
                f"encoded with the model's tokenizer (at least {LEAST_SAME_SHARE:.0%} is needed): these ids are another tokenizer's. "
                f"They read {self._tokenizer.text(ids[:24])!r}. Name the model that they were made for, or a field of text."
            )
