"""Source code of the running Python's standard library. It differs between Python versions, so the version is in every title."""

import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from resources.corpus.interface import Document, pieces

NAME = "python-source"
LEFT_OUT = {"site-packages", "dist-packages", "test", "tests", "idlelib", "lib2to3", "__pycache__"}


def documents() -> Iterator[Document]:
    """Every module in pieces, by path; tests, installed packages and files that are not UTF-8 are left out."""
    library = Path(sysconfig.get_path("stdlib"))
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    for path in sorted(library.rglob("*.py")):
        relative = path.relative_to(library)
        if LEFT_OUT.isdisjoint(relative.parts):
            try:
                text = path.read_text(encoding="utf-8")
            except UnicodeDecodeError:
                continue
            yield from pieces(NAME, f"{version}/{relative.as_posix()}", text)
