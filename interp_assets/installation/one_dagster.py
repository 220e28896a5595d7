"""One Dagster a home: the first process starts and claims it, later processes use it, and it ends after all its users.

Two daemons over one instance would launch every run twice. Claims are file locks, which end with the process that holds them, so a killed
process leaves nothing in the way. The file beside the lock only says where the Dagster is.
"""

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

CLAIM, USERS, ADDRESS = "running.lock", "users.lock", "running.json"


@dataclass(frozen=True)
class Claim:
    """The address of a home's Dagster, and the process that started it; `url` is "" until it is known."""

    url: str
    pid: int


class AlreadyClaimed(RuntimeError):
    """Another process has started a Dagster of this home."""

    def __init__(self, claim: Claim) -> None:
        super().__init__(f"Dagster of this home runs already, at {claim.url or 'an address not told yet'}, started by process {claim.pid}")
        self.claim = claim


@contextlib.contextmanager
def claimed(folder: Path, url: str) -> Iterator[None]:
    """Hold the claim on the Dagster of the instance in `folder`, which will answer at `url`. Raises `AlreadyClaimed`."""
    with _lock_file(folder / CLAIM) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyClaimed(claim_on(folder) or Claim("", 0)) from None
        address = folder / ADDRESS
        aside = folder / f".{ADDRESS}.{os.getpid()}"
        aside.write_text(json.dumps({"url": url, "pid": os.getpid()}), encoding="utf-8")
        aside.replace(address)
        try:
            yield
        finally:
            address.unlink(missing_ok=True)


def claim_on(folder: Path) -> Claim | None:
    """The holder of the claim; None where nobody holds it, also where a dead process has left files behind."""
    if not (folder / CLAIM).exists():
        return None
    with _lock_file(folder / CLAIM) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return _address(folder / ADDRESS)
    return None


@contextlib.contextmanager
def using(folder: Path) -> Iterator[None]:
    """Keep the Dagster of the instance in `folder` from ending by itself before the block ends."""
    with _lock_file(folder / USERS) as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        yield


def wait_for_users(folder: Path, say: Callable[[str], None], pause: float = 0.5) -> None:
    """Return once nobody uses the Dagster any more; print a line where that takes time."""
    with _lock_file(folder / USERS) as lock:
        said = False
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if not said:
                    say("this command is done; it keeps Dagster running for another command that uses it, and Ctrl-C ends both")
                said = True
                time.sleep(pause)


def _lock_file(path: Path) -> IO[bytes]:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.open("ab")


def _address(path: Path) -> Claim:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return Claim(str(content["url"]), int(content["pid"]))
    except (OSError, ValueError, KeyError, TypeError):
        return Claim("", 0)
