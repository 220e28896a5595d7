import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from interp_assets.domain.features.packing import CorpusTooSmall, pack_documents

BOS, EOS = 100, 101


def test_documents_are_joined_by_eos_and_cut_into_rows_that_begin_with_bos() -> None:
    rows = pack_documents([("a", [1, 2]), ("b", []), ("c", [3, 4, 5, 6])], context_tokens=4, bos_id=BOS, eos_id=EOS, n_tokens=8)
    assert rows.token_ids.tolist() == [[BOS, 1, 2, EOS], [BOS, 3, 4, 5]]
    assert rows.token_ids.dtype == np.int32
    assert rows.document_ids == [("a",), ("c",)]
    assert rows.document_starts == [(1,), (1,)]


def test_a_document_that_goes_on_in_the_next_row_is_named_there_at_its_first_position() -> None:
    rows = pack_documents([("a", [1]), ("b", [2, 3, 4]), ("c", [5, 6])], context_tokens=4, bos_id=None, eos_id=EOS, n_tokens=8)
    assert rows.token_ids.tolist() == [[1, EOS, 2, 3], [4, EOS, 5, 6]]
    assert rows.document_ids == [("a", "b"), ("b", "c")]
    assert rows.document_starts == [(0, 2), (0, 2)]


def test_reading_stops_as_soon_as_the_rows_are_full() -> None:
    def documents():
        yield "a", [1] * 20
        raise AssertionError("read on")

    assert pack_documents(documents(), 4, BOS, EOS, n_tokens=15).token_ids.shape == (3, 4)


def test_a_corpus_that_is_too_small_says_how_much_there_is() -> None:
    with pytest.raises(CorpusTooSmall, match="fills 4 tokens of the 12") as caught:
        pack_documents([("a", [1, 2, 3, 4])], context_tokens=4, bos_id=BOS, eos_id=EOS, n_tokens=12)
    assert (caught.value.found_tokens, caught.value.asked_tokens) == (4, 12)


@given(st.lists(st.lists(st.integers(0, 50), max_size=12), min_size=1, max_size=12), st.integers(2, 9), st.sampled_from([None, BOS]))
def test_rows_are_the_stream_and_starts_point_at_their_documents(texts: list[list[int]], context: int, bos: int | None) -> None:
    documents = [(str(i), text) for i, text in enumerate(texts)]
    stream = [token for text in texts if text for token in [*text, EOS]]
    first = 0 if bos is None else 1
    n_rows = len(stream) // (context - first)
    if n_rows == 0:
        return
    rows = pack_documents(documents, context, bos, EOS, n_rows * context)
    assert rows.token_ids[:, first:].ravel().tolist() == stream[: n_rows * (context - first)]
    seen: set[str] = set()
    for row, names, starts in zip(rows.token_ids, rows.document_ids, rows.document_starts, strict=True):
        assert starts[0] == first and list(starts) == sorted(set(starts)) and len(names) == len(starts)
        for name, start in zip(names, starts, strict=True):
            if name not in seen:
                assert row[start] == texts[int(name)][0]
            seen.add(name)
