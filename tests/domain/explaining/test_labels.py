"""Labels: one to six words of an explanation, by rule or from the reply."""

from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interp_assets.domain.explaining.labels import MOST_CHARACTERS, MOST_WORDS, label_of, short_label


@pytest.mark.parametrize(
    ("explanation", "label"),
    [
        ("names of days of the week", "names of days of the week"),
        ('past participles followed by "by", in passive phrases', 'past participles followed by "by"'),
        ("opening parentheses of function calls in code, before arguments", "opening parentheses of function calls"),
        ("This neuron fires on words related to the legal system; especially courts.", "words related to the legal system"),
        ('The feature activates strongly on the word "dog"', 'the word "dog"'),
        ("the neuron fires on", "the neuron fires on"),
        ("numbers such as 1,000 or 3.14 in tables of results (mostly)", "numbers such as 1,000 or 3.14"),
        ("Dates: years in the 19th century", "Dates: years in the 19th century"),
        ('the word "the; of" in law', 'the word "the; of" in law'),
        ("“quoted phrase that goes on and on and on” in prose", "quoted phrase that goes"),
        (".NET assemblies\nof Windows", ".NET assemblies of Windows"),
        ('the tokens "cat", "dog", "horse", "cow"', "cat, dog, horse"),
        ('tokens before "York", "Jersey"', "before York, Jersey"),
        ("关于法律、法院和法官的文本。其他", "关于法律、法院和法官的文本"),
        ("x" * 100, "x" * (MOST_CHARACTERS - 1) + "…"),
        ("...", None),
    ],
)
def test_the_rule(explanation: str, label: str | None) -> None:
    assert short_label(explanation) == label


@pytest.mark.parametrize(
    ("reply", "label"),
    [
        ("[EXPLANATION]: days of the week in letters\nLabel: days of the week", "days of the week"),
        ("**Label:** weekdays.\n[EXPLANATION]: days of the week in letters", "weekdays"),
        ("[LABEL]: first\n[LABEL]: second", "second"),
        ("<think>\nLabel: not this\n</think>\nLabel: this", "this"),
        ("Label: one two three four five six seven", "days of the week"),
        ("Label: …", "days of the week"),
        ("the Label: inside a line", "days of the week"),
        ("", "days of the week"),
    ],
)
def test_a_label_in_the_reply_is_taken_where_it_is_short(reply: str, label: str) -> None:
    assert label_of("days of the week; also months", reply) == label


def test_without_an_explanation_there_is_no_label() -> None:
    assert label_of(None, "Label: weekdays") is None


@given(st.text())
def test_any_text_has_a_short_label_or_none(text: str) -> None:
    label = short_label(text)
    assert label is None or (len(label.split()) >= 1 and len(label) <= MOST_CHARACTERS and "\n" not in label)
    if label is not None and not text.startswith(("the tokens", "tokens before")):
        assert len(label.split()) <= MOST_WORDS


@pytest.mark.parametrize("text", ["; " * 30_000, "(a, " * 15_000, "– - : " * 10_000, '"' * 60_000])
def test_thousands_of_separators_cost_nothing(text: str) -> None:
    begun = process_time()
    short_label(text)
    assert process_time() - begun < 0.5
