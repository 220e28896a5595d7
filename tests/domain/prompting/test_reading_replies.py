"""Replies as small and large models really write them."""

import pytest
from growth import assert_linear
from hypothesis import given
from hypothesis import strategies as st

from interp_assets.domain.prompting.answer_lists import BINARY, ParseFailure
from interp_assets.domain.prompting.tagged_explanation import parse_tagged_explanation

REPLIES = [
    ("[1, 0, 1]", 3, (1, 0, 1)),
    ("[1,0,1]", 3, (1, 0, 1)),
    (" [1 0 1] ", 3, (1, 0, 1)),
    ("[1; 0; 1]", 3, (1, 0, 1)),
    ("[\n  1,\n  0,\n  1,\n]", 3, (1, 0, 1)),
    ('["1", "0", "1"]', 3, (1, 0, 1)),
    ("[1.0, 0.0, 1.0]", 3, (1, 0, 1)),
    ("[Yes, No, yes]", 3, (1, 0, 1)),
    ("[True, False, True]", 3, (1, 0, 1)),
    ("```json\n[1, 0, 1]\n```", 3, (1, 0, 1)),
    ("**[1, 0, 1]**", 3, (1, 0, 1)),
    ("Answer: [1, 0, 1].", 3, (1, 0, 1)),
    ("Text [1] fits, so [1, 0, 1]", 3, (1, 0, 1)),
    ("[0, 0, 0] at first sight, but then [1, 0, 1]", 3, (1, 0, 1)),
    ("[1, 0, 1], since text [1] fits", 3, (1, 0, 1)),
    ("[1, 0, 1] because [reasons]", 3, (1, 0, 1)),
    ("[1, 0", 3, (1, 0)),
    ("[1, 0,", 3, (1, 0)),
    ("[1, 0]", 3, (1, 0)),
    ("[1, 0, 1, 1, 1, 1, 1]", 3, (1, 0, 1)),
    ("1, 0, 1", 3, (1, 0, 1)),
    ("1 0 1", 3, (1, 0, 1)),
    ("101", 3, (1, 0, 1)),
    ("1", 1, (1,)),
    ("Yes", 1, (1,)),
    ("The answers are:\n1, 0, 1", 3, (1, 0, 1)),
    ("1: 1\n2: 0\n3: 1", 3, (1, 0, 1)),
    ("1. Yes\n2. No\n3. Yes", 3, (1, 0, 1)),
    ("Text 1: 1\nText 2: 0\nText 3: 1", 3, (1, 0, 1)),
    ("- Text 1: **1**\n- Text 2: **0**", 3, (1, 0)),
    ("[[1], [0], [1]]", 3, (1, 0, 1)),
    ("Text 1: [1]\nText 2: [0]\nText 3: [1]", 3, (1, 0, 1)),
    ("Text 1: [0]\nText 3: [1]", 3, ParseFailure("bad_numbering")),
    ("Text [1] fits best, so the answer is [0]", 3, ParseFailure("bad_numbering")),
    ("Text [1] fits, so [0]", 1, (0,)),
    ("", 3, ParseFailure("empty")),
    ("  \n ", 3, ParseFailure("empty")),
    ("[]", 3, ParseFailure("no_list")),
    ("[1, 2, 3]", 3, ParseFailure("not_binary")),
    ("[-1, 0, 1]", 3, ParseFailure("not_binary")),
    ("[1, maybe, 0]", 3, ParseFailure("not_binary")),
    ("[0.7, 0.2, 0.9]", 3, ParseFailure("not_binary")),
    ("The description fits all of them.", 3, ParseFailure("no_list")),
    ("I cannot answer 1 or 0 to that.", 3, ParseFailure("no_list")),
    ("1: 1\n3: 0", 3, ParseFailure("bad_numbering")),
    ("<think>\n[1, 1, 1] perhaps.\n</think>\n\n[1, 0, 1]", 3, (1, 0, 1)),
    ("[0, 0, 0] at first.\n</think>\n[1, 0]", 3, (1, 0)),
    ("<think>\nText 1 fits, so [1, 0, 1]", 3, ParseFailure("no_list")),
    ("Text 1: the ferry leaves on Tuesday", 3, ParseFailure("no_list")),
    ("[１，０，１]", 3, (1, 0, 1)),
    ("［1、0、1］", 3, (1, 0, 1)),
    ("[“1”, “0”, “1”]", 3, (1, 0, 1)),
    ("\\[1, 0, 1\\]", 3, (1, 0, 1)),
    ("$\\boxed{1,0,1}$", 3, (1, 0, 1)),
    ('{"1": 1, "2": 0, "3": 1}', 3, (1, 0, 1)),
    ('```json\n{\n "text_1": true,\n "text_2": false,\n "text_3": "yes"\n}\n```', 3, (1, 0, 1)),
    ('{"answers": [1, 0, 1]}', 3, (1, 0, 1)),
    ("**Text 1**: 1\n**Text 2**: 0\n**Text 3:** 1", 3, (1, 0, 1)),
    ("Text 1 → 1\nText 2 -> 0\nText 3 => 1", 3, (1, 0, 1)),
    ("Text 3: 1\nText 1: 1\nText 2: 0", 3, (1, 0, 1)),
    ("| Text | Answer |\n|---|---|\n| 1 | 1 |\n| 2 | 0 |\n| 3 | 1 |", 3, (1, 0, 1)),
    ("| Text 1 | we met on Monday | yes |\n| Text 2 | bread | no |", 2, (1, 0)),
    ("| 1 | 0 | 1 |", 3, ParseFailure("bad_numbering")),
    ("1: 1\n1: 0\n2: 1", 3, ParseFailure("bad_numbering")),
    ("1: 0.7\n2: 0.2\n3: 0.9", 3, ParseFailure("no_list")),
    ("1: -1\n2: 0\n3: 1", 3, ParseFailure("bad_numbering")),
    ("1. No doubt\n2. No\n3. No", 3, ParseFailure("bad_numbering")),
    ("1: 1/5\n2: 0%", 3, ParseFailure("no_list")),
]


@pytest.mark.parametrize(("reply", "n", "expected"), REPLIES)
def test_binary_lists(reply: str, n: int, expected: tuple[int, ...] | ParseFailure) -> None:
    assert BINARY.read(reply, n) == expected


EXPLANATIONS = [
    ("[EXPLANATION]: names of days", "names of days"),
    ("[Explanation]: names of days\n", "names of days"),
    ("Thinking…\n[EXPLANATION]: names of days\nText 1: more", "names of days"),
    ("[EXPLANATION]: a draft\n[EXPLANATION]: names of days", "names of days"),
    ("**[EXPLANATION]:** names of days", "names of days"),
    ("[EXPLANATION] names of days", "names of days"),
    ("[EXPLANATION]:\n\nnames of days", "names of days"),
    ('[EXPLANATION]: "names of days"', "names of days"),
    ('[EXPLANATION]: past participles before "by"', 'past participles before "by"'),
    ('[EXPLANATION]: "by" and "of"', '"by" and "of"'),
    ("[EXPLANATION]: calls of `print`", "calls of `print`"),
    ("[EXPLANATION]: **“names of days”**", "names of days"),
    ("[EXPLANATION]: `'names of days'`", "names of days"),
    ("Explanation: names of days", "names of days"),
    ("**Explanation:** names of days", "names of days"),
    ("[EXPLANATION]:  names   of\tdays", "names of days"),
    ("[EXPLANATION]: names of days\nExplanation: the marks are on days", "names of days"),
    ("Step 1: days\nExplanation: a guess\nStep 2: more\n[EXPLANATION]: names of days", "names of days"),
    ("<think>\n[EXPLANATION]: a draft\n</think>\n\n[EXPLANATION]: names of days", "names of days"),
    ("Days, I think.\n</think>\n[EXPLANATION]: names of days", "names of days"),
    ("<thinking>\na\n</thinking>\n<think>\nb\n</think>\n[EXPLANATION]: names of days", "names of days"),
    ("[EXPLANATION]: the <think> and </think> tags", "the <think> and </think> tags"),
    ("<think>\n[EXPLANATION]: a draft", ParseFailure("no_tag")),
    ("<think>\n[EXPLANATION]: a draft\n</think>\nNames of days.", ParseFailure("no_tag")),
    ("names of days", ParseFailure("no_tag")),
    ("My explanation is short", ParseFailure("no_tag")),
    ("", ParseFailure("empty")),
    ("[EXPLANATION]:", ParseFailure("no_text")),
    ("[EXPLANATION]: ...", ParseFailure("no_text")),
    ("[EXPLANATION]: names of days<|im_end|>\n<|im_start|>user\n[EXPLANATION]: more", "names of days"),
    ("[EXPLANATION]: names of days.assistant\n\n[EXPLANATION]: more", "names of days."),
    ("[EXPLANATION]: names of days\n\nUser: next\n[EXPLANATION]: more", "names of days"),
    ("analysisWe see [EXPLANATION]: a draftassistantfinal[EXPLANATION]: names of days", "names of days"),
    ("analysisWe see [EXPLANATION]: a draft", ParseFailure("no_tag")),
    ("[EXPLANATION]: the token <|endoftext|> between texts", "the token <|endoftext|> between texts"),
    ("[EXPLANATION]: `</s>` and `[INST]`", "`</s>` and `[INST]`"),
    ("[EXPLANATION]: <|im_end|> and what stands before it", "<|im_end|> and what stands before it"),
    ("[EXPLANATION]: the word user", "the word user"),
    ("[EXPLANATION]: analysis of [THINK] tags", "analysis of [THINK] tags"),
]


@pytest.mark.parametrize(("reply", "expected"), EXPLANATIONS)
def test_tagged_explanations(reply: str, expected: str | ParseFailure) -> None:
    assert parse_tagged_explanation(reply) == expected


noise = st.one_of(
    st.text(), st.text(alphabet="[]01, \n:.Textyesno*`\"'-", max_size=60), st.text(alphabet="[EXPLANATION]: *\n", max_size=40)
)


@given(noise, st.integers(1, 9))
def test_no_reply_breaks_the_list_parser(reply: str, n: int) -> None:
    read = BINARY.read(reply, n)
    assert isinstance(read, ParseFailure) or (0 < len(read) <= n and set(read) <= {0, 1})


@given(noise)
def test_no_reply_breaks_the_explanation_parser(reply: str) -> None:
    read = parse_tagged_explanation(reply)
    assert isinstance(read, ParseFailure) or (read and "\n" not in read)


@given(st.lists(st.integers(0, 1), min_size=1, max_size=20))
def test_what_was_asked_for_is_read_back(answers: list[int]) -> None:
    assert BINARY.read(str(answers), len(answers)) == tuple(answers)


@pytest.mark.parametrize("head", ["", "1", "1:", "[", "[EXPLANATION]: "])
@pytest.mark.parametrize(
    "unit", ["1, ", "[", "1 ", "*", " \n", "\n<think>", "\nexplanation ", "\"'", " ", "\t", "-", ":", ". ", "[1]", "yes", "1.0", "window "]
)
def test_a_long_reply_is_read_in_linear_time(head: str, unit: str) -> None:
    def read(n: int) -> None:
        reply = head + unit * (n // len(unit)) + "x"
        BINARY.read(reply, 5)
        parse_tagged_explanation(reply)

    assert_linear(read, 10_000)
