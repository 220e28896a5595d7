"""A folder that appears in its place whole or not at all."""

import contextlib
import fcntl
import os
import re
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path


class FolderTaken(ValueError):
    """A folder that holds files already, or a place where no folder can be; the message says what to do."""


@contextlib.contextmanager
def whole_folder(folder: Path, replaces: Callable[[Path], bool] = lambda _: False) -> Iterator[Path]:
    """A new folder to write to. It is renamed to `folder` at the end of the block, and removed where the block raises. A link is followed.

    `replaces` says of a folder in that place whether the new one may replace it. Raises `FolderTaken` where it may not, and `folder` is a
    file or holds anything. A killed process leaves a hidden folder beside `folder`; the next call for the same folder on the same machine
    removes it, and puts back an earlier folder that was taken away for a new one which never came.
    """
    folder = Path(os.path.realpath(folder))
    if not folder.name:
        raise FolderTaken(f"{folder} is the top of the disk: name a folder in it.")
    earlier = folder.with_name(f".{folder.name}.earlier")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _alone(folder.parent):
            _put_back(folder, earlier, replaces)
            if not replaces(folder):
                require_free(folder)
            _sweep(folder)
            aside = folder.with_name(f".{folder.name}.{socket.gethostname()}.{os.getpid()}.partial")
            aside.mkdir()
    except (FileExistsError, NotADirectoryError) as error:
        raise FolderTaken(f"{folder} cannot be a folder: {error.filename} is a file. Name another folder.") from None
    try:
        yield aside
        with _alone(folder.parent):
            if replaces(folder):
                folder.rename(earlier)
            else:
                require_free(folder)
            aside.rename(folder)
            shutil.rmtree(earlier, ignore_errors=True)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def require_free(folder: Path) -> None:
    """Raise `FolderTaken` unless `folder` is missing or an empty folder."""
    if folder.exists() and not folder.is_dir():
        raise FolderTaken(f"{folder} is a file. Name a folder that is not there yet, or an empty one.")
    if folder.is_dir() and (found := sorted(path.name for path in folder.iterdir())):
        more = f" and {len(found) - 3:,} more" if len(found) > 3 else ""
        raise FolderTaken(f"{folder} is not empty: it holds {', '.join(found[:3])}{more}. Name another folder, or remove this one first.")


def folder_bytes(folder: Path) -> int:
    """Bytes of all files below `folder`."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@contextlib.contextmanager
def _alone(parent: Path) -> Iterator[None]:
    """A block in which no other process changes folders beside one another in `parent` by this module; where its disk knows no locks, a
    block."""
    handle = os.open(parent, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _put_back(folder: Path, earlier: Path, replaces: Callable[[Path], bool]) -> None:
    """Finish what a killed process left between taking an earlier folder away and putting the new one in its place."""
    if not replaces(earlier):
        return
    if folder.exists():
        shutil.rmtree(earlier, ignore_errors=True)
    else:
        earlier.rename(folder)


def _sweep(folder: Path) -> None:
    """Remove the folders that killed processes of this machine left beside `folder`."""
    pattern = re.compile(rf"\.{re.escape(folder.name)}\.{re.escape(socket.gethostname())}\.(\d+)\.partial")
    for path in folder.parent.iterdir():
        if (match := pattern.fullmatch(path.name)) and (int(match[1]) == os.getpid() or not _runs(int(match[1]))):
            shutil.rmtree(path, ignore_errors=True)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
