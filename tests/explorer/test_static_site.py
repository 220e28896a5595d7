"""The static copy: its links lead to its own files, it appears whole or not at all, and a browser shows and searches it from a folder."""

import json
import os
import re
from collections.abc import Iterable
from pathlib import Path

import pytest
from browser import EVERYTHING, NO_BROWSER, browser, opened, opened_at, ran
from small_home import KEY, small_home

from interp_assets.config.base import UserError
from interp_assets.config.feature_lists import AskedFeatures
from interp_assets.config.keys import FEATURE_RANGE_KEYS
from interp_assets.explorer import static_site
from interp_assets.explorer.explorer import Explorer
from interp_assets.explorer.static_site import export_site
from interp_assets.installation.home import Home
from interp_assets.reading.feature_rows import FeatureRows
from interp_assets.tables import EXPLANATIONS, SCORES


def exported(home: Home, folder: Path, features: Iterable[int] | None) -> list[str]:
    """Exports, and gives what was said."""
    said: list[str] = []
    export_site(Explorer(home), folder, [KEY], None if features is None else AskedFeatures.of(features), said.append)
    return said


def addresses(file: Path) -> list[str]:
    """Every address in a page."""
    return re.findall(r' (?:href|src|action)="([^"#?]*)', file.read_text())


@pytest.fixture(scope="module")
def site(home: Home, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy with three features of the small home."""
    folder = tmp_path_factory.mktemp("site") / "copy"
    assert exported(home, folder, [3, 5, 20]) == ["3 of 3 features written"]
    return folder


def test_every_link_of_a_copy_leads_to_a_file_of_it(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    for page in pages:
        for address in filter(None, addresses(page)):
            if not address.startswith(("http://", "https://")):
                assert not address.startswith("/") and (page.parent / address).resolve().is_file(), f"{page.relative_to(site)}: {address}"
        assert "default-src 'none'" in page.read_text().split("</title>")[0] or "embed" in page.name
    names = {page.relative_to(site).as_posix() for page in pages}
    assert {"index.html", "search.html", "report.html", "leaderboards/scores_by_method.html", f"d/{KEY}/index.html"} <= names
    assert {f"d/{KEY}/{feature}{end}" for feature in (3, 5, 20) for end in (".html", "/embed.html")} <= names
    assert f"d/{KEY}/4.html" not in names


def test_a_copy_holds_what_the_pages_show(site: Path) -> None:
    page = (site / "d" / KEY / "20.html").read_text()
    assert "words about number 20" in page and 'href="../../../../d/toy/00/sae/5.html"' in page and 'rel="next"' not in page
    assert json.loads((site / "d" / KEY / "20.json").read_text())["feature"] == 20
    listed = (site / "d" / KEY / "index.html").read_text()
    assert listed.count("<tr data-row>") == 3 and "<b>3</b> in this copy" in listed
    assert "scorer" in (site / "leaderboards" / "scores_by_method.csv").read_text()
    assert "noting" not in page and "/why/" not in page and "/context/" not in page


def test_a_range_takes_the_features_that_are_known(home: Home, tmp_path: Path) -> None:
    assert exported(home, tmp_path / "site", range(30, 100)) == ["2 of 2 features written"]


def test_all_known_features_are_in_a_copy_of_all(home: Home, tmp_path: Path) -> None:
    exported(home, tmp_path / "copy", None)
    assert len(list((tmp_path / "copy" / "d" / KEY).glob("*.json"))) == 32


def test_another_export_takes_the_place_of_an_earlier_one(home: Home, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    exported(home, folder, [1, 2])
    exported(home, folder, [3])
    assert [path.name for path in (folder / "d" / KEY).glob("*.json")] == ["3.json"]
    assert [path.name for path in tmp_path.iterdir()] == ["copy"]


def test_an_export_that_fails_leaves_what_was_there(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "copy"
    exported(home, folder, [1])
    before = sorted((path.relative_to(folder), path.read_bytes()) for path in folder.rglob("*") if path.is_file())
    child = os.fork()
    if child == 0:
        static_site._listings = lambda *_: os._exit(9)  # killed in the middle
        exported(home, folder, [2])
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    monkeypatch.setattr(static_site, "as_json", lambda _: (_ for _ in ()).throw(OSError("the disk is full")))
    for target in (folder, tmp_path / "new"):
        with pytest.raises(OSError, match="full"):
            exported(home, target, [2])
    assert sorted((path.relative_to(folder), path.read_bytes()) for path in folder.rglob("*") if path.is_file()) == before
    assert not (tmp_path / "new").exists()
    monkeypatch.undo()
    exported(home, folder, [2])
    assert [path.name for path in tmp_path.iterdir()] == ["copy"]  # and nothing of the killed one is left


def test_what_cannot_be_exported_is_named(home: Home, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="it holds notes"):
        exported(home, tmp_path, [1])
    told = "toy/00/sae has none of the features asked for; 32 of its features are in the lake: 0, 1, 2, 3, 4, …"
    with pytest.raises(UserError, match=told):
        exported(home, tmp_path / "copy", range(77, 79))
    with pytest.raises(UserError, match="no feature 77"):
        exported(home, tmp_path / "copy", [1, 77])
    with pytest.raises(UserError, match="no feature 77"):
        export_site(Explorer(home), tmp_path / "copy", [KEY], AskedFeatures.parse("77,0-9"), print)
    with pytest.raises(UserError, match="toy/00/nothing"):
        export_site(Explorer(home), tmp_path / "copy", ["toy/00/nothing"], None, print)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_kept_row_groups_give_the_same_rows(home: Home) -> None:
    plain, keeping = FeatureRows(home.lake), FeatureRows(home.lake, kept_groups=2)
    for name in FEATURE_RANGE_KEYS[:4]:
        for feature in range(10):
            for table, extra in ((SCORES, {"scorer": "fuzzing"}), (EXPLANATIONS, {"explanation_method": "max_act"})):
                where = {**extra, "dictionary": KEY, "feature_range": name}
                for columns in (None, ["explanation_method"]):
                    assert keeping.of(table, where, feature, columns) == plain.of(table, where, feature, columns)


@pytest.mark.skipif(browser() is None, reason=NO_BROWSER)
def test_a_browser_searches_a_copy_from_a_folder(site: Path) -> None:
    dom = opened_at(f"{(site / 'search.html').as_uri()}?q=number+2")
    assert "1 features" in dom and f'href="d/{KEY}/20.html"' in dom and "words about number 20" in dom
    assert "3 features" not in dom and "0 features" in opened_at(f"{(site / 'search.html').as_uri()}?q=%3Cscript%3E")


@pytest.mark.skipif(browser() is None, reason=NO_BROWSER)
def test_nothing_runs_in_a_copy_of_hostile_texts(tmp_path: Path) -> None:
    home = small_home(tmp_path / "home", lambda said: said + EVERYTHING)
    exported(home, tmp_path / "copy", [7])
    for page in ("search.html", f"d/{KEY}/7.html"):
        assert ran(opened(tmp_path / "copy" / page)) == set()
