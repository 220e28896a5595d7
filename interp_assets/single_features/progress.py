"""What a run in this process shows: one bar a stage with progress, rate, time left and cost so far; lines where there is no terminal."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from resources.language_models.budget import Spending
from resources.progress import Progress

if TYPE_CHECKING:
    from rich.progress import Progress as Bars

LINE_SECONDS = 10.0
"""Pause between two lines of one stage where there is no terminal. Unit: seconds."""


def cost_of(spending: Spending, before: tuple[int, float] = (0, 0.0)) -> str:
    """Tokens of language models and dollars since `before`; no dollars for a model without a price, and empty where no model was asked."""
    tokens, usd = spending.tokens - before[0], spending.usd - before[1]
    return (f"{tokens:,} tokens" if tokens else "") + (f", ${usd:,.4f}" if usd else "")


class BarWatcher:
    """Draws a bar for each stage; the spending of a bar is the spending since its stage began."""

    def __init__(self, bars: "Bars") -> None:
        self._bars = bars
        self._spending = Spending()
        self._begun: dict[str, tuple[Any, tuple[int, float], float]] = {}
        self._last: str | None = None

    def spends(self, spending: Spending) -> None:
        """The next stages count on this spending."""
        self._spending = spending

    def begun(self, asset: str, run_id: str) -> None:
        """Add the bar of a stage, and end the bar before it."""
        self._end_last()
        if asset not in self._begun:
            task = self._bars.add_task(asset, total=None, told="", cost="")
            self._begun[asset] = task, (self._spending.tokens, self._spending.usd), time.monotonic()
        self._last = asset

    def progressed(self, asset: str, what: str, progress: Progress) -> None:
        """Move the bar of a stage."""
        if asset not in self._begun:
            self.begun(asset, "")
        task, before, _ = self._begun[asset]
        eta = "" if progress.eta_seconds is None else f", {progress.time_left} left"
        told = f"{progress.done:,}/{progress.total:,} {what.rpartition(': ')[2]}, {progress.speed}{eta}"
        self._bars.update(task, total=progress.total, completed=progress.done, told=told, cost=cost_of(self._spending, before))

    def ended(self) -> None:
        """The run has ended."""
        self._end_last()

    def _end_last(self) -> None:
        if self._last is None:
            return
        task, before, started = self._begun[self._last]
        told = f"done in {time.monotonic() - started:.1f} s"
        self._bars.update(task, total=1, completed=1, told=told, cost=cost_of(self._spending, before))
        self._last = None


class LineWatcher:
    """Prints a line as a stage begins, and its progress from time to time."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._spending = Spending()
        self._told = 0.0

    def spends(self, spending: Spending) -> None:
        """The next stages count on this spending."""
        self._spending = spending

    def begun(self, asset: str, run_id: str) -> None:
        """Print the stage."""
        self._say(f"{asset} started")

    def progressed(self, asset: str, what: str, progress: Progress) -> None:
        """Print the progress, at most once in LINE_SECONDS, and at the end of the work."""
        if progress.done == progress.total or time.monotonic() - self._told > LINE_SECONDS:
            self._told = time.monotonic()
            cost = cost_of(self._spending)
            self._say(f"  {asset}: {what}: {progress}" + (f"; {cost} so far" if cost else ""))

    def ended(self) -> None:
        """Nothing."""


def bars(console: Any = None) -> "Bars":
    """The bars of a terminal or of a notebook."""
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bars

    told = [TextColumn(f"{{task.fields[{name}]}}") for name in ("told", "cost")]
    return Bars(TextColumn("{task.description}"), BarColumn(bar_width=24), *told, console=console)
