"""Replies that hold texts: read leniently, and graded text by text."""

import json

import pytest

from interp_assets.domain.parsing import ParseFailure
from interp_assets.domain.prompts import Prompt
from interp_assets.domain.scoring.generated import grade, items_of, parse_texts, schema, texts, texts_of_items, written
from interp_assets.domain.trials import AnsweredTrial, Trial

KINDS = ("activating", "silent")
WANTED = {"activating": ("The cat sat.", "A dog ran."), "silent": ("It snows.", "He left.")}
TRIAL = Trial(
    "t", 7, "max_act", "input_based", Prompt((("user", "?"),), 0, 20),
    (*items_of("activating", True, 0, 2), *items_of("silent", False, 0, 2)),
)  # fmt: skip


@pytest.mark.parametrize(
    "reply",
    [
        written(WANTED),
        f"Sure! Here it is:\n```json\n{json.dumps(WANTED, indent=2)}\n```\nAnything else?",
        written(WANTED) + "\nDescription: more\n" + written({"activating": ["x"], "silent": ["y"]}),
        '{"Activating": ["The cat sat.", 7, "A dog ran."], "SILENT": [" It snows. ", "", "He left."]}',
        '{note} {"activating": ["The cat sat.", "A dog ran.",], "silent": ["It snows.", "He left."]}',
        '"activating": ["The cat sat.", "A dog ran."]\n"silent": ["It snows.", "He left.", "He ',
        "{'activating': ['The cat sat.', 'A dog ran.'], 'silent': ['It snows.', 'He left.']}",
        'Activating sentences:\n1. The cat sat.\n2. "A dog ran."\n\n**Silent:**\n1) It snows.\n2) He left.',
        "## Activating:\n- The cat sat.\n- A dog ran.\n2. Silent ones:\n* It snows.\n* He left.",
        "silent:\n- It snows.\n- He left.\nactivating:\n- The cat sat.\n- A dog ran.",
    ],
)
def test_texts_are_found_in_every_common_form(reply: str) -> None:
    assert parse_texts(reply, KINDS) == WANTED


@pytest.mark.parametrize(
    "reply", ['["The cat sat.", "A dog ran."]', "1. The cat sat.\n2. A dog ran.", 'Texts: ["The cat sat.", "A dog ran."]']
)
def test_a_single_kind_may_go_without_its_name(reply: str) -> None:
    assert parse_texts(reply, ("texts",)) == {"texts": WANTED["activating"]}


def test_apostrophes_do_not_end_a_single_quoted_text() -> None:
    found = parse_texts("{'activating': ['It's the cat's bed.', 'Dogs'], 'silent': []}", KINDS)
    assert found == {"activating": ("It's the cat's bed.", "Dogs"), "silent": ()}


def test_half_an_escaped_character_is_replaced_so_that_tokenizers_and_tables_can_hold_the_text() -> None:
    found = parse_texts(r'{"activating": ["a \ud83d", "b \ud83d\ude00"], "silent": ["\udc00"]}', KINDS)
    assert found == {"activating": ("a \ufffd", "b 😀"), "silent": ("\ufffd",)}
    assert [text.encode() for own in found.values() for text in own]


def test_texts_that_a_model_tries_out_while_it_reasons_are_passed_over() -> None:
    draft = '<think>\n{"activating": ["No."], "silent": ["No."]}\n'
    assert parse_texts(f"{draft}</think>{written(WANTED)}", KINDS) == WANTED
    assert parse_texts(draft, KINDS) == ParseFailure("no_list")


def test_quotes_within_a_line_or_a_string_are_kept() -> None:
    for reply in ('activating:\n1. He said "no" twice.\nsilent:\n', r'{"activating": ["He said \"no\" twice."], "silent": []}'):
        assert parse_texts(reply, KINDS) == {"activating": ('He said "no" twice.',), "silent": ()}


def test_escapes_and_line_breaks_are_kept() -> None:
    assert parse_texts('{"activating": ["a\\n  b é", "c\nd"], "silent": []}', KINDS) == {"activating": ("a\n  b é", "c\nd"), "silent": ()}


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("", "empty"),
        ("\n ", "empty"),
        ("I cannot do that.", "no_list"),
        ('{"activating": [], "silent": []}', "no_list"),
        ("The activating neuron is silent.", "no_list"),
        ('["a", "b"]', "no_list"),  # of which kind?
    ],
)
def test_what_holds_no_texts_is_named(reply: str, reason: str) -> None:
    assert parse_texts(reply, KINDS) == ParseFailure(reason)


@pytest.mark.parametrize(
    "reply", ["{" * 50_000, '{"a":' * 20_000, "[" * 100_000, '"' * 50_000, "activating: " * 9_000, "'a" * 50_000, "- " * 50_000]
)
def test_a_rambling_reply_is_read_in_reasonable_time(reply: str) -> None:
    parse_texts(reply, KINDS)


def test_the_schema_accepts_what_is_written_in_full_and_is_canonical() -> None:
    parsed = json.loads(schema(KINDS, 2))
    assert set(parsed["properties"]) == set(parsed["required"]) == set(KINDS)
    assert parsed["properties"]["silent"] == {"type": "array", "items": {"type": "string"}, "minItems": 2, "maxItems": 2}
    assert json.dumps(parsed, sort_keys=True) == schema(KINDS, 2)


def test_texts_fill_the_items_of_their_kind_and_those_beyond_are_dropped() -> None:
    reply = written({"activating": ["a"], "silent": ["b", "c", "d"]})
    answered = AnsweredTrial(TRIAL, reply, activations=(3.0, 0.0, 1.0))
    assert texts_of_items(answered) == ("a", None, "b", "c")
    assert texts(answered) == ("a", "b", "c")
    verdicts = grade([answered])
    assert [(v.example_id, v.truth, v.outcome, v.text, v.value, v.activation) for v in verdicts] == [
        ("activating/0", True, "answered", "a", 3.0, 3.0),
        ("activating/1", True, "truncated", None, None, None),
        ("silent/0", False, "answered", "b", 0.0, 0.0),
        ("silent/1", False, "answered", "c", 1.0, 1.0),
    ]
    assert {(v.variant, v.stratum, v.prediction) for v in verdicts} == {("generated", None, None)}


@pytest.mark.parametrize(
    ("reply", "error", "outcome"), [("no", None, "unparsable"), ("", None, "unparsable"), (written(WANTED), "gone", "model_error")]
)
def test_what_cannot_be_read_holds_no_texts_and_has_verdicts(reply: str, error: str | None, outcome: str) -> None:
    answered = AnsweredTrial(TRIAL, reply, error=error, activations=())
    assert texts(answered) == ()
    assert [v.outcome for v in grade([answered])] == [outcome] * 4


def test_activations_that_do_not_match_the_texts_are_a_mistake() -> None:
    with pytest.raises(AssertionError):
        grade([AnsweredTrial(TRIAL, written(WANTED), activations=(1.0,))])
