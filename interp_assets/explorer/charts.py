"""Charts as SVG: drawn by the server, without programs, styled by classes of the stylesheet. Every chart has a title that says it in words.

Colours are classes, so that a chart follows dark and light and can be printed. `<title>` of a mark is its text on hover.
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np
from markupsafe import Markup, escape

from interp_assets.explorer.shading import number

STRIP_WIDTH, STRIP_HEIGHT = 132, 16


def element(name: str, *children: str | Markup, **attributes: object) -> Markup:
    """An SVG element; `_` in an attribute's name stands for `-`, and a `_` at its end is left out. Texts are escaped."""
    written = "".join(f' {key.rstrip("_").replace("_", "-")}="{escape(_short(value))}"' for key, value in attributes.items())
    return Markup(f"<{name}{written}>{''.join(map(str, map(escape, children)))}</{name}>")


def picture(width: float, height: float, title: str, *children: str | Markup, class_: str = "chart") -> Markup:
    """An `<svg>` that scales with its place and says `title` to those who do not see it."""
    return element(
        "svg", element("title", title), *children, viewBox=f"0 0 {_short(width)} {_short(height)}", width=width, height=height, role="img",
        class_=class_, aria_label=title,
    )  # fmt: skip


def score_strip(
    value: float | None,
    low: float | None,
    high: float | None,
    floor: float | None,
    control: float | None,
    span: tuple[float, float] = (0, 1),
) -> Markup:
    """A score on a line over `span`: interval and dot, a tick at the floor, and a hollow dot at the control's score."""
    first, last = span
    width, middle = STRIP_WIDTH, STRIP_HEIGHT / 2

    def x(at: float) -> float:
        return 4 + (width - 8) * min(1.0, max(0.0, (at - first) / ((last - first) or 1)))

    said = [f"score {number(value)}"]
    marks = [element("line", x1=4, x2=width - 4, y1=middle, y2=middle, class_="axis")]
    if floor is not None and floor == floor:
        marks.append(element("line", x1=x(floor), x2=x(floor), y1=2, y2=STRIP_HEIGHT - 2, class_="floor"))
        said.append(f"floor {number(floor)}")
    if low is not None and high is not None and low == low and high == high:
        marks.append(element("line", x1=x(low), x2=x(high), y1=middle, y2=middle, class_="interval"))
        said.insert(1, f"95 % interval {number(low)} to {number(high)}")
    if control is not None and control == control:
        marks.append(element("circle", cx=x(control), cy=middle, r=3, class_="control"))
        said.append(f"control {number(control)}")
    if value is not None and value == value:
        marks.append(element("circle", cx=x(value), cy=middle, r=3.4, class_="dot"))
    return picture(width, STRIP_HEIGHT, ", ".join(said), *marks, class_="strip")


def histogram(
    counts: Sequence[float],
    edges: Sequence[float],
    title: str,
    ticks: Iterable[tuple[float, str]] = (),
    width: int = 300,
    height: int = 84,
    logarithmic: bool = False,
    classes: Sequence[str] | None = None,
) -> Markup:
    """Bars over [n + 1] `edges` that share the width evenly. `ticks` are (edge number, text); `logarithmic` takes heights to log(1 + count)."""  # noqa: E501
    heights = np.log1p(np.asarray(counts, dtype=float)) if logarithmic else np.asarray(counts, dtype=float)
    largest = float(heights.max(initial=0)) or 1.0
    base, n = height - 16, max(1, len(heights))
    step = width / n
    marks = [
        element(
            "rect", element("title", f"{number(low)} to {number(high)}: {count:,.0f}"),
            x=place * step + 0.4, width=max(step - 0.8, 0.6), y=base - (base - 4) * tall / largest, height=(base - 4) * tall / largest,
            class_=classes[place] if classes else "bar",
        )
        for place, (count, tall, (low, high)) in enumerate(zip(counts, heights, pairwise(edges), strict=True))
        if tall > 0
    ]  # fmt: skip
    marks.append(element("line", x1=0, x2=width, y1=base, y2=base, class_="axis"))
    for place, text in ticks:
        anchor = "start" if place <= 0 else "end" if place >= n else "middle"
        marks.append(element("text", text, x=place * step, y=height - 3, text_anchor=anchor))
    return picture(width, height, title, *marks)


def curves(
    series: Sequence[tuple[str, Sequence[float], str]],
    edges: Sequence[float],
    title: str,
    floor: float | None = None,
    width: int = 300,
    height: int = 96,
    marked: tuple[float, float] | None = None,
) -> Markup:
    """Histograms over the same bins, each as (name, counts, class) and scaled to its own share, as stepped lines; the first is filled."""
    base, shares = height - 16, []
    for _, counts, _class in series:
        total = float(np.sum(counts)) or 1.0
        shares.append(np.asarray(counts, dtype=float) / total)
    largest = max((float(one.max(initial=0)) for one in shares), default=0.0) or 1.0
    low, high = float(edges[0]), float(edges[-1])

    def x(at: float) -> float:
        return width * (at - low) / ((high - low) or 1)

    marks = []
    if marked is not None:
        marks.append(element("rect", x=x(marked[0]), width=max(1.0, x(marked[1]) - x(marked[0])), y=0, height=base, class_="marked"))
    for (name, counts, class_), heights in reversed(list(zip(series, shares, strict=True))):
        steps = [f"M0 {_short(base)}"]
        for share_, (left, right) in zip(heights, pairwise(edges), strict=True):
            steps.append(f"L{_short(x(left))} {_short(base - (base - 6) * share_ / largest)}H{_short(x(right))}")
        marks.append(
            element("path", element("title", f"{name}: {int(np.sum(counts)):,}"), d="".join(steps) + f"V{_short(base)}", class_=class_)
        )
    if floor is not None and floor == floor:
        marks.append(element("line", element("title", f"floor {number(floor)}"), x1=x(floor), x2=x(floor), y1=2, y2=base, class_="floor"))
    marks.append(element("line", x1=0, x2=width, y1=base, y2=base, class_="axis"))
    for at, anchor in ((low, "start"), ((low + high) / 2, "middle"), (high, "end")):
        marks.append(element("text", number(at), x=x(at), y=height - 3, text_anchor=anchor))
    return picture(width, height, title, *marks)


def cells(
    counts: np.ndarray,
    x_ticks: Sequence[tuple[float, str]],
    y_ticks: Sequence[tuple[float, str]],
    title: str,
    width: int = 300,
    height: int = 150,
) -> Markup:
    """Counts [columns, rows] of a plane, rows upwards, each cell as deep as the logarithm of its count. Ticks are (share of the axis, text)."""  # noqa: E501
    left, base = 30, height - 16
    n_columns, n_rows = counts.shape
    across, up = (width - left) / n_columns, (base - 4) / n_rows
    largest = float(np.log1p(counts.max(initial=0))) or 1.0
    marks = [
        element(
            "rect", element("title", f"{int(counts[i, j]):,}"), x=left + i * across, y=base - (j + 1) * up, width=across, height=up,
            class_=f"cell c{max(1, round(10 * float(np.log1p(counts[i, j])) / largest))}",
        )
        for i, j in np.argwhere(counts > 0).tolist()
    ]  # fmt: skip
    marks.append(element("path", d=f"M{left} 4V{base}H{width}", class_="axis"))
    marks += [element("text", text, x=left + at * (width - left), y=height - 3, text_anchor="middle") for at, text in x_ticks]
    marks += [element("text", text, x=left - 4, y=base - at * (base - 4) + 3, text_anchor="end") for at, text in y_ticks]
    return picture(width, height, title, *marks)


def _short(value: object) -> object:
    """Numbers with two digits behind the point at most, since pages hold thousands of them."""
    return f"{float(value):.2f}".rstrip("0").rstrip(".") if isinstance(value, float | np.floating) else value
