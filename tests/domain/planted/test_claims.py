"""Claims on hand-made tokens: where they speak, and what is no claim."""

import pytest

from interp_assets.domain.planted.claims import Claim, any_of, tokens_of


def test_a_token_is_spoken_of_when_one_of_its_visible_characters_is() -> None:
    tokens = ("The", " fer", "ry", " left", "\n", "The", " ferry")
    assert Claim("ferries", any_of("ferry")).fires_on_tokens(tokens).tolist() == [False, True, True, False, False, False, True]
    # The pattern takes in the space and the line break; neither counts.
    assert Claim("ends of lines", r"left\s").fires_on_tokens(tokens).tolist() == [False, False, False, True, False, False, False]
    assert Claim("after The", r"(?<=The )\w+").fires_on_tokens(tokens).tolist() == [False, True, True, False, False, False, True]


def test_nothing_is_spoken_of_in_nothing() -> None:
    assert Claim("anything", ".").fires_on_tokens(()).tolist() == []
    assert Claim("a place between characters", r"\b").fires_on_tokens(("one", " two")).tolist() == [False, False]
    assert Claim("empty tokens", "a").fires_on_tokens(("", "a", "")).tolist() == [False, True, False]


def test_texts_are_cut_into_words_and_marks() -> None:
    assert tokens_of("a (b) c ") == ("a", " (", "b", ")", " c", " ")
    assert Claim("marks", r"[()]").fires_on("a (b) c ") == (False, True, False, True, False, False)


def test_a_claim_needs_words_and_a_pattern() -> None:
    with pytest.raises(ValueError, match=r"the pattern '\[' of 'brackets' is no regular expression: unterminated character set"):
        Claim("brackets", "[")
    with pytest.raises(ValueError, match="has no text: say in words what the pattern matches"):
        Claim(" ", "x")
