"""Attacks on the explorer by requests: hostile addresses and forms, foreign hosts and pages, odd tokens."""

from pathlib import Path
from typing import Any

from benchmarks.faults.attacks import BLOCKS, REFUSED, RIGHT, WRONG, Result, attack
from benchmarks.faults.explored_home import AT, FEATURE, KEY, copied, empty_home, explored, shown
from interp_assets.config.base import UserError
from interp_assets.explorer.explorer import Explorer
from interp_assets.ratings.kept_tasks import kept_tasks

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
