"""Two things side by side, and the views of the warehouse as pages, over the small home whose every score is known."""

import re
import threading
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
from small_home import DEAD, KEY, record, settled, small_home
from starlette.testclient import TestClient
from test_explorer_pages import text_of

from interp_assets.assets.warehouse.views import view_files
from interp_assets.explorer.app import make_app
from interp_assets.explorer.explorer import Explorer
from interp_assets.explorer.pages.leaderboards import strips
from interp_assets.explorer.readiness import NotReadYet
from interp_assets.explorer.view_answers import ViewAnswers
from interp_assets.installation.home import Home
from resources.fakes import FakeModels


def test_methods_are_compared_over_the_features_that_both_have(client: TestClient) -> None:
    page = text_of(client.get(f"/compare?dictionary={KEY}&a=max_act&b=shuffled").text)
    # Over 31 live features: 0.5 + f / 100 against 0.5. The mean of f is 491 / 31, and f = 0 alone is no win.
    assert "31 features" in page and "+0.16" in page and "max_act is higher 96.8 %" in page
    html = client.get(f"/compare?dictionary={KEY}&a=max_act&b=shuffled&by=fuzzing").text
    table = html[html.index("max_act above shuffled") : html.index("shuffled above max_act")]
    assert [int(one) for one in re.findall(rf'href="/d/{KEY}/(\d+)"', table)] == list(range(31, 19, -1))
    assert "words about number 31" in table and "words about number 30" in table
    assert "No feature." in html[html.index("shuffled above max_act") :]


def test_features_stand_side_by_side(client: TestClient) -> None:
    html = client.get(f"/compare?a={KEY}/7&b={KEY}/{DEAD}").text
    page = text_of(html)
    assert "words about number 7" in page and "No explanation yet" in page and html.count("<article") == 2
    assert f'href="/d/{KEY}/7/why/fuzzing/max_act"' in html


def test_dictionaries_stand_side_by_side(tmp_path: Path) -> None:
    home = small_home(tmp_path)
    home.registry.write(record("toy/00/empty"))
    explorer = Explorer(home, provider=FakeModels())
    client = TestClient(make_app(explorer), base_url="http://127.0.0.1")
    same = text_of(settled(client, f"/compare?a={KEY}&b={KEY}").text)
    assert same.count("0.66 31") == 4  # detection and fuzzing of max_act on both sides: 0.5 + 491 / 3100
    assert "No scorer has scored the same method in both." in settled(client, f"/compare?a={KEY}&b=toy/00/empty").text
    explorer.close()


@pytest.mark.parametrize(
    ("query", "status", "said"),
    [
        ("", 200, "Two features"),
        (f"dictionary={KEY}", 200, "Two methods of"),
        (f"dictionary={KEY}&a=nothing&b=max_act", 404, "no explanations by nothing"),
        (f"a={KEY}&b={KEY}/3", 400, "a feature and a dictionary"),
        (f"a={KEY}/99&b={KEY}/3", 404, "no feature 99"),
        ("a=toy/00/no&b=toy/00/no", 404, "toy/00/no"),
        ("a=%00&b=x/y/z/99999999999999", 404, ""),
    ],
)
def test_what_cannot_be_compared_is_named(client: TestClient, query: str, status: int, said: str) -> None:
    answer = client.get(f"/compare?{query}")
    assert answer.status_code == status and said in answer.text


def test_every_view_has_a_page_with_its_sql(client: TestClient) -> None:
    index = client.get("/leaderboards").text
    for name in view_files():
        assert f'href="/leaderboards/{name}"' in index
    page = settled(client, "/leaderboards/scores_by_method").text
    assert "interp query scores_by_method" in page and "ordered[ceil((n_features" in page
    assert "balanced_accuracy" in page and 'class="strip"' in page and f'href="/d/{KEY}"' in page


def test_a_view_as_csv_has_all_rows_of_the_chosen_dictionary(client: TestClient) -> None:
    settled(client, "/leaderboards/hardest_features")
    lines = client.get(f"/leaderboards/hardest_features.csv?dictionary={KEY}").text.splitlines()
    assert lines[0].startswith("dictionary,") and len(lines) == 32  # 31 live features
    assert len(client.get("/leaderboards/hardest_features.csv?dictionary=another").text.splitlines()) == 1


def test_rows_of_a_scorer_are_drawn_on_one_line() -> None:
    rows = [
        {"scorer": "gini", "mean": 0.5, "ci_low": -1.0, "ci_high": None, "floor": None},
        {"scorer": "gini", "mean": 0.0, "ci_low": None, "ci_high": None, "floor": None},
        {"scorer": "fuzzing", "mean": 0.5, "ci_low": None, "ci_high": None, "floor": 0.5},
        {"scorer": "fuzzing", "mean": None, "ci_low": None, "ci_high": None, "floor": 0.5},
    ]
    drawn = [None if one is None else float(re.findall(r'cx="([0-9.]+)"', one)[-1]) for one in strips("scores_by_method", rows)]
    assert drawn == [97, 66, 66, None]  # the lines run from 4 to 128: from -1 to 1 for gini, from 0 to 1 for fuzzing


def test_a_view_that_is_not_there_is_named(client: TestClient) -> None:
    assert client.get("/leaderboards/nothing").status_code == 404
    assert client.get("/leaderboards/outcomes;drop").status_code == 404


@pytest.fixture
def answers(home: Home, tmp_path: Path) -> Iterator[ViewAnswers]:
    """Answers that are kept in a folder of the test's own."""
    made = ViewAnswers(home.warehouse, tmp_path)
    yield made
    made.close()


def test_an_answer_is_kept_for_the_next_start(answers: ViewAnswers, home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sql = "SELECT count(*) AS n FROM scores"
    assert answers.answer(sql, 60).rows.to_pylist() == [{"n": 124}]  # 31 features, two methods, two scorers
    again = ViewAnswers(home.warehouse, tmp_path)
    monkeypatch.setattr(type(again._warehouse), "query", lambda *_: pytest.fail("asked again"))
    assert again.answer(sql, 60).rows.to_pylist() == [{"n": 124}]
    again.close()


def test_a_question_that_takes_long_is_waited_for_elsewhere(answers: ViewAnswers, monkeypatch: pytest.MonkeyPatch) -> None:
    ready = threading.Event()
    asked = type(answers._warehouse).query
    monkeypatch.setattr(type(answers._warehouse), "query", lambda self, sql: (ready.wait(30), asked(self, sql))[1])
    with pytest.raises(NotReadYet):
        answers.answer("SELECT 1 AS one FROM scores LIMIT 1", 0)
    ready.set()
    assert answers._asking["SELECT 1 AS one FROM scores LIMIT 1"].result(60).problem is None
    found = answers.answer("SELECT 1 AS one FROM scores LIMIT 1")
    assert found.rows.to_pylist() == [{"one": 1}]


def test_what_the_warehouse_cannot_answer_is_said(answers: ViewAnswers, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> pa.Table:
        raise duckdb.OutOfMemoryException("out of memory")

    monkeypatch.setattr(type(answers._warehouse), "query", broken)
    assert answers.answer("SELECT 1 FROM scores", 60).problem == "out of memory"
