"""A newcomer's walk in a real browser: home, dictionary, search, feature, why, by keyboard and pointer, at both widths and both themes.

Needs Playwright (`pip install playwright`, no browser download) and a Chromium of the system.
"""

import threading
from collections.abc import Iterator
from typing import Any

import pytest
import uvicorn
from browser import NO_BROWSER, browser
from small_home import KEY

from interp_assets.explorer.app import make_app
from interp_assets.explorer.explorer import Explorer
from interp_assets.explorer.serving import listen

playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: pip install playwright")
pytestmark = pytest.mark.skipif(browser() is None, reason=NO_BROWSER)


@pytest.fixture
def address(explorer: Explorer) -> Iterator[str]:
    """Where the explorer of the small home answers."""
    listening = listen("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn.Config(make_app(explorer), log_level="error"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    server.should_exit = True
    thread.join()
    listening.close()


@pytest.mark.parametrize(("width", "theme"), [(1440, "light"), (390, "dark")])
def test_a_newcomer_walks_from_the_home_page_to_the_reason_of_a_score(address: str, width: int, theme: Any) -> None:
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=browser(), args=["--no-sandbox"])
        page = opened.new_page(viewport={"width": width, "height": 844}, color_scheme=theme)
        faults: list[str] = []
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda said: faults.append(said.text) if said.type == "error" else None)

        def arrived(at: str) -> None:
            page.wait_for_url(f"{address}{at}")
            assert page.evaluate("document.documentElement.scrollWidth") <= width, f"{at} is wider than the screen"
            assert page.evaluate("[...document.querySelectorAll('svg')].every((one) => one.getAttribute('aria-label'))"), at

        page.goto(address)
        arrived("/")
        page.click("text=sae")
        arrived(f"/d/{KEY}")
        page.keyboard.press("j")
        page.keyboard.press("j")
        page.keyboard.press("Enter")
        arrived(f"/d/{KEY}/1")
        page.keyboard.press("j")
        arrived(f"/d/{KEY}/2")
        page.hover(".t >> nth=0")
        assert page.inner_text(".tip") == "8"
        page.keyboard.press("/")
        page.keyboard.type("number 20")
        page.keyboard.press("Enter")
        page.wait_for_url("**/search?**")
        page.click(f"a[href='/d/{KEY}/20'] >> nth=0")
        arrived(f"/d/{KEY}/20")
        page.click("a.name >> text=fuzzing >> nth=0")
        arrived(f"/d/{KEY}/20/why/fuzzing/max_act")
        assert "2 wrong of 6" in page.inner_text("main")
        page.click("text=question 1 >> nth=0")
        assert page.is_visible(".question[open] >> text=[1, 0, 1, 1, 0, 1]")
        before = page.evaluate("getComputedStyle(document.body).backgroundColor")
        page.keyboard.press("t")
        page.reload()
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") != before  # the choice is kept
        page.keyboard.press("?")
        assert page.is_visible("dialog[open]")
        page.keyboard.press("Escape")
        page.keyboard.press("u")
        arrived(f"/d/{KEY}/20")
        assert faults == []
        opened.close()
