"""Rating in the explorer: blinded, whole or not at all, where human_ratings reads it; notes; and how scorers agree with the raters."""

import os
import re
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from small_home import DEAD, KEY, settled
from starlette.testclient import TestClient
from test_explorer_pages import text_of

from interp_assets.assets.human_correlation_report.correlations import rated_scores, write_report
from interp_assets.config.base import UserError
from interp_assets.domain.ratings.human_correlation import CorrelationSettings, correlation_report
from interp_assets.domain.ratings.ratings import explanation_id
from interp_assets.explorer.app import make_app
from interp_assets.explorer.explorer import Explorer
from interp_assets.installation.home import Home
from interp_assets.ratings.files import rateable, rating_files, read_ratings, write_ratings
from interp_assets.ratings.notes import notes_on, save_note
from interp_assets.ratings.rater_file import checked_rater, rater_file, save_ratings, saved_ratings
from resources.fakes import FakeModels
from resources.store import whole_files


@pytest.fixture
def own(home: Home, tmp_path: Path) -> Home:
    """A home of the test's own over the small home's lake, which is for reading alone."""
    for name in ("dictionaries", "warehouse"):
        shutil.copytree(home.root / name, tmp_path / "home" / name)
    return Home(tmp_path / "home", home.lake_url)


@pytest.fixture
def rating(explorer: Explorer, own: Home) -> Iterator[TestClient]:
    """Ada's browser. `explorer` has read the dictionary before, so that its columns are kept."""
    adas = Explorer(own, rater="ada", provider=FakeModels())
    adas.dictionaries.columns(KEY, patience=60)
    yield TestClient(make_app(adas), base_url="http://127.0.0.1")
    adas.close()


def drawn(client: TestClient, **changes: str) -> str:
    """The name of a task of three explanations in two windows each."""
    fields = {"dictionary": KEY, "n": "3", "n_contexts": "2", **changes}
    answer = client.post("/rate", data=fields, follow_redirects=False)
    assert answer.status_code == 303, answer.text
    return answer.headers["location"].split("/")[2]


def row(feature: int, rating: str, context: str = "") -> dict[str, str]:
    """A rating of the max_act explanation of a feature of the small home."""
    said = explanation_id(KEY, feature, f"words about number {feature}")
    return {
        "dictionary": KEY, "feature": str(feature), "explanation_id": said, "context": context, "rating": rating, "scale_min": "1",
        "scale_max": "4", "rater_kind": "human",
    }  # fmt: skip


def test_ratings_land_where_human_ratings_reads_them(rating: TestClient, own: Home) -> None:
    task = drawn(rating)
    for number in range(3):
        page = rating.get(f"/rate/{task}")
        assert str(page.url).endswith(f"/rate/{task}/{number}")
        rating.post(f"/rate/{task}/{number}", data={"rating-0": "4", "rating-1": "1", "seconds": "9"})
    assert "All 3 are rated" in rating.get(f"/rate/{task}").text
    read = read_ratings(rating_files(own.ratings), rateable(own.lake, own.registry))
    assert len(read.ratings) == 6 and not read.rejections
    assert {one.rater for one in read.ratings} == {"ada"} and {one.rater_kind for one in read.ratings} == {"human"}
    assert sorted(one.rating for one in read.ratings) == [1, 1, 1, 4, 4, 4] and {one.seconds for one in read.ratings} == {4.5}
    assert all(one.context for one in read.ratings)


def test_a_page_to_rate_on_is_blind(rating: TestClient) -> None:
    task = drawn(rating)
    html = rating.get(f"/rate/{task}/0").text
    assert "words about number" in html and 'name="rating-1"' in html and "max_act" not in html and KEY not in html
    assert "detection" not in html and "/d/" not in html and "0.5" not in text_of(html)


def test_an_explanation_is_rated_as_a_whole(rating: TestClient, own: Home) -> None:
    task = drawn(rating, as_a_whole="yes", n="1")
    html = rating.get(f"/rate/{task}/0").text
    assert html.count('class="window"') == 2 and html.count("<fieldset") == 1
    rating.post(f"/rate/{task}/0", data={"rating-0": "3"})
    read = read_ratings(rating_files(own.ratings), rateable(own.lake, own.registry))
    assert [(one.rating, one.context) for one in read.ratings] == [(3, None)] and not read.rejections


def test_a_rating_is_changed_in_place(rating: TestClient, own: Home) -> None:
    task = drawn(rating, n="1")
    rating.post(f"/rate/{task}/0", data={"rating-0": "4", "rating-1": "4"})
    rating.post(f"/rate/{task}/0", data={"rating-0": "2"})
    assert sorted(one["rating"] for one in saved_ratings(own.ratings, "ada").values()) == ["2", "4"]
    assert re.search(r'name="rating-0" value="2" required checked', rating.get(f"/rate/{task}/0").text)


@pytest.mark.parametrize("fields", [{"rating-0": "4", "rating-1": "5"}, {"rating-0": "<script>"}, {}, {"rating-7": "4"}])
def test_what_is_no_rating_saves_nothing(rating: TestClient, own: Home, fields: dict[str, str]) -> None:
    task = drawn(rating, n="1")
    answer = rating.post(f"/rate/{task}/0", data=fields)
    assert (
        answer.status_code == 400
        and "Nothing was saved" in answer.text
        and "<script>" not in answer.text.lower().replace("<script src", "")
    )
    assert not own.ratings.exists() or not rating_files(own.ratings)


@pytest.mark.parametrize("fields", [{"n": "0"}, {"n": "many"}, {"n_contexts": "999"}, {"dictionary": "toy/00/nothing"}, {"dictionary": ""}])
def test_a_task_that_cannot_be_drawn_is_refused(rating: TestClient, own: Home, fields: dict[str, str]) -> None:
    answer = rating.post("/rate", data={"dictionary": KEY, "n": "3", "n_contexts": "2", **fields})
    assert answer.status_code in (400, 404) and not own.rating_tasks.exists()


def test_a_reader_without_a_name_writes_nothing(rating: TestClient, own: Home) -> None:
    explorer = Explorer(own, provider=FakeModels())
    client = TestClient(make_app(explorer), base_url="http://127.0.0.1")
    assert "--rater ada" in client.get("/rate").text and f"/d/{KEY}/7/note" not in client.get(f"/d/{KEY}/7").text
    for address in ("/rate", "/rate/00000000/0", f"/d/{KEY}/7/note"):
        answer = client.post(address, data={"dictionary": KEY, "n": "3", "n_contexts": "2", "text": "a note"})
        assert answer.status_code in (400, 404), address
    assert not own.ratings.exists() and not own.notes.exists() and not own.rating_tasks.exists()
    explorer.close()


def test_pages_of_other_sites_write_nothing(rating: TestClient, own: Home) -> None:
    for headers in ({"origin": "http://elsewhere.example"}, {"sec-fetch-site": "cross-site"}, {"host": "elsewhere.example"}):
        assert rating.post(f"/d/{KEY}/7/note", data={"text": "a note"}, headers=headers).status_code in (403, 421)
    assert not own.notes.exists()


def test_a_form_that_is_too_large_is_refused(rating: TestClient) -> None:
    assert rating.post(f"/d/{KEY}/7/note", data={"text": "x" * 250_000}).status_code == 413
    assert rating.post(f"/d/{KEY}/7/note", data={"text": "x" * 20_000}).status_code == 400


def test_a_save_that_is_killed_leaves_the_earlier_file(tmp_path: Path) -> None:
    path = save_ratings(tmp_path, "ada", [row(1, "4")])
    before = path.read_bytes()
    child = os.fork()
    if child == 0:
        whole_files.sync = lambda file: (file.flush(), os._exit(9))  # the new file is written, and not yet in its place
        save_ratings(tmp_path, "ada", [row(2, "1")])
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert path.read_bytes() == before and rating_files(tmp_path) == [path]
    save_ratings(tmp_path, "ada", [row(3, "2")])  # and nobody waits for the dead one's lock
    assert [one["feature"] for one in saved_ratings(tmp_path, "ada").values()] == ["1", "3"]


def test_saves_at_once_keep_every_rating(tmp_path: Path) -> None:
    def rate(rater: str, first: int) -> None:
        for feature in range(first, first + 5):
            save_ratings(tmp_path, rater, [row(feature, "3")])

    threads = [threading.Thread(target=rate, args=(rater, first)) for rater in ("ada", "eve") for first in (0, 5, 10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {rater: len(saved_ratings(tmp_path, rater)) for rater in ("ada", "eve")} == {"ada": 15, "eve": 15}
    assert len(rating_files(tmp_path)) == 2


@pytest.mark.parametrize("rater", ["<script>alert(1)</script>", "../../etc/passwd", "=cmd()", 'Ada "the", first', "Ада", "a" * 100])
def test_any_name_has_a_file_of_its_own_in_the_folder(tmp_path: Path, rater: str) -> None:
    path = save_ratings(tmp_path, rater, [row(1, "4")])
    assert path.parent == tmp_path and re.fullmatch(r"explorer-[a-z0-9-]+\.csv", path.name)
    assert next(iter(saved_ratings(tmp_path, rater).values()))["rater"] == rater
    assert checked_rater(f" {rater} ") == rater and rater_file(tmp_path, rater) != rater_file(tmp_path, rater + "x")


@pytest.mark.parametrize("rater", ["", "  ", "a\nb", "a" * 101, "\x1b[31m"])
def test_names_that_cannot_be_kept_are_refused(rater: str) -> None:
    with pytest.raises(UserError, match="rater"):
        checked_rater(rater)


def test_a_note_is_kept_changed_and_removed_beside_others(rating: TestClient, own: Home) -> None:
    save_note(own.notes, KEY, 7, "eve", "fires on commas")
    answer = rating.post(f"/d/{KEY}/7/note", data={"text": " on <b>lists</b>\n& more "})
    assert "fires on commas" in answer.text and "on &lt;b&gt;lists&lt;/b&gt;\n&amp; more" in answer.text
    rating.post(f"/d/{KEY}/7/note", data={"text": "on lists"})
    assert {(note.rater, note.text) for note in notes_on(own.notes, KEY, 7)} == {("eve", "fires on commas"), ("ada", "on lists")}
    rating.post(f"/d/{KEY}/7/note", data={"text": "  "})
    assert [note.rater for note in notes_on(own.notes, KEY, 7)] == ["eve"]
    assert rating.post(f"/d/{KEY}/999/note", data={"text": "a note"}).status_code == 404


def test_a_damaged_task_says_what_to_do(rating: TestClient, own: Home) -> None:
    task = drawn(rating)
    (own.rating_tasks / f"{task}.json").write_text("{}")
    assert "draw the task again" in rating.get(f"/rate/{task}").text and rating.get("/rate").status_code == 200
    assert rating.get("/rate/..%2f..%2fx").status_code == 404 and rating.get("/rate/0123abcd").status_code == 404


def test_the_report_shows_how_scorers_agree_with_the_raters(rating: TestClient, home: Home, tmp_path: Path) -> None:
    assert "no ratings in the lake yet" in settled(rating, "/report").text
    shutil.copytree(home.root, tmp_path / "written")
    own = Home(tmp_path / "written", str(tmp_path / "written" / "lake"))
    live = [feature for feature in range(32) if feature != DEAD]
    for rater in ("ada", "eve<script>"):  # a rating grows with the feature's number, as the scores of max_act do
        save_ratings(own.ratings, rater, [{**row(feature, f"{1 + feature / 31 * 3:.4f}")} for feature in live])
    read = read_ratings(rating_files(own.ratings), rateable(own.lake, own.registry))
    assert not read.rejections and len(read.ratings) == 62
    write_ratings(own.lake, read)
    settings = CorrelationSettings(n_bootstrap=100)
    rated = rated_scores(own.lake, own.registry, settings)
    write_report(own.lake, rated, correlation_report(rated.items, settings), "1", {})
    explorer = Explorer(own, rater="ada", provider=FakeModels())
    client = TestClient(make_app(explorer), base_url="http://127.0.0.1")
    html = settled(client, "/report").text
    page = text_of(html)
    assert "eve&lt;script&gt;" in html and "31 explanations of 31 features" in page
    assert re.search(r"fuzzing 31 explanations of 31 features score 1, 95 % interval 1 to 1, control 0 1\.00", page), page
    assert "The data put no two scorers in an order." in page and "How far the raters agree" in page
    explorer.close()
