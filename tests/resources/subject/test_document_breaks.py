"""A control token is a break to readers, whose own text they never see; all other texts are the tokenizer's."""

import numpy as np
import pytest
from tokenizer_kinds import loaded

from interp_assets.measuring.texts_of_windows import WindowTexts
from resources.subject.document_breaks import ReadableTexts
from resources.subject.tokenizer import Tokenizer


@pytest.mark.parametrize("kind", ["byte_level", "metaspace_strip", "unigram"])
def test_the_end_of_a_document_is_a_break_and_all_else_is_text(kind: str) -> None:
    tokenizer = Tokenizer(loaded(kind), "1")
    end = tokenizer.eos_token_id
    assert end is not None
    before, after = tokenizer.encode("the old king 🎉"), tokenizer.encode("the cat sat")
    run = np.array([*before, end, *after])
    shown = ReadableTexts(tokenizer)
    assert shown.tokens(run) == [*tokenizer.tokens(run)[: len(before)], "¶", *tokenizer.tokens(run)[len(before) + 1 :]]
    assert shown.text(run).startswith(f"{tokenizer.text(before)}¶") and shown.text(run).endswith("cat sat")
    own = tokenizer.tokens([end])[0]
    assert own and own not in shown.text(run)
    lengths = np.array([len(before) + 2, len(after) - 1])
    assert WindowTexts(shown).of(run, lengths).to_pylist() == [*shown.tokens(run[: lengths[0]]), *shown.tokens(run[lengths[0] :])]
    assert shown.text(before) == tokenizer.text(before)


def test_an_unknown_character_is_no_break() -> None:
    tokenizer = Tokenizer(loaded("unigram"), "1")
    unknown = sorted(tokenizer.special_token_ids - tokenizer.control_token_ids)
    assert ReadableTexts(tokenizer).texts(unknown) == tokenizer.texts(unknown)
