"""Search by words, by meaning and by example, and the table's filters."""

import csv
import io
import re
import tempfile
import threading
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from small_home import KEY, settled, small_home
from starlette.testclient import TestClient

from interp_assets.explorer.app import make_app
from interp_assets.explorer.background import Background
from interp_assets.explorer.embed_explanations import embed_explanations
from interp_assets.explorer.explorer import Explorer
from interp_assets.explorer.meaning import LEAST_COMPARED, of_texts, rough_cosines, rounded
from interp_assets.explorer.readiness import NotReadYet
from interp_assets.explorer.word_index import word_index
from interp_assets.tables import EXPLANATION_EMBEDDINGS
from resources.fakes import FakeModels


def found(html: str) -> list[int]:
    """Features linked in a page, in order, each once."""
    return list(dict.fromkeys(int(number) for number in re.findall(rf'href="/d/{KEY}/(\d+)"', html)))


def test_words_are_found_whole_the_last_one_by_its_beginning(tmp_path: Path) -> None:
    texts = {
        "a": pa.chunked_array([["Names of days", None, "days and days of Rain", "naïve Größe"]]),
        "b": pa.chunked_array([[None, "the rainbow", "rain", ""]]),
    }
    for _ in range(2):  # made, then read from its file
        index = word_index(texts, tmp_path / "words-1.arrow")
        assert index.found("days")[0].tolist() == [0, 2] and index.found("DAYS of")[0].tolist() == [0, 2]
        assert sorted(index.found("rain")[0].tolist()) == [2, 5, 6] and index.found("rain")[0][-1] == 5  # "rainbow" begins like it
        assert index.found("rain days")[0].tolist() == [2] and index.found("größe")[0].tolist() == [3]
        assert [index.found(query)[0].tolist() for query in ("", "?!", "nothing", "rainbows")] == [[], [], [], []]
    assert word_index({}, tmp_path / "none-1.arrow").found("days")[0].tolist() == []


def test_a_search_by_words_leaves_out_baselines(client: TestClient) -> None:
    assert found(client.get(f"/search?q=number 2&dictionary={KEY}").text)[0] == 2  # the word itself before 20 to 29
    assert set(found(client.get("/search?q=number 2").text)) == {2, *range(20, 30)}
    assert found(client.get("/search?q=number 5").text) == []  # what shuffled says of feature 6 only


def test_a_small_dictionary_is_searched_by_meaning_at_once(client: TestClient) -> None:
    page = settled(client, f"/search?q=words about number 17&by=meaning&dictionary={KEY}").text
    assert found(page)[0] == 17 and "cosine 1.00" in page


def test_embedded_explanations_are_read_from_the_lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("interp_assets.explorer.pages.search.EMBEDDED_HERE", 0)
    home, said = small_home(tmp_path), []
    assert embed_explanations(home, FakeModels(), KEY, said.append) == 31  # the live features, by max_act alone
    assert embed_explanations(home, FakeModels(), KEY, said.append) == 31 and "already" in said[-1]
    rows = home.lake.read(EXPLANATION_EMBEDDINGS.name, {"dictionary": KEY})
    assert set(rows["explanation_method"].to_pylist()) == {"max_act"} and len(rows["vector"][0]) == 64
    explorer = Explorer(home, provider=FakeModels())
    explorer.dictionaries.columns(KEY, patience=60)
    client = TestClient(make_app(explorer), base_url="http://localhost")
    assert found(settled(client, "/search?q=words about number 17&by=meaning").text)[0] == 17
    explorer.close()


@given(arrays(np.float32, st.tuples(st.integers(1, 40), st.just(16)), elements=st.floats(-1, 1, width=32)))
def test_rounded_vectors_are_near_enough_that_none_of_the_best_is_missed(vectors: np.ndarray) -> None:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors = np.where(norms > 1e-3, vectors / np.maximum(norms, 1e-3), np.eye(16, dtype=np.float32)[0]).astype(np.float32)
    query = vectors[0]
    codes, scales = rounded(vectors)
    bound = np.sqrt(16) * scales.max() / 2 + 1e-5
    assert np.abs(rough_cosines(codes, scales, query) - vectors @ query).max() <= bound
    index = of_texts(np.arange(len(vectors)), np.array(["a"] * len(vectors), dtype=object), [""] * len(vectors), vectors, "e")
    rows, cosines = index.nearest(query, 5)
    assert np.allclose(cosines, np.sort(vectors @ query)[::-1][:5], atol=2e-3) and len(set(rows.tolist())) == len(rows)


def test_the_nearest_vectors_are_found_where_rounding_hides_them() -> None:
    """One large entry makes every other entry 0 as int8: rounded, all vectors are equally near."""
    n, query = 4 * LEAST_COMPARED, np.array([0.9999, 0.01, 0, 0], dtype=np.float32)
    vectors = np.zeros((n, 4), dtype=np.float32)
    vectors[:, 0], vectors[:, 1] = 0.9999, np.linspace(-0.003, 0.003, n)
    index = of_texts(np.arange(n), np.array(["a"] * n, dtype=object), [""] * n, vectors, "e")
    assert not index.codes[:, 1].any()
    rows, cosines = index.nearest(query, 3)
    exact = index.vectors.astype(np.float32) @ query
    assert cosines.tolist() == np.sort(exact)[::-1][:3].tolist() and exact[rows].tolist() == cosines.tolist()


@given(
    st.lists(
        st.lists(st.sampled_from(["Verb", "verb,", "a_b", "x\u00a0y", "e\u0301t", "naïve", "שלום", "...", "42nd", ""]), max_size=5),
        max_size=8,
    )
)
def test_an_index_holds_each_word_of_each_explanation_once(said: list[list[str]]) -> None:
    texts = [None if not words else " ".join(words) for words in said]
    with tempfile.TemporaryDirectory() as folder:
        index = word_index({"a": pa.chunked_array([pa.array(texts, pa.large_string())])}, Path(folder) / "words-1.arrow")
    expected: dict[str, list[int]] = {}
    for place, text in enumerate(texts):
        for word in sorted({word for word in re.split(r"[\W_]+|\u0301", (text or "").lower()) if word}):
            expected.setdefault(word, []).append(place)
    assert index.table.to_pylist() == [{"word": word, "rows": expected[word]} for word in sorted(expected, key=str.encode)]


def test_words_of_many_explanations_are_indexed_beside_the_pages() -> None:
    """A reader waits a moment, then is told; later readers get the earlier index while the next is made."""
    background, go = Background(), threading.Event()

    def slow() -> str:
        assert go.wait(10)
        return "first"

    with pytest.raises(NotReadYet):
        background.newest("words", 1, slow, patience=0.01)
    go.set()
    assert background.newest("words", 1, slow, patience=10) == "first"
    go.clear()
    assert background.newest("words", 2, slow) == "first", "a reader waited although there was an answer"
    go.set()
    background.close()


def test_a_search_says_that_words_are_being_indexed(explorer: Explorer, client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def not_yet(*_: object) -> None:
        raise NotReadYet(KEY)

    monkeypatch.setattr(explorer.background, "newest", not_yet)
    answer = client.get("/search?q=number&by=words")
    assert answer.status_code == 503 and "are being indexed, once. This page opens as soon as they are." in answer.text


def test_a_text_shows_what_it_fires_without_bos_and_dense_features(explorer: Explorer, client: TestClient) -> None:
    page = settled(client, f"/search?q=the king and the law&by=example&density_to=100&dictionary={KEY}").text
    tokens = re.findall(r'<li><span class="token">([^<]*)</span>', page)
    assert tokens == [" the", " king", " and", " the", " law"]
    everything = set(found(page)) - {0}
    # Feature f has density (f + 1) / 1000: up to 1 % leaves features below 10.
    some = settled(client, f"/search?q=the king and the law&by=example&density_to=1&dictionary={KEY}").text
    assert everything and {feature for feature in everything if feature < 10} == set(found(some)) - {0}


def test_a_search_by_example_needs_a_dictionary_with_weights(client: TestClient) -> None:
    assert "Choose the dictionary" in client.get("/search?q=a text&by=example").text
    assert client.get("/search?q=a&by=magic").status_code == 400


@pytest.mark.parametrize(
    ("query", "features"),
    [
        ("state=dead", [5]), ("state=unexplained", [5]), ("outcome=dead", [5]), ("state=dense", []), ("density_from=0.031", [30, 31]),
        ("density_from=0.001&density_to=0.002", [0, 1]), ("token=TOP31", [31]), ("token=%22%3E", []),
        ("by=score:fuzzing:max_act&least=0.795", [30, 31]), ("by=score:fuzzing:max_act&most=0.505", [0]), ("quadrant=both", []),
        ("first=30&last=31", [30, 31]),
        ("by=score:fuzzing:max_act&least=0.795&sort=-score:fuzzing:max_act", [31, 30]),
        ("density_from=nan&state=nonsense&most=x&state=dead", [5]),
    ],
)  # fmt: skip
def test_filters_keep_what_they_say(client: TestClient, query: str, features: list[int]) -> None:
    assert found(client.get(f"/d/{KEY}?{query}").text.partition("<tbody>")[2]) == features
    rows = list(csv.DictReader(io.StringIO(client.get(f"/d/{KEY}/features.csv?{query}").text)))
    assert [int(row["feature"]) for row in rows] == features


def test_the_csv_has_every_page_and_runs_no_formula(tmp_path: Path) -> None:
    explorer = Explorer(small_home(tmp_path, lambda said: f"=cmd|{said}"))
    explorer.dictionaries.columns(KEY, patience=60)
    client = TestClient(make_app(explorer), base_url="http://localhost")
    rows = list(csv.DictReader(io.StringIO(client.get(f"/d/{KEY}/features.csv").text)))
    assert len(rows) == 32 and rows[7]["explanation"] == "'=cmd|words about number 7" and float(rows[7]["fuzzing"]) == pytest.approx(0.57)
    explorer.close()
