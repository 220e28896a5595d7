"""A folder that appears in its place whole or not at all."""

import contextlib
import os
import re
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path


class FolderTaken(ValueError):
    """A folder that holds files already; the message says what to do."""


@contextlib.contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """A new folder to write to. It is renamed to `folder` at the end of the block, and removed where the block raises.

    Raises `FolderTaken` where `folder` is a file or holds anything. A killed process leaves a hidden folder beside `folder`; the next call
    for the same folder on the same machine removes it.
    """
    require_free(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    _sweep(folder)
    aside = folder.with_name(f".{folder.name}.{socket.gethostname()}.{os.getpid()}.partial")
    aside.mkdir()
    try:
        yield aside
        require_free(folder)
        aside.rename(folder)
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
