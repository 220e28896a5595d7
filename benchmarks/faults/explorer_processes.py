"""Attacks on the explorer as a process, and on its static copy: signals at every moment, slow and broken requests, ports, disks, two at
once."""

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "explorer"))

from small_home import KEY

from benchmarks.faults.attacks import BLOCKS, HANG, MENDED, PATIENCE, REFUSED, RIGHT, SKIPPED, WRONG, Result, attack
from benchmarks.faults.explored_home import copied
from benchmarks.faults.places import MountRefused, mounted, said
from benchmarks.faults.processes import QUICK, all_ended, environment, interp, marked
from interp_assets.config.feature_lists import AskedFeatures
from interp_assets.explorer.static_site import MARK, export_site

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
START_SECONDS = 60 * PATIENCE


@contextlib.contextmanager
def started(home: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A real `interp explore` and its port, once it answers."""
    command = [sys.executable, "-m", "interp_assets.cli.main", "explore", "--port", "0", *arguments]
    process = subprocess.Popen(command, env=environment(home), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        found = re.search(r":(\d+)/", line)
        assert found, line
        yield process, int(found[1])
    finally:
        process.kill()
        process.communicate()


def ended(process: subprocess.Popen[str], home: Path) -> Result:
    """Whether a command ends by itself, with nothing left behind."""
    try:
        out, _ = process.communicate(timeout=15 * PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return Result(HANG, "the command goes on")
    left = all_ended(home, 6 * PATIENCE)
    last = (out.strip().splitlines() or [""])[-1]
    # Ctrl-C while Python still imports ends in Python's own words.
    return Result(BLOCKS, last) if "Traceback" in out and last != "KeyboardInterrupt" else left


def answers(port: int, path: str = "/", seconds: float = 20.0) -> str:
    """The first line of an answer to a plain request, "" where none comes."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), seconds * PATIENCE) as one:
        one.settimeout(seconds * PATIENCE)
        one.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n".encode())
        return one.recv(200).split(b"\r\n")[0].decode("latin-1")
    return ""


def ended_by(folder: Path, quick: bool, number: signal.Signals, after: float | None) -> Result:
    """A signal, so many seconds after the start; None: once it answers."""
    home = copied(folder)
    if after is None:
        with started(home) as (process, port):
            if "200" not in answers(port):
                return Result(BLOCKS, "it does not answer")
            process.send_signal(number)
            return ended(process, home)
    command = [sys.executable, "-m", "interp_assets.cli.main", "explore", "--port", "0"]
    process = subprocess.Popen(command, env=environment(home), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    time.sleep(after)
    process.send_signal(number)
    return ended(process, home)


for number in SIGNALS:
    for after in (0.3, None) if QUICK else (0.02, 0.1, 0.3, 0.6, 1.0, 1.5, None):
        when = "once it answers" if after is None else f"{after} s after its start"
        attack(f"{number.name} to interp explore, {when}", number=number, after=after)(ended_by)


STUCK = {
    "half a request line": b"GET /d/toy",
    "half of the headers": b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-",
    "half of a form": b"POST /rate HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n\r\na=",
    "chunks without end": b"POST /rate HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n",
    "an answer that nobody reads": b"GET /static/explorer.js HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" * 50,
}


def stuck_request(folder: Path, quick: bool, sent: bytes) -> Result:
    """Two hundred clients send this and wait: others are answered meanwhile, and a signal ends the explorer all the same."""
    home = copied(folder)
    with started(home, "--rater", "ada") as (process, port), contextlib.ExitStack() as held:
        for _ in range(30 if quick else 200):
            one = held.enter_context(socket.create_connection(("127.0.0.1", port), 20 * PATIENCE))
            one.sendall(sent)
        if "200" not in answers(port):
            return Result(BLOCKS, "another client is not answered")
        process.send_signal(signal.SIGTERM)
        return ended(process, home)


for name, sent in STUCK.items():
    attack(f"clients that send {name}, and SIGTERM", sent=sent)(stuck_request)


RAW = (
    b"\x00\x01\x02\r\n\r\n",
    b"GET\r\n\r\n",
    b"GET / HTTP/9.9\r\nHost: 127.0.0.1\r\n\r\n",
    b"GET /\x00 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 50_000 + b"\r\n",
    b"GET http://evil.example/ HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: evil.example\r\n\r\n",
    b"GET / HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: \xff\xfe\r\nCookie: \xff\r\n\r\n",
    b"POST /rate HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: -5\r\n\r\n",
    b"POST /rate HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 99999999999999999999\r\n\r\na",
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: YQ==\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    b"TRACE / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
)


@attack("bytes that are no request")
def raw_bytes(folder: Path, quick: bool) -> Result:
    with started(copied(folder)) as (process, port):
        for sent in RAW:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 20 * PATIENCE) as one:
                one.settimeout(3 * PATIENCE)
                one.sendall(sent)
                got = one.recv(100_000)
                if b"root:x:0" in got or b" 500 " in got.split(b"\r\n")[0]:
                    return Result(BLOCKS, f"{sent[:60]!r}: {got[:80]!r}")
            if process.poll() is not None or "200" not in answers(port):
                return Result(BLOCKS, f"after {sent[:60]!r} nobody is answered")
    return Result(REFUSED)


@attack("a port that is taken")
def taken_port(folder: Path, quick: bool) -> Result:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return said(interp(copied(folder), "explore", "--port", str(taken.getsockname()[1])), "--port")


@attack("a host that this machine has not")
def strange_host(folder: Path, quick: bool) -> Result:
    for host in ("192.0.2.1", "no-such-host.invalid", "::ffff:999", "a" * 300, "\u2028")[: 1 if quick else 5]:
        result = said(interp(copied(folder / host.encode().hex()[:16]), "explore", "--port", "0", "--host", host), "--host")
        if result.outcome != REFUSED:
            return Result(result.outcome, f"{host[:20]}: {result.seen}")
    return Result(REFUSED)


@attack("an explorer beside interp ui, when interp ui is killed", number=signal.SIGKILL)
@attack("an explorer beside interp ui, when interp ui gets SIGTERM while it starts", number=signal.SIGTERM)
@attack("an explorer beside interp ui, when interp ui gets SIGHUP while it starts", number=signal.SIGHUP)
def beside_the_ui(folder: Path, quick: bool, number: signal.Signals) -> Result:
    """The signal comes as soon as there is a second process."""
    home = copied(folder)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "interp_assets.cli.main", "ui", "--port", str(port), "--explore"]
    process = subprocess.Popen(command, env=environment(home), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + START_SECONDS
    while len(marked(home)) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(number)
    try:
        process.wait(60 * PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        return Result(HANG, "the command goes on")
    return all_ended(home, 30 * PATIENCE)


# The static copy.


def export(home: Path, folder: Path, *features: str) -> subprocess.CompletedProcess[str]:
    """`interp explore --export`."""
    return interp(home, "explore", "--export", str(folder), "--features", ",".join(features or ("3", "5", "20")))


def files(folder: Path) -> dict[str, bytes]:
    """Every file of a copy."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def killed_export(folder: Path, quick: bool, number: signal.Signals, over: bool) -> Result:
    """An export is ended at many moments: the folder holds the earlier copy, the new one or nothing, and a repetition leaves one whole."""
    home, site = copied(folder), folder / "sites" / "site"
    whole = folder / "sites" / "whole"
    for target, features in ((whole, (3, 5, 20)), (site, (1,))):
        if target == whole or over:
            _exported(home, target, features)
    old, new = (files(site) if over else {}), files(whole)
    shutil.rmtree(whole)
    for moment in (0.05, 0.3) if quick else (0.0, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 1.0):
        child = os.fork()
        if child == 0:
            for one in SIGNALS:
                signal.signal(one, signal.default_int_handler if one == signal.SIGINT else signal.SIG_DFL)
            with contextlib.suppress(BaseException):
                _exported(home, site, (3, 5, 20))
            os._exit(0)
        time.sleep(moment)
        os.kill(child, number)
        os.waitpid(child, 0)
        there = files(site) if site.exists() else {}
        between = over and not there and (site.with_name(".site.earlier") / MARK).is_file()  # the next export puts it back
        if there not in (old, new, {}) or (over and not there and not between):
            return Result(WRONG, f"after {moment} s {len(there)} files of {len(new)}")
        if there == new:
            shutil.rmtree(site)
            if over:
                _exported(home, site, (1,))
    _exported(home, site, (3, 5, 20))
    left = sorted(path.name for path in site.parent.iterdir())
    return Result(MENDED) if files(site) == new and left == ["site"] else Result(WRONG, f"{len(files(site))} of {len(new)} files, {left}")


def _exported(home: Path, folder: Path, features: tuple[int, ...]) -> None:
    from interp_assets.explorer.explorer import Explorer
    from interp_assets.installation.home import Home

    export_site(Explorer(Home(home, str(home / "lake"))), folder, [KEY], AskedFeatures.of(features), lambda line: None)


for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT):
    attack(f"{number.name} to an export into a new folder", seconds=200, number=number, over=False)(killed_export)
    attack(f"{number.name} to an export over an earlier copy", seconds=200, number=number, over=True)(killed_export)


def interrupted_swap(folder: Path, quick: bool, left: str) -> Result:
    """What a kill leaves between taking the earlier copy away and putting the new one in its place."""
    home, site = copied(folder), folder / "sites" / "site"
    _exported(home, site, (1,))
    site.rename(site.with_name(f".site.{left}"))
    _exported(home, site, (3,))
    names = sorted(path.name for path in site.parent.iterdir())
    return Result(MENDED) if (site / MARK).is_file() and names == ["site"] else Result(WRONG, str(names))


attack("an export that was killed between two copies", left="earlier")(interrupted_swap)
attack("an export that was killed before it put the new copy in place", left=f"{socket.gethostname()}.999999.partial")(interrupted_swap)


@attack("two exports into one folder at once, one over an earlier copy", over=True)
@attack("two exports into one new folder at once", over=False)
def two_exports(folder: Path, quick: bool, over: bool) -> Result:
    home, site = copied(folder), folder / "sites" / "site"
    if over:
        _exported(home, site, (1,))
    command = [sys.executable, "-m", "interp_assets.cli.main", "explore", "--export", str(site), "--features", "5"]
    streams: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    commands = [subprocess.Popen(command, env=environment(home), **streams) for _ in range(2)]
    printed = [one.communicate(timeout=100 * PATIENCE)[0] for one in commands]
    if any("Traceback" in text for text in printed):
        return Result(BLOCKS, next(text for text in printed if "Traceback" in text).strip().splitlines()[-1])
    names = sorted(path.name for path in site.parent.iterdir())
    right = names == ["site"] and (site / "d" / KEY / "5.html").is_file() and 0 in [one.returncode for one in commands]
    return Result(RIGHT if not any(one.returncode for one in commands) else REFUSED) if right else Result(WRONG, f"{names} {printed}")


@attack("an export into a folder with other files", what="files")
@attack("an export into the home", what="home")
@attack("an export into a file", what="file")
@attack("an export into a link to a folder with other files", what="link")
@attack("an export into a link to nowhere", what="nowhere")
@attack("an export into a folder below a file", what="below")
@attack("an export into a folder with a name of 300 characters", what="long")
def odd_target(folder: Path, quick: bool, what: str) -> Result:
    """What was there stays."""
    home, place = copied(folder), folder / "place"
    place.mkdir()
    (place / "thesis.txt").write_text("mine")
    (folder / "link").symlink_to(place if what == "link" else folder / "missing")
    targets = {
        "files": place, "home": home, "file": place / "thesis.txt", "link": folder / "link", "nowhere": folder / "link",
        "below": place / "thesis.txt" / "site", "long": folder / ("x" * 300),
    }  # fmt: skip
    before = len(files(home / "dictionaries"))
    done = export(home, targets[what])
    kept = (place / "thesis.txt").read_text() == "mine" and len(files(home / "dictionaries")) == before
    if not kept:
        return Result(WRONG, "what was there is gone")
    if what == "nowhere" and not done.returncode:
        return Result(RIGHT) if (folder / "missing" / MARK).is_file() or (folder / "link" / MARK).is_file() else Result(WRONG, done.stdout)
    return said(done)


@attack("an export onto a full disk, then room again", seconds=120)
def export_without_room(folder: Path, quick: bool) -> Result:
    home, disk = copied(folder), folder / "disk"
    try:
        with mounted(disk, "size=300k"):
            done = export(home, disk / "site")
            left = [path.name for path in disk.rglob("*")]
            if left:
                return Result(WRONG, f"left: {left[:3]}")
            result = said(done, "room")
            subprocess.run(["mount", "-o", "remount,size=30m", str(disk)], check=True)
            return result if export(home, disk / "site").returncode == 0 else Result(BLOCKS, "it cannot be repeated")
    except MountRefused as error:
        return Result(SKIPPED, f"no tmpfs here: {error}")


@attack("an export of a home with a damaged partition")
def export_with_damage(folder: Path, quick: bool) -> Result:
    home = copied(folder)
    part = next((home / "lake" / "explanations").rglob("feature_range=01of16/part-0.parquet"))
    part.write_bytes(part.read_bytes()[:-100])
    done = export(home, folder / "site", "3", "5")
    if done.returncode:
        return said(done)
    page = (folder / "site" / "d" / KEY / "3.html").read_text()
    named = "feature_range=01of16" in page and "damaged" in page and "01of16" in done.stdout + done.stderr
    return Result(MENDED) if named and str(folder) not in page else Result(WRONG, done.stdout[-200:])
