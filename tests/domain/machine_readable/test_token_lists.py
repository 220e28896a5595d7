"""Token lists are written and read back, and are matched with many windows at once as with one."""

import time

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from interp_assets.domain.machine_readable import matched_in_windows, matched_tokens, readable
from interp_assets.domain.machine_readable.token_lists import SEPARATOR, TokenList, read_token_list, token_key
from interp_assets.domain.prompting.rendering import one_line

TOKENS = st.text(alphabet=st.sampled_from(list('aB ",\n\t.·éß↵␣�')), min_size=1, max_size=5)


@given(st.lists(TOKENS, min_size=1, max_size=6), st.booleans())
def test_a_written_list_is_read_back(tokens: list[str], before: bool) -> None:
    """Also after the whitespace of an explanation was put on one line, as every scorer does."""
    keys = tuple(dict.fromkeys(key for token in tokens if SEPARATOR not in (key := token_key(token))))
    if keys:
        listed = TokenList(keys, before)
        read = read_token_list(one_line(str(listed)))
        assert read == listed or any('"' in key for key in keys), (read, listed)  # quotes beside a separator are read in one way alone


@given(TOKENS)
def test_a_key_is_its_own_key(token: str) -> None:
    assert token_key(token_key(token)) == token_key(token) != ""


def test_what_a_list_looks_like() -> None:
    assert str(TokenList((token_key(" cat"), token_key("\n"), token_key("  "), '"'))) == 'the tokens "cat", "↵", "␣␣", """'
    assert str(TokenList(("York",), before=True)) == 'tokens before "York"'
    for plain in ("words for animals", "the tokens", 'the tokens ""', 'the tokens "cat', "tokens before cat", 'The tokens "cat"', ""):
        assert readable(plain) is None, plain


def test_tokens_are_compared_without_outer_spaces_and_with_capitals() -> None:
    window = ("the", " cat", " Cat", "cat", " cats", "\n")
    assert matched_tokens(TokenList(("cat", "↵")), window) == (False, True, False, True, False, True)


def test_a_list_of_next_tokens_speaks_of_the_tokens_before_them_in_the_same_window() -> None:
    listed = TokenList(("York",), before=True)
    found = matched_in_windows([(listed, [(" New", " York", "."), ("York", " in", " New"), ("York",)])])
    assert [own.tolist() for own in found[0]] == [[True, False, False], [False, False, False], [False]]


def test_many_lists_over_many_windows_are_matched_as_each_is_alone() -> None:
    rng = np.random.default_rng(0)
    words = [f" w{i}" for i in range(50)] + ["", " "]
    cases = [
        (
            TokenList(tuple(dict.fromkeys(token_key(words[i]) for i in rng.integers(0, 50, 4))), before=bool(rng.integers(2))),
            [tuple(words[i] for i in rng.integers(0, len(words), rng.integers(0, 9))) for _ in range(rng.integers(0, 5))],
        )
        for _ in range(40)
    ]
    for (listed, windows), found in zip(cases, matched_in_windows(cases), strict=True):
        assert len(found) == len(windows)
        for window, own in zip(windows, found, strict=True):
            hits = [token_key(token) in listed.keys for token in window]
            assert own.tolist() == ([*hits[1:], False] if listed.before and window else hits)


def test_a_dictionary_is_matched_in_less_time_than_one_list_after_another() -> None:
    """250 features with 20 windows of 24 tokens: 120,000 tokens."""
    rng = np.random.default_rng(0)
    words = np.array([f" w{i}" for i in range(5000)])
    windows = [[tuple(row) for row in words[rng.integers(0, 5000, (20, 24))].tolist()] for _ in range(250)]
    lists = [TokenList(tuple(word.strip() for word in dict.fromkeys(words[rng.integers(0, 5000, 10)].tolist()))) for _ in range(250)]

    def together() -> list:
        return matched_in_windows(list(zip(lists, windows, strict=True)))

    def alone() -> list:
        return [
            [np.array([token_key(token) in listed.keys for token in window]) for window in own]
            for listed, own in zip(lists, windows, strict=True)
        ]

    took = []
    for way in (together, alone):
        began = time.process_time()
        found = way()
        took.append(time.process_time() - began)
        assert sum(int(own.sum()) for case in found for own in case) > 100
    assert took[0] < took[1] / 2, took
