"""Pages whose every text is hostile, in a real browser: nothing of the texts runs, and the pages' own programs do."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from browser import EVERYTHING, HOSTILE, NO_BROWSER, RUNS_RAW, browser, opened, ran
from test_hostile_text import task_of

from interp_assets.assets.human_correlation_report.correlations import RatedScores
from interp_assets.assets.human_correlation_report.figures import figures
from interp_assets.assets.human_correlation_report.page import ReportText, TableText, ratings_by, report_text, write_page
from interp_assets.domain.ratings.human_correlation import CorrelationSettings, correlation_report
from interp_assets.domain.ratings.ratings import Explained, Place, Rating, rated_explanations
from interp_assets.ratings.tasks import TaskSettings, task_page

pytestmark = pytest.mark.skipif(browser() is None, reason=NO_BROWSER)

RATES = """<script>
rater.value = NAME; rater.dispatchEvent(new Event("input"));
document.querySelector("input[value='3']").click();
URL.createObjectURL = () => "about:blank#"; HTMLAnchorElement.prototype.click = () => {};
document.getElementById("save").click();
</script>"""
COMES_BACK = """<script>
localStorage.setItem("rating-task-task", JSON.stringify({ rater: NAME, given: [["2", "1"]] }));
</script>"""


def as_program(text: str) -> str:
    """A text as a literal of JavaScript that is safe in HTML."""
    return json.dumps(text).replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def test_a_page_that_writes_texts_as_they_are_runs_them(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text(f"<!doctype html><html><body><div>{EVERYTHING}</div></body></html>")
    assert ran(opened(page)) == RUNS_RAW and len(RUNS_RAW) > 10
    page.write_text(f'<!doctype html><html><body><script>const a = "{HOSTILE[14].replace("RUN", "document.title = 1")}"</script>')
    assert "<title>1</title>" in opened(page)


@pytest.mark.parametrize("as_a_whole", [False, True])
def test_a_rating_page_runs_nothing_of_its_texts_and_rates_under_any_name(tmp_path: Path, as_a_whole: bool) -> None:
    task = replace(task_of(EVERYTHING), settings=TaskSettings(as_a_whole=as_a_whole))
    content, page = task_page(task), tmp_path / "page.html"
    page.write_text(content.replace("</body>", RATES.replace("NAME", as_program(EVERYTHING)) + "</body>"))
    dom = opened(page)
    assert ran(dom) == set()
    assert re.search(r"Saved 1 of 1 ratings as rating-task-task-[\w-]+\.csv\.", dom), "the page's own program has run"
    page.write_text(content.replace("<body>", "<body>" + COMES_BACK.replace("NAME", as_program(EVERYTHING))))
    dom = opened(page)
    assert ran(dom) == set() and '<span id="count">1 of 1</span>' in dom, "what was kept of an earlier visit is there"


def hostile_study() -> RatedScores:
    """Forty features whose explanations, raters, dictionaries and a scorer are hostile texts."""
    rng = np.random.default_rng(0)
    ratings, quality = [], {}
    for feature in range(40):
        quality[feature] = float(rng.uniform(1, 4))
        explained = Explained(f"{feature:012d}", f"{EVERYTHING} {feature}", (EVERYTHING,))
        for rater in (EVERYTHING, HOSTILE[0]):
            value = float(np.clip(round(quality[feature] + rng.normal(0, 0.4)), 1, 4))
            place = Place(EVERYTHING, 2)
            ratings.append(
                Rating(rater, "human", f"{HOSTILE[2]}/0{feature % 2}/d", feature, explained, "w", 1, 4, value, None, None, place)
            )
    explanations = rated_explanations(ratings, 1)
    scores = [{"fuzzing": quality[one.feature], EVERYTHING: float(rng.normal())} for one in explanations]
    return RatedScores("human", tuple(ratings), tuple(explanations), ("ok",) * 40, tuple(scores), 0)


def test_the_correlation_report_runs_nothing_of_its_texts(tmp_path: Path) -> None:
    settings, study = CorrelationSettings(n_bootstrap=100, min_contexts=1), hostile_study()
    report = correlation_report(study.items, settings)
    path = write_page(report_text(study, report, settings), figures(study.items, report, ratings_by(study)), tmp_path / "study", "v")
    dom = opened(path)
    assert ran(dom) == set() and dom.count("<img ") >= 4 and "&lt;script&gt;" in dom
    table = TableText(EVERYTHING, (EVERYTHING, "n"), ((EVERYTHING, "1"),))
    words = ReportText(EVERYTHING, EVERYTHING, (EVERYTHING,), EVERYTHING, (EVERYTHING,), (table,), (EVERYTHING,), (EVERYTHING,))
    assert ran(opened(write_page(words, (), tmp_path / "everything", EVERYTHING))) == set()
