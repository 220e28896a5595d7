"""Hashes of the content of local files. A hash is computed again only where the size, times or inode of a file have changed.

The hashes are kept in the user's cache folder, so that a dictionary of gigabytes is read once, and not at every look. A path that is gone
keeps the content that it was last seen with: results made from it are still current.
"""

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from resources.store.whole_files import write_whole

SETTLED_NS = 2_000_000_000
"""A file that changed less than this before it was read is read again at the next look: within a clock tick a change cannot be seen."""

GONE = "gone"
"""Content of a path that does not exist and was never seen."""


class InputContents:
    """Content addresses of files and folders, kept at `place`; None keeps them nowhere."""

    def __init__(self, place: Callable[[], Path | None] = lambda: None) -> None:
        self._place = place
        self._hashes: dict[str, list[Any]] | None = None

    def of_file(self, path: Path) -> str:
        """SHA-256 of a file, 64 hex digits. Raises OSError where it cannot be read."""
        known = self._known()
        name, status = os.path.abspath(path), os.stat(path)
        stamp = [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]
        kept = known.get(name)
        if kept is not None and kept[0] == stamp:
            return kept[1]
        started = time.time_ns()
        with open(path, "rb") as handle:
            digest = hashlib.file_digest(handle, "sha256").hexdigest()
        if started - max(stamp[1], stamp[2]) > SETTLED_NS:
            known[name] = [stamp, digest]
            self._keep()
        else:
            known[name] = [[], digest]
        return digest

    def of(self, path: Path, files: Iterable[Path]) -> str:
        """16 hex digits that change when the name below `path`, or the content, of any of `files` changes; `path` may be the only file.

        No files mean that the path is gone: the digits of the last look are returned.
        """
        name, listed = f"{os.path.abspath(path)}//", sorted(files)
        if not listed:
            return str(self._known().get(name, [[], GONE])[1])
        whole = hashlib.sha256()
        for file in listed:
            below = file.relative_to(path).as_posix() if file.is_relative_to(path) else file.name
            whole.update(f"{below}\0{self.of_file(file)}\n".encode(errors="surrogateescape"))
        digest = whole.hexdigest()[:16]
        if self._known().get(name, [[], ""])[1] != digest:
            self._known()[name] = [[], digest]
            self._keep()
        return digest

    def _known(self) -> dict[str, list[Any]]:
        if self._hashes is None:
            self._hashes = {}
            place = self._place()
            if place is not None:
                with contextlib.suppress(OSError, ValueError):
                    found = json.loads(place.read_bytes())
                    self._hashes = {
                        name: entry
                        for name, entry in found.items()
                        if isinstance(entry, list) and len(entry) == 2 and isinstance(entry[1], str)
                    }
        return self._hashes

    def _keep(self) -> None:
        """Write the hashes whole. Where they cannot be written, they are computed again at the next look."""
        place = self._place()
        if place is None:
            return
        with contextlib.suppress(OSError):
            write_whole(place, json.dumps(self._known()))


def _user_cache() -> Path | None:
    from resources.cache_folder import cache_folder

    with contextlib.suppress(RuntimeError):  # no home folder: HOME is not set, and the user is unknown
        return cache_folder() / "input-hashes.json"
    return None


CONTENTS = InputContents(_user_cache)
"""The contents that this process has seen, kept for the next process."""
