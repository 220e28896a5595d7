"""Replies that hold texts: read leniently, and graded text by text."""

import json

import pytest
from growth import assert_linear

from interp_assets.domain.prompting.answer_lists import ParseFailure
from interp_assets.domain.prompting.prompts import Prompt
from interp_assets.domain.scoring.shared.generated import grade, items_of, parse_texts, schema, texts, written
from interp_assets.domain.trials import AnsweredTrial, Trial

WANTED = ("It snows.", "He left.")
TRIAL = Trial("t", 7, "max_act", "input_based", Prompt((("user", "?"),), 0, 20), items_of("silent", False, 0, 3))


@pytest.mark.parametrize(
    "reply",
    [
        written("silent", WANTED),
        f"Sure! Here it is:\n```json\n{json.dumps({'silent 1': 'It snows.', 'silent 2': 'He left.'}, indent=2)}\n```\nAnything else?",
        written("silent", WANTED) + "\nDescription: more\n" + written("silent", ["x", "y"]),
        "<think>\n" + written("silent", ["maybe", "this"]) + "\n</think>\n" + written("silent", WANTED),
        '{"silent2": "He left.", "Silent_1": " It snows. ", "silent 3": "", "silent 4": 5, "activating 1": "A cat."}',
        '{note} {"x": 1} {"SILENT": ["It snows.", "", 7, "He left."]}',
        written("silent", WANTED)[:-2] + ',\n"silent 3": "It is c',
        '"silent 1": "It snows." "silent 2": "He left.", "activating 1": "A cat."',
        '"silent 1": "It snows.",\n"silent 1": "It rains.",\n"silent 2": "He left."\n"silent',
        "{'silent 1': 'It snows.', 'silent 2': 'He left.'}",
        "silent 1: It snows.\n\n**Silent 2:** He left.\nactivating 1: A cat.\nThat is all.",
        '"silent": ["It snows.", "He left.", "He ',
        "{'silent': ['It snows.', 'He left.']}",
        'Silent sentences:\n1. It snows.\n2. "He left."',
        "## Silent:\n- It snows.\n* He left.",
        '["It snows.", "He left."]',
        "Here you are.\n1) It snows.\n2) He left.",
        '**Silent 1:** "It snows."\n**Silent 2:** "He left."',
        '[{"silent 1": "It snows."}, {"silent 2": "He left."}]',
        '{"silent 1": {"text": "It snows."}, "silent 2": {"sentence": "He left."}}',
        "### Silent\n1. It snows.\n2. He left.\n### Activating\n1. A cat.",
        "**Silent texts**\n- It snows.\n- He left.\n\n**Activating texts**\n- A cat.",
        "Silent:\n1. It snows.\n2. He left.\nActivating:\n1. A cat.",
        "1. **It snows.** - about the weather\n2. **He left.** (no weather)",
        '1. "It snows." - about the weather\n2. “He left.” – no weather',
    ],
)
def test_texts_are_found_in_every_common_form(reply: str) -> None:
    assert parse_texts(reply, "silent") == WANTED


@pytest.mark.parametrize(
    "reply", ['"text 1": "He said "no" twice.",', 'Text:\n1. He said "no" twice.', r'{"text 1": "He said \"no\" twice."}']
)
def test_quotes_within_a_text_are_kept(reply: str) -> None:
    assert parse_texts(reply, "text") == ('He said "no" twice.',)


def test_apostrophes_do_not_end_a_single_quoted_text() -> None:
    assert parse_texts("{'text': ['It's the cat's bed.', 'Dogs']}", "text") == ("It's the cat's bed.", "Dogs")
    assert parse_texts("{'text 1': 'It's the cat's bed.', 'text 2': 'Dogs'}", "text") == ("It's the cat's bed.", "Dogs")


def test_half_an_escaped_character_is_replaced_so_that_tokenizers_and_tables_can_hold_the_text() -> None:
    found = parse_texts(r'{"text 1": "a \ud83d", "text 2": "b \ud83d\ude00"}', "text")
    assert found == ("a \ufffd", "b 😀")
    assert [text.encode() for text in found]


def test_escapes_and_line_breaks_are_kept() -> None:
    assert parse_texts('{"text 1": "a\\n  b é", "text 2": "c\nd"}', "text") == ("a\n  b é", "c\nd")


def test_texts_are_read_by_their_numbers() -> None:
    reply = written("text", [str(i) for i in range(1, 13)])
    assert parse_texts(reply, "text") == parse_texts(reply[:-2], "text") == tuple(str(i) for i in range(1, 13))


def test_the_punctuation_between_broken_quotes_is_no_text() -> None:
    found = parse_texts("""{"text": ["One.", "Two.", 'Three. The word 'which' is one.", "Four."]}""", "text")
    assert found[:2] == ("One.", "Two.") and all(any(map(str.isalnum, text)) for text in found)
    assert parse_texts('{"text 1": "!!!", "text 2": "a"}', "text") == ("!!!", "a")


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("", "empty"),
        ("\n ", "empty"),
        ("I cannot do that.", "no_list"),
        ('The word "which" opens a clause, and so does "that".', "no_list"),
        ('{"silent": []}', "no_list"),
        ("silent: it is a neuron", "no_list"),
        ('{"silent 1": "It sn', "no_list"),
    ],
)
def test_what_holds_no_texts_is_named(reply: str, reason: str) -> None:
    assert parse_texts(reply, "silent") == ParseFailure(reason)


@pytest.mark.parametrize(
    ("head", "unit", "tail"),
    [
        *[("", unit, "") for unit in ("{", '{"a":', "[", '"', "silent: ", "'a", "- ", '"silent 1": ', ', "', "a")],
        *[("", " ", "x"), ("", "\n", "x"), ('"silent 1": "', '" ', ""), ("[", ",'a", ""), ("[", "'a ", ""), ("[", "'a\\' ", "\n']")],
        *[("[", '"\\', ""), ("[", '\\"', "x"), ("", '{"silent 1": "', "x"), ('"silent 1": "', "a\n", "")],
    ],
)
def test_a_rambling_reply_is_read_in_linear_time(head: str, unit: str, tail: str) -> None:
    assert_linear(lambda n: parse_texts(head + unit * (n // len(unit)) + tail, "silent"), 10_000)


@pytest.mark.parametrize(
    ("reply", "found"),
    [
        ("['one', 'it's two', 'a 'b' c', 'four\\'s']", ("one", "it's two", "four\\'s")),
        ("['cut' 'two', 'three", ("two",)),
        ('["one", "a \\"b\\" c", "cut', ("one", 'a "b" c')),
        ('["cut \\" here', ()),
    ],
)
def test_a_quote_that_does_not_end_takes_nothing_along(reply: str, found: tuple[str, ...]) -> None:
    assert parse_texts(reply, "silent") == (found or ParseFailure("no_list"))


def test_the_schema_has_a_member_for_each_text_in_the_order_written() -> None:
    asked, names = json.loads(schema("silent", 2)), list(json.loads(written("silent", WANTED)))
    assert names == ["silent 1", "silent 2"] == list(asked["properties"]) == asked["required"]
    assert asked["additionalProperties"] is False and set(map(str, asked["properties"].values())) == {"{'type': 'string'}"}


def test_texts_fill_the_items_and_those_beyond_are_dropped() -> None:
    assert texts(AnsweredTrial(TRIAL, written("silent", "abcd"))) == ("a", "b", "c")
    answered = AnsweredTrial(TRIAL, written("silent", ["a", "b"]), activations=(3.0, 0.0))
    assert texts(answered) == ("a", "b")
    verdicts = grade([answered])
    assert [(v.example_id, v.truth, v.outcome, v.text, v.value, v.activation) for v in verdicts] == [
        ("silent/0", False, "answered", "a", 3.0, 3.0),
        ("silent/1", False, "answered", "b", 0.0, 0.0),
        ("silent/2", False, "truncated", None, None, None),
    ]
    assert {(v.variant, v.stratum, v.prediction) for v in verdicts} == {("generated", None, None)}


@pytest.mark.parametrize(
    ("reply", "error", "outcome"),
    [("no", None, "unparsable"), ("", None, "unparsable"), (written("silent", WANTED), "gone", "model_error")],
)
def test_what_cannot_be_read_holds_no_texts_and_has_verdicts(reply: str, error: str | None, outcome: str) -> None:
    answered = AnsweredTrial(TRIAL, reply, error=error, activations=())
    assert texts(answered) == ()
    assert [v.outcome for v in grade([answered])] == [outcome] * 3


def test_activations_that_do_not_match_the_texts_are_a_mistake() -> None:
    with pytest.raises(AssertionError):
        grade([AnsweredTrial(TRIAL, written("silent", WANTED), activations=(1.0,))])
