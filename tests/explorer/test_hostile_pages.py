"""Texts that are programs elsewhere stay texts in every page, by the pages' own escaping and in a real browser."""

import re
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import pytest
import uvicorn
from browser import EVERYTHING, NO_BROWSER, browser, opened_at, ran
from small_home import KEY, settled, small_home
from starlette.testclient import TestClient

from interp_assets.explorer.app import make_app
from interp_assets.explorer.explorer import Explorer
from interp_assets.explorer.pages import PAGES
from interp_assets.explorer.serving import listen
from interp_assets.ratings.files import rateable, rating_files, read_ratings, write_ratings
from interp_assets.ratings.kept_tasks import keep_task
from interp_assets.ratings.notes import save_note
from interp_assets.ratings.rater_file import save_ratings
from interp_assets.ratings.tasks import TaskSettings, rating_task, task_rows
from resources.fakes import FakeModels

TASK = "0123abcd"
RATER = "ada" + EVERYTHING


def every_address() -> dict[str, str]:
    """An address of each route of each page, by the route's path."""
    dictionary, feature = "/d/{model}/{layer}/{name}", "/d/{model}/{layer}/{name}/{feature:number}"
    return {
        "/": "/",
        dictionary: f"/d/{KEY}",
        feature: f"/d/{KEY}/7",
        f"{dictionary}/features.csv": f"/d/{KEY}/features.csv",
        "/search": f"/search?q=words&dictionary={KEY}&by=words",
        "/leaderboards": "/leaderboards",
        "/leaderboards/{view}": "/leaderboards/hardest_features",
        "/leaderboards/{view}.csv": "/leaderboards/hardest_features.csv",
        "/compare": f"/compare?a={KEY}/7&b={KEY}/8",
        "/rate": "/rate",
        "/rate/{task}": f"/rate/{TASK}",
        "/rate/{task}/{item:number}": f"/rate/{TASK}/0",
        "/report": "/report",
        f"{feature}/note": f"/d/{KEY}/7/note",
        f"{feature}/try": f"/d/{KEY}/7/try?text={quote(EVERYTHING)}",
        f"{feature}/steer": f"/d/{KEY}/7/steer?text={quote(EVERYTHING)}",
        f"{feature}.json": f"/d/{KEY}/7.json",
        f"{feature}/embed": f"/d/{KEY}/7/embed",
        f"{feature}/logits": f"/d/{KEY}/7/logits",
        f"{feature}/decoder.npy": f"/d/{KEY}/7/decoder.npy",
        f"{feature}/why/{{scorer}}/{{method}}": f"/d/{KEY}/7/why/fuzzing/max_act",
        f"{feature}/context/{{row:number}}": f"/d/{KEY}/7/context/2",
    }


TEXTLESS = (
    "/",
    "/leaderboards",
    "/d/{model}/{layer}/{name}/{feature:number}/logits",
    "/d/{model}/{layer}/{name}/{feature:number}/decoder.npy",
    "/d/{model}/{layer}/{name}/{feature:number}/note",
)
"""Pages that show no text of the lake."""


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Explorer]:
    """An explorer of a home in which every text is hostile."""
    root: Path = tmp_path_factory.mktemp("hostile")
    home = small_home(root, lambda said: said + EVERYTHING)
    explorer = Explorer(home, rater=RATER, provider=FakeModels())
    task = rating_task(home.lake, home.registry, [KEY], TaskSettings(n=2, n_contexts=2))
    keep_task(home.rating_tasks, replace(task, name=TASK))
    save_note(home.notes, KEY, 7, "eve" + EVERYTHING, "a note" + EVERYTHING)
    save_ratings(home.ratings, RATER, [task_rows(task)[0] | {"rating": "4"}])
    write_ratings(home.lake, read_ratings(rating_files(home.ratings), rateable(home.lake, home.registry)))
    explorer.dictionaries.columns(KEY, patience=60)
    yield explorer
    explorer.close()


def test_every_route_has_an_address_here() -> None:
    assert {route.path for page in PAGES for route in page.ROUTES} == set(every_address())  # type: ignore[attr-defined]


@pytest.mark.parametrize("route", every_address())
def test_no_text_becomes_markup(hostile: Explorer, route: str) -> None:
    answer = settled(TestClient(make_app(hostile), base_url="http://127.0.0.1"), every_address()[route])
    html = answer.text
    if "html" not in answer.headers["content-type"]:
        assert answer.headers["x-content-type-options"] == "nosniff"
        return
    tags = [re.sub(r' href="/[^"]*"', "", tag) for tag in re.findall(r"<[a-zA-Z/!][^>]*>", html)]
    assert not [tag for tag in tags if "data-ran" in tag or re.search(r"\son\w+=", tag) or "style=" in tag]
    scripts = re.findall(r"<script[^>]*>(.*?)</script>", html, re.DOTALL | re.IGNORECASE)
    assert not any(scripts)  # files alone, with nothing between the tags
    if route not in TEXTLESS:
        assert "&lt;script&gt;" in html  # the texts are there


@pytest.mark.skipif(browser() is None, reason=NO_BROWSER)
def test_nothing_runs_in_a_browser(hostile: Explorer) -> None:
    listening = listen("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn.Config(make_app(hostile), log_level="error"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    try:
        for address in (address for route, address in every_address().items() if not route.endswith((".json", ".npy", ".csv"))):
            dom = opened_at(f"http://127.0.0.1:{listening.getsockname()[1]}{address}")
            assert ran(dom) == set() and "<html" in dom
    finally:
        server.should_exit = True
        thread.join()
        listening.close()
