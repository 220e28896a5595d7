"""Corpus sources: same order every time, nothing lost, clear refusals."""

import json
from itertools import islice
from pathlib import Path

import pytest

from resources.corpus import BUILT_IN, CorpusError, read_documents
from resources.corpus.cia_world_factbook import plain_text
from resources.corpus.interface import pieces


def jsonl(tmp_path: Path, n: int) -> str:
    path = tmp_path / "d.jsonl"
    path.write_text("\n".join(json.dumps({"text": f"document {i}"}) for i in range(n)))
    return f"jsonl:{path}#text"


def test_order_depends_on_the_seed_alone_and_nothing_is_lost(tmp_path: Path) -> None:
    source = jsonl(tmp_path, 50)
    first, again, other = ([d.text for d in read_documents([source], seed)] for seed in (0, 0, 1))
    assert first == again
    assert first != other
    assert sorted(first) == sorted(other) == sorted(f"document {i}" for i in range(50))


def test_sources_take_turns(tmp_path: Path) -> None:
    short, long = tmp_path / "a.txt", jsonl(tmp_path, 40)
    short.write_text("only one")
    sources = [d.source for d in read_documents([f"text:{short}", long], 3)]
    assert len(sources) == 41
    assert f"text:{short}" in sources[:2]


@pytest.mark.parametrize("name", sorted(BUILT_IN))
def test_built_in_sources_give_text_of_bounded_length(name: str) -> None:
    documents = list(islice(BUILT_IN[name](), 5))
    assert len(documents) == 5
    assert all(d.source == name and d.text.strip() for d in documents)
    assert len({d.title for d in documents}) == 5


def test_pieces_join_to_the_text() -> None:
    text = "".join(f"line {i}\n" for i in range(1000))
    cut = list(pieces("s", "t", text, characters=500))
    assert "".join(d.text for d in cut) == text
    assert max(len(d.text) for d in cut) <= 500
    assert list(pieces("s", "t", "")) == []


def test_html_is_stripped() -> None:
    assert plain_text("<p>A &amp; B<br>C</p><p> D  E</p>") == "A & B\nC\nD E"


def test_parquet_column(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / "d.parquet"
    pq.write_table(pa.table({"body": ["x", None, "y"]}), path)
    assert sorted(d.text for d in read_documents([f"parquet:{path}#body"], 0)) == ["x", "y"]
    with pytest.raises(CorpusError, match=r"no 'text'; it has 'body'"):
        list(read_documents([f"parquet:{path}#text"], 0))


@pytest.mark.parametrize("sources", [[], ["sotu", "sotu"], ["wikipedia"], ["text:/no/such/*"], ["jsonl:/x"], ["hf:a/b"]])
def test_unreadable_sources_are_refused(sources: list[str]) -> None:
    with pytest.raises(CorpusError):
        list(read_documents(sources, 0))
