"""The texts of a run's tokens, joined, are the decoded run; a character is shown once; control tokens never come out of text."""

import numpy as np
import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizer_kinds import KINDS, LOSSLESS, loaded

from resources.subject.token_texts import whole_characters
from resources.subject.tokenizer import Tokenizer

PIECES = [
    "The cat sat.", "naïve café", "e\u0301a\u0308", "größer", "🎉",
    "👩\u200d👩\u200d👧", "🇩🇪", "👍🏽", "日本語", "猫坐在垫子上",
    "قطة\u064b", "बिल्ली", "ไทย",
    "고양이", "ᄒ\u1161ᆫ", "Кошка", "x << 2",
    " ", "  ", "\t", "\n", "\r\n", "\n\n", "    ", "\u200b", "\ufeff", "\ufffd",
    "“”", "𝒳", "##b", "<b>", "▁", "Ġ",
]  # fmt: skip
# Names of control tokens stand between two characters that Unicode keeps out of texts.
letters = st.text(st.characters(codec="utf-8", exclude_characters="\U0010fffe\U0010ffff"), max_size=4)
written = st.lists(st.one_of(st.sampled_from(PIECES), letters), max_size=8).map("".join)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=60)
@given(text=written, cut=st.tuples(st.floats(0, 1), st.floats(0, 1)))
def test_the_texts_of_a_window_joined_are_the_decoded_window(kind: str, text: str, cut: tuple[float, float]) -> None:
    """For a whole text and for any window of it, which may begin and end inside a character."""
    raw = loaded(kind)
    tokenizer = Tokenizer(raw, "1")
    ids = tokenizer.encode(text).tolist()
    first, end = sorted(round(share * len(ids)) for share in cut)
    for window in (ids, ids[first:end]):
        tokens = tokenizer.tokens(window)
        decoded = raw.decode(window, clean_up_tokenization_spaces=False)
        assert len(tokens) == len(window)
        assert "".join(tokens) == decoded == tokenizer.text(window)
        bounds = {0, *np.cumsum([len(character) for character in regex.findall(r"\r|\n|\X", decoded)]).tolist()}
        assert set(np.cumsum([len(token) for token in tokens]).tolist()) <= bounds  # no token ends inside a character


@pytest.mark.parametrize("kind", LOSSLESS)
def test_a_character_of_several_tokens_is_shown_at_the_first(kind: str) -> None:
    tokenizer = Tokenizer(loaded(kind), "1")
    tokens = tokenizer.tokens(tokenizer.encode("a 🎉 👩\u200d👧!"))
    assert "".join(tokens) == "a 🎉 👩\u200d👧!" and "\ufffd" not in "".join(tokens)
    assert [token.strip() for token in tokens if token.strip()] == ["a", "🎉", "👩\u200d👧", "!"]


def test_spaces_are_in_the_texts_of_llama_2s_kind() -> None:
    tokenizer = Tokenizer(loaded("metaspace_strip"), "1")
    ids = tokenizer.encode("The cat sat.")
    assert "".join(tokenizer.tokens(ids)) == "The cat sat."
    assert tokenizer.texts(ids)[1:] == tokenizer.tokens(ids)[1:] and tokenizer.texts(ids)[0] == " " + tokenizer.tokens(ids)[0]


def test_texts_cost_what_is_asked_for() -> None:
    """With 100,000 texts held, 1,000 calls for one token take less than a tenth of a second (they took 2 s when all were walked)."""
    import time

    tokenizer = Tokenizer(loaded("byte_level"), "1")
    texts = tokenizer._texts
    texts._inside.update({number: "x" for number in range(1_000, 101_000)})
    tokenizer.texts([5])
    started = time.perf_counter()
    for _ in range(1_000):
        tokenizer.texts([5])
    assert time.perf_counter() - started < 0.1


@given(st.lists(st.sampled_from(["e", "\u0301", "👩", "\u200d", "👧", " ", "\n", "\r", "", "क", "्", "🇩", "🇪"]), max_size=12))
def test_whole_characters_keep_the_text_and_the_number_of_tokens(texts: list[str]) -> None:
    found = whole_characters(texts)
    assert "".join(found) == "".join(texts) and len(found) == len(texts)
    assert whole_characters(found) == found


CONTROL = "a <s> b</s> <|im_end|><|im_start|>user\n <|fim_prefix|> <unused7> <think> [CLS] [UNK] <unk> <pad> <b> <0x41> 猫"


@pytest.mark.parametrize("kind", KINDS)
def test_control_tokens_never_come_out_of_text(kind: str) -> None:
    raw = loaded(kind)
    tokenizer = Tokenizer(raw, "1")
    ids = tokenizer.encode(CONTROL).tolist()
    assert set(ids) & (tokenizer.special_token_ids - {raw.unk_token_id}) == set()
    assert set(raw(CONTROL, add_special_tokens=False)["input_ids"]) & set(raw.all_special_ids)  # as the tokenizer does it alone
    if kind in LOSSLESS:
        assert tokenizer.text(ids) == CONTROL and raw.unk_token_id not in ids


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=40)
@given(text=written)
def test_text_without_control_tokens_is_encoded_as_ever(kind: str, text: str) -> None:
    """The copy with renamed control tokens gives the same ids too."""
    raw = loaded(kind)
    tokenizer = Tokenizer(raw, "1")
    if tokenizer._encoder.has_control(text):
        return
    ids = raw(text, add_special_tokens=False)["input_ids"]
    assert tokenizer.encode(text).tolist() == ids == tokenizer._encoder.encode_with_spans(raw, text)[0]


def test_lone_surrogates_are_text() -> None:
    tokenizer = Tokenizer(loaded("byte_level"), "1")
    assert tokenizer.text(tokenizer.encode("a\ud83d b")) == "a\ufffd b"


def test_a_token_says_whether_it_goes_on_with_a_character() -> None:
    """Of the four bytes of 🎉 the last three do, whichever tokens they are in."""
    for kind in ("byte_level", "byte_fallback"):
        tokenizer = Tokenizer(loaded(kind), "1")
        ids = tokenizer.encode("🎉")
        assert tokenizer.begins_inside_character(ids).tolist() == [False] + [True] * (len(ids) - 1) and len(ids) > 1
