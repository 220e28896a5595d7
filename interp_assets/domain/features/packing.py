"""Documents to rows of tokens: concatenated with EOS between documents, cut into rows that each begin with BOS."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np


class CorpusTooSmall(ValueError):
    """The documents ran out before the sample was full: they fill `found_tokens` of `asked_tokens`, both in whole rows, BOS counted."""

    def __init__(self, found_tokens: int, asked_tokens: int) -> None:
        super().__init__(
            f"the corpus fills {found_tokens:,} tokens of the {asked_tokens:,} asked for: add documents, or ask for at most "
            f"{found_tokens:,} tokens"
        )
        self.found_tokens = found_tokens
        self.asked_tokens = asked_tokens


class TokenisedDocument(NamedTuple):
    """A document's name, its token ids [n], and whether each token is text, bool [n]; `is_text` None: all tokens are text."""

    name: str
    token_ids: Sequence[int] | np.ndarray
    is_text: np.ndarray | None = None


@dataclass(frozen=True)
class PackedRows:
    """A token sample.

    `token_ids` int32 [rows, context_tokens]. `is_text` bool [rows, context_tokens]: False for BOS, EOS and masked tokens of a document. For
    row r, `document_ids[r]` names the documents with tokens in the row, in order, and `document_starts[r]` has the position in the row at
    which each of these documents begins or continues.
    """

    token_ids: np.ndarray
    is_text: np.ndarray
    document_ids: list[tuple[str, ...]]
    document_starts: list[tuple[int, ...]]


def pack_documents(
    documents: Iterable[TokenisedDocument | tuple[str, Sequence[int] | np.ndarray]],
    context_tokens: int,
    bos_id: int | None,
    eos_id: int | None,
    n_tokens: int,
) -> PackedRows:
    """The first `n_tokens // context_tokens` full rows of the documents (BOS counts as a token).

    Every document is followed by `eos_id` (unless None); every row begins with `bos_id` (unless None). A last partial row is dropped, and
    reading stops as soon as the rows are full. Empty documents are skipped. Raises `CorpusTooSmall` when the documents run out before.
    """
    first_position = 0 if bos_id is None else 1
    body_tokens = context_tokens - first_position
    n_rows = n_tokens // context_tokens
    assert body_tokens > 0 and n_rows > 0, f"{n_tokens=} must hold at least one row of {context_tokens=}"

    stream = np.empty(n_rows * body_tokens, dtype=np.int32)
    is_text = np.empty(len(stream), dtype=bool)
    filled = 0
    names: list[str] = []
    offsets: list[int] = []
    for document in documents:
        name, token_ids, counted = document if isinstance(document, TokenisedDocument) else TokenisedDocument(*document)
        if len(token_ids) == 0:
            continue
        piece = np.asarray(token_ids, dtype=np.int32)
        counts = np.ones(len(piece), dtype=bool) if counted is None else counted
        if eos_id is not None:
            piece, counts = np.append(piece, np.int32(eos_id)), np.append(counts, False)
        piece = piece[: len(stream) - filled]
        is_text[filled : filled + len(piece)] = counts[: len(piece)]
        names.append(name)
        offsets.append(filled)
        stream[filled : filled + len(piece)] = piece
        filled += len(piece)
        if filled == len(stream):
            break
    if filled < len(stream):
        raise CorpusTooSmall(filled // body_tokens * context_tokens, n_rows * context_tokens)

    rows, is_text = stream.reshape(n_rows, body_tokens), is_text.reshape(n_rows, body_tokens)
    if bos_id is not None:
        rows = np.concatenate([np.full((n_rows, 1), bos_id, dtype=np.int32), rows], axis=1)
        is_text = np.concatenate([np.zeros((n_rows, 1), dtype=bool), is_text], axis=1)
    ids, starts = _documents_of_rows(names, offsets, n_rows, body_tokens, first_position)
    return PackedRows(rows, is_text, ids, starts)


def _documents_of_rows(
    names: list[str], offsets: list[int], n_rows: int, body_tokens: int, first_position: int
) -> tuple[list[tuple[str, ...]], list[tuple[int, ...]]]:
    """The names of each row's documents, and where in the row each document begins; a continued document begins at the first position."""
    bounds = np.arange(n_rows) * body_tokens
    first = np.searchsorted(offsets, bounds, side="right") - 1
    last = np.searchsorted(offsets, bounds + body_tokens, side="left") - 1
    ids = [tuple(names[first[r] : last[r] + 1]) for r in range(n_rows)]
    places = [[offset - int(bounds[r]) for offset in offsets[first[r] : last[r] + 1]] for r in range(n_rows)]
    starts = [tuple(max(place, 0) + first_position for place in row) for row in places]
    return ids, starts
