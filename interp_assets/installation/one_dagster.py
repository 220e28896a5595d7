"""One Dagster a home: whoever starts it claims it, whoever comes later uses it, and it ends after all that use it.

Two daemons over one instance would launch every run twice. Claims are file locks, which end with the process that holds them, so a killed
process leaves nothing that is in the way; the file beside the lock only says where the Dagster is.
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
    """Where a home's Dagster answers, and which process started it; `url` is "" where it is not told yet."""

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
    """Who holds the claim; None where nobody does, whatever a dead process has left behind."""
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
    """Keep the Dagster of the instance in `folder` from ending before the block does, where it ends of its own accord."""
    with _lock_file(folder / USERS) as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        yield


def wait_for_users(folder: Path, say: Callable[[str], None], pause: float = 0.5) -> None:
    """Return once nobody uses the Dagster any more; say so where that is not at once."""
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
