"""Histograms that Dagster shows in a table of metadata: images of a few hundred characters, since longer Markdown hides behind a button."""

import base64
from collections.abc import Mapping, Sequence
from html import escape

from interp_assets.domain.prompting.rendering import escape_markdown
from interp_assets.reporting.colours import PLOT_COLOURS
from interp_assets.reporting.materialisation import shown_number

FEW_VALUES = 8
"""Fewer values than this are listed: a histogram would say less."""

BINS = 20
WIDTH, HEIGHT, MARGIN = 340, 80, 4


def distribution_plot(
    series: Mapping[str, Sequence[float]], xlabel: str, title: str, *, log_x: bool = False, floor: float | None = None
) -> str:
    """A Markdown image of one histogram a series (an SVG in the text) over a line on each series; a sentence with the values where there
    are fewer than FEW_VALUES."""
    import numpy as np

    values = {name: np.asarray([v for v in numbers if v is not None and (v > 0 or not log_x)]) for name, numbers in series.items()}
    values = {name: values[name] for name in sorted(values) if len(values[name])}
    if not values:
        return f"*{title}: no values*"
    everything = np.concatenate(list(values.values()))
    if len(everything) < FEW_VALUES:
        told = "; ".join(f"{name} " + ", ".join(shown_number(value) for value in sorted(values[name])) for name in values)
        return f"*{title}: {told}*"
    low, high = float(everything.min()), float(everything.max())
    if low == high:
        low, high = low * 0.9 - (not log_x) * 0.05, high * 1.1 + 0.05
    edges = np.geomspace(low, high, BINS + 1) if log_x else np.linspace(low, high, BINS + 1)
    counts = [np.histogram(numbers, edges)[0].tolist() for numbers in values.values()]
    place = None
    if floor is not None and low <= floor <= high and (floor > 0 or not log_x):
        place = float(np.interp(np.log(floor) if log_x else floor, np.log(edges) if log_x else edges, np.arange(BINS + 1)) / BINS)
    image = base64.b64encode(_svg(counts, shown_number(low), shown_number(high), xlabel, place).encode()).decode()
    lines = [
        f"{escape_markdown(name)}: n = {len(numbers):,}, median {shown_number(float(np.median(numbers)))}"
        for name, numbers in values.items()
    ]
    lines += [f"floor {floor:.3g}"] if floor is not None else []
    return f"![{title}](data:image/svg+xml;base64,{image})\n\n{'; '.join(lines)}"


def _svg(counts: Sequence[Sequence[int]], low: str, high: str, xlabel: str, floor: float | None) -> str:
    """The image: an outline a series, the ends and the name of the axis, and a dashed line at the floor's place (0 to 1 on the axis)."""
    top, step = max(map(max, counts)), (WIDTH - 2 * MARGIN) // BINS
    right = MARGIN + step * BINS
    drawn = ""
    for number, (heights, colour) in enumerate(zip(counts, PLOT_COLOURS * len(counts), strict=False)):
        path = "".join(f"V{HEIGHT - round((HEIGHT - 4) * height / top)}h{step}" for height in heights)
        drawn += f"<path d='M{MARGIN} {HEIGHT}{path}V{HEIGHT}z' fill='{colour}' opacity='{0.6 if number else 0.75}'/>"
    if floor is not None:
        drawn += f"<path d='M{MARGIN + round(step * BINS * floor)} 2V{HEIGHT}' stroke='#c33' stroke-dasharray='3'/>"
    words = ((MARGIN, "start", low), (WIDTH // 2, "middle", xlabel), (right, "end", high))
    drawn += "".join(f"<text x='{x}' y='{HEIGHT + 13}' text-anchor='{anchor}'>{escape(word)}</text>" for x, anchor, word in words)
    size = f"width='{WIDTH}' height='{HEIGHT + 18}'"
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' {size} font-family='sans-serif' font-size='10' fill='#888'>"
        f"<path d='M{MARGIN} {HEIGHT}H{right}' stroke='#888'/>{drawn}</svg>"
    )
