"""Points, courses and intervals that Dagster shows in a table of metadata: images of a few hundred characters, since longer Markdown hides
behind a button. Beside them stands the figure with its axes."""

import base64
from collections.abc import Callable, Mapping, Sequence

from interp_assets.domain.prompting.rendering import escape_markdown
from interp_assets.reporting.colours import PLOT_COLOURS
from interp_assets.reporting.materialisation import INLINE_CHARACTERS, shown_number

GRIDS = (64, 48, 32, 24)
"""Cells of the grid from left to right, and half as many upwards: the finest grid whose image is short enough is taken."""

FEWER = (16, 8)
"""The same for lines, which may leave out points."""

Path = Callable[[Sequence[tuple[int, int]]], str]
"""Gives the path of a series out of its places on the grid."""

Points = Mapping[str, Sequence[tuple[float, float]]]


def small_plot(
    series: Points, xlabel: str, ylabel: str, title: str, *, floors: tuple[float, float] | None = None, joined: bool = False
) -> str:
    """A Markdown image of points (x, y) by series (an SVG in the text) over a line that names its ends and its series, in fewer than
    INLINE_CHARACTERS; a sentence without points.

    A dot stands for all points of its series in a cell of the grid. Too many dots become crosses: a cross a series, from quartile to
    quartile through the median. `joined` points are a line from left to right. Dashed lines stand at the `floors` of x and y.
    """
    points = {name: sorted(series[name]) for name in sorted(series) if series[name]}
    if not points:
        return f"*{title}: no values*"
    sides = [[pair[axis] for pairs in points.values() for pair in pairs] + ([floors[axis]] if floors else []) for axis in (0, 1)]
    ends = [(min(values), max(values)) for values in sides]
    told = _told(points, xlabel, ylabel, ends)
    for cells in GRIDS + (FEWER if joined else ()):
        if len(shown := _image(_svg(points, ends, floors, cells, _course if joined else _dots), title, told)) < INLINE_CHARACTERS:
            return shown
    shown = _image(_svg(points, ends, floors, GRIDS[0], _cross), title, f"{told}; medians and quartiles")
    return shown if len(shown) < INLINE_CHARACTERS and not joined else f"*{title}:* {told}"


def _image(svg: str, title: str, told: str) -> str:
    return f"![{title}](data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()})\n\n{told}"


def _told(points: Points, xlabel: str, ylabel: str, ends: Sequence[tuple[float, float]]) -> str:
    """The ends of the axes, and the first series with their numbers of points."""
    axes = "; ".join(
        f"{label} {shown_number(low)} to {shown_number(high)} {way}"
        for label, (low, high), way in zip((xlabel, ylabel), ends, ("from left to right", "upwards"), strict=True)
    )
    names = [
        f"{colour} {escape_markdown(name)} (n = {len(pairs):,})"
        for (name, pairs), colour in zip(points.items(), ("blue", "orange") + ("",) * len(points), strict=False)
    ]
    more = f" and {len(names) - 2:,} more" if len(names) > 2 else ""
    return f"{axes}; {', '.join(names[:2])}{more}"


def _svg(points: Points, ends: Sequence[tuple[float, float]], floors: tuple[float, float] | None, cells: int, path: Path) -> str:
    """The image, a unit a cell: a path a series, and a dashed line at each floor."""
    high = cells // 2

    def place(pair: tuple[float, float]) -> tuple[int, int]:
        x, y = ((value - low) / ((top - low) or 1) for value, (low, top) in zip(pair, ends, strict=True))
        return round(x * cells), round((1 - y) * high)

    drawn = f"<path d='M0 {high}H{cells}M0 0V{high}'/>"
    if floors is not None:
        x, y = place(floors)
        drawn += f"<path d='M{x} 0V{high}M0 {y}H{cells}' stroke-dasharray='1'/>"
    for (_, pairs), colour in zip(points.items(), PLOT_COLOURS * len(points), strict=False):
        drawn += f"<path d='{path([place(pair) for pair in pairs])}' stroke='{colour}' stroke-width='{cells / WIDTH_OF[path]:.2g}'/>"
    edge = f"{-cells / 40:.2g}"
    size = f"viewBox='{edge} {edge} {cells * 1.05:.3g} {high * 1.1:.3g}' width='320' height='168'"
    style = f"fill='none' stroke='#888' stroke-width='{cells / 300:.2g}' stroke-linecap='round' opacity='.8'"
    return f"<svg xmlns='http://www.w3.org/2000/svg' {size} {style}>{drawn}</svg>"


def _course(places: Sequence[tuple[int, int]]) -> str:
    """A path from left to right, with the first of the places that stand above one another."""
    by_column = {x: y for x, y in reversed(places)}
    return "M" + "L".join(f"{x} {by_column[x]}" for x in sorted(by_column)) + "h0"


def _dots(places: Sequence[tuple[int, int]]) -> str:
    """A path of dots."""
    return "".join(f"M{x} {y}h0" for x, y in sorted(set(places)))


def _cross(places: Sequence[tuple[int, int]]) -> str:
    """A path of two strokes from quartile to quartile, which meet at the medians."""
    (left, x, right), (top, y, bottom) = (_quartiles([place[axis] for place in places]) for axis in (0, 1))
    return f"M{left} {y}H{right}M{x} {top}V{bottom}"


def _quartiles(values: Sequence[int]) -> list[int]:
    ordered = sorted(values)
    return [ordered[(len(ordered) - 1) * quarter // 4] for quarter in (1, 2, 3)]


WIDTH_OF: dict[Path, int] = {_course: 90, _dots: 50, _cross: 60}
"""How often the stroke of a path goes into the width of the image."""


def small_intervals(series: Mapping[str, Sequence[tuple[str, float, float, float]]], xlabel: str, title: str) -> str:
    """A Markdown image of values in their intervals, a line at 0 and a colour a series, over a line that names the rows from above, in
    fewer than INLINE_CHARACTERS; a sentence without values.

    Each entry of a series is (label, value, low, high); entries with the same label stand in one row. Where the rows are too many for one
    short image, the last rows are left out, and the line says how many.
    """
    labels = list(dict.fromkeys(label for entries in series.values() for label, *_ in entries))
    if not labels:
        return f"*{title}: no values*"
    for n in range(len(labels), 0, -1):
        shown = {name: [entry for entry in entries if entry[0] in labels[:n]] for name, entries in series.items()}
        shown = {name: entries for name, entries in shown.items() if entries}
        ends = [bound for entries in shown.values() for _, _, *bounds in entries for bound in (*bounds, 0.0)]
        low, high = min(ends), max(ends)
        names = [f"{colour} {escape_markdown(name)}" for name, colour in zip(shown, COLOUR_NAMES, strict=False)]
        told = f"{xlabel} {shown_number(low)} to {shown_number(high)}, dashed at 0; {', '.join(names)}; from above: "
        told += ", ".join(map(escape_markdown, labels[:n])) + (f"; {len(labels) - n} rows are left out" if n < len(labels) else "")
        drawn = _image(_rows_svg(shown, labels[:n], low, high), title, told)
        if len(drawn) < INLINE_CHARACTERS:
            return drawn
    return f"*{title}: too long for a short image*"


COLOUR_NAMES = ("blue", "orange", "green", "purple")
"""PLOT_COLOURS in words."""

CELLS = 99
"""Cells from left to right of an image of intervals; a row has ROW of them upwards."""
ROW = 6


def _rows_svg(series: Mapping[str, Sequence[tuple[str, float, float, float]]], labels: Sequence[str], low: float, high: float) -> str:
    """The image: of each series a path of its intervals and a path of its values."""
    span = (high - low) or 1

    def x(value: float) -> int:
        return round((value - low) / span * CELLS)

    height, zero = ROW * len(labels), x(0.0)
    drawn = f"<path d='M{zero} 0V{height}' stroke-dasharray='1'/>"
    for number, (entries, colour) in enumerate(zip(series.values(), PLOT_COLOURS * len(series), strict=False)):
        rows = [labels.index(label) * ROW + 1 + number * 2 for label, *_ in entries]
        lines = "".join(f"M{x(left)} {y}H{x(right)}" for (_, _, left, right), y in zip(entries, rows, strict=True))
        dots = "".join(f"M{x(value)} {y}h0" for (_, value, *_), y in zip(entries, rows, strict=True))
        drawn += f"<g stroke='{colour}'><path d='{lines}'/><path d='{dots}' stroke-width='2'/></g>"
    size = f"viewBox='-2 -1 {CELLS + 4} {height + 2}' width='320'"
    return f"<svg xmlns='http://www.w3.org/2000/svg' {size} stroke='#888' stroke-width='.5' stroke-linecap='round'>{drawn}</svg>"
