import html
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interp_assets.domain.prompting import rendering
from interp_assets.domain.prompting.rendering import display_activations, html_highlight, mark_tokens, markdown, marked_positions


@pytest.mark.parametrize(
    ("tokens", "marked", "expected"),
    [
        (["the", " cat", " sat"], [0, 1, 0], "the <<cat>> sat"),
        (["the", " black", " cat", " sat"], [0, 1, 1, 0], "the <<black cat>> sat"),
        (["a", "b", "c"], [1, 0, 1], "<<a>>b<<c>>"),
        (["x", "\n", "y"], [0, 1, 0], "x<<\n>>y"),
        (["x", "", "y"], [0, 1, 0], "<<x>>y"),
        (["\n", "x", "\n"], [0, 0, 0], "x"),
        (["é", "�"], [0, 1], "é<<�>>"),
        ([], [], ""),
    ],
)
def test_marks(tokens: list[str], marked: list[int], expected: str) -> None:
    assert mark_tokens(tokens, marked) == expected


@given(st.lists(st.tuples(st.text(max_size=4), st.booleans()), max_size=12))
def test_marking_changes_nothing_but_the_marks(pairs: list[tuple[str, bool]]) -> None:
    tokens, marked = [t for t, _ in pairs], [m for _, m in pairs]
    if not any("<" in t or ">" in t for t in tokens):
        assert mark_tokens(tokens, marked).replace("<<", "").replace(">>", "").strip() == "".join(tokens).strip()


def test_marks_start_at_the_threshold() -> None:
    assert marked_positions([0.0, 0.29, 0.3, 1.0], 0.3) == (False, False, True, True)
    assert marked_positions([0.0, 0.0], 0.3) == (False, False)
    assert marked_positions([], 0.3) == ()


def test_display_activations_are_tenths_rounded_up() -> None:
    assert display_activations([0, 0.01, 1.0, 1.01, 9.99, 10.0], 10.0) == (0, 1, 1, 2, 10, 10)


def test_markdown_shows_marks_in_bold_on_one_line_and_escapes_the_rest() -> None:
    assert markdown(["a*b*", " cat", "\n", "|x|"], [0, 1, 0, 0]) == r"a\*b\* «**cat**»↵\|x\|"


@pytest.mark.parametrize(
    ("token", "expected"),
    [("`", r"«**\`**»"), ("|", r"«**\|**»"), ("\n", "«**↵**»"), (" ", "«**␣**»"), ("", "«**∅**»"), ("a ", "«**a␣**»"), ("*", r"«**\***»")],
)
def test_odd_tokens_survive_in_bold(token: str, expected: str) -> None:
    assert markdown([token], [1]) == expected


@given(st.lists(st.tuples(st.text(max_size=4), st.booleans()), max_size=12))
def test_markdown_is_one_table_cell(pairs: list[tuple[str, bool]]) -> None:
    text = markdown([t for t, _ in pairs], [m for _, m in pairs])
    assert len(text.splitlines()) <= 1
    assert not re.search(r"(?<!\\)\|", text)


@given(st.lists(st.tuples(st.text(max_size=4), st.floats(0, 9)), max_size=12))
def test_html_holds_the_text_and_no_foreign_tags(pairs: list[tuple[str, float]]) -> None:
    page = html_highlight([t for t, _ in pairs], [a for _, a in pairs], 9.0)
    without_ours = re.sub(r'<span style="background:rgba\([\d,.]+\)(?:;color:#111)?" title="[^"]*">|</span>', "", page)
    assert html.unescape(without_ours) == html.unescape(html.escape(rendering.visible("".join(t for t, _ in pairs)))) or any(
        "\r" in t for t, _ in pairs
    )
    assert "<" not in without_ours


def test_html_background_deepens_with_the_activation() -> None:
    assert html_highlight(["a", "<b>"], [0.0, 5.0], 10.0) == (
        'a<span style="background:rgba(255,140,0,0.53)" title="5">&lt;b&gt;</span>'  # 0.15 + 0.75 / 2 = 0.525
    )


def test_letters_on_a_deep_background_are_dark_on_every_page() -> None:
    assert html_highlight(["a"], [10.0], 10.0) == '<span style="background:rgba(255,140,0,0.90);color:#111" title="10">a</span>'


def test_quoted_text_keeps_whitespace_only_where_there_is_nothing_else() -> None:
    assert [rendering.quoted(text) for text in (" dog", "a b ", "}\n}", "\n", " ", '"', "")] == [
        '"dog"', '"a b"', '"}↵}"', '"↵"', '" "', '"""', '""',
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("tokens", "marked", "expected"),
    [
        (["cout", " <<", " x", ";"], [0, 0, 1, 0], "cout < < <<x>>;"),
        (["cout", " <<", " x", ";"], [0, 1, 0, 0], "cout << < <>> x;"),
        (["a", "<", "b", ">", ">"], [0, 0, 1, 0, 0], "a< <<b>> > >"),
        (["<", "b", ">"], [1, 1, 1], "<< <b> >>"),
        (["x", "<", "<", "<"], [0, 0, 0, 0], "x< < <"),
        ([" 🎉", "", "", "!"], [0, 0, 1, 0], "<<🎉>>!"),
        (["", "🎉", "", " x"], [1, 0, 0, 0], "<<🎉>> x"),
        (["a", "🎉", ""], [1, 0, 1], "<<a🎉>>"),
    ],
)
def test_only_marks_look_like_marks_and_none_falls_inside_a_character(tokens: list[str], marked: list[int], expected: str) -> None:
    assert rendering.mark_tokens(tokens, [bool(on) for on in marked]) == expected


@given(st.lists(st.tuples(st.sampled_from(["<", ">", "<<", ">>", " <", "> ", "a", "", "\n"]), st.booleans()), min_size=1))
def test_marks_can_be_taken_out_again(tokens: list[tuple[str, bool]]) -> None:
    """Read from left to right, the pairs << and >> that are left are marks alone: without them and spaces the text is what it was."""
    texts, marked = [text for text, _ in tokens], [on for _, on in tokens]
    written = rendering.mark_tokens(texts, marked)
    pieces = re.split("<<|>>", written)
    assert "".join("".join(pieces).split()) == "".join("".join(texts).split())
    assert re.findall("<<|>>", written) == ["<<", ">>"] * (len(pieces) // 2)


def test_activations_of_a_character_are_listed_once() -> None:
    """The second of three tokens of 🎉 fires: the character is listed, with that strength."""
    assert rendering.activation_list(["a", "🎉", "", ""], [0, 0, 2.0, 0], [False, False, True, False], 4.0) == '("🎉", 5)'
    assert rendering.html_highlight(["🎉", ""], [0.0, 1.0], 1.0).count("<span") == 1


def test_what_joins_emoji_and_letters_stays_visible() -> None:
    assert rendering.visible("👩\u200d👩\u200d👧 می\u200cخواهم") == "👩\u200d👩\u200d👧 می\u200cخواهم"
    assert rendering.visible("a\u202eb\x00") == "a\ufffdb\ufffd"
