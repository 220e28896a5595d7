"""A figure: its caption, its numbers, and how it is drawn and written."""

import io
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from interp_assets.config.base import UserError
from interp_assets.config.public_places import public_place
from resources.formats.spreadsheet_cells import inert_csv
from resources.store.whole_files import write_whole

if TYPE_CHECKING:
    import polars as pl

Query = Callable[[str], "pl.DataFrame"]
"""Rows of the warehouse by SQL."""

FORMS = {".pdf": "pdf", ".svg": "svg", ".png": "png"}
SIGNIFICANT_DIGITS = 12

COLOURS = ("#2f6db3", "#d1622b", "#2e8b6f", "#9b5aa5", "#b8912a", "#4aa3c7", "#b5495b", "#6b7280")
"""Told apart by colour-blind readers in pairs of neighbours, and in grey by their lightness."""
MARKERS = ("o", "s", "D", "^", "v", "P", "X", "<")
FAINT = "#8a8f98"
TEXT_WIDTH = 6.9
"""Width of a figure over two columns of a page. Unit: inches."""

STYLE: dict[Any, Any] = {
    "font.family": "sans-serif", "font.sans-serif": ["Helvetica", "Arial", "Liberation Sans", "DejaVu Sans"], "font.size": 8,
    "axes.titlesize": 8.5, "axes.titleweight": "bold", "axes.titlelocation": "left", "axes.labelsize": 8, "legend.fontsize": 7.5,
    "xtick.labelsize": 7.5, "ytick.labelsize": 7.5, "axes.spines.top": False, "axes.spines.right": False, "axes.spines.left": False,
    "axes.edgecolor": "#55595f", "axes.linewidth": 0.7, "xtick.color": "#55595f", "ytick.color": "#55595f", "xtick.labelcolor": "#222222",
    "ytick.labelcolor": "#222222", "ytick.major.size": 0, "xtick.major.size": 2.5, "xtick.major.width": 0.7, "axes.grid": True,
    "axes.grid.axis": "x", "grid.color": "#e6e8eb", "grid.linewidth": 0.7, "axes.axisbelow": True, "legend.frameon": False,
    "text.parse_math": False, "svg.hashsalt": "interp-assets", "pdf.fonttype": 42, "figure.dpi": 200, "savefig.dpi": 300,
}  # fmt: skip


@dataclass(frozen=True)
class Asked:
    """What a plot is asked for: dictionaries, and scorers and explanation methods, empty for all."""

    dictionaries: tuple[str, ...] = ()
    scorers: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()


@dataclass(frozen=True)
class Figure:
    """A caption, the numbers that are drawn, and the drawing: a function that returns a matplotlib figure."""

    caption: str
    numbers: "pl.DataFrame"
    draw: Callable[[], Any]


class Plot(Protocol):
    """A module with one plot."""

    @property
    def NAME(self) -> str:
        """What the command line calls it."""
        ...

    @property
    def SUBJECT(self) -> str:
        """What it shows, in words."""
        ...

    def figure(self, query: Query, asked: Asked) -> Figure:
        """The figure. Raises `UserError` where there is nothing to draw."""
        ...


def checked_form(out: Path) -> str:
    """The form of a figure by the ending of its file. Raises `UserError` for other endings."""
    form = FORMS.get(out.suffix.lower())
    if form is None:
        raise UserError(f"--out {out}: the ending {out.suffix!r} is no form of a figure; write .pdf or .svg (vectors), or .png")
    return form


def write_figure(figure: Figure, out: Path) -> tuple[Path, Path]:
    """Write the figure to `out`, its numbers to a CSV and its caption to a text file beside it, and return the paths of these two.

    Files that are there are replaced, each whole or not at all. The bytes are the same in every run.
    """
    form = checked_form(out)
    matplotlib = _matplotlib()
    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # whatever style a matplotlibrc of the user's asks for, such as LaTeX
        matplotlib.rcParams.update(STYLE)
        drawn = figure.draw()
        buffer = io.BytesIO()
        metadata = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {"Software": None}}[form]
        drawn.savefig(buffer, format=form, metadata=metadata, bbox_inches="tight", pad_inches=0.04)
    import matplotlib.pyplot as plt

    plt.close(drawn)
    numbers, caption = out.with_suffix(".csv"), out.with_suffix(".txt")
    write_whole(numbers, inert_csv(rounded(figure.numbers)))
    write_whole(caption, figure.caption + "\n")
    write_whole(out, buffer.getvalue())
    return numbers, caption


def _matplotlib() -> Any:
    """matplotlib, drawing to files: MPLBACKEND may name a backend for windows that there is not."""
    asked = os.environ.pop("MPLBACKEND", None)
    try:
        import matplotlib
    finally:
        if asked is not None:
            os.environ["MPLBACKEND"] = asked
    matplotlib.use("Agg")
    return matplotlib


def rounded(numbers: "pl.DataFrame") -> "pl.DataFrame":
    """The numbers to SIGNIFICANT_DIGITS: the last digits of a mean in SQL depend on which thread adds first."""
    from polars import selectors

    return numbers.with_columns(selectors.float().round_sig_figs(SIGNIFICANT_DIGITS))


def condition(column: str, values: Sequence[str]) -> str:
    """SQL that holds where `column` is one of `values`; always true for no values."""
    quoted = ", ".join("'" + value.replace("'", "''") + "'" for value in values)
    return f"{column} IN ({quoted})" if values else "true"


def refuse_empty(numbers: "pl.DataFrame", view: str, asked: Asked, needs: str) -> None:
    """Raise `UserError` where there are no rows of a view to draw; it ends with what the figure `needs`."""
    if len(numbers):
        return
    of = ", ".join([*asked.dictionaries, *asked.scorers, *asked.methods])
    raise UserError(f"nothing to plot{f' of {of}' if of else ''}, and nothing was written: the figure {needs}. See `interp query {view}`")


def judges(query: Query, asked: Asked, scorers: Sequence[str]) -> str:
    """Who answered the scorers, in words: "Judge: qwen (detection, fuzzing); nobody is asked by purity"."""
    rows = query(
        "SELECT model::VARCHAR AS model, list(DISTINCT scorer::VARCHAR ORDER BY scorer::VARCHAR) AS scorers FROM trials "
        f"WHERE model <> '' AND {condition('dictionary', asked.dictionaries)} AND {condition('scorer', scorers)} GROUP BY 1 ORDER BY 1"
    ).rows()
    named = [f"{public_place(model)} ({', '.join(own)})" for model, own in rows]
    asked_nobody = [scorer for scorer in scorers if not any(scorer in own for _, own in rows)]
    parts = ([f"Judge: {'; '.join(named)}"] if named else []) + (
        [f"no judge is asked by {', '.join(asked_nobody)}"] if asked_nobody else []
    )
    text = "; ".join(parts)
    return f"{text[:1].upper()}{text[1:]}." if text else ""


def span(counts: Sequence[int]) -> str:
    """Counts in words: "n = 16", "n = 13 to 16"."""
    low, high = min(counts), max(counts)
    return f"n = {low:,}" if low == high else f"n = {low:,} to {high:,}"


def short_names(dictionaries: Sequence[str]) -> dict[str, str]:
    """Each dictionary by as little of the end of its key as tells all of them apart: its name, its layer and name, or the whole key."""
    for parts in (1, 2):
        short = {key: "/".join(key.split("/")[-parts:]) for key in dictionaries}
        if len(set(short.values())) == len(short):
            return short
    return {key: key for key in dictionaries}


def words(name: str) -> str:
    """The name of a scorer, metric or method as text of a figure."""
    return name.replace("_", " ")
