"""Plots in the UI: Markdown with a PNG in it, the same bytes each time, or a sentence."""

import base64

import pytest

from interp_assets.reporting.materialisation import distribution_plot, scatter_plot

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
    plain = distribution_plot({"a": [0.1, 0.5] * 4}, "score", "scores", floor=0.5)
    assert png(plain).startswith(b"\x89PNG") and plain == distribution_plot({"a": [0.1, 0.5] * 4}, "score", "scores", floor=0.5)


def test_a_few_values_are_listed() -> None:
    assert distribution_plot({"b": [0.5], "a": [0.75, 0.1]}, "score", "scores") == "*scores: a 0.1, 0.75; b 0.5*"


@pytest.mark.parametrize("points", [{}, {"sae": []}])
def test_without_points_there_is_a_sentence(points: dict) -> None:
    assert scatter(points) == "*best scores: no values*"
    assert distribution_plot(points, "score", "scores") == "*scores: no values*"
