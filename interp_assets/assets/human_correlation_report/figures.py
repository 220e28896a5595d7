"""The figures of the report on human correlation: for its page, as vectors for a paper, and as images for the UI."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from interp_assets.domain.ratings.human_correlation import (
    HEADLINE,
    PUBLISHED_EXPLANATIONS,
    PUBLISHED_SPEARMAN,
    AgreementRow,
    CorrelationReport,
    CorrelationRow,
    RatedItem,
    ScopeKind,
)
from interp_assets.domain.statistics.metrics import Estimate
from interp_assets.domain.statistics.power import spearman_interval
from interp_assets.reporting.colours import PLOT_COLOURS

OURS, PUBLISHED = PLOT_COLOURS[0], PLOT_COLOURS[1]
STYLE: dict[Any, Any] = {
    "font.size": 8, "axes.titlesize": 8, "axes.labelsize": 8, "legend.fontsize": 7, "xtick.labelsize": 7, "ytick.labelsize": 7,
    "axes.spines.top": False, "axes.spines.right": False, "svg.hashsalt": "interp-assets", "pdf.fonttype": 42,
}  # fmt: skip
MOST_ROWS = 40
"""Most rows of a figure; the tables have all rows."""


@dataclass(frozen=True)
class Figure:
    """A figure: its file name without ending, its caption, and its content as SVG, PDF and PNG."""

    name: str
    caption: str
    svg: bytes
    pdf: bytes
    png: bytes

    @property
    def data_uri(self) -> str:
        """The SVG as an address that a page embeds."""
        return f"data:image/svg+xml;base64,{base64.b64encode(self.svg).decode()}"

    @property
    def markdown(self) -> str:
        """The PNG as a Markdown image."""
        return f"![{self.caption}](data:image/png;base64,{base64.b64encode(self.png).decode()})"


def figures(items: Sequence[RatedItem], report: CorrelationReport, ratings_by: str) -> list[Figure]:
    """The figures that have something to show, in the order of the page. `ratings_by` says who gave the ratings, such as "people"."""
    import matplotlib

    matplotlib.use("Agg")
    with matplotlib.rc_context(STYLE):
        made = [
            _forest(report, ratings_by),
            _scatter(items, report, ratings_by),
            _matrix(report, ratings_by),
            _agreement(report.agreement),
            _by_group(report, "layer"),
            _by_group(report, "dictionary"),
        ]
    return [figure for figure in made if figure is not None]


def headline_rows(report: CorrelationReport, scope: ScopeKind = "all") -> list[CorrelationRow]:
    """The headline correlations of a scope that have a value, by name of the scorer: in order of value they would read as a ranking."""
    rows = [row for row in report.correlations if row.statistic == HEADLINE and row.scope == scope and row.estimate.value is not None]
    return sorted(rows, key=lambda row: (row.scope_value, row.scorer))


def _forest(report: CorrelationReport, ratings_by: str) -> Figure | None:
    rows = headline_rows(report)
    if not rows:
        return None
    missing = [name for name in PUBLISHED_SPEARMAN if name not in {row.scorer for row in rows}]
    names = [*(row.scorer for row in rows), *missing]
    figure, axes = _axes(5.4, 0.9 + 0.34 * len(names))
    for place, row in enumerate(rows):
        _error_bar(axes, row.estimate, place - 0.12, OURS, "o", f"here, n = {rows[0].n_items}" if place == 0 else None)
    label = f"arXiv 2410.13928, n = {PUBLISHED_EXPLANATIONS}"
    for place, name in enumerate(names):
        if name in PUBLISHED_SPEARMAN:
            value = PUBLISHED_SPEARMAN[name]
            bounds = spearman_interval(value, PUBLISHED_EXPLANATIONS) or (value, value)
            _error_bar(axes, Estimate(value, *bounds), place + 0.16, PUBLISHED, "D", label)
            label = None
    _rows_axis(axes, names, f"Spearman correlation with the ratings of {ratings_by}")
    axes.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.18 - 0.5 / len(names)), ncols=2)
    caption = (
        f"Spearman correlation of each scorer with the mean ratings of {ratings_by}, 95 % bootstrap intervals over features, beside the "
        f"published values. The published intervals are approximate, by Fisher's z from n = {PUBLISHED_EXPLANATIONS}."
    )
    return _finished("forest", caption, figure)


def _scatter(items: Sequence[RatedItem], report: CorrelationReport, ratings_by: str) -> Figure | None:
    rows = headline_rows(report)
    if not rows:
        return None
    columns = min(3, len(rows))
    lines = -(-len(rows) // columns)
    figure, grid = _grid(2.3 * columns, 2.1 * lines, lines, columns)
    jitter = np.random.default_rng(0)
    for axes, row in zip(grid.flat, rows, strict=False):
        points = [(item.scores[row.scorer], item.rating) for item in items if row.scorer in item.scores]
        x, y = np.array(points).T
        spread = 0.008 * max(float(np.ptp(x)), 1e-9)
        axes.scatter(x + jitter.normal(0, spread, len(x)), y + jitter.normal(0, 0.008, len(y)), s=9, alpha=0.55, color=OURS, linewidths=0)
        axes.set_title(f"{row.scorer}\nρ = {with_interval(row.estimate)}, n = {row.n_items}")
        axes.set(xlabel="score", ylim=(-0.06, 1.06))
    for axes in grid[:, 0]:
        axes.set_ylabel("mean rating")
    for axes in list(grid.flat)[len(rows) :]:
        axes.set_visible(False)
    caption = (
        f"Each rated explanation: its headline score and the mean rating of {ratings_by}, on a scale from 0 to 1; points are moved by "
        "about 1 % of the range so that equal ones show."
    )
    return _finished("scatter", caption, figure)


def _matrix(report: CorrelationReport, ratings_by: str) -> Figure | None:
    rows = headline_rows(report)
    if len(rows) < 2:
        return None
    names = [row.scorer for row in rows]
    values = np.full((len(names) + 1, len(names) + 1), np.nan)
    np.fill_diagonal(values, 1.0)
    for number, row in enumerate(rows):
        values[0, number + 1] = values[number + 1, 0] = row.estimate.value
    for pair in report.pairs:
        if pair.scorer in names and pair.other in names and pair.between.value is not None:
            i, j = names.index(pair.scorer) + 1, names.index(pair.other) + 1
            values[i, j] = values[j, i] = pair.between.value
    size = 1.6 + 0.46 * len(values)
    figure, axes = _axes(size + 0.6, size)
    image = axes.imshow(values, cmap="RdBu", vmin=-1, vmax=1)
    for (i, j), value in np.ndenumerate(values):
        if i != j and not np.isnan(value):
            axes.text(j, i, f"{value:.2f}", ha="center", va="center", fontsize=7, color="white" if abs(value) > 0.65 else "black")
    labels = [ratings_by, *names]
    axes.set_xticks(range(len(labels)), labels, rotation=45, ha="right")
    axes.set_yticks(range(len(labels)), labels)
    axes.spines[:].set_visible(False)
    figure.colorbar(image, ax=axes, shrink=0.7, label="Spearman")
    return _finished(
        "matrix", f"Spearman correlations of the scorers with one another and with {ratings_by}, on the rated explanations.", figure
    )


def _agreement(rows: Sequence[AgreementRow]) -> Figure | None:
    shown = [row for row in rows if row.estimate.value is not None][:MOST_ROWS]
    if not shown:
        return None
    labels = [f"rater {row.rater} with the others" if row.rater else measured(row.measure) for row in shown]
    figure, axes = _axes(5.4, 0.7 + 0.26 * len(shown))
    for place, row in enumerate(shown):
        _error_bar(axes, row.estimate, place, PLOT_COLOURS[2] if row.rater else PLOT_COLOURS[3], "o" if row.rater else "s", None)
    _rows_axis(axes, labels, "Krippendorff's α; Spearman correlation of a rater with the mean of the others")
    caption = "How far raters agree, 95 % bootstrap intervals over features: 1 is perfect agreement, 0 is chance."
    return _finished("agreement", caption, figure)


def _by_group(report: CorrelationReport, kind: ScopeKind) -> Figure | None:
    rows = headline_rows(report, kind)
    groups = sorted({row.scope_value for row in rows})
    if len(groups) < 2:
        return None
    scorers = [row.scorer for row in headline_rows(report)]
    shown = groups[:MOST_ROWS]
    figure, axes = _axes(6.2, 0.9 + len(shown) * (0.16 + 0.14 * len(scorers)))
    colours = [f"C{number}" for number in range(10)]
    for number, scorer in enumerate(scorers):
        label: str | None = scorer
        for row in rows:
            if row.scorer == scorer and row.scope_value in shown:
                offset = (number - (len(scorers) - 1) / 2) * 0.7 / max(len(scorers), 1)
                _error_bar(axes, row.estimate, shown.index(row.scope_value) + offset, colours[number % 10], "o", label)
                label = None
    _rows_axis(axes, shown, "Spearman correlation with the ratings")
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return _finished(f"by_{kind}", f"Spearman correlation with the ratings by {kind}, 95 % bootstrap intervals over features.", figure)


def measured(measure: str) -> str:
    """The name of a measure of agreement in words."""
    return measure.replace("krippendorff_alpha_", "Krippendorff's α, ").replace("spearman", "Spearman").replace("_", " ")


def with_interval(estimate: Estimate) -> str:
    """An estimate as text: "0.52 [0.30, 0.68]"."""
    if estimate.value is None:
        return ""
    interval = "" if estimate.ci_low is None or estimate.ci_high is None else f" [{estimate.ci_low:.2f}, {estimate.ci_high:.2f}]"
    return f"{estimate.value:.2f}{interval}"


def _grid(width: float, height: float, lines: int, columns: int) -> tuple[Any, np.ndarray]:
    """A figure of `width` × `height` inches with axes [lines, columns]."""
    import matplotlib.pyplot as plt

    return plt.subplots(lines, columns, figsize=(width, height), squeeze=False)


def _axes(width: float, height: float) -> tuple[Any, Any]:
    """A figure of `width` × `height` inches with one pair of axes."""
    figure, grid = _grid(width, height, 1, 1)
    return figure, grid[0, 0]


def _error_bar(axes: Any, estimate: Estimate, place: float, colour: str, marker: str, label: str | None) -> None:
    value = estimate.value
    assert value is not None
    low, high = (value if bound is None else bound for bound in (estimate.ci_low, estimate.ci_high))
    spread = [[max(value - low, 0.0)], [max(high - value, 0.0)]]
    axes.errorbar([value], [place], xerr=spread, fmt=marker, color=colour, markersize=4, linewidth=1.1, capsize=2, label=label)


def _rows_axis(axes: Any, labels: Sequence[str], xlabel: str) -> None:
    """One row a label, the first label on top, with a line at 0."""
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    low = min(-0.1, axes.get_xlim()[0])
    axes.set_xlim(max(low, -1.05), max(1.0, axes.get_xlim()[1]))
    axes.axvline(0, color="grey", linewidth=0.7, linestyle="--", zorder=0)
    axes.grid(axis="x", alpha=0.25)
    axes.set_xlabel(xlabel)


def _finished(name: str, caption: str, figure: Any) -> Figure:
    """The figure as SVG, PDF and PNG. The bytes are the same in every run."""
    import matplotlib.pyplot as plt

    figure.tight_layout()
    forms = []
    undated = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {"Software": None}}
    for form, metadata in undated.items():
        buffer = io.BytesIO()
        figure.savefig(buffer, format=form, metadata=metadata, bbox_inches="tight", dpi=130)
        forms.append(buffer.getvalue())
    plt.close(figure)
    return Figure(name, caption, *forms)
