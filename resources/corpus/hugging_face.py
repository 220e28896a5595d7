"""Documents from a Hugging Face dataset, streamed: "hf:owner/name[:config]#column[@split]" (split "train" by default).

A folder of Parquet, JSON lines or CSV files on this machine is a dataset too: "hf:/data/my-set#text@train".
"""

from collections.abc import Iterator
from pathlib import Path

from resources.corpus.contents import content_of, mask_beside
from resources.corpus.fields import value_at
from resources.corpus.interface import CorpusError, Document


def hub_dataset(source: str) -> str | None:
    """owner/name of a corpus source "hf:…" on the hub; None for a folder on this machine, and for another kind of source."""
    kind, _, argument = source.partition(":")
    name = argument.rpartition("#")[0].partition(":")[0]
    if kind != "hf" or not name or name.startswith(("/", ".", "~")) or Path(name).exists():
        return None
    return name


def read_dataset(argument: str, revision: str | None = None) -> Iterator[Document]:
    """One document a row of the dataset, in the dataset's order, at a commit (None: the newest); null texts are skipped."""
    target, mark, column_and_split = argument.rpartition("#")
    column, _, split = column_and_split.partition("@")
    name, _, config = target.partition(":")
    if not mark or not column or not name:
        raise CorpusError(f"corpus source 'hf:{argument}' does not name its text column. Write hf:owner/name[:config]#column[@split].")
    try:
        from datasets import load_dataset
    except ImportError as error:
        raise CorpusError(
            f"corpus source 'hf:{argument}' needs the package datasets. Run: pip install \"interp-assets[huggingface]\""
        ) from error
    split = split or "train"
    try:
        rows = iter(load_dataset(name, config or None, split=split, streaming=True, revision=revision))
    except Exception as error:  # the loader raises a dozen classes of errors, also from its network libraries
        raise CorpusError(
            f"corpus source 'hf:{argument}' cannot be opened (dataset {name}, config {config or 'default'}, split {split}, "
            f"{f'commit {revision}' if revision else 'newest commit'}): {error}. "
            "Check the name, config and split; a private dataset needs `hf auth login`, a closed network a copy on disk."
        ) from error
    number = 0
    while True:
        try:
            row = next(rows, None)
        except Exception as error:
            raise CorpusError(
                f"corpus source 'hf:{argument}' broke off after {number:,} rows: {error}. Run again to read it anew."
            ) from error
        if row is None:
            return
        where = f"dataset {name}, split {split}, row {number}"
        content = content_of(value_at(row, column, where), column, where, mask_beside(row, column))
        if content is not None:
            yield Document(f"hf:{argument}", f"{name}:{split}:{number}", content.text, content.messages, content.token_ids)
        number += 1
