"""The texts of many windows at once are the texts of each."""

import numpy as np
from tokenizer_kinds import loaded

from interp_assets.measuring.drawn_examples import WindowTexts
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
