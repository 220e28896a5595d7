"""A feature on a reader's own text, and the model steered by it, on the stand-in model."""

import re
import threading
from collections.abc import Iterator
from urllib.parse import quote

import numpy as np
import pytest
import uvicorn
from browser import NO_BROWSER, browser
from small_home import KEY, settled
from starlette.testclient import TestClient
from test_explorer_pages import text_of

from interp_assets.explorer.app import make_app
from interp_assets.explorer.example_search import activations_on
from interp_assets.explorer.explorer import Explorer
from interp_assets.explorer.serving import listen
from resources.fakes import WORDS

TEXT = " ".join(WORDS[:12])


def fired(explorer: Explorer, client: TestClient) -> dict[int, list[float]]:
    """What every feature does on TEXT, as the model and the neurons say."""
    settled(client, f"/d/{KEY}/0/try?text={quote(TEXT)}")
    tokens, positions, features, values, _ = activations_on(explorer, explorer.record(KEY), TEXT)
    found = np.zeros((32, len(tokens)))
    found[features, positions] = values
    return dict(enumerate(found.tolist()))


def test_a_text_is_shaded_by_the_features_own_activations(explorer: Explorer, client: TestClient) -> None:
    found = fired(explorer, client)
    strongest = max(found, key=lambda feature: max(found[feature]))
    page = client.get(f"/d/{KEY}/{strongest}/try?text={quote(TEXT)}").text
    firing = [value for value in found[strongest] if value > 0]
    assert len(re.findall(r'class="t s\d', page)) == len(firing)
    assert f"fires on {len(firing)} of {len(found[strongest])} tokens" in text_of(page)
    silent = next(feature for feature in found if not any(found[feature]))
    assert "fires on 0 of" in text_of(client.get(f"/d/{KEY}/{silent}/try?text={quote(TEXT)}").text)


def test_the_model_is_asked_once_for_all_features(explorer: Explorer, client: TestClient) -> None:
    fired(explorer, client)
    explorer.models.loaded.close()
    explorer.models.loaded = None  # type: ignore[assignment]  # whoever asks again fails
    for feature in (1, 2, 3):
        page = client.get(f"/d/{KEY}/{feature}/try?text={quote(TEXT)}").text
        assert f"/d/{KEY}/{feature + 1}/try?text=" in page  # the text goes along
    explorer.models.loaded = type("Closed", (), {"close": lambda self: None})()  # type: ignore[assignment]


def test_a_steered_completion_stands_beside_the_clean_one(client: TestClient) -> None:
    said = {}
    for by in ("0", "3", "-3"):
        page = text_of(settled(client, f"/d/{KEY}/7/steer?text={quote(TEXT)}&by={by}").text)
        said[by] = re.search(r"clean (.*) steered (.*) strength (\S+); .* moved by (\S+) nats", page).groups()  # type: ignore[union-attr]
    assert said["0"][0] == said["0"][1] and said["0"][2:] == ("0", "0")  # the same random numbers
    assert len({one[0] for one in said.values()}) == 1
    assert said["3"][2] == "24" and said["-3"][2] == "−24"  # times 8, the largest activation in the sample
    assert said["3"][3] != "0" and said["3"][1] != said["3"][0]


@pytest.mark.parametrize(
    ("query", "status", "said"),
    [
        ("try?text=", 200, "your own text"),
        ("steer?text=", 200, "steered by feature"),
        ("try?text=" + "x" * 4001, 400, "4,001 characters"),
        ("steer?text=a&by=nan", 400, "nan"),
        ("steer?text=a&by=1e9", 400, "1e9"),
        ("steer?text=a&by=<script>", 400, "&lt;script&gt;"),
    ],
)
def test_what_cannot_be_tried_is_said(client: TestClient, query: str, status: int, said: str) -> None:
    answer = client.get(f"/d/{KEY}/7/{query}")
    assert answer.status_code == status and said in answer.text


def test_a_page_says_what_it_waits_for(explorer: Explorer, client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    ready = threading.Event()
    waiting = explorer.models._worker.submit(ready.wait, 30)
    ask = explorer.models.ask
    monkeypatch.setattr(explorer.models, "ask", lambda key, what, work: ask(key, what, work, 0.01))
    answer = client.get(f"/d/{KEY}/7/try?text={quote(TEXT)}")
    assert answer.status_code == 503 and "being loaded" in answer.text and answer.headers["retry-after"] == "1"
    ready.set()
    waiting.result()
    assert "fires on" in text_of(settled(client, f"/d/{KEY}/7/try?text={quote(TEXT)}").text)


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


@pytest.mark.skipif(browser() is None, reason=NO_BROWSER)
def test_the_text_stays_while_a_reader_walks(address: str) -> None:
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: pip install playwright")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=browser(), args=["--no-sandbox"])
        page = opened.new_page(viewport={"width": 390, "height": 844})
        faults: list[str] = []
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.goto(f"{address}/d/{KEY}/7")
        page.fill("#try textarea", TEXT)
        page.click("#try >> text=Run")
        page.wait_for_selector("[data-tried=try] .whole", timeout=60_000)
        page.click("text=8 →")
        page.wait_for_url(f"{address}/d/{KEY}/8")
        page.wait_for_selector("[data-tried=try] .whole", timeout=60_000)
        assert page.input_value("#try textarea") == TEXT
        page.fill("#try input[name=by]", "2.5")
        page.click("#try >> text=Steer")
        page.wait_for_selector("[data-tried=steer] .pair", timeout=60_000)
        assert "strength 20;" in page.inner_text("[data-tried=steer]") and page.inner_text("#try output") == "2.5"
        assert page.evaluate("document.documentElement.scrollWidth") <= 390 and faults == []
        opened.close()
