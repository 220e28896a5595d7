"""Parts shared by the exchange formats: their error, rows and bad rows, lines of files, and the content address of files."""

import csv
import gzip
import hashlib
import json
import re
import stat
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

LONGEST_LINE = 64 << 20
"""Most characters in a line of a file."""

LARGEST_OBJECT = 512 << 20
"""Most characters of a file that is read whole."""

NAMED_BAD_ROWS = 10
"""Most bad rows that a message names; further bad rows are counted."""


class ExchangeError(ValueError):
    """Files of another tool that cannot be used; the message names the file, the value, what was allowed and the next step."""


@dataclass(frozen=True)
class BadRow:
    """A row that cannot be used: its file and line, and the problem."""

    where: str
    problem: str


@dataclass(frozen=True)
class StatedExplanation:
    """An explanation in a file. `author` and `origin` (the source that the row itself names) are None where the row has none."""

    where: str
    feature: int
    text: str
    author: str | None = None
    origin: str | None = None


def stated_explanation(
    where: str, feature: object, text: object, width: int, author: object = None, origin: object = None
) -> StatedExplanation | BadRow:
    """The row, with its text stripped of spaces at both ends; a bad row where the feature is no number below `width`, or the text is
    empty."""
    if isinstance(feature, bool) or not re.fullmatch(r"[0-9]{1,12}", str(feature).strip()) or int(str(feature)) >= width:
        return BadRow(where, f"feature {feature!r}; allowed are 0 to {width - 1}")
    if not isinstance(text, str) or not text.strip():
        return BadRow(where, f"feature {feature} has the explanation {text!r}; allowed is text that is not empty")
    return StatedExplanation(where, int(str(feature)), text.strip(), _named(author), _named(origin))


def whole_number(value: object) -> int | None:
    """The number in a value of at most twelve digits 0 to 9; None for anything else, also for true and false."""
    if isinstance(value, bool) or not isinstance(value, int | str) or not re.fullmatch(r"[0-9]{1,12}", str(value)):
        return None
    return int(value)


def content_hash(folder: Path, files: Iterable[Path]) -> str:
    """16 hex digits that change when a file's name below `folder` or its content changes; the order of `files` does not matter."""
    whole = hashlib.sha256()
    for file in sorted(files):
        with file.open("rb") as handle:
            digest = hashlib.file_digest(handle, "sha256").hexdigest()
        whole.update(f"{file.relative_to(folder).as_posix()}\0{digest}\n".encode())
    return whole.hexdigest()[:16]


class BoundedText:
    """A text that is read by lines or as a whole. A line of more than LONGEST_LINE characters, or a whole of more than LARGEST_OBJECT,
    raises `ExchangeError`: a small compressed file can hold more than the memory does."""

    def __init__(self, handle: TextIO, file: Path) -> None:
        self._handle, self._file = handle, file

    def __iter__(self) -> "BoundedText":
        return self

    def __next__(self) -> str:
        line = self._handle.readline(LONGEST_LINE + 1)
        if not line:
            raise StopIteration
        return self._bounded(line, LONGEST_LINE, "a line of it")

    def read(self, length: int = -1, /) -> str:
        """The whole text, whatever length is asked for."""
        return self._bounded(self._handle.read(LARGEST_OBJECT + 1), LARGEST_OBJECT, "it")

    def _bounded(self, text: str, most: int, what: str) -> str:
        if len(text) > most:
            raise ExchangeError(f"{self._file} cannot be read: {what} has more than {most:,} characters. Download or save it again.")
        return text


@contextmanager
def opened_text(file: Path) -> Iterator[BoundedText]:
    """The file as UTF-8 text, decompressed where its name ends in .gz. Raises `ExchangeError` where it cannot be read."""
    try:
        if not stat.S_ISREG(file.stat().st_mode):
            raise ExchangeError(f"{file} cannot be read: it is no regular file. Name a file.")
        with (
            gzip.open(file, "rt", encoding="utf-8-sig", newline="")
            if file.suffix == ".gz"
            else file.open(encoding="utf-8-sig", newline="") as handle
        ):
            yield BoundedText(handle, file)
    except (OSError, EOFError, UnicodeDecodeError, csv.Error, zlib.error) as error:
        raise ExchangeError(f"{file} cannot be read: {error}. Download or save it again, as UTF-8.") from error
    except RecursionError:
        raise ExchangeError(f"{file} cannot be read: it is nested too deep. Download or save it again.") from None


def json_lines(file: Path) -> Iterator[tuple[str, Any]]:
    """(file and line, JSON value) of each line; a line that is not JSON comes as its text. Raises `ExchangeError` as `opened_text`."""
    with opened_text(file) as handle:
        for number, line in enumerate(handle, 1):
            if line.strip():
                try:
                    yield f"{file} line {number}", json.loads(line)
                except (ValueError, RecursionError):
                    yield f"{file} line {number}", line.strip()


def _named(value: object) -> str | None:
    return str(value).strip() or None if value is not None else None
