"""Ada rates in a real browser: she draws a task, rates by keys, and leaves a note. Needs Playwright, as test_explorer_walk.py does."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn
from browser import EVERYTHING, NO_BROWSER, browser
from small_home import KEY

from interp_assets.explorer.app import make_app
from interp_assets.explorer.explorer import Explorer
from interp_assets.explorer.serving import listen
from interp_assets.installation.home import Home
from interp_assets.ratings.notes import notes_on
from interp_assets.ratings.rater_file import saved_ratings
from resources.fakes import FakeModels

playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: pip install playwright")
pytestmark = pytest.mark.skipif(browser() is None, reason=NO_BROWSER)


@pytest.fixture
def own(home: Home, tmp_path: Path) -> Home:
    """A home of the test's own over the small home's lake."""
    made = Home(tmp_path, home.lake_url)
    for record in home.registry.read_all()[0].values():
        made.registry.write(record)
    return made


@pytest.fixture
def address(own: Home) -> Iterator[str]:
    """Where Ada's explorer answers."""
    explorer = Explorer(own, rater="ada", provider=FakeModels())
    explorer.dictionaries.columns(KEY, patience=60)
    listening = listen("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn.Config(make_app(explorer), log_level="error"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    server.should_exit = True
    thread.join()
    listening.close()
    explorer.close()


def test_a_rater_draws_rates_and_notes(address: str, own: Home) -> None:
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=browser(), args=["--no-sandbox"])
        page = opened.new_page(viewport={"width": 390, "height": 844})
        faults: list[str] = []
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda said: faults.append(said.text) if said.type == "error" else None)
        page.goto(f"{address}/rate")
        page.fill("input[name=n]", "2")
        page.fill("input[name=n_contexts]", "2")
        page.click("button >> text=Draw")
        page.wait_for_url("**/rate/*/0")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        page.keyboard.press("4")
        page.keyboard.press("Enter")  # one window has no rating yet: the browser does not send the form
        page.keyboard.press("2")
        assert page.evaluate("[...document.querySelectorAll('input:checked')].map((one) => one.value)") == ["4", "2"]
        page.keyboard.press("Enter")
        page.wait_for_url("**/rate/*/1")
        page.click("text=unrelated >> nth=0")
        page.click("text=incomplete >> nth=1")
        page.click("text=Save and go on")
        page.wait_for_url("**/rate/*")
        assert "All 2 are rated" in page.inner_text("h1")
        saved = saved_ratings(own.ratings, "ada").values()
        assert sorted(row["rating"] for row in saved) == ["1", "2", "3", "4"] and all(float(row["seconds"]) >= 0 for row in saved)
        page.goto(f"{address}/d/{KEY}/7")
        page.fill("#notes textarea", f"on lists {EVERYTHING}")
        page.click("text=Keep")
        page.wait_for_url("**#notes")
        assert page.evaluate("[...document.documentElement.attributes].filter((one) => one.name.startsWith('data-ran')).length") == 0
        assert "on lists" in page.input_value("#notes textarea") and faults == []
        opened.close()
    assert notes_on(own.notes, KEY, 7)[0].text.startswith("on lists <script>")
