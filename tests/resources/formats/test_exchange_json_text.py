"""JSON that strict readers take, whatever a text or a number holds."""

import json
import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resources.formats.json_text import json_text

NASTY = {
    "<script>alert(1)</script>": None, "two\nlines\r\u2028and\u0085more": None, "half \ud83d of": "half \ufffd of",
    "other \udc00\ud83d": "other \ufffd\ufffd", "whole \U0001f600": None, "nul \0 here": "nul \ufffd here", 'quotes "and" \\': None,
    r"spelt \u0000 and \ud83d": None, "\\" * 3 + '"': None, "": None,
}  # fmt: skip
"""Texts, and how they come back where they cannot stay as they are."""


def strict(text: str) -> object:
    """What a strict reader reads, by which NaN and infinities are no JSON."""

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    return json.loads(text, parse_constant=refuse)


@pytest.mark.parametrize("text", NASTY)
def test_nasty_texts_come_back(text: str) -> None:
    written = json_text({"tokens": [text, "a"]})
    assert written.isascii() and "\n" not in written
    assert strict(written) == {"tokens": [NASTY[text] or text, "a"]}
    # Neuronpedia's importer replaces the six characters of an escaped NUL in the JSON text before it reads it.
    assert strict(written.replace("\\u0000", " ")) == strict(written)


def test_numbers_that_json_has_not_are_null() -> None:
    assert json_text({"values": [1.5, math.nan, (math.inf, -math.inf)]}) == '{"values":[1.5,null,[null,null]]}'


@given(st.text(st.characters(blacklist_categories=())))
def test_any_text_is_one_ascii_line_that_strict_readers_and_databases_take(text: str) -> None:
    written = json_text([text])
    (back,) = strict(written.replace("\\u0000", " "))  # type: ignore[misc]
    assert written.isascii() and len(written.splitlines()) == 1
    back.encode()  # no half of a character is left
    assert "\0" not in back and len(back) == len(text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))
    assert back == re.sub(r"[\0]", "\ufffd", text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))
