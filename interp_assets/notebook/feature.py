"""A feature that shows itself in a notebook: windows shaded, histogram, explanations with scores, neighbours. Every text is escaped."""

import html
import math
from collections.abc import Sequence
from typing import Any

import polars as pl
import pyarrow as pa

from interp_assets.domain.prompting.rendering import html_highlight, visible
from interp_assets.notebook.frames import plain_frame
from interp_assets.single_features.card import FeatureCard, Row
from interp_assets.single_features.summary import held_bins, score_cell, summary_lines
from interp_assets.tables import EXAMPLES, EXPLANATIONS, SCORES, Table

N_WINDOWS, N_SILENT = 10, 3
WIDTH, HEIGHT = 360, 60
STYLE = "font-family: system-ui, sans-serif; font-size: 13px; line-height: 1.5; max-width: 70em"
WINDOW = "font-family: ui-monospace, monospace; white-space: pre-wrap; overflow-wrap: anywhere; margin: 2px 0"


class FeatureView:
    """One feature of one dictionary. `card` has its rows; in a notebook it shows itself as HTML."""

    def __init__(self, card: FeatureCard) -> None:
        self.card = card

    @property
    def explanations(self) -> pl.DataFrame:
        """The explanations, a row a method."""
        return _frame(self.card.explanations, EXPLANATIONS)

    @property
    def scores(self) -> pl.DataFrame:
        """The headline scores, a row an explanation and scorer."""
        return _frame(self.card.scores, SCORES)

    @property
    def examples(self) -> pl.DataFrame:
        """The windows."""
        return _frame(self.card.examples, EXAMPLES)

    def __repr__(self) -> str:
        explained = next((row["explanation"] for row in self.card.explanations if row["explanation"]), "not explained")
        return f"{self.card.dictionary} feature {self.card.feature}: {visible(explained)}"

    def _repr_html_(self) -> str:
        """The feature as HTML without programs."""
        card = self.card
        lines = "".join(f"<div>{html.escape(line)}</div>" for line in summary_lines(card))
        parts = [
            f'<div style="font-weight: 600">{html.escape(card.dictionary)} &nbsp; feature {card.feature}</div>',
            lines,
            _histogram(card),
            _explanations(card),
            _windows(card, "activating", N_WINDOWS, "windows, strongest first"),
            _windows(card, "non_activating", N_SILENT, "silent windows"),
            _tokens(card),
            _neighbours(card),
        ]
        return f'<div class="interp-feature" style="{STYLE}">{"".join(parts)}</div>'


def _frame(rows: Sequence[Row], table: Table) -> pl.DataFrame:
    """The rows with the table's columns and types, whatever is null in them, so that frames of several features go together."""
    return plain_frame(pa.Table.from_pylist([dict(row) for row in rows], table.schema))


def _histogram(card: FeatureCard) -> str:
    """Firing tokens by activation, both logarithmic, as SVG; nothing for a feature that never fires."""
    if card.statistics is None or not card.statistics["firing_count"]:
        return ""
    low, high, counts = held_bins(card.statistics["histogram"])
    heights = [math.log1p(count) / math.log1p(max(counts)) * (HEIGHT - 14) for count in counts]
    step = WIDTH / len(counts)
    bars = "".join(
        f'<rect x="{place * step:.1f}" y="{HEIGHT - 14 - height:.1f}" width="{max(step - 1, 0.5):.1f}" height="{height:.1f}" '
        f'fill="#ff8c1a">'
        f"<title>{count:,} tokens</title></rect>"
        for place, (height, count) in enumerate(zip(heights, counts, strict=True))
    )
    label = '<text x="{x}" y="{y}" font-size="10" fill="currentColor" text-anchor="{anchor}">{text}</text>'
    ends = label.format(x=0, y=HEIGHT - 2, anchor="start", text=f"{low:.2g}") + label.format(
        x=WIDTH, y=HEIGHT - 2, anchor="end", text=f"{high:.2g}"
    )
    title = f"tokens by activation, {low:.2g} to {high:.2g}, on logarithmic axes"
    return f'<svg width="{WIDTH}" height="{HEIGHT}" role="img" aria-label="{title}">{bars}{ends}</svg>'


def _explanations(card: FeatureCard) -> str:
    """A row for each method: its explanation or outcome, and its headline score by each scorer."""
    rows = []
    for row in card.explanations:
        scores = card.scores_of(row["explanation_method"])
        text = html.escape(visible(row["explanation"])) if row["explanation"] else f"<i>{html.escape(row['outcome'])}</i>"
        rows.append([html.escape(row["explanation_method"]), text, *(_score(scores.get(name)) for name in card.scorers)])
    return _table(["method", "explanation", *map(html.escape, card.scorers)], rows)


def _score(row: Row | None) -> str:
    """A score on one line."""
    return f'<span style="white-space: nowrap">{html.escape(score_cell(row))}</span>'


def _windows(card: FeatureCard, kind: str, n: int, title: str) -> str:
    rows = sorted((row for row in card.examples if row["kind"] == kind and row["role"] != "validation"), key=lambda r: -r["max_activation"])
    if not rows:
        return ""
    shown = "".join(
        f'<div style="{WINDOW}"><span style="opacity: 0.6">{row["max_activation"]:.3g} {html.escape(row["role"])}</span> '
        f"{html_highlight(row['tokens'], row['activations'], card.max_activation or 1.0)}</div>"
        for row in rows[:n]
    )
    return f"<div><b>{title}</b> ({min(n, len(rows))} of {len(rows)})</div>{shown}"


def _tokens(card: FeatureCard) -> str:
    """The tokens that the feature promotes and suppresses."""
    lines = []
    for side, title in (("promoted", "promotes"), ("suppressed", "suppresses")):
        if tokens := card.projections[side]:
            shown = " ".join(f"<code>{html.escape(visible(token))}</code>" for token, _ in tokens[:10])
            lines.append(f"<div><b>{title}</b> {shown}</div>")
    return "".join(lines)


def _neighbours(card: FeatureCard) -> str:
    if not card.neighbours:
        return ""
    measure = html.escape(str(card.neighbours[0]["measure"]).replace("_", " "))
    rows = [
        [str(row["neighbour"]), f"{row['similarity']:.3f}", html.escape(visible(row["explanation"] or ""))] for row in card.neighbours
    ]  # fmt: skip
    return _table(["neighbour", measure, "explanation"], rows)


def _table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table of cells that are HTML already; nothing without rows."""
    if not rows:
        return ""
    cell = 'style="text-align: left; padding: 2px 12px 2px 0; vertical-align: top"'
    head = "".join(f"<th {cell}>{name}</th>" for name in header)
    body = "".join("<tr>" + "".join(f"<td {cell}>{one}</td>" for one in row) + "</tr>" for row in rows)
    return f'<table style="margin: 6px 0"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
