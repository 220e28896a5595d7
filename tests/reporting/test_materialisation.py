"""Plots in the UI: Markdown with an image in it, the same bytes each time, or a sentence; numbers with the digits that they mean."""

import base64
import re
from xml.etree import ElementTree

import dagster as dg
import numpy as np
import pytest

from interp_assets.reporting.histograms import BINS, distribution_plot
from interp_assets.reporting.materialisation import (
    INLINE_CHARACTERS,
    breakable,
    markdown_table,
    path_lines,
    preview_table,
    rounded,
    scatter_plot,
    table,
)
from interp_assets.reporting.small_plots import small_intervals, small_plot

POINTS = {"sae": [(0.5, 0.1), (0.9, 2.0)], "neurons": [(0.6, -1.0)]}


def scatter(points: dict[str, list[tuple[float, float]]]) -> str:
    return scatter_plot(points, "fuzzing", "intervention", "best scores", floors=(0.5, 0.0))


def png(markdown: str) -> bytes:
    head, _, content = markdown.partition("](data:image/png;base64,")
    assert head.startswith("![") and content.endswith(")")
    return base64.b64decode(content[:-1])


def test_equal_points_give_equal_images_and_others_do_not() -> None:
    assert png(scatter(POINTS)).startswith(b"\x89PNG") and scatter(POINTS) == scatter(dict(reversed(POINTS.items())))
    assert scatter(POINTS) != scatter({**POINTS, "neurons": [(0.6, 1.0)]})


def test_a_table_is_one_that_dagster_shows_in_its_place_and_has_the_digits_that_numbers_mean() -> None:
    found = table(["scorer", "median", "floor"], [("scores/fuzzing_of", 0.712345, 0.5), ("clarity", None, 0.5)])
    assert isinstance(found, dg.TableMetadataValue)
    assert [one.data for one in found.records] == [
        {"scorer": "scores/\u200bfuzzing_\u200bof", "median": "0.712", "floor": "0.5"}, {"scorer": "clarity", "median": "", "floor": "0.5"},
    ]  # fmt: skip
    assert [column.name for column in found.schema.columns] == ["scorer", "median", "floor"]
    assert table(["scorer"], []) == dg.MetadataValue.md("*no rows*")


def svg(markdown: str) -> ElementTree.Element:
    return ElementTree.fromstring(base64.b64decode(markdown.partition(";base64,")[2].partition(")")[0]))


def test_a_histogram_is_short_enough_to_be_shown_at_once_and_draws_every_value() -> None:
    values = np.random.default_rng(0).normal(0.7, 0.1, 500).tolist()
    named = {"smollm2-135m/09/res-2k": values}
    for log_x in (False, True):
        plot = distribution_plot(named, "share of tokens on which a feature fires", "scores", log_x=log_x, floor=0.5)
        again = distribution_plot(named, "share of tokens on which a feature fires", "scores", log_x=log_x, floor=0.5)
        assert len(plot) < INLINE_CHARACTERS and plot == again
    assert plot.endswith(f"n = 500, median {np.median(values):.3g}; floor 0.5")
    path = next(one.attrib["d"] for one in svg(plot).iter() if one.attrib.get("fill", "").startswith("#2"))
    heights = [80 - int(y) for y in re.findall(r"V(\d+)", path)][:-1]
    counts = np.histogram(values, np.geomspace(min(values), max(values), BINS + 1))[0]
    assert len(heights) == BINS and heights == [round(76 * n / counts.max()) for n in counts]


def test_a_small_plot_is_short_enough_to_be_shown_at_once_whatever_it_draws() -> None:
    draw = np.random.default_rng(0)
    for n in (1, 5, 40, 5000):
        named = {f"smollm2-135m/09/res-2k-{number}": [tuple(pair) for pair in draw.normal(0, 1, (n, 2))] for number in range(3)}
        for joined in (False, True):
            plot = small_plot(named, "fuzzing", "intervention, nats", "best scores", floors=(0.5, 0.0), joined=joined)
            assert len(plot) < INLINE_CHARACTERS and f"(n = {n:,})" in plot and "and 1 more" in plot
            assert len([one for one in svg(plot).iter() if one.tag.endswith("path")]) == 5
    assert small_plot({"a": []}, "x", "y", "nothing") == "*nothing: no values*"


def test_dots_of_a_small_plot_stand_at_their_places() -> None:
    plot = small_plot({"a": [(0.0, 0.0), (1.0, 2.0), (0.5, 1.0)]}, "x", "y", "three", floors=(0.5, 0.0))
    dots = [one.attrib["d"] for one in svg(plot).iter() if one.attrib.get("stroke", "").startswith("#2")]
    assert dots == ["M0 32h0M32 16h0M64 0h0"], "64 cells to the right, 32 upwards, counted from the top"
    assert "M32 0V32M0 32H64" in [one.attrib.get("d") for one in svg(plot).iter()]
    assert plot.endswith("x 0 to 1 from left to right; y 0 to 2 upwards; blue a (n = 3)")


def test_many_dots_of_a_small_plot_are_a_cross_from_quartile_to_quartile() -> None:
    plot = small_plot({"a": [(float(x), float(y)) for x in range(65) for y in range(33)]}, "x", "y", "many")
    assert [one.attrib["d"] for one in svg(plot).iter() if one.attrib.get("stroke", "").startswith("#2")] == ["M16 16H48M32 8V24"]
    assert plot.endswith("medians and quartiles")


def test_small_intervals_are_short_enough_and_say_which_rows_are_left_out() -> None:
    for n in (1, 6, 18, 90):
        rows = [(f"scorer_{number}", 0.1, -0.05, 0.3) for number in range(n)]
        plot = small_intervals({"false": rows}, "fall", "does the score fall?")
        assert len(plot) < INLINE_CHARACTERS and "blue false; from above: scorer\\_0" in plot
        shown = plot.count("scorer\\_")
        assert (f"; {n - shown} rows are left out" in plot) == (shown < n) and shown >= min(n, 15)
    both = small_intervals({"false": rows[:4], "narrowed": rows[:4]}, "fall", "two kinds")
    assert len(both) < INLINE_CHARACTERS and "orange narrowed" in both and "left out" not in both
    assert small_intervals({"a": []}, "x", "nothing") == "*nothing: no values*"


def test_small_intervals_stand_at_their_places() -> None:
    plot = small_intervals({"a": [("one", 0.5, 0.0, 1.0), ("two", -1.0, -1.0, 0.0)]}, "fall", "two")
    assert [one.attrib["d"] for one in svg(plot).iter() if one.tag.endswith("path")] == [
        "M50 0V12", "M50 1H99M0 7H50", "M74 1h0M0 7h0",
    ], "99 cells from -1 to 1, six cells a row"  # fmt: skip


def test_the_floor_of_a_histogram_stands_at_its_place() -> None:
    plot = svg(distribution_plot({"a": np.linspace(0, 1, 50).tolist()}, "score", "scores", floor=0.25))
    (line,) = [one.attrib["d"] for one in plot.iter() if "stroke-dasharray" in one.attrib]
    assert line.startswith("M84 "), "a quarter of 320 units, after a margin of 4"
    outside = svg(distribution_plot({"a": np.linspace(0.5, 1, 50).tolist()}, "score", "scores", floor=0.25))
    assert not [one for one in outside.iter() if "stroke-dasharray" in one.attrib]


def test_a_preview_has_the_rows_that_are_shown_at_once() -> None:
    rows = [(place, "x" * 150) for place in range(20)]
    table = preview_table(["feature", "window"], rows)
    whole = markdown_table(["feature", "window"], rows)
    assert whole.startswith(table + "\n") and len(table) < INLINE_CHARACTERS <= len(table) + 160
    assert preview_table(["a"], [["y" * 2000], ["z"]]).count("\n") == 2 and preview_table(["a"], []) == "*no rows*"
    asked_for = iter(rows)
    assert preview_table(["feature", "window"], asked_for) == table
    assert len(list(asked_for)) == 20 - table.count("x" * 150) - 1, "rows after the first that is not shown"


def test_a_long_path_has_a_folder_a_line() -> None:
    assert str(path_lines("scores/scorer=fuzzing").value) == "scores/scorer=fuzzing"
    long = "scores/scorer=description_likelihood/dictionary=smollm2-135m%2F09%2Fres-2k"
    assert re.sub(r"  \n|\\", "", str(path_lines(long).value)) == long and str(path_lines(long).value).count("  \n") == 2


def test_a_run_of_characters_may_break_but_no_escape_and_no_mark_of_bold() -> None:
    assert breakable("plain words stay") == "plain words stay"
    stars = breakable(r"\*" * 50)
    assert stars.replace("\u200b", "") == r"\*" * 50 and [len(one) for one in stars.split("\u200b")] == [40, 40, 20]
    bold = breakable("a" * 19 + "«**" + "b" * 30 + "**»")
    assert bold.replace("\u200b", "") == "a" * 19 + "«**" + "b" * 30 + "**»" and "*\u200b*" not in bold
    assert max(map(len, bold.split("\u200b"))) <= 22


def test_a_histogram_over_thousands_has_whole_numbers_at_its_ends() -> None:
    plot = distribution_plot({"windows": [2.0, *[552.0] * 8, 2120.0]}, "windows", "windows")
    assert [one.text for one in svg(plot).iter() if one.tag.endswith("text")] == ["2", "windows", "2,120"]


def test_numbers_have_the_digits_that_they_mean() -> None:
    assert markdown_table(["a", "b", "c"], [[0.0000123456, 12345.678, 3]]).splitlines()[-1] == "| 1.23e-05 | 12,346 | 3 |"
    assert rounded({"bytes_per_activation": 2.6123456, "n": 3, "text": "x"}) == {"bytes_per_activation": 2.612, "n": 3, "text": "x"}


def test_a_few_values_are_listed() -> None:
    assert distribution_plot({"b": [0.5], "a": [0.75, 0.1]}, "score", "scores") == "*scores: a 0.1, 0.75; b 0.5*"


@pytest.mark.parametrize("points", [{}, {"sae": []}])
def test_without_points_there_is_a_sentence(points: dict) -> None:
    assert scatter(points) == "*best scores: no values*"
    assert distribution_plot(points, "score", "scores") == "*scores: no values*"
