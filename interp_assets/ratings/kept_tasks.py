"""Rating tasks that the explorer shows: drawn once, and kept in `$INTERP_HOME/rating_tasks`, so that every rater is asked the same."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from interp_assets.config.base import UserError
from interp_assets.ratings.tasks import RatingTask, task_rows
from resources.store.whole_files import write_whole

FORMAT = 1


@dataclass(frozen=True)
class KeptWindow:
    """Tokens and activations of a window that is shown."""

    tokens: tuple[str, ...]
    activations: tuple[float, ...]


@dataclass(frozen=True)
class KeptItem:
    """An explanation to rate in its windows; `rows` are the rows of a rating file to fill in, one a window or one alone."""

    text: str
    feature_max: float
    windows: tuple[KeptWindow, ...]
    rows: tuple[dict[str, str], ...]


@dataclass(frozen=True)
class KeptTask:
    """A task as it was drawn; `as_a_whole`: an explanation is rated once, beside its windows."""

    name: str
    dictionaries: tuple[str, ...]
    as_a_whole: bool
    items: tuple[KeptItem, ...]


def keep_task(folder: Path, task: RatingTask) -> KeptTask:
    """Write a task, whole, and return it as it will be read. A task of the same content has the same name and file."""
    rows, items = iter(task_rows(task)), []
    for item in task.items:
        own = [next(rows) for _ in ([None] if task.settings.as_a_whole else item.windows)]
        windows = [{"tokens": window.tokens, "activations": window.activations} for window in item.windows]
        items.append({"text": item.chosen.text, "feature_max": item.feature_max, "windows": windows, "rows": own})
    dictionaries = sorted({item.chosen.dictionary for item in task.items})
    content = {"format": FORMAT, "name": task.name, "dictionaries": dictionaries, "as_a_whole": task.settings.as_a_whole, "items": items}
    write_whole(folder / f"{task.name}.json", json.dumps(content, ensure_ascii=True))
    return kept_task(folder, task.name)


def kept_task(folder: Path, name: str) -> KeptTask:
    """The task of a name. Raises `UserError` where there is none, or where its file cannot be read."""
    path = folder / f"{name}.json"
    if not re.fullmatch(r"[0-9a-f]{8}", name) or not path.is_file():
        raise UserError(f"there is no rating task {name[:40]!r}. Draw one first.")
    try:
        return _task(json.loads(path.read_text()))
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"{path} cannot be read as a rating task: {error}. Remove the file, and draw the task again.") from None


def kept_tasks(folder: Path) -> list[KeptTask]:
    """All tasks that can be read, the newest first."""
    found = []
    for path in sorted(folder.glob("*.json"), key=lambda path: -path.stat().st_mtime):
        try:
            found.append(kept_task(folder, path.stem))
        except UserError:
            continue
    return found


def _task(content: dict[str, Any]) -> KeptTask:
    if content["format"] != FORMAT:
        raise ValueError(f"its format is {content['format']}, and {FORMAT} was expected")
    items = (
        KeptItem(
            item["text"],
            float(item["feature_max"]),
            tuple(KeptWindow(tuple(one["tokens"]), tuple(map(float, one["activations"]))) for one in item["windows"]),
            tuple(item["rows"]),
        )
        for item in content["items"]
    )
    return KeptTask(content["name"], tuple(content["dictionaries"]), bool(content["as_a_whole"]), tuple(items))
