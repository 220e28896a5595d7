"""`/rate`: blinded rating of explanations in their windows, for the rater that the explorer was started for; and notes on features.

A page of a task shows neither dictionary and feature nor method and score, and its address names neither.
"""

import re
from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from interp_assets.config.base import UserError
from interp_assets.domain.ratings.ratings import P1_SCALE
from interp_assets.explorer import links
from interp_assets.explorer.explorer import Explorer, not_found, refused
from interp_assets.explorer.readiness import NotReadYet
from interp_assets.explorer.requests import explorer_of, key_of, page, posted
from interp_assets.explorer.shading import shaded
from interp_assets.ratings.kept_tasks import KeptItem, KeptTask, keep_task, kept_task, kept_tasks
from interp_assets.ratings.notes import MOST_CHARACTERS, save_note
from interp_assets.ratings.rater_file import rater_file, save_ratings, saved_ratings, what_is_rated
from interp_assets.ratings.tasks import TaskSettings, rating_task
from resources.formats.interface import ExchangeError

MOST_ITEMS, MOST_WINDOWS = 1_000, 20


def index(request: Request) -> Response:
    """The tasks with the rater's progress, and the form that draws another."""
    explorer = explorer_of(request)
    done = _saved(explorer) if explorer.rater else {}
    tasks = [(task, sum(is_rated(item, done) for item in task.items)) for task in kept_tasks(explorer.home.rating_tasks)]
    file = rater_file(explorer.home.ratings, explorer.rater) if explorer.rater else None
    dictionaries = sorted(explorer.home.registry.read_all()[0])
    explained = {key for key in dictionaries if is_explained(explorer, key)}
    return page(
        request, "rate.html", tasks=tasks, dictionaries=sorted(dictionaries, key=lambda key: key not in explained), explained=explained,
        rater=explorer.rater,
        n_saved=len(done), file=file, settings=TaskSettings(),
    )  # fmt: skip


def is_explained(explorer: Explorer, key: str) -> bool:
    """Whether a dictionary has explanations to rate; a dictionary that is still being read may have some."""
    try:
        return bool(explorer.dictionaries.columns(key, patience=0.2).telling)
    except NotReadYet:
        return True


def draw(request: Request, fields: Mapping[str, str]) -> Response:
    """Draw a task, keep it, and go to its first item."""
    explorer = explorer_of(request)
    _rater(explorer)
    key = fields.get("dictionary", "")
    explorer.record(key)
    settings = TaskSettings(
        n=_whole(fields.get("n", ""), "explanations", MOST_ITEMS), n_contexts=_whole(fields.get("n_contexts", ""), "windows", MOST_WINDOWS),
        as_a_whole=fields.get("as_a_whole") == "yes",
    )  # fmt: skip
    try:
        task = keep_task(explorer.home.rating_tasks, rating_task(explorer.home.lake, explorer.home.registry, [key], settings))
    except UserError as error:
        refused(str(error))
    except OSError as error:
        refused(f"The task could not be kept in {explorer.home.rating_tasks}: {error.strerror}.")
    return RedirectResponse(links.rate(task.name), 303)


def next_item(request: Request) -> Response:
    """The first item of a task that the rater has not rated; the page that says that all are rated."""
    explorer = explorer_of(request)
    task, rater = _task(explorer, request), _rater(explorer)
    done = _saved(explorer)
    left = [place for place, item in enumerate(task.items) if not is_rated(item, done)]
    if left:
        return RedirectResponse(links.rate(task.name, left[0]), 303)
    return page(request, "rated.html", task=task, rater=rater, file=rater_file(explorer.home.ratings, rater))


def show(request: Request) -> Response:
    """One explanation in its windows, with the choices."""
    explorer = explorer_of(request)
    task, place, rater = _task(explorer, request), request.path_params["item"], _rater(explorer)
    item = _item(task, place)
    done = _saved(explorer)
    windows = [shaded(window.tokens, window.activations, item.feature_max) for window in item.windows]
    chosen = [done.get(what_is_rated(row), {}).get("rating", "") for row in item.rows]
    n_done = sum(is_rated(one, done) for one in task.items)
    return page(
        request, "rate_item.html", task=task, place=place, item=item, windows=windows, scale=P1_SCALE, rater=rater, n_done=n_done,
        chosen=[int(float(one)) if one else None for one in chosen],
    )  # fmt: skip


def rate(request: Request, fields: Mapping[str, str]) -> Response:
    """Save the ratings of one item, all or none, and go to the next item."""
    explorer = explorer_of(request)
    task, place, rater = _task(explorer, request), request.path_params["item"], _rater(explorer)
    item = _item(task, place)
    rows = []
    for number, row in enumerate(item.rows):
        value = fields.get(f"rating-{number}", "")
        if value and value not in map(str, P1_SCALE):
            refused(f"A rating is one of {', '.join(map(str, P1_SCALE))}, not {value[:40]!r}. Nothing was saved.")
        if value:
            rows.append({**row, "rating": value, "seconds": _seconds(fields.get("seconds", ""), len(item.rows)), "rater_kind": "human"})
    if not rows:
        refused("No window was rated. Nothing was saved.")
    try:
        save_ratings(explorer.home.ratings, rater, rows)
    except (OSError, ExchangeError) as error:
        refused(f"The ratings could not be saved: {error}. Nothing was saved.")
    return RedirectResponse(links.rate(task.name), 303)


def note(request: Request, fields: Mapping[str, str]) -> Response:
    """Keep the rater's note on a feature, and go back to the feature."""
    explorer, feature = explorer_of(request), request.path_params["feature"]
    record, rater, text = explorer.record(key_of(request)), _rater(explorer), fields.get("text", "")
    if feature >= record.width:
        not_found(f"{record.key} has features 0 to {record.width - 1:,}, and none of number {feature}.")
    if len(text) > MOST_CHARACTERS:
        refused(f"A note has at most {MOST_CHARACTERS:,} characters; this one has {len(text):,}. Nothing was saved.")
    try:
        save_note(explorer.home.notes, record.key, feature, rater, text)
    except OSError as error:
        refused(f"The note could not be saved: {error}.")
    return RedirectResponse(f"{links.feature(key_of(request), feature)}#notes", 303)


def is_rated(item: KeptItem, done: Mapping[tuple[str, str, str, str], object]) -> bool:
    """Whether every row of an item has a rating."""
    return all(what_is_rated(row) in done for row in item.rows)


def _saved(explorer: Explorer) -> dict[tuple[str, str, str, str], dict[str, str]]:
    try:
        return saved_ratings(explorer.home.ratings, explorer.rater or "")
    except ExchangeError as error:
        refused(f"The ratings of {explorer.rater} cannot be read: {error}")


def _rater(explorer: Explorer) -> str:
    if not explorer.rater:
        refused("The explorer was started without a rater. Start it with your name: interp explore --rater ada")
    return explorer.rater


def _task(explorer: Explorer, request: Request) -> KeptTask:
    try:
        return kept_task(explorer.home.rating_tasks, request.path_params["task"])
    except UserError as error:
        not_found(str(error))


def _item(task: KeptTask, place: int) -> KeptItem:
    if place >= len(task.items):
        not_found(f"The task {task.name} has {len(task.items):,} explanations, numbered from 0, and none of number {place}.")
    return task.items[place]


def _whole(text: str, what: str, most: int) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", text) or not 1 <= int(text) <= most:
        refused(f"The number of {what} is a whole number from 1 to {most:,}, not {text[:40]!r}.")
    return int(text)


def _seconds(text: str, n: int) -> str:
    """The share of one row in the seconds that an item took; empty where the page could not measure them."""
    try:
        seconds = float(text)
    except ValueError:
        return ""
    return f"{seconds / n:.1f}" if 0 <= seconds < 86_400 else ""


ITEM = "/rate/{task}/{item:number}"
ROUTES = (
    Route("/rate", index, methods=["GET"]), Route("/rate", posted(draw), methods=["POST"]),
    Route(ITEM, show, methods=["GET"]), Route(ITEM, posted(rate), methods=["POST"]), Route("/rate/{task}", next_item),
    Route("/d/{model}/{layer}/{name}/{feature:number}/note", posted(note), methods=["POST"]),
)  # fmt: skip
