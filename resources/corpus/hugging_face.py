"""Documents from a Hugging Face dataset, streamed: "hf:owner/name[:config]#column[@split]" (split "train" by default)."""

from collections.abc import Iterator

from resources.corpus.interface import CorpusError, Document


def read_dataset(argument: str) -> Iterator[Document]:
    """One document a row of the dataset, in the dataset's order."""
    target, mark, column_and_split = argument.rpartition("#")
    if not mark or not column_and_split:
        raise CorpusError(f"corpus source 'hf:{argument}' does not name its text column. Write hf:owner/name[:config]#column[@split].")
    column, _, split = column_and_split.partition("@")
    name, _, config = target.partition(":")
    try:
        from datasets import load_dataset
    except ImportError as error:
        raise CorpusError(f"corpus source 'hf:{argument}' needs the package datasets. Run: pip install datasets") from error
    for number, row in enumerate(load_dataset(name, config or None, split=split or "train", streaming=True)):
        if column not in row:
            raise CorpusError(f"dataset {name} has no column {column!r}; it has {sorted(row)}. Name one of them after '#'.")
        yield Document(f"hf:{argument}", f"{name}:{split or 'train'}:{number}", str(row[column]))
