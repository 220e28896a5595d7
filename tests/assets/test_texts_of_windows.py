"""The texts of many windows at once are the texts of each."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from tokenizer_kinds import loaded

from interp_assets.measuring.texts_of_windows import WindowTexts
from resources.subject.tokenizer import Tokenizer

TEXT = "The cat sat 🎉 on 日本語 — naïve e\u0301 قطة\u064b, the old king 👩\u200d👧 was reading"


def test_each_window_reads_as_it_does_alone() -> None:
    """Windows of 1 to 5 tokens, which begin and end inside characters."""
    for kind in ("byte_level", "metaspace_strip", "unigram"):
        tokenizer = Tokenizer(loaded(kind), "1")
        ids = tokenizer.encode(TEXT)
        lengths = np.arange(len(ids) // 3) % 5 + 1
        lengths = lengths[np.cumsum(lengths) <= len(ids)]
        windows = np.split(ids[: lengths.sum()], np.cumsum(lengths)[:-1])
        found = WindowTexts(tokenizer).of(ids[: lengths.sum()], lengths).to_pylist()
        assert found == [text for window in windows for text in tokenizer.tokens(window)]


def test_no_windows_have_no_texts() -> None:
    tokenizer = Tokenizer(loaded("byte_level"), "1")
    assert len(WindowTexts(tokenizer).of(np.empty(0, dtype=np.int32), np.empty(0, dtype=np.int64))) == 0


def test_tokens_that_come_later_have_their_own_texts() -> None:
    """The second block has tokens below, between and above those of the first, the third has nothing new."""
    tokenizer = Tokenizer(loaded("byte_level"), "1")
    ids = np.unique(tokenizer.encode(TEXT))
    texts = WindowTexts(tokenizer)
    blocks = [ids[5:-5:2], np.concatenate([ids, ids[::-1]]), ids[::2]]
    for block in blocks:
        lengths = np.full(len(block) // 2, 2)
        windows = block[: lengths.sum()].reshape(-1, 2)
        assert texts.of(windows.ravel(), lengths).to_pylist() == [text for window in windows for text in tokenizer.tokens(window)]


class _Below:
    """Texts of numbers above and below 0, each token plain."""

    def tokens(self, token_ids: Sequence[int] | np.ndarray) -> list[str]:
        return [f"<{int(token_id)}" for token_id in token_ids]

    def texts(self, token_ids: Sequence[int] | np.ndarray) -> list[str]:
        return [str(int(token_id)) for token_id in token_ids]

    def is_plain(self, token_ids: np.ndarray) -> np.ndarray:
        return np.ones(len(token_ids), dtype=bool)


@given(st.lists(st.lists(st.integers(-20, 60), min_size=1, max_size=6), min_size=1, max_size=8))
def test_numbers_of_any_range_have_their_own_texts(blocks: list[list[int]]) -> None:
    """One window a block; the first token of a window has another text than further tokens."""
    texts = WindowTexts(_Below())
    for block in blocks:
        found = texts.of(np.array(block), np.array([len(block)])).to_pylist()
        assert found == [f"<{block[0]}", *map(str, block[1:])]


def test_threads_that_ask_at_the_same_time_get_the_same_texts() -> None:
    rng = np.random.default_rng(0)
    blocks = [rng.integers(-5, 40 * (i + 1), 4000) for i in range(40)]
    texts, lengths = WindowTexts(_Below()), np.full(400, 10)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda block: texts.of(block, lengths).to_pylist(), blocks))
    expected = [[f"<{token}" if i % 10 == 0 else str(token) for i, token in enumerate(block.tolist())] for block in blocks]
    assert found == expected
