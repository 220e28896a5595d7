"""A small home with an explorer over it: what its pages say of the whole home, and whether they say it after damage. No attack is here."""

import contextlib
import re
import shutil
import sys
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from tempfile import mkdtemp

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "explorer"))

from small_home import KEY, empty_home, small_home
from starlette.testclient import TestClient

from benchmarks.faults.attacks import BLOCKS, MENDED, RIGHT, WRONG, Result
from interp_assets.explorer import columns as columns_module
from interp_assets.explorer import view_answers
from interp_assets.explorer.app import make_app
from interp_assets.explorer.explorer import Explorer
from resources.fakes import FakeModels

FEATURE, OTHER = 7, 20
RANGE, OTHER_RANGE = "03of16", "10of16"
AT = f"/d/{KEY}"
PAGES = (
    "/", AT, f"{AT}?sort=-score:fuzzing:max_act", f"{AT}/features.csv", f"{AT}/{FEATURE}", f"{AT}/{FEATURE}.json", f"{AT}/{FEATURE}/embed",
    f"{AT}/{FEATURE}/why/fuzzing/max_act", f"{AT}/{FEATURE}/context/2", f"/search?q=words&dictionary={KEY}&by=words",
    "/leaderboards/scores_by_method", "/leaderboards/hardest_features.csv", f"/compare?a={KEY}/{FEATURE}&b={KEY}/{OTHER}", "/report",
)  # fmt: skip
ELSEWHERE = (f"{AT}/{OTHER}", f"{AT}/{OTHER}.json")
"""Pages of a feature in another range, which damage to the first does not touch."""

SAID = re.compile(r"damaged|cannot be read|could not be saved|no manifest vouches|left_out", re.IGNORECASE)


@lru_cache(maxsize=1)
def whole_home() -> Path:
    """A small home that is copied for each attack."""
    root = Path(mkdtemp(prefix="fault-whole-")) / "home"
    small_home(root)
    return root


@contextlib.contextmanager
def explored(root: Path, rater: str | None = None) -> Iterator[TestClient]:
    """A client of an explorer of a home; a fault of a page is its answer."""
    columns_module.LOOK_SECONDS = view_answers.LOOK_SECONDS = 0.0
    columns_module.READING_SHARE = view_answers.READING_SHARE = 1e9  # a change is seen at once
    explorer = Explorer(empty_home(root), rater=rater, provider=FakeModels())
    try:
        explorer.dictionaries.columns(KEY, patience=60)
        yield TestClient(make_app(explorer), base_url="http://127.0.0.1:3001", raise_server_exceptions=False, follow_redirects=False)
    finally:
        explorer.close()


def shown(client: TestClient, address: str) -> tuple[int, str]:
    """Status and text of a page, after what it waits for; the text without the numbers of requests and without the home's own path."""
    answer = client.get(address)
    for _ in range(200):
        if answer.status_code != 503 or "One moment" not in answer.text:
            break
        answer = client.get(address)
    return answer.status_code, answer.text + (f"cannot be read: {left}" if (left := answer.headers.get("X-Left-Out")) else "")


def copied(folder: Path) -> Path:
    """A copy of the small home."""
    shutil.copytree(whole_home(), folder / "home")
    return folder / "home"


@lru_cache(maxsize=1)
def truth() -> dict[str, tuple[int, str]]:
    """What every page says of the whole home."""
    with explored(whole_home()) as client:
        return {address: shown(client, address) for address in (*PAGES, *ELSEWHERE)}


def told(client: TestClient, tell: bool = True) -> Result:
    """Whether every page says the truth, or (with `tell`) says what it leaves out."""
    mended = False
    for address in (*PAGES, *ELSEWHERE):
        status, text = shown(client, address)
        if (status, text) == truth()[address]:
            continue
        if status == 500:
            return Result(BLOCKS, f"{address}: a fault")
        if address in ELSEWHERE and status != 200:
            return Result(BLOCKS, f"{address} in another range: status {status}")
        if not tell or not SAID.search(text):
            return Result(WRONG, f"{address}: status {status}, another text, and nothing is said")
        mended = True
    return Result(MENDED if mended else RIGHT)
