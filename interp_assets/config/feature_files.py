"""Feature numbers that a text file lists, for a record that selects its features by a file."""

import re
from functools import lru_cache
from pathlib import Path

from interp_assets.config.base import UserError
from interp_assets.config.yaml_files import BadYaml, read_text_file

SEPARATORS = re.compile(r"[\s,;\[\]]+")


def listed_features(path: Path, width: int) -> tuple[int, ...]:
    """The feature numbers in a file, ascending, each once: separated by white space or commas; # begins a comment.

    Raises `UserError` for a file that cannot be read, that lists no feature, or that lists what is no feature of `width`.
    """
    try:
        status = path.stat()
        return _listed(path, width, (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino))
    except OSError as error:
        raise UserError(
            f"features.file {path} cannot be read: {error.strerror or error}. Write one feature number a line into it"
        ) from None
    except BadYaml as error:
        raise UserError(f"features.file {path} lists no features: {error}") from None


@lru_cache(maxsize=64)
def _listed(path: Path, width: int, _stamp: tuple[int, ...]) -> tuple[int, ...]:
    """The numbers in a file of this size, time and inode."""
    found: set[int] = set()
    for number, line in enumerate(read_text_file(path).splitlines(), 1):
        for word in filter(None, SEPARATORS.split(line.partition("#")[0])):
            if not (word.isascii() and word.isdigit() and len(word) <= 10 and int(word) < width):
                raise UserError(
                    f"features.file {path}, line {number}: {word[:40]!r} is no feature of a dictionary of width {width}; allowed are whole "
                    f"numbers from 0 to {width - 1}"
                )
            found.add(int(word))
    if not found:
        raise UserError(f"features.file {path} lists no features. Write one feature number a line into it")
    return tuple(sorted(found))
