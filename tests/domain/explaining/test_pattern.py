"""The pattern explainer: the prompt, and which patterns are of use."""

from dataclasses import replace

import pytest
from domain_toys import make_example
from explaining_toys import INPUT

from interp_assets.domain.explaining import max_act, pattern
from interp_assets.domain.explaining.pattern import PatternSettings
from interp_assets.domain.explaining.shared.explainer_input import ExplainerReply
from interp_assets.domain.machine_readable.patterns import read_pattern

SETTINGS = PatternSettings()


def test_prompt(check_golden) -> None:
    (prompt,) = pattern.plan(INPUT, SETTINGS, 0)
    check_golden("pattern", prompt)


def test_the_patterns_shown_are_patterns_and_match_what_is_marked() -> None:
    for (texts, _), written in zip(max_act.WORKED, pattern._PATTERNS, strict=True):
        read = read_pattern(written)
        for text, _ in texts:
            before, _, rest = text.partition("<<")
            marked, _, after = rest.partition(">>")
            begin, end = len(before), len(before) + len(marked)
            plain = (before + marked + after).replace("<<", "").replace(">>", "")
            assert any(start < end and begin < stop for start, stop in read.spans(plain)), (written, text)


@pytest.mark.parametrize(
    ("reply", "outcome"),
    [
        ("[EXPLANATION]: [:lexeme cat:] | [:symbol dog:]", "ok"),
        ("[EXPLANATION]: `[:lexeme cat:]`", "ok"),
        ("[EXPLANATION]: words for animals", "bad_pattern"),
        ("[EXPLANATION]: [:lexeme cat:", "bad_pattern"),
        ("[EXPLANATION]: [:symbol mat:]", "no_match"),
        ("[EXPLANATION]: [:symbol cat:] | [:symbol in:] | [:symbol and:] | [:symbol .:] | [:symbol ,:]", "not_selective"),
        ("no tag", "unparsable"),
    ],
)
def test_replies(reply: str, outcome: str) -> None:
    found = pattern.grade(INPUT, [ExplainerReply(reply)], SETTINGS)
    assert found.outcome == outcome and found.raw_reply == reply
    assert found.text is None or read_pattern(found.text)


def test_validation_windows_decide_where_there_are_both_kinds() -> None:
    reply = [ExplainerReply("[EXPLANATION]: [:lexeme cat:]")]
    on, off = make_example([9, 10], [1.0, 0.0], role="validation"), make_example([1, 2], [0.0, 0.0], role="validation", row=1)
    assert pattern.grade(replace(INPUT, validation=(on, off)), reply, SETTINGS).outcome == "no_match"
    assert pattern.grade(replace(INPUT, validation=(on,)), reply, SETTINGS).outcome == "ok"
    also = make_example([1], [1.0], role="validation", row=2)
    assert pattern.grade(replace(INPUT, validation=(on, also, off)), reply, SETTINGS).outcome == "not_selective"
    assert pattern.grade(replace(INPUT, contrast=()), reply, SETTINGS).outcome == "ok"


def test_without_examples_nothing_is_asked() -> None:
    assert pattern.plan(replace(INPUT, shown=()), SETTINGS, 0) == "no_examples"
