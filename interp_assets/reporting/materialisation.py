"""Metadata of a materialisation in the UI: tables, Markdown previews and plots."""

import base64
import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import dagster as dg
import pyarrow as pa

from interp_assets.domain.prompting.rendering import escape_markdown
from interp_assets.reporting.colours import PLOT_COLOURS

INLINE_CHARACTERS = 1000
"""Markdown of at least so many characters is behind the button "Show Markdown" in Dagster's UI."""

NO_ROWS = "*no rows*"

PATH_CHARACTERS = 44
"""Letters of one word that fit into a value of Dagster's page of a partition, in a window of 1440 pixels."""


def column_schema(schema: pa.Schema) -> dg.TableSchema:
    """Dagster's column schema of an Arrow schema, with the units as descriptions."""
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                name=field.name,
                type=str(field.type.value_type if pa.types.is_dictionary(field.type) else field.type),
                description=(field.metadata or {}).get(b"unit", b"").decode(),
                constraints=dg.TableColumnConstraints(nullable=field.nullable),
            )
            for field in schema
        ]
    )


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A Markdown table, or a line that says that there are no rows."""
    lines = list(_lines(rows))
    return "\n".join([*_head(header), *lines]) if lines else NO_ROWS


def table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> dg.MetadataValue:
    """A table that Dagster shows in its place, whatever its length; a sentence where there are no rows. Four columns fit in a window of
    1440 pixels: names may break after an underscore or a slash."""
    cells = ([re.sub(r"([_/])(?=\S)", "\\1\u200b", _shown(value)) for value in row] for row in rows)
    records = [dg.TableRecord(dict(zip(header, row, strict=True))) for row in cells]
    if not records:
        return markdown("*no rows*")
    return dg.MetadataValue.table(records, dg.TableSchema([dg.TableColumn(name) for name in header]))


def preview_table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A Markdown table of the first rows, as many as Dagster shows without a button, and one row at least. No later row is asked for."""
    lines = _lines(rows)
    first = next(lines, None)
    if first is None:
        return NO_ROWS
    shown = [*_head(header), first]
    for line in lines:
        if sum(map(len, shown)) + len(shown) + len(line) >= INLINE_CHARACTERS:
            break
        shown.append(line)
    return "\n".join(shown)


def _head(header: Sequence[str]) -> list[str]:
    return ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]


def _lines(rows: Iterable[Sequence[Any]]) -> Iterator[str]:
    return ("| " + " | ".join(_cell(value) for value in row) + " |" for row in rows)


def path_lines(path: str) -> dg.MetadataValue:
    """A path in the lake, a folder a line where it is longer than Dagster's column: Dagster cuts a longer word off."""
    return markdown(escape_markdown(path).replace("/", "/  \n") if len(path) > PATH_CHARACTERS else escape_markdown(path))


def _cell(value: Any) -> str:
    return re.sub(r"(?<!\\)\|", r"\\|", _shown(value)).replace("\n", " ")


def _shown(value: Any) -> str:
    if value is None:
        return ""
    return shown_number(value) if isinstance(value, float) else str(value)


def shown_number(value: float) -> str:
    """Three significant digits; whole from a thousand up."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def breakable(markdown: str, length: int = 20) -> str:
    """Markdown of a text in which a line may break after `length` characters without a space: Dagster cuts a wider line off."""
    return re.sub(rf"((?:\\.|\*\*|[^\s\\*]){{{length}}})(?=\S)", "\\1\u200b", markdown)


def rounded(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The metadata, its floats with four significant digits: more would claim what no measurement here holds."""
    return {name: float(f"{value:.4g}") if isinstance(value, float) else value for name, value in metadata.items()}


def text_or_outcome(text: str | None, outcome: str) -> str:
    """An explanation escaped for Markdown, word for word; without an explanation, its outcome in italics."""
    return escape_markdown(text) if text else f"*{outcome}*"


def scatter_plot(
    series: Mapping[str, Sequence[tuple[float, float]]], xlabel: str, ylabel: str, title: str, *, floors: tuple[float, float]
) -> str:
    """A Markdown image of points (x, y) by series (the PNG is in the text), with a line at the floor of each axis; a sentence without
    points."""
    points = {name: pairs for name, pairs in series.items() if pairs}
    if not points:
        return f"*{title}: no values*"
    figure, axes = _pyplot().subplots(figsize=(5.2, 3.6), dpi=90)
    for (name, pairs), colour in zip(sorted(points.items()), PLOT_COLOURS * len(points), strict=False):
        axes.scatter(*zip(*pairs, strict=True), s=12, alpha=0.6, linewidths=0, label=f"{name} (n = {len(pairs)})", color=colour)
    axes.axvline(floors[0], color="black", linestyle="--", linewidth=1)
    axes.axhline(floors[1], color="black", linestyle="--", linewidth=1)
    axes.set(xlabel=xlabel, ylabel=ylabel, title=title)
    return _embedded(figure, axes)


def _pyplot() -> Any:
    """matplotlib's pyplot, with a back end that needs no screen."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot

    return matplotlib.pyplot


def _embedded(figure: Any, axes: Any) -> str:
    """The finished figure as a Markdown image. The bytes are the same in every run."""
    title = axes.get_title()
    axes.title.set_fontsize(10)
    axes.legend(fontsize=7)
    return _image(figure, title)


def interval_plot(series: Mapping[str, Sequence[tuple[str, float, float, float]]], xlabel: str, title: str) -> str:
    """A Markdown image of values in their intervals, with a line at 0 and one colour a series (the PNG is in the text); a sentence without
    values.

    Each entry of a series is (label, value, low, high); entries with the same label stand beside each other.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    labels = list(dict.fromkeys(label for entries in series.values() for label, *_ in entries))
    if not labels:
        return f"*{title}: no values*"
    figure, axes = plt.subplots(figsize=(5.2, 0.9 + 0.45 * len(labels)), dpi=90)
    for number, (name, entries) in enumerate(series.items()):
        places = [labels.index(label) + 0.22 * (number - (len(series) - 1) / 2) for label, *_ in entries]
        values = [value for _, value, _, _ in entries]
        sides = [[value - low for _, value, low, _ in entries], [high - value for _, value, _, high in entries]]
        axes.errorbar(values, places, xerr=sides, fmt="o", markersize=3.5, capsize=2, color=PLOT_COLOURS[number], label=name)
    axes.axvline(0, color="black", linestyle="--", linewidth=1)
    axes.set(xlabel=xlabel, title=title, yticks=range(len(labels)), yticklabels=labels)
    axes.invert_yaxis()
    axes.title.set_fontsize(10)
    axes.tick_params(labelsize=8)
    axes.legend(fontsize=7)
    return _image(figure, title)


def course_plot(
    series: Mapping[str, Sequence[tuple[float, float, float | None, float | None]]], xlabel: str, ylabel: str, title: str
) -> str:
    """A Markdown image of values in their intervals along an axis, one line a series (the PNG is in the text); a sentence without values.

    Each point is (place on the axis, value, low, high); a point without an interval has None for both ends.
    """
    lines = {name: points for name, points in series.items() if points}
    if not lines:
        return f"*{title}: no values*"
    figure, axes = _pyplot().subplots(figsize=(5.2, 3.2), dpi=90)
    for (name, points), colour in zip(sorted(lines.items()), PLOT_COLOURS * len(lines), strict=False):
        places, values, low, high = zip(*sorted(points, key=lambda point: point[0]), strict=True)
        axes.plot(places, values, marker="o", markersize=3.5, linewidth=1.2, color=colour, label=name)
        known = [(x, a, b) for x, a, b in zip(places, low, high, strict=True) if a is not None and b is not None]
        if known:
            axes.fill_between(*zip(*known, strict=True), alpha=0.15, linewidth=0, color=colour)
    axes.set(xlabel=xlabel, ylabel=ylabel, title=title)
    return _embedded(figure, axes)


def _image(figure: Any, title: str) -> str:
    """Close the figure, and return it as a Markdown image with its PNG in the text."""

    figure.tight_layout()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    _pyplot().close(figure)
    return f"![{title}](data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()})"


def markdown(text: str) -> dg.MetadataValue:
    """A Markdown metadata value."""
    return dg.MetadataValue.md(text)
