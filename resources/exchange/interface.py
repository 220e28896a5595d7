"""What every exchange format has in common: its error, and the content address of its files."""

import hashlib
from collections.abc import Iterable
from pathlib import Path


class ExchangeError(ValueError):
    """Files of another tool that cannot be used; the message names the file, the value, what was allowed and the next step."""


def content_hash(folder: Path, files: Iterable[Path]) -> str:
    """16 hex digits that change when a file's name below `folder` or its content changes; the order of `files` does not matter."""
    whole = hashlib.sha256()
    for file in sorted(files):
        with file.open("rb") as handle:
            digest = hashlib.file_digest(handle, "sha256").hexdigest()
        whole.update(f"{file.relative_to(folder).as_posix()}\0{digest}\n".encode())
    return whole.hexdigest()[:16]
