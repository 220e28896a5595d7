"""Parts of figures: panels, points with intervals, rows with names, legends."""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from interp_assets.plotting.figure import COLOURS, FAINT, MARKERS, TEXT_WIDTH

ROW_INCHES = 0.2
COLUMNS = 3
LEGEND_INCHES = 0.4
LETTERS = 17
"""Letters of a legend in an inch."""
ROW_LETTERS, TITLE_LETTERS, LEGEND_LETTERS = 28, 34, 60
"""Most letters of a line in the name of a row, of a panel, of a series."""
NAME_LINES = 3


def panels(names: Sequence[str], rows: Sequence[float], *, row_inches: float = ROW_INCHES, title_lines: int = 1) -> tuple[Any, list[Any]]:
    """A figure with a panel for each name, in up to COLUMNS columns; a panel is as high as the most `rows` of its line of panels."""
    import matplotlib.pyplot as plt

    columns = min(COLUMNS, len(names))
    lines = [list(range(first, min(first + columns, len(names)))) for first in range(0, len(names), columns)]
    heights = [max(max(rows[i] for i in line) * row_inches, 0.35) + 0.5 + 0.14 * title_lines for line in lines]
    width = TEXT_WIDTH if columns == COLUMNS else 3.4 * columns
    figure, grid = plt.subplots(
        len(lines),
        columns,
        figsize=(width, sum(heights) + LEGEND_INCHES),
        squeeze=False,
        layout="constrained",
        gridspec_kw={"height_ratios": heights},
    )
    axes = list(grid.flat)
    for one in axes:
        one.locator_params(axis="x", nbins=4)
    for one in axes[len(names) :]:
        one.set_visible(False)
    return figure, axes[: len(names)]


def broken(name: str, letters: int) -> str:
    """A name on as many lines as its length asks for, broken behind spaces and the signs of keys, at most three; the rest is left out."""
    pieces = re.findall(r"[^\s/_.:@-]*[\s/_.:@-]?", name)
    lines = [""]
    for part in (piece[at : at + letters] for piece in pieces for at in range(0, len(piece), letters)):
        if len(lines[-1]) + len(part.rstrip()) > letters:
            lines.append("")
        lines[-1] += part
    lines = [line.strip() for line in lines]
    shown = lines if len(lines) <= NAME_LINES else [*lines[: NAME_LINES - 1], f"{lines[NAME_LINES - 1]}…"]
    return "\n".join(shown)


def title(axes: Any, text: str) -> None:
    """Name a panel; each line of `text` is broken where it is longer than a panel is wide."""
    axes.set_title("\n".join(broken(line, TITLE_LETTERS) for line in text.split("\n")))


def name_rows(axes: Sequence[Any], labels: Sequence[Sequence[str]]) -> None:
    """One row a label in each panel, the first on top. A panel that has the rows of the panel to its left repeats no names."""
    labels = [[broken(name, ROW_LETTERS) for name in own] for own in labels]
    for number, (one, own) in enumerate(zip(axes, labels, strict=True)):
        line = labels[number // COLUMNS * COLUMNS : number // COLUMNS * COLUMNS + COLUMNS]
        spare = max(max(map(len, line)) / 2.5 - len(own), 0) / 2
        repeated = number % COLUMNS > 0 and list(labels[number - 1]) == list(own)
        one.set_yticks(range(len(own)), [""] * len(own) if repeated else own)
        one.set_ylim(len(own) - 0.45 + spare, -0.55 - spare)


def point(axes: Any, place: float, value: float, low: float | None, high: float | None, number: int, label: str | None = None) -> None:
    """A point in the series `number` with its interval, where it has one, on row `place`."""
    colour = COLOURS[number % len(COLOURS)]
    if low is not None and high is not None:
        axes.plot([low, high], [place, place], color=colour, linewidth=1.5, solid_capstyle="butt", alpha=0.75, zorder=3)
    shape = {"color": colour, "markersize": 4.6, "markeredgecolor": "white", "markeredgewidth": 0.6, "linestyle": "none"}
    axes.plot([value], [place], MARKERS[number % len(MARKERS)], label=label, zorder=4, **shape)


def strip(axes: Any, place: float, values: Sequence[float], height: float, number: int, seed: int) -> None:
    """All values of a row as faint dots, moved up and down so that equal values show."""
    shown = np.asarray(values, dtype=float)
    moved = place + np.random.default_rng(seed).uniform(-height / 2, height / 2, len(shown))
    size, alpha = (5.0, 0.28) if len(shown) < 400 else (2.0, max(0.05, 60 / len(shown)))
    colour = COLOURS[number % len(COLOURS)]
    axes.scatter(shown, moved, s=size, color=colour, alpha=alpha, linewidths=0, zorder=2, rasterized=len(shown) > 5000)


def reference(axes: Any, value: float, label: str | None = None) -> None:
    """A dashed line at a value that points are compared with."""
    axes.axvline(value, color=FAINT, linewidth=0.9, linestyle=(0, (4, 2.5)), zorder=1, label=label)


def legend_below(figure: Any, axes: Sequence[Any]) -> None:
    """One legend for all panels, below them; none where nothing is labelled."""
    found: dict[str, Any] = {}
    for one in axes:
        for handle, label in zip(*one.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    if found:
        columns = max(1, min(4, int(figure.get_figwidth() * LETTERS // (min(max(map(len, found)), LEGEND_LETTERS) + 7))))
        figure.legend(
            list(found.values()),
            [broken(label, LEGEND_LETTERS) for label in found],
            loc="outside lower center",
            ncols=min(columns, len(found)),
            handletextpad=0.4,
        )


def offsets(n: int, room: float = 0.56) -> list[float]:
    """Places of `n` series around the middle of a row."""
    return [0.0] if n == 1 else np.linspace(-room / 2, room / 2, n).tolist()
