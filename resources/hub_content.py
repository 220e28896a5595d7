"""Whether files in the cache of the Hugging Face hub still have the content that the hub gave."""

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path

LARGE, SMALL = re.compile(r"[0-9a-f]{64}"), re.compile(r"[0-9a-f]{40}")
"""Names of files in the cache: the SHA-256 of a large file, and of a small file the SHA-1 that Git has for it, or a mirror."""
SMALL_BYTES = 64 << 20


def damage(path: Path) -> str | None:
    """What is wrong with a file of the hub's cache, as a sentence with the cure; None for a sound file, and for any other file.

    A large file is hashed once, and again only where its size or times have changed.
    """
    try:
        file = path.resolve()
        if not path.is_symlink() or _is_as_named(file):
            return None
    except (OSError, RuntimeError):  # whoever reads it says so
        return None
    return f"{path.name} is damaged in the hub's cache: {file} has another content than the hub gave. Remove that file and run again"


def first_damage(paths: Iterable[Path]) -> str | None:
    """What is wrong with the first damaged file of several; None where all are sound."""
    return next((told for path in paths if (told := damage(path))), None)


def _is_as_named(file: Path) -> bool:
    from resources.store.input_content import CONTENTS

    if LARGE.fullmatch(file.name):
        return CONTENTS.of_file(file) == file.name
    if not SMALL.fullmatch(file.name) or file.stat().st_size > SMALL_BYTES:
        return True
    content = file.read_bytes()
    sums = (hashlib.sha1(start + content, usedforsecurity=False).hexdigest() for start in (b"blob %d\0" % len(content), b""))
    return file.name in sums
