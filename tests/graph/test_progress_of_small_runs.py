"""The bars and lines of `interp run`: done, rate, time left and cost so far, stage by stage."""

import io

from rich.console import Console

from interp_assets.single_features.progress import BarWatcher, LineWatcher, bars
from resources.language_models.budget import Spending
from resources.progress import Progress


def test_each_stage_has_a_bar_with_progress_and_its_own_cost() -> None:
    screen, spending = io.StringIO(), Spending()
    with bars(Console(file=screen, width=160, force_terminal=True, color_system=None)) as drawn:
        watcher = BarWatcher(drawn)
        watcher.spends(spending)
        watcher.begun("explanations/max_act", "run")
        spending.tokens += 1200
        watcher.progressed("explanations/max_act", "questions", Progress(2, 4, 0, 0.5, 4.0))
        drawn.refresh()
        half = screen.getvalue()
        watcher.begun("scores/fuzzing", "run")
        spending.tokens, spending.usd = spending.tokens + 300, 0.25
        watcher.progressed("scores/fuzzing", "questions", Progress(1, 3, 0, 2.0, None))
        drawn.refresh()
        watcher.ended()
    told = screen.getvalue()
    assert "explanations/max_act" in half and "2/4 questions, 0.5/s, 4 s left" in half and "1,200 tokens" in half
    assert "1/3 questions, 2.0/s" in told and "300 tokens, $0.2500" in told and "done in" in told.rpartition("scores/fuzzing")[2]


def test_without_a_terminal_there_is_a_line_at_the_end_of_the_work() -> None:
    lines: list[str] = []
    watcher = LineWatcher(lines.append)
    watcher.spends(Spending(tokens=70))
    watcher.begun("scores/fuzzing", "run")
    for done in (1, 2, 3):
        watcher.progressed("scores/fuzzing", "questions", Progress(done, 3, 0, 1.0, 3.0 - done))
    assert lines[0] == "scores/fuzzing started" and lines[-1].endswith("3/3, 1.0/s, ETA 0 s; 70 tokens so far")
    assert len(lines) <= 3


def test_a_stage_that_asks_no_model_tells_no_cost() -> None:
    lines: list[str] = []
    watcher = LineWatcher(lines.append)
    watcher.spends(Spending())
    watcher.progressed("activation_shards", "tokens harvested", Progress(64, 64, 0, 8.0, 0.0))
    assert lines == ["  activation_shards: tokens harvested: 64/64, 8.0/s, ETA 0 s"]
