"""Documents from your own files: "text:/glob", "jsonl:/path#field" and "parquet:/path#column", each read as a stream."""

import glob
import json
from collections.abc import Iterator
from pathlib import Path

from resources.corpus.interface import CorpusError, Document


def read_text(argument: str) -> Iterator[Document]:
    """One document a file that matches the glob `argument`, by path."""
    for path in _matches("text", argument):
        yield Document(f"text:{argument}", str(path), path.read_text(encoding="utf-8", errors="replace"))


def read_jsonl(argument: str) -> Iterator[Document]:
    """One document a line of the files `path-or-glob#field`; the text is the string at `field`."""
    pattern, field = _split("jsonl", argument, "field")
    for path in _matches("jsonl", pattern):
        with path.open(encoding="utf-8") as handle:
            for number, line in enumerate(handle, 1):
                if not line.strip():
                    continue
                record = json.loads(line)
                if not isinstance(record.get(field), str):
                    raise CorpusError(f"{path} line {number} has no text at {field!r}; its fields are {sorted(record)}. Name one of them.")
                yield Document(f"jsonl:{argument}", f"{path}:{number}", record[field])


def read_parquet(argument: str) -> Iterator[Document]:
    """One document a row of the files `path-or-glob#column`, in batches of 1,024 rows; null texts are skipped."""
    import pyarrow.parquet as pq

    pattern, column = _split("parquet", argument, "column")
    for path in _matches("parquet", pattern):
        table = pq.ParquetFile(path)
        if column not in table.schema_arrow.names:
            raise CorpusError(f"{path} has no column {column!r}; it has {table.schema_arrow.names}. Name one of them after '#'.")
        number = 0
        for batch in table.iter_batches(batch_size=1024, columns=[column]):
            for text in batch.column(0).to_pylist():
                number += 1
                if text is not None:
                    yield Document(f"parquet:{argument}", f"{path}:{number}", text)


def _split(kind: str, argument: str, part: str) -> tuple[str, str]:
    path, mark, name = argument.rpartition("#")
    if not mark or not path or not name:
        raise CorpusError(f"corpus source '{kind}:{argument}' does not name its {part}. Write {kind}:/path#{part}.")
    return path, name


def _matches(kind: str, pattern: str) -> list[Path]:
    found = [Path(path) for path in sorted(glob.glob(pattern, recursive=True)) if Path(path).is_file()]
    if not found:
        raise CorpusError(f"corpus source '{kind}:{pattern}' matches no file. Check the path; ** matches folders at any depth.")
    return found
