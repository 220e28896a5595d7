"""Reading the token sample of a dictionary."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import regex

from interp_assets.domain.examples.passages import Passages, SampleText
from interp_assets.tables import DICTIONARY_SAMPLES, TOKEN_SAMPLES
from resources.store.lake import Lake
from resources.subject.interface import SubjectTokenizer

_LETTER = r"[[\p{L}\p{N}_]--[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Tibetan}]]"  # scripts without spaces
_ENDS_IN_WORD = regex.compile(rf"(?:{_LETTER}\p{{M}}*['’]?|\ufffd)\Z", regex.V1)
_BEGINS_IN_WORD = regex.compile(rf"['’]?{_LETTER}", regex.V1)
_BEGINS_IN_CHARACTER = regex.compile(r"[\p{M}\u200d]", regex.V1)


@dataclass(frozen=True)
class TokenSample:
    """The contexts of one dictionary: `tokens` int32 [rows, context_tokens], and `sample`, their content address.

    `passages` says which tokens are text, None where all tokens are; `continued` bool [rows] says whether a row continues the document of
    the row before.
    """

    sample: str
    tokens: np.ndarray
    passages: Passages | None = None
    continued: np.ndarray | None = None

    def first_position(self, bos_token_id: int | None) -> int:
        """1 where every row begins with BOS, which no window may contain; else 0 (rows of other tools have no BOS)."""
        return int(bos_token_id is not None and bool((self.tokens[:, 0] == bos_token_id).all()))

    def is_text(self) -> np.ndarray:
        """Bool [rows, context_tokens]: the tokens on which activations count."""
        return np.ones(self.tokens.shape, dtype=bool) if self.passages is None else self.passages.is_text(len(self.tokens))

    def text(self, tokenizer: SubjectTokenizer) -> SampleText | None:
        """The units that windows are cut from; None where the sample does not tell them."""
        if self.passages is None:
            return None
        return SampleText(self.passages, words_go_on(self.tokens, self.passages, self.continued, tokenizer))


def words_go_on(tokens: np.ndarray, passages: Passages, continued: np.ndarray | None, tokenizer: SubjectTokenizer) -> np.ndarray:
    """Bool [rows · context]: whether each token continues the word, or the character, of the text token before it.

    In scripts without spaces words are not told apart, and no word is cut there.
    """
    flat = tokens.reshape(-1)
    present = np.flatnonzero(np.bincount(flat))
    texts = tokenizer.texts(present)
    begins, ends, inside = (np.zeros(int(present[-1]) + 1, dtype=bool) for _ in range(3))
    begins[present] = [_BEGINS_IN_WORD.match(text) is not None for text in texts]
    ends[present] = [_ENDS_IN_WORD.search(text) is not None for text in texts]
    inside[present] = tokenizer.begins_inside_character(present) | [_BEGINS_IN_CHARACTER.match(text) is not None for text in texts]
    goes_on = np.zeros(len(flat), dtype=bool)
    goes_on[1:] = inside[flat[1:]] | (begins[flat[1:]] & ends[flat[:-1]])
    starts = passages.begin
    goes_on[starts] = False
    if continued is not None and len(starts):
        # The first passage of a row that continues a document: the token before it is the last token of the row before.
        first_of_row = np.concatenate([[True], passages.row[1:] != passages.row[:-1]])
        number = np.flatnonzero(first_of_row)
        number = number[(number > 0) & continued[passages.row[number]]]
        before = passages.end[number - 1] - 1
        joined = (before == passages.row[number] * passages.context_tokens - 1) & (passages.start[number] <= 1)
        place, before = starts[number[joined]], before[joined]
        goes_on[place] = inside[flat[place]] | (begins[flat[place]] & ends[flat[before]])
    return goes_on


def token_matrix(rows: pa.Table) -> np.ndarray:
    """int32 [rows, context_tokens] of a token_samples partition."""
    lists = rows.column("token_ids").combine_chunks()
    return lists.values.to_numpy(zero_copy_only=False).reshape(len(lists), -1)


def read_token_sample(lake: Lake, dictionary: str) -> TokenSample:
    """The sample that `dictionary` is harvested on. Raises `LakeError` when token_sample has not been materialised for it."""
    use = lake.read(DICTIONARY_SAMPLES.name, {"dictionary": dictionary}).to_pylist()[0]
    columns = ["token_ids", "document_ids", "passage_starts", "passage_lengths"]
    rows = lake.read(TOKEN_SAMPLES.name, {"sample": use["sample"]}, columns=columns)
    tokens = token_matrix(rows)
    starts, lengths = (rows.column(name).combine_chunks() for name in ("passage_starts", "passage_lengths"))
    row = np.repeat(np.arange(len(tokens)), np.diff(starts.offsets.to_numpy()))
    start, length = (part.values.to_numpy().astype(np.int64) for part in (starts, lengths))
    passages = Passages(row, start, length, tokens.shape[1])
    return TokenSample(use["sample"], tokens, passages, _continued(rows.column("document_ids").combine_chunks()))


def _continued(documents: pa.ListArray) -> np.ndarray:
    """Bool [rows]: whether a row begins with the document at the end of the row before."""
    offsets, ids = documents.offsets.to_numpy(), documents.values.to_numpy()
    found = np.zeros(len(documents), dtype=bool)
    filled = np.flatnonzero((np.diff(offsets)[1:] > 0) & (np.diff(offsets)[:-1] > 0)) + 1
    found[filled] = ids[offsets[filled]] == ids[offsets[filled] - 1]
    return found
