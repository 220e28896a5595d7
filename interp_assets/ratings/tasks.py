"""Tasks for raters: explanations and the windows to rate them in, written as a page to rate in and as a CSV.

Raters do not see the method and the scores of an explanation; the page does not show the dictionary and feature either.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from interp_assets.config.base import UserError, fingerprint
from interp_assets.config.keys import FEATURE_RANGE_KEYS, RangeKey, lake_partition
from interp_assets.config.records import DictionaryRecord
from interp_assets.config.registry import DictionaryRegistry
from interp_assets.domain.explaining import BASELINES, METHODS
from interp_assets.domain.prompting.rendering import ELLIPSIS, html_highlight, mark_tokens, marked_positions, one_line
from interp_assets.domain.ratings.rating_tasks import Candidate, by_importance, spread, stratified
from interp_assets.domain.ratings.ratings import COLUMNS, P1_SCALE
from interp_assets.domain.scoring import SCORERS
from interp_assets.reading.explanations import explanations_of_range
from interp_assets.reporting.pages import page
from interp_assets.tables import EXAMPLES, FEATURE_STATISTICS, SCORES
from resources.formats.spreadsheet_cells import csv_text
from resources.store.lake import Lake

Selection = Literal["quantiles", "importance"]
TASK_COLUMNS = ("rating", "explanation", "window", *(name for name in COLUMNS if name not in ("rating", "explanation")))
"""Columns of the CSV; columns for the rater come first. `window` is the text of a context, with the tokens that fire between << and >>."""

MARK_SHARE = 0.3
"""The CSV marks tokens with at least this share of the window's largest activation; the page shades all tokens that fire."""


@dataclass(frozen=True)
class TaskSettings:
    """The size and the kind of a task.

    `n` explanations by `methods` (empty: all methods but the baselines) are rated, each in `n_contexts` windows, or `as_a_whole` beside its
    windows.
    """

    n: int = 80
    n_contexts: int = 5
    methods: tuple[str, ...] = ()
    selection: Selection = "quantiles"
    as_a_whole: bool = False
    seed: int = 0


@dataclass(frozen=True)
class Window:
    """A held-out window on which the feature fires."""

    example_id: str
    stratum: int
    tokens: tuple[str, ...]
    activations: tuple[float, ...]


@dataclass(frozen=True)
class TaskItem:
    """An explanation to rate, in its windows; `feature_max` is the largest activation of the feature in its held-out windows."""

    chosen: Candidate
    windows: tuple[Window, ...]
    feature_max: float


@dataclass(frozen=True)
class RatingTask:
    """A task: its items in the order for raters, and a name that changes with the content."""

    name: str
    items: tuple[TaskItem, ...]
    settings: TaskSettings


def rating_task(lake: Lake, registry: DictionaryRegistry, dictionaries: Sequence[str], settings: TaskSettings) -> RatingTask:
    """A task over the explanations of dictionaries with held-out windows. Raises `UserError` where there is nothing to rate, or where the
    numbers are missing by which explanations are selected."""
    candidates: list[Candidate] = []
    for key in dictionaries:
        candidates += _candidates(lake, registry.get(key), settings)
    _refuse_nothing(candidates, dictionaries, settings)
    rng = np.random.default_rng(settings.seed)
    choose = stratified if settings.selection == "quantiles" else by_importance
    chosen = choose(candidates, len(candidates), rng)
    windows = _Windows(lake, {key: registry.get(key) for key in dictionaries})
    items: list[TaskItem] = []
    for candidate in chosen:
        if len(items) == settings.n:
            break
        there = windows.of(candidate)
        if there:
            own = [there[i] for i in spread([window.stratum for window in there], settings.n_contexts, rng)]
            items.append(TaskItem(candidate, tuple(own), max(max(window.activations) for window in there)))
    if not items:
        raise UserError(f"no explained feature of {', '.join(dictionaries)} has held-out windows to rate in; materialise examples first")
    shuffled = tuple(items[i] for i in rng.permutation(len(items)))
    name = fingerprint(settings.as_a_whole, [[item.chosen.explanation_id, *(w.example_id for w in item.windows)] for item in shuffled])
    return RatingTask(name[:8], shuffled, settings)


def _refuse_nothing(candidates: Sequence[Candidate], dictionaries: Sequence[str], settings: TaskSettings) -> None:
    named = ", ".join(dictionaries)
    if not candidates:
        methods = f" by {', '.join(settings.methods)}" if settings.methods else f" by a method other than {' and '.join(BASELINES)}"
        raise UserError(f"{named} has no explanation{methods} in the lake. Make some first: interp backfill {dictionaries[0]}")
    if settings.selection == "importance" and not any(candidate.importance for candidate in candidates):
        raise UserError(f"{named} has no feature statistics, from which importance is computed. Leave out --select importance")


def _candidates(lake: Lake, record: DictionaryRecord, settings: TaskSettings) -> list[Candidate]:
    """The explanations of a dictionary by the methods asked for; equal texts of a feature count once."""
    wanted = settings.methods or tuple(method for method in METHODS if method not in BASELINES)
    found: list[Candidate] = []
    for name in FEATURE_RANGE_KEYS:
        key = RangeKey(record.key, name)
        explained = explanations_of_range(lake, key, record.first_key)
        scores, importance = (_scores(lake, key), _importance(lake, key)) if explained else ({}, {})
        for feature, texts in explained.items():
            for one in texts:
                method = next((method for method in one.methods if method in wanted), None)
                if method is not None:
                    own = scores.get((feature, method), {})
                    found.append(Candidate(record.key, feature, one.explanation_id, one.text, method, own, importance.get(feature)))
    return found


def _scores(lake: Lake, key: RangeKey) -> Mapping[tuple[int, str], dict[str, float]]:
    """Headline scores by scorer of each (feature, method) of a range; empty where nothing was scored."""
    found: dict[tuple[int, str], dict[str, float]] = defaultdict(dict)
    for scorer in SCORERS:
        partition = {"scorer": scorer.NAME, **lake_partition(key)}
        if lake.manifest(SCORES.name, partition) is None:
            continue
        for row in lake.read(SCORES.name, partition, columns=["feature", "explanation_method", "headline", "value"]).to_pylist():
            if row["headline"] and row["value"] is not None:
                found[row["feature"], row["explanation_method"]][scorer.NAME] = row["value"]
    return found


def _importance(lake: Lake, key: RangeKey) -> dict[int, float]:
    """Activation mass of each feature of a range (firings times mean activation); empty where there are no statistics."""
    if lake.manifest(FEATURE_STATISTICS.name, lake_partition(key)) is None:
        return {}
    rows = lake.read(FEATURE_STATISTICS.name, lake_partition(key), columns=["feature", "firing_count", "mean_activation"]).to_pylist()
    return {row["feature"]: row["firing_count"] * (row["mean_activation"] or 0.0) for row in rows}


class _Windows:
    """Held-out activating windows. A range is read when it is needed, and kept in memory."""

    def __init__(self, lake: Lake, records: Mapping[str, DictionaryRecord]) -> None:
        self._lake, self._records = lake, records
        self._read: dict[RangeKey, dict[int, list[Window]]] = {}

    def of(self, candidate: Candidate) -> list[Window]:
        """The held-out windows of the candidate's feature, as written; empty where the feature has none."""
        key = self._records[candidate.dictionary].range_of(candidate.feature)
        if key not in self._read:
            self._read[key] = self._of_range(key)
        return self._read[key].get(candidate.feature, [])

    def _of_range(self, key: RangeKey) -> dict[int, list[Window]]:
        if self._lake.manifest(EXAMPLES.name, lake_partition(key)) is None:
            return {}
        found: dict[int, list[Window]] = defaultdict(list)
        columns = ["feature", "example_id", "role", "kind", "stratum", "tokens", "activations", "begins_in_word", "ends_in_word"]
        for batch in self._lake.batches(EXAMPLES.name, lake_partition(key), columns=columns, batch_rows=4096):
            for row in batch.to_pylist():
                if row["role"] == "held_out" and row["kind"] == "activating":
                    window = Window(row["example_id"], row["stratum"] or 0, *_shown(row))
                    found[row["feature"]].append(window)
        return found


def task_rows(task: RatingTask) -> list[dict[str, str]]:
    """The rows to rate, by column of TASK_COLUMNS, with nothing filled in: one row a window, or one row an explanation."""
    rows = []
    for item in task.items:
        asked = [None] if task.settings.as_a_whole else item.windows
        for window in asked:
            shown = item.windows if window is None else (window,)
            rows.append(
                {
                    **dict.fromkeys(TASK_COLUMNS, ""), "explanation": item.chosen.text, "window": " ⟡ ".join(map(_marked, shown)),
                    "model": item.chosen.dictionary.split("/")[0], "dictionary": item.chosen.dictionary,
                    "feature": str(item.chosen.feature), "explanation_id": item.chosen.explanation_id,
                    "context": "" if window is None else window.example_id, "scale_min": str(min(P1_SCALE)),
                    "scale_max": str(max(P1_SCALE)), "source": f"task {task.name}",
                }
            )  # fmt: skip
    return rows


def task_csv(task: RatingTask) -> str:
    """The task as a CSV, in which raters fill in the columns rater and rating (1 to 4)."""
    return csv_text(TASK_COLUMNS, task_rows(task))


def task_page(task: RatingTask) -> str:
    """The task as a page that works without a network. The page keeps ratings in the browser and saves them as a CSV."""
    rows = task_rows(task)
    number, cards = 0, []
    for item in task.items:
        windows = [html_highlight(window.tokens, window.activations, item.feature_max) for window in item.windows]
        asked = [number] if task.settings.as_a_whole else list(range(number, number + len(windows)))
        cards.append({"explanation": item.chosen.text, "windows": windows, "asked": asked})
        number += len(asked)
    # The columns of a rating file without the method. The window's text needs no column: the page shows it.
    saved = [name for name in COLUMNS if name != "explanation_method"]
    return page(
        "rating_task.html", task=task.name, cards=cards, scale=P1_SCALE, as_a_whole=task.settings.as_a_whole, columns=saved,
        rows=[{name: row[name] for name in saved} for row in rows],
    )  # fmt: skip


def write_task(task: RatingTask, folder: Path) -> tuple[Path, Path]:
    """Write the page and the CSV of the task into `folder`, and return their paths. Raises `UserError` where a filled-in CSV would be
    overwritten."""
    folder.mkdir(parents=True, exist_ok=True)
    html, table = folder / f"rating-task-{task.name}.html", folder / f"rating-task-{task.name}.csv"
    if table.exists() and table.read_text() != task_csv(task):
        raise UserError(f"{table} exists already and has been filled in. Import it, or name another folder: --out")
    html.write_text(task_page(task))
    table.write_text(task_csv(task))
    return html, table


def _shown(row: dict[str, Any]) -> tuple[tuple[str, ...], tuple[float, ...]]:
    """Texts and activations of a window's tokens, with a silent ellipsis where the window cuts a word."""
    before, after = [ELLIPSIS] * row["begins_in_word"], [ELLIPSIS] * row["ends_in_word"]
    return (*before, *row["tokens"], *after), (*[0.0] * len(before), *row["activations"], *[0.0] * len(after))


def _marked(window: Window) -> str:
    return one_line(mark_tokens(window.tokens, marked_positions(window.activations, MARK_SHARE)))
