"""Attacks on the explorer: damage below it while it runs and before it starts, hostile requests, two raters at once, disks without room.

Every page is asked of a whole home first. After the damage a page says the same, or says what it leaves out; the others go on.
"""

import contextlib
import os
import random
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "explorer"))

from small_home import KEY, empty_home, small_home
from starlette.testclient import TestClient

from benchmarks.faults.attacks import BLOCKS, MENDED, REFUSED, RIGHT, SKIPPED, WRONG, Result, attack
from benchmarks.faults.places import DISK, MountRefused, mounted
from interp_assets.config.base import UserError
from interp_assets.explorer import columns as columns_module
from interp_assets.explorer import view_answers
from interp_assets.explorer.app import make_app
from interp_assets.explorer.explorer import Explorer
from interp_assets.ratings.kept_tasks import kept_tasks
from interp_assets.ratings.notes import Note, note_file, notes_on, save_note
from interp_assets.ratings.rater_file import rater_file, saved_ratings
from resources.fakes import FakeModels
from resources.store.lake import MANIFEST, PART

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


# The lake below it.

TABLES = {
    "feature_statistics": "", "feature_examples": "", "examples": "", "explanations": "explanation_method=max_act/",
    "scores": "scorer=fuzzing/", "trials": "scorer=fuzzing/", "verdicts": "scorer=fuzzing/",
}  # fmt: skip


def partition_folder(root: Path, table: str) -> Path:
    """Folder of the partition of a table that holds FEATURE."""
    found = [path.parent for path in (root / "lake" / table).rglob(f"feature_range={RANGE}/{PART}")]
    return next(path for path in found if TABLES[table].strip("/") in path.as_posix())


def _flip(path: Path, draws: random.Random) -> None:
    content = bytearray(path.read_bytes())
    content[draws.randrange(len(content))] ^= 1 << draws.randrange(8)
    path.write_bytes(content)


SPOILED: dict[str, Callable[[Path], object]] = {
    "a bit of a part is flipped": lambda folder: _flip(folder / PART, random.Random(str(folder)[-40:])),
    "a part is cut": lambda folder: (folder / PART).write_bytes((folder / PART).read_bytes()[:-300]),
    "a part is gone": lambda folder: (folder / PART).unlink(),
    "a part is zeros": lambda folder: (folder / PART).write_bytes(bytes((folder / PART).stat().st_size)),
    "a part is a folder": lambda folder: [(folder / PART).unlink(), (folder / PART).mkdir()],
    "a part is another range's": lambda folder: shutil.copy(folder.with_name(f"feature_range={OTHER_RANGE}") / PART, folder / PART),
    "a manifest is empty": lambda folder: (folder / MANIFEST).write_text(""),
    "a manifest says another row count": lambda folder: (folder / MANIFEST).write_text(
        re.sub(r'"rows": \d+', '"rows": 99', (folder / MANIFEST).read_text())
    ),
    "a manifest is of a newer schema": lambda folder: (folder / MANIFEST).write_text(
        re.sub(r'"schema_version": \d+', '"schema_version": 99', (folder / MANIFEST).read_text())
    ),
}


def spoiled_lake(folder: Path, quick: bool, spoil: Callable[[Path], object], running: bool) -> Result:
    """Each table in turn is spoiled in the range of one feature."""
    mended = False
    for table in list(TABLES)[:: 8 if quick else 1]:
        root = copied(folder / table)
        with contextlib.ExitStack() as held:
            client = held.enter_context(explored(root))
            if running and (before := told(client, tell=False)).outcome != RIGHT:
                return before
            spoil(partition_folder(root, table))
            result = told(client)
        if result.outcome not in (MENDED, RIGHT):
            return Result(result.outcome, f"{table}: {result.seen}")
        mended = mended or result.outcome == MENDED
        shutil.rmtree(folder / table, ignore_errors=True)
    return Result(MENDED if mended else RIGHT)


for name, spoil in SPOILED.items():
    attack(f"before the explorer starts, {name}", seconds=200, spoil=spoil, running=False)(spoiled_lake)
    attack(f"while the explorer runs, {name}", seconds=200, spoil=spoil, running=True)(spoiled_lake)


# What it has prepared: columns, word index, answers of views.


def _prepared(root: Path) -> list[Path]:
    return sorted(path for path in (root / "warehouse" / "columns").iterdir() if path.is_file() and not path.name.startswith("."))


def spoiled_preparation(folder: Path, quick: bool, spoil: Callable[[Path, random.Random], object]) -> Result:
    """Each prepared file is spoiled before another start; every page says the truth all the same."""
    draws = random.Random(4)
    root = copied(folder)
    with explored(root) as client:
        told(client)
    for _ in range(2 if quick else 25):
        for path in _prepared(root):
            spoil(path, draws)
        with explored(root) as client:
            result = told(client, tell=False)
        if result.outcome != RIGHT:
            return result
    return Result(RIGHT)


def _spoil_running(folder: Path, quick: bool) -> Result:
    root = copied(folder)
    with explored(root) as client:
        told(client)
        for path in _prepared(root):
            os.truncate(path, 0)
        return told(client, tell=False)


attack("columns, word index and answers with flipped bits", seconds=200, spoil=_flip)(spoiled_preparation)
attack("columns, word index and answers that are cut", seconds=200, spoil=lambda path, draws: os.truncate(path, path.stat().st_size // 2))(
    spoiled_preparation
)
attack("columns, word index and answers that are text", seconds=200, spoil=lambda path, draws: path.write_text("x" * 5000))(
    spoiled_preparation
)
attack(
    "columns, word index and answers that are folders", seconds=200,
    spoil=lambda path, draws: [path.unlink(), path.mkdir()],
)(spoiled_preparation)  # fmt: skip
attack("columns, word index and answers are emptied while the explorer runs", seconds=200)(_spoil_running)


# The home.


@attack("a home that vanishes under the explorer", how="gone")
@attack("a home that moves away under the explorer", how="moved")
@attack("a home that becomes a file under the explorer", how="file")
def vanished(folder: Path, quick: bool, how: str) -> Result:
    """No page shows an empty home as if nothing had ever been there; the home's return is seen."""
    root = copied(folder)
    with explored(root) as client:
        told(client)
        root.rename(folder / "away")
        if how == "file":
            root.write_text("")
        for address in ("/", AT, f"{AT}/{FEATURE}", "/leaderboards/scores_by_method"):
            status, text = shown(client, address)
            if status == 500:
                return Result(BLOCKS, f"{address}: a fault")
            if (status, text) != truth()[address] and "home" not in text.replace("home.html", ""):
                return Result(WRONG, f"{address}: status {status} and not a word about the home")
        if how == "gone":
            return Result(REFUSED)
        if how == "file":
            root.unlink()
        (folder / "away").rename(root)  # raises where a page has begun the home anew
        result = told(client, tell=False)
        return Result(REFUSED) if result.outcome == RIGHT else result


@attack("a record with hostile text in every field", text="<script>alert(1)</script>\u202e\x00")
@attack("a record with half a character in its description", text="\ud800")
def odd_record(folder: Path, quick: bool, text: str) -> Result:
    root = copied(folder)
    home = empty_home(root)
    path = home.registry.path_of(KEY)
    escaped = "".join(f"\\u{ord(one):04x}" if one != "\x00" else "\\0" for one in text)
    path.write_text(path.read_text() + f'\ndescription: "{escaped}"\n')
    with explored(root) as client:
        for address in PAGES:
            status, page = shown(client, address)
            if status == 500:
                return Result(BLOCKS, f"{address}: a fault")
            if "<script>alert" in page:
                return Result(WRONG, f"{address}: a program")
    return Result(RIGHT)


# Requests.

HUGE = "9" * 40
REQUESTS = (
    f"{AT}/{HUGE}",
    f"{AT}/{'9' * 5000}",
    f"{AT}/-1",
    f"{AT}/{FEATURE}.5",
    f"{AT}/7%00",
    f"{AT}/%00",
    f"{AT}/{HUGE}.json",
    f"{AT}/{HUGE}/embed",
    f"{AT}/{HUGE}/try?text=a",
    f"{AT}/{HUGE}/steer?text=a",
    f"{AT}/{HUGE}/logits",
    f"{AT}/{HUGE}/decoder.npy",
    f"{AT}/{'9' * 5000}.json",
    f"{AT}/{FEATURE}/context/{HUGE}",
    f"{AT}/{FEATURE}/context/{'9' * 5000}",
    f"{AT}/{FEATURE}/context/-1",
    f"{AT}/{FEATURE}/context/9999",
    f"{AT}/{FEATURE}/why/fuzzing/%00",
    f"{AT}/{FEATURE}/why/nothing/max_act",
    f"{AT}/{FEATURE}/why/..%2f..%2fetc/max_act",
    "/d/..%2f..%2f/etc/passwd",
    "/d/../../etc/passwd",
    "/d/%2e%2e/%2e%2e/etc",
    "/d/a%00/b/c",
    "/d/'/''/\"",
    "/d/" + "a" * 5000 + "/b/c",
    "/static/../app.py",
    "/static/%2e%2e/app.py",
    "/static/..%2fapp.py",
    "/static/%00",
    "/static//etc/passwd",
    "/static/" + "a/" * 2000,
    f"{AT}?sort=-density;DROP",
    f"{AT}?sort=score:fuzzing:nothing",
    f"{AT}?sort=%00",
    f"{AT}?page={HUGE}",
    f"{AT}?page=-1",
    f"{AT}?page=%D9%A3",
    f"{AT}?page=999999999",
    f"{AT}?density_from=1e999&density_to=nan&least=-inf&first={HUGE}&last=-{HUGE}",
    f"{AT}?first=1e308&last=1e-320",
    f"{AT}?method=nothing&state=x&outcome={'x' * 9000}&token=%ED%A0%80%00",
    f"{AT}?token=" + "%28" * 2000,
    f"{AT}?by=score:fuzzing:max_act&least=x",
    f"{AT}?" + "&".join(f"a{n}=1" for n in range(3000)),
    f"{AT}/features.csv?sort=%ED%A0%80",
    "/search?q=%00&by=words",
    "/search?q=%ED%A0%80&by=words",
    f"/search?q={'w%20' * 9000}&by=words",
    "/search?q=(((*%5B&by=words",
    "/search?q=a&by=nothing",
    f"/search?q=a&by=example&dictionary={KEY}&density_to=nan",
    f"/search?q=a&by=example&dictionary={KEY}&density_to=1e999",
    "/search?q=a&dictionary=..%2f..%2fx",
    "/search?q=%00&by=example&dictionary=" + KEY,
    f"{AT}/{FEATURE}/try?text=%00%ED%A0%80",
    f"{AT}/{FEATURE}/try?text=" + "a" * 60_000,
    f"{AT}/{FEATURE}/steer?text=a&strength=nan",
    f"{AT}/{FEATURE}/steer?text=a&strength=1e999",
    f"{AT}/{FEATURE}/steer?text=a&strength={HUGE}",
    f"{AT}/{FEATURE}/steer?text=%00&tokens={HUGE}",
    f"/compare?a={KEY}/{HUGE}&b={KEY}/-1",
    f"/compare?a={KEY}/{'9' * 5000}&b={KEY}/7",
    "/compare?a=%00&b=%ED%A0%80",
    "/compare?a=x&b=/",
    "/compare?a=////7&b=7",
    f"/compare?a={KEY}&b={KEY}",
    f"/compare?dictionary={KEY}&a=max_act&b=nothing",
    "/compare?dictionary=%00&one=max_act&other=shuffled",
    "/leaderboards/..%2f..%2fx",
    "/leaderboards/%00",
    f"/leaderboards/hardest_features?page={HUGE}",
    "/leaderboards/hardest_features?page=99999999",
    "/leaderboards/hardest_features?page=%C2%B2",
    "/leaderboards/hardest_features?dictionary=%00%27",
    "/leaderboards/hardest_features.csv.csv",
    "/rate/..%2f..%2fx",
    f"/rate/0123abcd/{HUGE}",
    f"/rate/0123abcd/{'9' * 5000}",
    "/rate/%00/0",
    "/report?x=" + "y" * 30_000,
    "//evil.example/",
    "/%2f%2fevil",
)


@attack("addresses with huge and negative numbers, NUL, paths that go up and columns that are none", seconds=120)
def odd_requests(folder: Path, quick: bool) -> Result:
    with explored(copied(folder), rater="ada") as client:
        for address in REQUESTS[:: 3 if quick else 1]:
            status, text = shown(client, address)
            if status >= 500:
                return Result(BLOCKS, f"{address[:120]}: status {status}")
            if "root:x:0" in text or "def make_app" in text:
                return Result(WRONG, f"{address[:120]}: a file that is no page")
        status, text = shown(client, f"{AT}/{FEATURE}")
        return Result(REFUSED) if (status, "words about" in text) == (200, True) else Result(BLOCKS, "the explorer has stopped to answer")


FORMS: dict[str, tuple[str, Any]] = {
    "a form of 100 MB": ("/rate", b"dictionary=" + b"x" * 100_000_000),
    "a form of 200,000 fields": ("/rate", b"&".join(b"a=1" for _ in range(49_000))),
    "a task of 10^40 explanations": ("/rate", {"dictionary": KEY, "n": HUGE, "n_contexts": "2"}),
    "a task of explanations with zeros before": ("/rate", {"dictionary": KEY, "n": "0" * 8 + "1" + HUGE, "n_contexts": "2"}),
    "a task of 5,000 digits": ("/rate", {"dictionary": KEY, "n": "0" * 8 + "1" + "9" * 5000, "n_contexts": "2"}),
    "a task of windows with zeros before": ("/rate", {"dictionary": KEY, "n": "2", "n_contexts": "0" * 8 + "1" + HUGE}),
    "a task of a dictionary that is none": ("/rate", {"dictionary": "../../x", "n": "2", "n_contexts": "2"}),
    "a note of 10^40": (f"{AT}/{HUGE}/note", {"text": "a"}),
    "a note of half a character and NUL": (f"{AT}/{FEATURE}/note", b"text=%ED%A0%80%00%F0"),
    "a form that is no form": ("/rate", b"\xff\xfe{}[]"),
    "a form to a page without one": (AT, {"a": "1"}),
}


def odd_form(folder: Path, quick: bool, address: str, content: Any) -> Result:
    root = copied(folder)
    with explored(root, rater="ada") as client:
        given = {"content": content} if isinstance(content, bytes) else {"data": content}
        answer = client.post(address, **given)
        if answer.status_code >= 500:
            return Result(BLOCKS, f"status {answer.status_code}: {answer.text[-200:]}")
        if answer.status_code < 400 and any(len(task.items) > 1000 for task in kept_tasks(root / "rating_tasks")):
            return Result(WRONG, "a task above the bound")
        if answer.status_code < 400 and "zeros" in str(content):
            return Result(WRONG, "taken")
        status, _ = shown(client, f"{AT}/{FEATURE}")
        return Result(REFUSED if answer.status_code >= 400 else RIGHT) if status == 200 else Result(BLOCKS, f"then status {status}")


for name, (address, content) in FORMS.items():
    attack(name, address=address, content=content)(odd_form)


HOSTS = (
    "evil.example",
    "127.0.0.1.evil.example",
    "localhost.evil.example:3001",
    "evil.example:127",
    "127.0.0.1@evil",
    "",
    "127.0.0.1, evil.example",
    "127.0.0.1:3001:3001.evil",
    "[::1].evil",
    "0.0.0.0",
    "127.0.0.1#",
    "localhost/",
    "LOCALHOST.",
    "127.0.0.1:3001/x",
)


@attack("names that were pointed at this machine (DNS rebinding)")
def rebinding(folder: Path, quick: bool) -> Result:
    with explored(copied(folder), rater="ada") as client:
        for host in HOSTS:
            for method in ("get", "post"):
                if getattr(client, method)(f"{AT}/{FEATURE}" if method == "get" else "/rate", headers={"host": host}).status_code < 400:
                    return Result(WRONG, f"{method} by the host {host!r}")
        for headers in ({"origin": "http://evil.example"}, {"sec-fetch-site": "cross-site"}, {"origin": "null"}, {"origin": ""}):
            if client.post(f"{AT}/{FEATURE}/note", data={"text": "x"}, headers=headers).status_code < 400:
                return Result(WRONG, f"a note by {headers}")
    return Result(REFUSED)


@attack("an empty token", token="")
@attack("a token of spaces", token="  ")
@attack("a token that a cookie cannot hold", token="a;b\r\nSet-Cookie: c=d")
@attack("a token with letters outside ASCII", token="ключ")
def odd_token(folder: Path, quick: bool, token: str) -> Result:
    """No token lets nobody in: it is refused at the start, or it is asked for and works."""
    from interp_assets.explorer.serving import serve

    explorer = Explorer(empty_home(copied(folder)))
    try:
        serve(explorer, "0.0.0.0", 0, _Stop().say, token)
    except UserError as error:
        return Result(REFUSED, str(error))
    except _Stopped as stopped:
        return Result(WRONG, f"served: {stopped}")
    finally:
        explorer.close()
    return Result(WRONG, "served")


class _Stopped(RuntimeError):
    """The explorer would serve."""


class _Stop:
    def say(self, line: str) -> None:
        raise _Stopped(line)


# Ratings and notes.


def drawn_task(client: TestClient) -> str:
    """The address of a task of eight explanations."""
    answer = client.post("/rate", data={"dictionary": KEY, "n": "8", "n_contexts": "2"})
    assert answer.status_code == 303, answer.text
    return answer.headers["location"]


@attack("two raters at once, each twice", raters=("ada", "eve", "ada", "eve"))
@attack("the same rater in four explorers at once", raters=("ada",) * 4)
def raters_at_once(folder: Path, quick: bool, raters: tuple[str, ...]) -> Result:
    root = copied(folder)
    with contextlib.ExitStack() as held:
        clients = [held.enter_context(explored(root, rater)) for rater in raters]
        task, faults = drawn_task(clients[0]), list[str]()

        def rate(client: TestClient, own: int) -> None:
            for place in range(own, 8, 2):
                answer = client.post(f"{task}/{place}", data={"rating-0": str(1 + place % 4), "rating-1": "2"})
                noted = client.post(f"{AT}/{place}/note", data={"text": f"note {own}"})
                faults.extend(f"status {one.status_code}" for one in (answer, noted) if one.status_code != 303)

        threads = [
            threading.Thread(target=rate, args=(client, number // 2 if len(set(raters)) > 1 else number % 2))
            for number, client in enumerate(clients)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    if faults:
        return Result(BLOCKS, faults[0])
    counts = {rater: len(saved_ratings(root / "ratings", rater)) for rater in set(raters)}
    if set(counts.values()) != {16}:
        return Result(WRONG, f"{counts} of 16 ratings")
    return Result(RIGHT)


def _filled(folder: Path) -> Path:
    filler = folder / "filler"
    with contextlib.suppress(OSError), filler.open("wb") as file:
        while True:
            file.write(os.urandom(1 << 12))
            file.flush()
    return filler


@attack("ratings, notes and tasks on a full disk, then room again", read_only=False)
@attack("ratings, notes and tasks on a read-only disk, then a writable one", read_only=True)
def no_room(folder: Path, quick: bool, read_only: bool) -> Result:
    disk = folder / "disk"
    try:
        with mounted(disk, f"size={DISK}"):
            small_home(disk / "home")
            with explored(disk / "home", "ada") as client:
                task = drawn_task(client)
                first = client.post(f"{task}/0", data={"rating-0": "3", "rating-1": "2"})
                assert first.status_code == 303, first.text
                client.post(f"{AT}/3/note", data={"text": "a note"})
                before = rater_file(disk / "home" / "ratings", "ada").read_bytes()
                filler = None if read_only else _filled(disk)
                if read_only:
                    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
                posts = {
                    f"{task}/1": {"rating-0": "1", "rating-1": "2"},
                    f"{AT}/3/note": {"text": "b" * 9000},
                    f"{AT}/4/note": {"text": "c" * 9000},
                }
                posts |= {"/rate": {"dictionary": KEY, "n": "9", "n_contexts": "3"}}
                for address, data in posts.items():
                    answer = client.post(address, data=data)
                    if answer.status_code == 500:
                        return Result(BLOCKS, f"{address}: a fault")
                    if answer.status_code < 400 and (read_only or address != f"{AT}/3/note"):
                        return Result(WRONG, f"{address}: status {answer.status_code} without room")
                if read_only:
                    subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
                elif filler is not None:
                    filler.unlink()
                if (
                    rater_file(disk / "home" / "ratings", "ada").read_bytes() != before
                    or notes_on(disk / "home" / "notes", KEY, 3)[0].text != "a note"
                ):
                    return Result(WRONG, "what was there has changed")
                again = client.post(f"{task}/1", data={"rating-0": "1", "rating-1": "2"})
                left = [path.name for path in (disk / "home").rglob("*.tmp")]
                return Result(REFUSED) if again.status_code == 303 and not left else Result(BLOCKS, f"{again.status_code}, {left}")
    except MountRefused as error:
        return Result(SKIPPED, f"no tmpfs here: {error}")


SPOILED_RATINGS: dict[str, Callable[[bytes], bytes]] = {
    "half": lambda content: content[: len(content) * 2 // 3],
    "empty": lambda content: b"",
    "binary": lambda content: b"\xff\xfe\x00" + content[3:],
    "another header": lambda content: b"a,b\n" + content.partition(b"\n")[2],
    "a line with a field too few": lambda content: content + b"ada,human\n",
    "NUL bytes in a line": lambda content: content[:-30] + b"\x00" * 10 + content[-20:],
}


def spoiled_ratings(folder: Path, quick: bool, spoil: Callable[[bytes], bytes]) -> Result:
    """What cannot be read of a rater's file is not lost by the next rating: the page says so, or the file as it was is kept."""
    root = copied(folder)
    with explored(root, "ada") as client:
        task = drawn_task(client)
        for place in range(4):
            client.post(f"{task}/{place}", data={"rating-0": "3", "rating-1": "2"})
        file = rater_file(root / "ratings", "ada")
        spoiled = spoil(file.read_bytes())
        file.write_bytes(spoiled)
        answer = client.post(f"{task}/5", data={"rating-0": "3", "rating-1": "2"})
        if answer.status_code >= 500:
            return Result(BLOCKS, f"status {answer.status_code}")
        kept = any(spoiled == path.read_bytes() for path in (root / "ratings").rglob("*") if path.is_file())
        if answer.status_code >= 400:
            return Result(REFUSED) if kept and SAID.search(answer.text) else Result(WRONG, f"status {answer.status_code}, kept: {kept}")
        lines = [line for line in spoiled.split(b"\n") if line.strip()]
        whole = all(line in file.read_bytes() for line in lines)
        return Result(RIGHT) if whole or kept else Result(WRONG, "lines were lost without a word")


for name, spoil_ratings in SPOILED_RATINGS.items():
    attack(f"a rater's file that is spoiled: {name}", spoil=spoil_ratings)(spoiled_ratings)


@attack("notes on a feature that are spoiled: half", content='[{"rater": "eve", "text": "hal')
@attack("notes on a feature that are spoiled: a number", content="7")
@attack("notes on a feature that are spoiled: other fields", content='[{"rater": "eve", "text": "a", "at": "b", "more": 1}]')
@attack(
    "notes on a feature that are spoiled: numbers for texts",
    content='[{"rater": 1, "text": 2, "at": 3}, {"rater": "eve", "text": "a", "at": "b"}]',
)
@attack("notes on a feature that are spoiled: brackets", content="[" * 200_000)
def spoiled_notes(folder: Path, quick: bool, content: str) -> Result:
    """Another rater's note is not lost by a new one without a word."""
    root = copied(folder)
    save_note(root / "notes", KEY, FEATURE, "eve", "mine")
    path = note_file(root / "notes", KEY, FEATURE)
    path.write_text(content)
    with explored(root, "ada") as client:
        status, text = shown(client, f"{AT}/{FEATURE}")
        if status == 500:
            return Result(BLOCKS, "the page fails")
        said = bool(SAID.search(text))
        answer = client.post(f"{AT}/{FEATURE}/note", data={"text": "new"})
        if answer.status_code >= 500:
            return Result(BLOCKS, f"status {answer.status_code}")
        kept = any(content == one.read_text() for one in (root / "notes").rglob("*") if one.is_file())
        there = any(isinstance(note, Note) and note.rater == "eve" for note in notes_on(root / "notes", KEY, FEATURE))
    if not (said or there):
        return Result(WRONG, "nothing is said of notes that cannot be read")
    return Result(MENDED) if kept or there else Result(WRONG, "another rater's note is lost")


@attack("a rating task that is spoiled: half", content='{"format": 1, "items": [')
@attack("a rating task that is spoiled: brackets", content="[" * 200_000)
@attack("a rating task that is spoiled: a list", content="[]")
@attack(
    "a rating task that is spoiled: texts for numbers",
    content='{"format":1,"name":"x","dictionaries":[],"as_a_whole":1,"items":[{"text":1,"feature_max":"nan","windows":[{"tokens":5,"activations":[]}],"rows":7}]}',
)
def spoiled_task(folder: Path, quick: bool, content: str) -> Result:
    root = copied(folder)
    with explored(root, "ada") as client:
        task = drawn_task(client)
        (root / "rating_tasks" / f"{task.rsplit('/', 1)[-1]}.json").write_text(content)
        answers = [client.get(address).status_code for address in ("/rate", task, f"{task}/0")]
        posted = client.post(f"{task}/0", data={"rating-0": "3"}).status_code
        again = client.post("/rate", data={"dictionary": KEY, "n": "8", "n_contexts": "2"}).status_code
    if 500 in (*answers, posted, again):
        return Result(BLOCKS, f"{answers} {posted} {again}")
    return (
        Result(REFUSED)
        if answers[1] in (400, 404) and posted in (400, 404) and again == 303
        else Result(WRONG, f"{answers} {posted} {again}")
    )
