"""Charts and shades: where marks stand, and how numbers are written."""

import re

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from interp_assets.explorer.charts import cells, curves, histogram, score_strip
from interp_assets.explorer.shading import LEVELS, code, level_of, number, shaded, share, token_text


def attribute(svg: str, tag: str, name: str, class_: str = "") -> list[float]:
    """Values of an attribute of the elements of a tag and class."""
    tags = [found for found in re.findall(rf"<{tag} [^>]*>", svg) if f'class="{class_}"' in found or not class_]
    return [float(value) for found in tags for value in re.findall(rf'\s{name}="([^"]*)"', found)]


def test_a_score_stands_where_it_belongs() -> None:
    svg = score_strip(0.75, 0.5, 1.0, 0.5, 0.25)  # the line runs from 4 to 128
    assert attribute(svg, "circle", "cx", "dot") == [97] and attribute(svg, "circle", "cx", "control") == [35]
    assert attribute(svg, "line", "x1", "interval") == [66] and attribute(svg, "line", "x2", "interval") == [128]
    assert attribute(svg, "line", "x1", "floor") == [66]
    assert "score 0.75, 95 % interval 0.5 to 1, floor 0.5, control 0.25" in svg


def test_without_interval_floor_and_control_there_is_a_dot_alone() -> None:
    svg = score_strip(3.0, None, None, float("nan"), None)
    assert attribute(svg, "circle", "cx") == [128]  # beyond the end stands at the end
    assert "interval" not in svg and "floor" not in svg and "control" not in svg


def test_bars_have_the_heights_of_their_counts() -> None:
    svg = histogram([1, 0, 4], [0, 1, 2, 3], "three bins", width=300, height=84)
    assert attribute(svg, "rect", "height") == [16, 64] and attribute(svg, "rect", "x") == [0.4, 200.4]
    assert "0 to 1: 1" in svg and "2 to 3: 4" in svg
    assert "<rect" not in histogram([0, 0], [0, 1, 2], "empty")


def test_curves_are_shares_of_their_own_counts() -> None:
    svg = curves([("own", [10, 10], "main"), ("shuffled", [1, 1], "behind")], [0, 0.5, 1], "two", floor=0.5)
    paths = re.findall(r' d="([^"]*)"', svg)
    assert len(paths) == 2 and paths[0] == paths[1]


def test_texts_in_charts_are_escaped() -> None:
    assert "<script>" not in histogram([1], [0, 1], "<script>", [(0, "<script>")]) and "<b" not in curves(
        [("<b>", [1], "main")], [0, 1], ""
    )
    assert "&lt;" in cells(np.ones((1, 1)), [(0, "<")], [], "")


def test_shades_begin_at_one_and_end_at_the_largest() -> None:
    assert [level_of(value, 10) for value in (0, -1, 0.001, 5, 10, 20)] == [0, 0, 1, 10, LEVELS, LEVELS]
    assert [level_of(1, largest) for largest in (0, float("nan"), -1)] == [0, 0, 0]
    # The last token is a part of the character before it, and has its own largest value.
    assert shaded([" a", "\n", "é", ""], [0, 1, 2, 4], 4) == (
        ' a<span class="t s5" data-v="1">↵</span><span class="t s20" data-v="4">é</span>'
    )
    assert shaded(["a\n", "<b>"], [0, 0], 1, whole=True) == "a↵\n&lt;b&gt;"


def test_numbers_are_written_with_three_digits_that_count() -> None:
    said = [number(v) for v in (None, float("nan"), 0, 0.5, 0.1234, 12.345, 1234.5, -0.25, 1234567.0, 0.00001234, 8.0)]
    assert said == ["–", "–", "0", "0.5", "0.123", "12.3", "1,234", "−0.25", "1.23e6", "1.23e−5", "8"]
    assert [share(v) for v in (None, 0, 0.000123, 0.5, 1)] == ["–", "0 %", "0.0123 %", "50 %", "100 %"]


@given(st.floats(allow_nan=True, allow_infinity=True))
def test_every_number_can_be_written(value: float) -> None:
    assert number(value) and share(value)


def test_a_token_of_white_space_can_be_seen() -> None:
    assert [token_text(one) for one in (" king", "   ", "\n  ", "")] == [" king", "␣␣␣", "↵␣␣", ""]


def test_code_in_a_sentence_is_set_as_code_and_nothing_of_it_runs() -> None:
    assert code("`scores` maps <b> to `a<b`") == "<code>scores</code> maps &lt;b&gt; to <code>a&lt;b</code>"
