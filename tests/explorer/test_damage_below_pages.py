"""Damage below the explorer: pages say what they leave out, caches are made again, a home that is gone is not an empty home, and nothing
that a rater wrote is lost without a word."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from small_home import KEY, empty_home
from starlette.testclient import TestClient

from interp_assets.config.base import UserError
from interp_assets.config.keys import check_dictionary_key
from interp_assets.explorer import columns as columns_module
from interp_assets.explorer.app import make_app
from interp_assets.explorer.arrow_files import kept_table
from interp_assets.explorer.explorer import Explorer
from interp_assets.explorer.serving import checked_token, listen
from interp_assets.installation.home import Home
from interp_assets.ratings.notes import files_set_aside, note_file, notes_on, save_note
from interp_assets.ratings.rater_file import rater_file
from resources.fakes import FakeModels

PAGE = f"/d/{KEY}/7"


@pytest.fixture
def root(home: Home, tmp_path: Path) -> Path:
    """A copy of the small home."""
    shutil.copytree(home.root, tmp_path / "home")
    return tmp_path / "home"


@pytest.fixture
def own(root: Path) -> Iterator[TestClient]:
    """A client of the copy, for the rater ada; a fault in a page is raised."""
    explorer = Explorer(empty_home(root), rater="ada", provider=FakeModels())
    explorer.dictionaries.columns(KEY, patience=60)
    yield TestClient(make_app(explorer), base_url="http://127.0.0.1:3001", follow_redirects=False)
    explorer.close()


def part_of(root: Path, table: str) -> Path:
    return next((root / "lake" / table).rglob("feature_range=03of16/part-0.parquet"))


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def test_a_page_names_the_partition_that_it_leaves_out(own: TestClient, root: Path) -> None:
    part = part_of(root, "examples")
    flip(part, len(part.read_bytes()) // 3)
    page, embedded = own.get(PAGE).text, own.get(f"{PAGE}/embed").text
    for text in (page, embedded):
        assert "1 partition of the lake cannot be read" in text and "feature_range=03of16/part-0.parquet" in text and str(root) not in text
    assert "words about number 7" in page
    left = own.get(f"{PAGE}.json").json()["left_out"]
    assert list(left) == [part.relative_to(root / "lake").as_posix()] and "not the bytes that were written" in next(iter(left.values()))
    assert "Left out" in own.get(f"/d/{KEY}/20").text and "fires" in own.get(f"/d/{KEY}/20").text
    flip(part, len(part.read_bytes()) // 3)
    assert "Left out" not in own.get(PAGE).text and "left_out" not in own.get(f"{PAGE}.json").json()


def test_a_table_and_its_csv_say_what_they_leave_out(root: Path) -> None:
    part_of(root, "feature_statistics").unlink()
    explorer = Explorer(empty_home(root), provider=FakeModels())
    explorer.dictionaries.columns(KEY, patience=60)
    client = TestClient(make_app(explorer), base_url="http://127.0.0.1:3001")
    assert "feature_statistics/dictionary=toy%2F00%2Fsae/feature_range=03of16" in client.get(f"/d/{KEY}").text
    headers = client.get(f"/d/{KEY}/features.csv").headers
    assert "features-incomplete.csv" in headers["content-disposition"] and "is not there" in headers["x-left-out"]
    explorer.close()


def test_prepared_columns_that_are_damaged_are_made_again(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns_module, "LOOK_SECONDS", 0.0)
    explorer = Explorer(empty_home(root), provider=FakeModels())
    whole = explorer.dictionaries.columns(KEY, patience=60)
    (kept,) = [path for path in explorer.prepared.glob("*.arrow") if not path.name.startswith(("view", "words"))]
    os.truncate(kept, 0)  # while it is in use
    assert whole.table["density"].to_pylist() == explorer.dictionaries.columns(KEY).table["density"].to_pylist()
    explorer.close()
    again = Explorer(empty_home(root), provider=FakeModels())
    assert again.dictionaries.columns(KEY, patience=60).table["density"].to_pylist() == whole.table["density"].to_pylist()
    again.close()
    size = kept.stat().st_size
    for place in (size // 3, size - 2):
        flip(kept, place)
        assert kept_table(kept) is None
        flip(kept, place)
    assert kept_table(kept) is not None


def test_a_home_that_is_gone_is_not_an_empty_home(own: TestClient, root: Path) -> None:
    own.get(PAGE)
    root.rename(root.with_name("away"))
    for address in ("/", PAGE, "/leaderboards/hardest_features"):
        answer = own.get(address)
        assert answer.status_code == 503 and f"{root} is not there" in answer.text
    root.with_name("away").rename(root)  # raises where a page has begun a new home
    assert "words about number 7" in own.get(PAGE).text


def test_numbers_without_end_are_not_found_and_large_forms_are_refused(own: TestClient) -> None:
    for address in (f"/d/{KEY}/{'9' * 5000}", f"/d/{KEY}/{'9' * 40}", f"/rate/0123abcd/{'9' * 5000}", "/d/" + "a" * 5000 + "/b/c"):
        assert own.get(address).status_code == 404, address[:60]
    assert own.post("/rate", content=b"&".join([b"a=1"] * 2000)).status_code == 413
    for n in ("0" * 8 + "1" + "9" * 30, "9" * 5000, "٣"):
        assert own.post("/rate", data={"dictionary": KEY, "n": n, "n_contexts": "2"}).status_code == 400
    with pytest.raises(ValueError, match="longer than a disk takes"):
        check_dictionary_key("a" * 300 + "/b/c")


@pytest.mark.parametrize("token", ["", "  ", "a;b", "ключ", "a\r\nb"])
def test_a_token_that_is_none_is_refused(token: str) -> None:
    with pytest.raises(UserError, match="a token is letters and digits"):
        checked_token(token)
    with pytest.raises(UserError, match="cannot listen on"):
        listen("a" * 300, 0)


def test_what_cannot_be_read_of_a_raters_file_is_not_lost(own: TestClient, root: Path) -> None:
    task = own.post("/rate", data={"dictionary": KEY, "n": "4", "n_contexts": "2"}).headers["location"]
    for place in range(2):
        assert own.post(f"{task}/{place}", data={"rating-0": "3", "rating-1": "2"}).status_code == 303
    file = rater_file(root / "ratings", "ada")
    cut = file.read_bytes()[:-40]
    file.write_bytes(cut)
    answer = own.post(f"{task}/3", data={"rating-0": "3"})
    assert answer.status_code == 400 and f"line 5 of {file} cannot be read" in answer.text and file.read_bytes() == cut


@pytest.mark.parametrize("content", ['[{"rater": "eve", "te', "7", '[{"rater": 1, "text": 2, "at": 3}]', "[" * 100_000])
def test_notes_that_cannot_be_read_are_named_and_set_aside(own: TestClient, root: Path, content: str) -> None:
    save_note(root / "notes", KEY, 7, "eve", "mine")
    path = note_file(root / "notes", KEY, 7)
    path.write_text(content)
    assert f"{path} cannot be read" in own.get(PAGE).text
    assert own.post(f"{PAGE}/note", data={"text": "new"}).status_code == 303
    assert [note.text for note in notes_on(root / "notes", KEY, 7)] == ["new"]
    (aside,) = files_set_aside(root / "notes", KEY, 7)
    assert aside.read_text() == content and "was set aside" in own.get(PAGE).text
