"""One feature in the terminal: shaded windows, explanations with their scores, neighbours. Where there are no colours, active tokens stand
between << and >>."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from interp_assets.domain.prompting.rendering import mark_tokens, marked_positions, over_characters, visible
from interp_assets.single_features.summary import held_bins, score_cell, summary_lines

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from interp_assets.single_features.card import FeatureCard, Row

BARS, ASCII_BARS = " ▁▂▃▄▅▆▇█", " .:-=+*#@"
SHADES = ("#fff3d6", "#ffe2a6", "#ffcc73", "#ffb03f", "#ff8c1a")
"""Backgrounds of active tokens, from weak to strong."""
MARKED_SHARE = 0.3
NARROWEST_EXPLANATION, GAP = 32, 3
"""Fewest characters of a line of an explanation beside scores, and characters between two columns."""


def print_card(card: "FeatureCard", console: "Console", n_windows: int) -> None:
    """Print all that is known of a feature."""
    from rich.text import Text

    console.print(Text(f"{card.dictionary}  feature {card.feature}", style="bold"))
    for line in summary_lines(card):
        console.print(Text(line), soft_wrap=True)
    if card.statistics is not None and card.statistics["firing_count"]:
        low, high, counts = held_bins(card.statistics["histogram"])
        bars = BARS if console.encoding.startswith("utf") else ASCII_BARS
        console.print(Text(f"tokens by activation, {low:.2g} to {high:.2g}, logarithmic |{sparkline(counts, bars)}|"), soft_wrap=True)
    if card.explanations:
        console.print()
        console.print(_explanations(card, console.width))
    for title, kind in (("windows, strongest first", "activating"), ("silent windows", "non_activating")):
        rows = [row for role in ("shown", "held_out") for row in card.windows(role, kind)]
        if kind == "non_activating":
            rows = rows[: min(3, n_windows)]
        if rows:
            console.print()
            total = sum(row["kind"] == kind for row in card.examples)
            console.print(Text(f"{title} ({min(n_windows, len(rows))} of {total})", style="bold"))
            for row in sorted(rows, key=lambda row: -row["max_activation"])[:n_windows]:
                console.print(window_text(row, card.max_activation, coloured(console)), soft_wrap=True)
    for side, title in (("promoted", "promotes"), ("suppressed", "suppresses")):
        if tokens := card.projections[side]:
            console.print(Text(f"{title}: " + "  ".join(repr(visible(token)) for token, _ in tokens[:10])), soft_wrap=True)
    if card.neighbours:
        console.print()
        console.print(_neighbours(card))


def coloured(console: "Console") -> bool:
    """Whether the console shows colours."""
    return console.is_terminal and not console.no_color and console.color_system is not None


def sparkline(counts: Sequence[int], bars: str = BARS) -> str:
    """A character a bin, by the logarithm of its count."""
    import math

    logs = [math.log1p(count) for count in counts]
    top = max(logs, default=0.0) or 1.0
    return "".join(bars[math.ceil(value / top * (len(bars) - 1))] for value in logs)


def window_text(row: "Row", feature_max: float, colours: bool) -> "Text":
    """A window on one line: its peak, then its text, active tokens shaded or marked."""
    from rich.text import Text

    activations = over_characters(row["tokens"], row["activations"])
    line = Text(f"{row['max_activation']:>8.3g}  ", style="dim")
    if not colours:
        marked = marked_positions(activations, MARKED_SHARE)
        return line.append(visible(mark_tokens(row["tokens"], marked)), style="not dim")
    for token, value in zip(row["tokens"], activations, strict=True):
        share = min(value / feature_max, 1.0) if feature_max else 0.0
        style = "not dim" if value <= 0 else f"not dim black on {SHADES[min(int(share * len(SHADES)), len(SHADES) - 1)]}"
        line.append(visible(token), style=style)
    return line


def _table(*columns: str) -> "Table":
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name in columns:
        table.add_column(name, overflow="fold", no_wrap=False)
    return table


def _explanations(card: "FeatureCard", width: int) -> "Table | Text":
    """A row for each method: its explanation or outcome, and its headline score by each scorer. Where a console of `width` columns has no
    room for the columns of all scorers, scores stand below their explanation."""
    from rich.text import Text

    rows = []
    for row in card.explanations:
        scores = card.scores_of(row["explanation_method"])
        text = visible(row["explanation"]) if row["explanation"] else f"({row['outcome']})"
        rows.append((row["explanation_method"], text, [score_cell(scores.get(name)) for name in card.scorers]))
    cells = [[name, *(scores[place] for _, _, scores in rows)] for place, name in enumerate(card.scorers)]
    taken = sum(max(map(len, column)) + GAP for column in [[method for method, _, _ in rows], *cells])
    if taken + NARROWEST_EXPLANATION > width:
        lines = Text()
        for method, text, scores in rows:
            lines.append(method, style="bold").append(f"  {text}\n", style="not bold")
            told = [f"{name} {cell}" for name, cell in zip(card.scorers, scores, strict=True) if cell]
            lines.append("".join(f"{line}\n" for line in filled(told, width - 4)))
        lines.rstrip()
        return lines
    table = _table("method", "explanation", *card.scorers)
    for method, text, scores in rows:
        table.add_row(method, Text(text), *scores)
    return table


def filled(parts: Sequence[str], width: int) -> list[str]:
    """The parts with commas between them on indented lines of at most `width` characters; a part is not cut."""
    lines: list[str] = []
    for number, part in enumerate(parts):
        end = "," if number < len(parts) - 1 else ""
        if lines and len(lines[-1]) + len(part) + 2 <= width:
            lines[-1] += f" {part}{end}"
        else:
            lines.append(f"    {part}{end}")
    return lines


def _neighbours(card: "FeatureCard") -> "Table":
    from rich.text import Text

    table = _table("neighbour", str(card.neighbours[0]["measure"]).replace("_", " "), "explanation")
    for row in card.neighbours:
        table.add_row(str(row["neighbour"]), f"{row['similarity']:.3f}", Text(visible(row["explanation"] or "")))
    return table
