"""The language of patterns: what is read, what matches, and that no pattern takes long."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interp_assets.domain.machine_readable import readable
from interp_assets.domain.machine_readable.patterns import MAX_PARTS, Pattern, PatternError, read_pattern


def found(pattern: str, text: str) -> list[str]:
    return [text[start:end] for start, end in read_pattern(pattern).spans(text)]


@pytest.mark.parametrize(
    ("pattern", "text", "matches"),
    [
        ("[:symbol York:]", "New York, york, Yorkshire", ["York"]),
        ("[:symbol New York:]", "in New\n York", ["New\n York"]),
        ("[:symbol …ing:]", "singing a song, ringed", ["ing"]),
        ("[:symbol …ing…:]", "ringed", ["ing"]),
        ("[:symbol (:]", "print(x)", ["("]),
        ("[:lexeme run:]", "Run, runs, running, runner, rerun, runt", ["Run", "runs", "running", "runner"]),
        ("[:lexeme make:]", "make makes making maker made", ["make", "makes", "making", "maker"]),
        ("[:lexeme try:]", "try tries tried trying", ["try", "tries", "tried", "trying"]),
        ("[:field months: May, January:]", "may, January; mayor", ["may", "January"]),
        ("[:field times: at, at noon:]", "at noon", ["at noon"]),
        ("[:symbol New:] ([:symbol York:] | [:symbol Jersey:])", "New York New Jersey New", ["New York", "New Jersey"]),
        ("[:symbol the:] [:symbol old:]? [:symbol man:]", "the man, the old man", ["the man", "the old man"]),
        ("@{:context [:lexeme bank:]:}([:symbol river:])", "the river's bank", ["river"]),
        ("@{:context [:lexeme bank:]:}([:symbol river:])", "the river", []),
        ("[:symbol a:] | [:symbol b:]", "a b", ["a", "b"]),
        ("[:symbol x]:]", "an x] here", ["x]"]),
    ],
)
def test_matches(pattern: str, text: str, matches: list[str]) -> None:
    assert found(pattern, text) == matches


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("words for animals", "is missing at character 0, before .words"),
        ("", "is missing at character 0, before the end"),
        ("[:symbol :]", "empty"),
        ("[:symbol …:]", "empty"),
        ("[:field months:]", "must list its members"),
        ("[:field : a:]", "must list its members"),
        ("([:symbol a:]", "not closed"),
        ("[:symbol a:])", "begins no part"),
        ("[:symbol a:] |", "is missing"),
        ("[:symbol a:]?", "matches everywhere"),
        ("@{:context [:symbol a:]}([:symbol b:])", "breaks off"),
        ("[:symbol a:]" * (MAX_PARTS + 1), "parts"),
        ("(" * 20 + "[:symbol a:]" + ")" * 20, "inside one another"),
        ("[:sound a:]", "is missing"),
    ],
)
def test_texts_that_are_no_patterns_say_why(text: str, problem: str) -> None:
    with pytest.raises(PatternError, match=problem):
        read_pattern(text)
    assert readable(text) is None


def test_tokens_that_a_match_touches() -> None:
    tokens = ("in", " New", " York", "shire", "\n", " New", " York", ".")
    assert read_pattern("[:symbol New York:]").matched_tokens(tokens).tolist() == [False] * 5 + [True, True, False]
    assert read_pattern("[:lexeme cat:]").matched_tokens((" c", "ats", "", " run")).tolist() == [True, True, False, False]


def test_a_pattern_that_would_go_back_and_forth_for_ever_takes_no_time() -> None:
    maybe = "([:symbol …a…:] | [:symbol …aa…:])? " * 30
    began = time.process_time()
    assert found(maybe + "[:symbol …b:]", "a" * 60) == []
    assert time.process_time() - began < 1


PIECES = [*"[]:@{}()|?… ab,", "[:symbol ", "[:field x: ", ":]", "@{:context ", ":}("]


@given(st.lists(st.sampled_from(PIECES), max_size=12))
@settings(max_examples=200, deadline=None)
def test_any_text_is_a_pattern_or_a_named_error(pieces: list[str]) -> None:
    try:
        pattern = read_pattern("".join(pieces))
    except PatternError as error:
        assert str(error)
    else:
        assert isinstance(pattern, Pattern) and pattern.spans("") == [] and pattern.matched_tokens(("a", " b", "")).shape == (3,)
