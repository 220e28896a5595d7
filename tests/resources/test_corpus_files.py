"""Corpora from a user's own files: every form that a user has them in, and what is said when they are not as expected."""

import bz2
import gzip
import json
import os
import tracemalloc
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from resources import corpus
from resources.corpus import CorpusError, Document, files, read_documents
from resources.corpus.files import read_jsonl, read_parquet, read_text

THREE = "".join(json.dumps({"meta": {"text": text}, "n": i}) + "\n" for i, text in enumerate("xyz"))


def texts(documents: object) -> list[str]:
    return [document.text for document in documents]  # type: ignore[attr-defined]


def zstd(content: bytes) -> bytes:
    return pa.Codec("zstd").compress(content, asbytes=True)


@pytest.mark.parametrize(("suffix", "compress"), [("", bytes), (".gz", gzip.compress), (".zst", zstd), (".bz2", bz2.compress)])
def test_json_lines_may_be_compressed_and_in_several_frames(tmp_path: Path, suffix: str, compress: Callable[[bytes], bytes]) -> None:
    path = tmp_path / f"d.jsonl{suffix}"
    path.write_bytes(compress(THREE.encode()) + compress(THREE.encode()))
    read = list(read_jsonl(f"{path}#meta.text"))
    assert texts(read) == ["x", "y", "z"] * 2
    assert [document.title for document in read] == [f"{path}:{line}" for line in range(1, 7)]


def test_a_folder_stands_for_its_files_by_path_and_a_glob_reaches_any_depth(tmp_path: Path) -> None:
    for name in ("b/2.txt", "a.txt", "b/1.md", "c.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "z.txt.gz").write_bytes(gzip.compress(b"zipped"))
    assert texts(read_text(str(tmp_path))) == ["a.txt", "b/1.md", "b/2.txt", "zipped"]
    assert texts(read_text(f"{tmp_path}/**/*.txt")) == ["a.txt", "b/2.txt"]


def test_a_path_with_brackets_is_a_path_before_it_is_a_glob(tmp_path: Path) -> None:
    (tmp_path / "v[1].txt").write_text("here")
    assert texts(read_text(f"{tmp_path}/v[1].txt")) == ["here"]


def test_a_byte_order_mark_is_not_text(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfword")
    (tmp_path / "a.jsonl").write_bytes(b'\xef\xbb\xbf{"t": "word"}')
    assert texts(read_text(f"{tmp_path}/a.txt")) == texts(read_jsonl(f"{tmp_path}/a.jsonl#t")) == ["word"]


def test_fields_within_fields_and_names_with_dots(tmp_path: Path) -> None:
    rows = [{"meta": {"text": "inner", "n": 1}, "meta.flat": "flat"}, {"meta": None, "meta.flat": "flat"}, {"meta": {"text": None}}]
    (tmp_path / "d.jsonl").write_text("\n".join(json.dumps({"meta.flat": None, **row}) for row in rows))
    schema = pa.schema([("meta", pa.struct([("text", pa.string()), ("n", pa.int64())])), ("meta.flat", pa.string())])
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), tmp_path / "d.parquet")
    for read, path in ((read_jsonl, tmp_path / "d.jsonl"), (read_parquet, tmp_path / "d.parquet")):
        assert texts(read(f"{path}#meta.text")) == ["inner"]  # nulls are no documents
        assert texts(read(f"{path}#meta.flat")) == ["flat", "flat"]


@pytest.mark.parametrize("type_", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())])
def test_parquet_text_of_every_type(tmp_path: Path, type_: pa.DataType) -> None:
    pq.write_table(pa.table({"t": pa.array(["x", None, "y"]).cast(type_)}), tmp_path / "d.parquet")
    read = list(read_parquet(f"{tmp_path}/d.parquet#t"))
    assert [(d.text, d.title.rpartition(":")[2]) for d in read] == [("x", "1"), ("y", "3")]


def test_empty_files_hold_no_documents(tmp_path: Path) -> None:
    for name in ("a.txt", "a.jsonl"):
        (tmp_path / name).touch()
    (tmp_path / "b.jsonl").write_text("\n \n")
    pq.write_table(pa.table({"t": pa.array([], pa.string())}), tmp_path / "a.parquet")
    assert list(read_documents([f"text:{tmp_path}", f"jsonl:{tmp_path}#t", f"parquet:{tmp_path}#t"], 0)) == []


CONTENT = {
    "a.jsonl": b'{"text": "x", "title": 3}\n',
    "broken.jsonl": b'{"text": "x"}\n{"text": \n',
    "list.jsonl": b'["x"]\n',
    "deep.jsonl": b'{"text": "x"}\n' + b"[" * 200_000,
    "digits.jsonl": b'{"text": "x", "n": ' + b"9" * 5_000 + b"}",
    "latin.jsonl": '{"text": "caf\xe9"}\n'.encode("latin-1"),
    "latin.txt": "caf\xe9".encode("latin-1"),
    "paper.txt": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n",
    "table.txt": b"PAR1\x15\x04",
    "wide.txt": "caf\xe9".encode("utf-16"),
    "packed.txt": gzip.compress(b"x"),
    "dump.txt": b"weights\0\0\0\0" * 9,
    "cut.jsonl.gz": gzip.compress(THREE.encode() * 500)[:-40],
    "empty.parquet": b"",
    "only/readme.csv": b"x",
}


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("jsonl:{}/a.jsonl#txt", r"a\.jsonl line 1 has no 'txt'; it has 'text', 'title'\. Did you mean 'text'\?"),
        ("jsonl:{}/a.jsonl#text.body", r"has no 'text\.body'"),
        ("jsonl:{}/a.jsonl#title", r"has int at 'title', not text: '3'"),
        ("jsonl:{}/broken.jsonl#text", r"broken\.jsonl line 2 is not JSON"),
        ("jsonl:{}/deep.jsonl#text", r"deep\.jsonl line 2 holds what cannot be read \(maximum recursion.*Correct or remove the line"),
        ("jsonl:{}/digits.jsonl#text", r"digits\.jsonl line 1 holds what cannot be read \(Exceeds the limit"),
        ("jsonl:{}/list.jsonl#text", r"list\.jsonl line 1 holds a list"),
        ("jsonl:{}/latin.jsonl#text", r"latin\.jsonl is not UTF-8: byte 0xe9.*iconv"),
        ("text:{}/latin.txt", r"latin\.txt is not UTF-8: byte 0xe9.*iconv"),
        ("text:{}/paper.txt", r"paper\.txt is a PDF, not text\. Extract its text first, such as: pdftotext"),
        ("text:{}/table.txt", r"table\.txt is a Parquet file, not text\. Write parquet:/path#column\."),
        ("text:{}/wide.txt", r"wide\.txt is UTF-16, not text\. Convert it first, such as: iconv -f utf-16"),
        ("text:{}/packed.txt", r"packed\.txt is gzip-compressed, not text\. Let its name end in \.gz"),
        ("text:{}/dump.txt", r"dump\.txt is full of zero bytes and is no text file\."),
        ("jsonl:{}/dump.txt#text", r"dump\.txt is full of zero bytes and is no text file\."),
        ("jsonl:{}/cut.jsonl.gz#meta.text", r"cut\.jsonl\.gz cannot be read"),
        ("parquet:{}/empty.parquet#text", r"empty\.parquet cannot be read as Parquet.*0 bytes"),
        ("parquet:{}/d.parquet#txt", r"d\.parquet has no 'txt'; it has 'meta', 'number', 'text'\. Did you mean 'text'\?"),
        ("parquet:{}/d.parquet#meta.boddy", r"Did you mean 'meta\.body'\?"),
        ("parquet:{}/d.parquet#number", r"column 'number' holds int64, not text.*text \(string\)"),
        ("text:{}/only", r"is a folder without a file in \.txt, \.md; it holds readme\.csv"),
        ("text:{}/nowhere/*.txt", r"matches no file"),
    ],
)
def test_what_is_not_as_expected_is_named(tmp_path: Path, source: str, said: str) -> None:
    for name, content in CONTENT.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    pq.write_table(pa.table({"text": ["x"], "number": [1], "meta": [{"body": "y"}]}), tmp_path / "d.parquet")
    with pytest.raises(CorpusError, match=said):
        list(read_documents([source.format(tmp_path)], 0))


def test_a_stray_zero_byte_does_not_make_a_text_binary(tmp_path: Path) -> None:
    (tmp_path / "web.txt").write_bytes(b"a page of the web\0" + b"x" * 1000)
    assert texts(read_text(f"{tmp_path}/web.txt")) == ["a page of the web\0" + "x" * 1000]


def test_a_long_text_comes_in_pieces_that_join_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "LONG_TEXT_CHARACTERS", 100)
    text = "".join(f"line {i}\n" for i in range(100)) + "x" * 350
    (tmp_path / "long.txt").write_text(text)
    read = list(read_text(f"{tmp_path}/long.txt"))
    assert "".join(texts(read)) == text and len(read) > 8
    assert all(d.text.endswith("\n") for d in read if "x" not in d.text) and max(len(d.text) for d in read) <= 200
    assert len({d.title for d in read}) == len(read) and read[0].title == str(tmp_path / "long.txt")


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_a_large_file_is_read_in_bounded_memory(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"d.{kind}"
    body = "word " * 400
    if kind == "jsonl":
        with path.open("w") as handle:
            handle.writelines(json.dumps({"t": f"{i} {body}"}) + "\n" for i in range(20_000))  # 40 MB
    else:
        with pq.ParquetWriter(path, pa.schema([("t", pa.string())])) as writer:
            for first in range(0, 20_000, 2_000):
                writer.write_table(pa.table({"t": [f"{i} {body}" for i in range(first, first + 2_000)]}))
    read = {"jsonl": read_jsonl, "parquet": read_parquet}[kind]
    tracemalloc.start()
    try:
        assert sum(1 for _ in read(f"{path}#t")) == 20_000
        assert tracemalloc.get_traced_memory()[1] < 8_000_000
    finally:
        tracemalloc.stop()


def test_the_shuffle_holds_few_long_documents(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus, "SHUFFLE_BUFFER_CHARACTERS", 1_000)
    given = 0

    def long_documents(argument: str):
        nonlocal given
        for number in range(50):
            given += 1
            yield Document("s", str(number), "x" * 300)

    monkeypatch.setitem(corpus.STREAMED, "long", long_documents)
    stream = read_documents(["long:x"], 0)
    first = list(islice(stream, 10))
    assert given <= 10 + 4  # three fit, and one more is on its way
    assert sorted(int(d.title) for d in [*first, *stream]) == list(range(50))


def test_a_local_hugging_face_dataset_streams(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("datasets")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "set"
    folder.mkdir()
    rows = [{"text": f"document {i}" if i % 10 else None, "n": i, "meta": {"lang": "en"}} for i in range(200)]
    pq.write_table(pa.Table.from_pylist(rows[:100]), folder / "train-0.parquet", row_group_size=10)
    pq.write_table(pa.Table.from_pylist(rows[100:]), folder / "train-1.parquet", row_group_size=10)
    source = f"hf:{folder}#text@train"
    first, again = (list(read_documents([source], 3)) for _ in range(2))
    assert first == again and sorted(texts(first)) == sorted(row["text"] for row in rows if row["text"])
    assert texts(read_documents([f"hf:{folder}#meta.lang"], 0)) == ["en"] * 200
    for wrong, said in (
        (f"hf:{folder}#txt", r"split train, row 0 has no 'txt'; it has 'meta', 'n', 'text'\. Did you mean 'text'"),
        (f"hf:{folder}#n", "has int at 'n', not text"),
        (f"hf:{folder}#text@test", r"cannot be opened.*split test.*Available splits: \['train'\]"),
        (f"hf:{tmp_path}/nowhere#text", "cannot be opened"),
    ):
        with pytest.raises(CorpusError, match=said):
            list(read_documents([wrong], 0))


def _two_columns(path: Path) -> None:
    pq.write_table(pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["text", "text"]), path)


def _not_utf8(path: Path) -> None:
    buffers = [None, pa.py_buffer(b"\0\0\0\0\3\0\0\0"), pa.py_buffer(b"\xed\xa0\x80")]
    pq.write_table(pa.table({"text": pa.Array.from_buffers(pa.string(), 1, buffers)}), path)


def _flipped(path: Path) -> None:
    """A letter within a text is another, and the page's checksum is as it was."""
    texts = pa.table({"text": [f"the harbour {number}" for number in range(500)]})
    pq.write_table(texts, path, compression="none", use_dictionary=False, write_page_checksum=True)
    content = path.read_bytes()
    path.write_bytes(content.replace(b"the harbour 250", b"the harbouR 250"))


@pytest.mark.parametrize(("write", "told"), [(_two_columns, "2 columns 'text'"), (_not_utf8, "not UTF-8"), (_flipped, "CRC")])
def test_parquet_of_other_writers_is_read_right_or_refused(write: Callable[[Path], None], told: str, tmp_path: Path) -> None:
    write(tmp_path / "a.parquet")
    with pytest.raises(CorpusError) as error:
        list(read_documents([f"parquet:{tmp_path / 'a.parquet'}#text"], seed=0))
    assert told in str(error.value)


def test_a_file_behind_links_in_a_circle_is_read_once(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one")
    (tmp_path / "here").symlink_to(tmp_path)
    assert texts(read_text(f"{tmp_path}/**/*.txt")) == ["one"]


def test_a_name_that_is_not_utf8_is_written_so_that_tables_hold_it(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"caf\xe9.txt")).write_text("one")
    (document,) = read_text(str(tmp_path))
    assert document.text == "one" and document.title.endswith("caf\\xe9.txt") and pa.array([document.title])
