"""Documents from your own files: "text:/glob", "jsonl:/path#field" and "parquet:/path#column", each read as a stream.

The path is a file, a glob (`**` for folders at any depth) or a folder, which stands for all files of the kind below it. Files are read
in the order of their paths. JSON lines and text may be compressed (.gz, .zst, .bz2). A field or column may lie inside another:
`meta.text`.
"""

import glob
import io
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from resources.corpus.contents import MASK, content_of, mask_beside
from resources.corpus.fields import missing_field, value_at
from resources.corpus.interface import CorpusError, Document

COMPRESSED = (".gz", ".zst", ".bz2")
SUFFIXES = {"text": (".txt", ".md"), "jsonl": (".jsonl", ".ndjson"), "parquet": (".parquet",)}
"""Endings of the files of a kind in a folder; text and JSON lines may have an ending of COMPRESSED after it."""

HEAD_BYTES = 4096
BINARY = (
    (b"%PDF", "a PDF", "Extract its text first, such as: pdftotext file.pdf file.txt"),
    (b"PK\x03\x04", "a zip archive (also docx, epub, npz)", "Unpack it, or export its text, first."),
    (b"PAR1", "a Parquet file", "Write parquet:/path#column."),
    (b"\x1f\x8b", "gzip-compressed", "Let its name end in .gz."),
    (b"\x28\xb5\x2f\xfd", "zstd-compressed", "Let its name end in .zst."),
    (b"BZh", "bzip2-compressed", "Let its name end in .bz2."),
    (b"SQLite format 3", "a SQLite database", "Export a table as JSON lines, and write jsonl:/path#field."),
    (b"\xff\xfe", "UTF-16", "Convert it first, such as: iconv -f utf-16 -t utf-8 file"),
    (b"\xfe\xff", "UTF-16", "Convert it first, such as: iconv -f utf-16 -t utf-8 file"),
    (b"\x89PNG", "a PNG image", "Leave it out."),
    (b"\xff\xd8\xff", "a JPEG image", "Leave it out."),
    (b"\x7fELF", "a program", "Leave it out."),
)
"""(first bytes, what the file is, what to do) of files that people give for text by mistake."""

MOST_ZERO_SHARE = 0.01
"""Text from the web may hold a zero byte here and there."""

LONG_TEXT_CHARACTERS = 1_000_000
BATCH_ROWS = 1_024


def read_text(argument: str) -> Iterator[Document]:
    """One document a file. A file beyond a million characters is read in pieces of about that size, cut at line ends, so that memory is
    bounded."""
    for path in _files("text", argument):
        with _opened(path) as handle:
            number = 0
            while text := handle.read(LONG_TEXT_CHARACTERS):
                text += handle.readline(LONG_TEXT_CHARACTERS) if len(text) == LONG_TEXT_CHARACTERS else ""
                yield Document(f"text:{argument}", f"{_shown(path)} ({number})" if number else _shown(path), text)
                number += 1


def read_jsonl(argument: str) -> Iterator[Document]:
    """One document a line of the files `path#field`; the field holds text, messages or token ids. Blank lines and nulls are skipped."""
    pattern, field = _split("jsonl", argument, "field")
    for path in _files("jsonl", pattern):
        with _opened(path) as handle:
            for number, line in enumerate(handle, 1):
                if not line.strip():
                    continue
                where = f"{path} line {number}"
                record = _object(line, where)
                content = content_of(value_at(record, field, where), field, where, mask_beside(record, field))
                if content is not None:
                    yield Document(f"jsonl:{argument}", f"{_shown(path)}:{number}", content.text, content.messages, content.token_ids)


def read_parquet(argument: str) -> Iterator[Document]:
    """One document a row of the files `path#column`, in batches of 1,024 rows; null texts are skipped."""
    pattern, column = _split("parquet", argument, "column")
    for path in _files("parquet", pattern):
        for number, (value, mask) in enumerate(_parquet_values(path, column), 1):
            content = content_of(value, column, f"{path} row {number}", mask)
            if content is not None:
                yield Document(f"parquet:{argument}", f"{_shown(path)}:{number}", content.text, content.messages, content.token_ids)


def _parquet_values(path: Path, column: str) -> Iterator[tuple[Any, Any]]:
    """(value of a column, value of the column `attention_mask` or None), row by row; a nested column where no column has the whole
    name."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as table:  # where a writer has left checksums
            schema = table.schema_arrow
            outer, type_, inner = _parquet_column(schema, column, path)
            kind = type_.value_type if pa.types.is_dictionary(type_) else type_
            if not _is_content(kind):
                raise CorpusError(f"{path}: column {column!r} holds {type_}, not text, messages or token ids. {_columns(schema)}")
            beside = [MASK] if not inner and outer != MASK and MASK in schema.names else []
            for batch in table.iter_batches(batch_size=BATCH_ROWS, columns=[".".join([outer, *inner]), *beside]):
                masks = batch.column(MASK).to_pylist() if beside else [None] * len(batch)
                for value, mask in zip(batch.column(outer).to_pylist(), masks, strict=True):
                    for part in inner:
                        value = None if value is None else value[part]
                    yield value, mask
    except UnicodeDecodeError as error:
        raise CorpusError(f"{path}: column {column!r} has a text that is not UTF-8 ({error.reason}). Write the file again.") from error
    except (pa.ArrowException, OSError) as error:
        raise CorpusError(f"{path} cannot be read as Parquet: {error}. Check that the file is whole, or leave it out.") from error


def _is_content(type_: Any) -> bool:
    """Whether a column's type is text, or a list of whole numbers or of objects."""
    import pyarrow as pa

    is_, of = pa.types, getattr(type_, "value_type", None)
    text = is_.is_string(type_) or is_.is_large_string(type_) or is_.is_string_view(type_)
    lists = is_.is_list(type_) or is_.is_large_list(type_) or is_.is_fixed_size_list(type_)
    return text or (lists and (is_.is_integer(of) or is_.is_struct(of)))


def _parquet_column(schema: Any, column: str, path: Path) -> tuple[str, Any, list[str]]:
    """(top-level column, type of the wanted value, names of the nested fields down to it)."""
    import pyarrow as pa

    if schema.names.count(outer := column if column in schema.names else column.partition(".")[0]) > 1:
        raise CorpusError(f"{path} has {schema.names.count(outer)} columns {outer!r}. Write the file again with one of them.")
    if column in schema.names:
        return column, schema.field(column).type, []
    outer, *inner = column.split(".")
    if outer not in schema.names:
        raise CorpusError(missing_field(str(path), column, schema.names))
    type_ = schema.field(outer).type
    for depth, part in enumerate(inner):
        names = [field.name for field in type_] if pa.types.is_struct(type_) else []
        if part not in names:
            raise CorpusError(missing_field(str(path), column, [".".join([outer, *inner[:depth], name]) for name in names] or schema.names))
        type_ = type_.field(part).type
    return outer, type_, inner


def _columns(schema: Any) -> str:
    return f"Its columns are {', '.join(f'{field.name} ({field.type})' for field in schema)}: name one of text after '#'."


def _object(line: str, where: str) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except json.JSONDecodeError as error:
        raise CorpusError(f"{where} is not JSON ({error.msg} at character {error.pos}): {line[:80]!r}. Write one object a line.") from None
    except (ValueError, RecursionError) as error:  # JSON, but with a number of 5,000 digits, or nested too deep
        raise CorpusError(f"{where} holds what cannot be read ({str(error)[:80]}): {line[:80]!r}. Correct or remove the line.") from None
    if not isinstance(record, dict):
        raise CorpusError(f"{where} holds a {type(record).__name__}, not an object with fields: {line[:80]!r}. Write one object a line.")
    return record


@contextmanager
def _opened(path: Path) -> Iterator[IO[str]]:
    """The file as a stream of UTF-8 text, decompressed by its suffix. A byte order mark is not part of the text.

    Raises `CorpusError` naming the file for bytes that are not UTF-8 and for a damaged compressed file.
    """
    import pyarrow as pa

    try:
        if path.suffix in COMPRESSED:
            raw: Any = io.BufferedReader(pa.input_stream(str(path), compression="detect"))
        else:
            raw = path.open("rb")
        _refuse_binary(path, raw.peek(HEAD_BYTES)[:HEAD_BYTES])
        with io.TextIOWrapper(raw, encoding="utf-8-sig") as handle:
            yield handle
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        raise CorpusError(
            f"{path} is not UTF-8: byte 0x{byte:02x} ({error.reason}). Convert it first, such as: iconv -f latin1 -t utf-8 {path.name}"
        ) from None
    except (OSError, EOFError) as error:
        raise CorpusError(f"{path} cannot be read: {error}. Check that the file is whole and readable, or leave it out.") from error


def _refuse_binary(path: Path, head: bytes) -> None:
    """Raise `CorpusError` where a file begins as files that hold no plain text do, and say how its text is read."""
    for begin, what, how in BINARY:
        if head.startswith(begin):
            raise CorpusError(f"{path} is {what}, not text. {how}")
    if head.count(0) > len(head) * MOST_ZERO_SHARE:
        raise CorpusError(
            f"{path} is full of zero bytes and is no text file. Leave it out, or name the text files by a glob such as text:/data/*.txt."
        )


def local_files(source: str) -> tuple[str | None, list[Path]]:
    """(path or glob, files) that a corpus source reads on this machine; (None, []) for a source without files, and no files where they are
    missing."""
    kind, mark, argument = source.partition(":")
    pattern = argument.rpartition("#")[0] if kind in ("jsonl", "parquet", "hf") else argument
    if not mark or kind not in (*SUFFIXES, "hf"):
        return None, []
    if kind == "hf":
        path = Path(pattern.partition(":")[0]).expanduser()
        return (str(path), sorted(file for file in path.rglob("*") if file.is_file())) if path.is_dir() else (None, [])
    try:
        return pattern, _files(kind, pattern)
    except CorpusError:
        return pattern, []


def _split(kind: str, argument: str, part: str) -> tuple[str, str]:
    path, mark, name = argument.rpartition("#")
    if not mark or not path or not name:
        raise CorpusError(f"corpus source '{kind}:{argument}' does not name its {part}. Write {kind}:/path#{part}.")
    return path, name


def _files(kind: str, pattern: str) -> list[Path]:
    """The files that `pattern` names, by path. Raises `CorpusError` when there is no such file."""
    path = Path(pattern).expanduser()
    if path.is_file():
        return [path]
    if path.is_dir():
        endings = (*SUFFIXES[kind], *(s + c for s in SUFFIXES[kind] for c in COMPRESSED if kind != "parquet"))
        found = sorted(file for file in path.rglob("*") if file.is_file() and file.name.endswith(endings))
        held = ", ".join(sorted(file.name for file in path.iterdir())[:8]) or "nothing"
        problem = f"is a folder without a file in {', '.join(SUFFIXES[kind])}; it holds {held}. Name the files by a glob."
    else:
        found = _once(Path(name) for name in sorted(glob.glob(str(path), recursive=True)) if Path(name).is_file())
        problem = "matches no file. Check the path; ** matches folders at any depth."
    if not found:
        raise CorpusError(f"corpus source '{kind}:{pattern}' {problem}")
    return found


def _once(files: Iterable[Path]) -> list[Path]:
    """The files, each under its first path: through links between folders ** finds a file under many."""
    seen: dict[tuple[str, str], Path] = {}
    for file in files:
        seen.setdefault((os.path.realpath(file.parent), file.name), file)
    return list(seen.values())


def _shown(path: Path) -> str:
    """The path as a text that every table holds: bytes of a name that are no UTF-8 are written as \\xe9."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
