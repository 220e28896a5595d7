"""Pages and CSV files that survive whatever a token, an explanation, a key or a rater's name holds: parsed as a browser or sheet would."""

import csv
import io
import json
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interp_assets.assets.human_correlation_report.page import ReportText, TableText, write_page
from interp_assets.cli.output import OutputFormat, print_frame
from interp_assets.domain.ratings.rating_tasks import Candidate
from interp_assets.domain.ratings.ratings import COLUMNS
from interp_assets.ratings.tasks import RatingTask, TaskItem, TaskSettings, Window, task_csv, task_page
from resources.formats.rating_files import read_rating_rows
from resources.formats.spreadsheet_cells import inert_cell, written_cell

HOSTILE = (
    "<script>alert(1)</script>", "</script><script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "<!--<script>",
    "]]><svg onload=alert(1)>", "{{ 7 * 7 }}", "javascript:alert(1)", "</textarea></style></title><script>x</script>",
    "\u2028\u2029</script >", "<ScRiPt\n>x</sCrIpT\t>",
)  # fmt: skip
FORMULAS = ("=1+1", "+1+1", "-1+cmd", "@SUM(A1)", "\t=1", "\r=1", " =1+1", "＝1", "'=1", "''=1", "|calc", "%0A")


class Elements(HTMLParser):
    """The elements and the text of a page, as a parser of HTML finds them."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.scripts: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, data: str) -> None:
        if self.cdata_elem == "script":  # type: ignore[attr-defined]
            self.scripts[-1] += data
        else:
            self.text += data

    @property
    def tags(self) -> list[str]:
        return [tag for tag, _ in self.found]


def task_of(text: str) -> RatingTask:
    """A task whose explanation, tokens, dictionary and ids are all this text."""
    window = Window(text, 0, (text, " a", text), (1.0, 0.0, 0.5))
    item = TaskItem(Candidate(f"{text}/09/a", 1, text, text, "max_act", {}, None), (window,), 1.0)
    return RatingTask("task", (item,), TaskSettings())


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("as_a_whole", [False, True])
def test_no_element_of_a_rating_page_comes_from_data(text: str, as_a_whole: bool) -> None:
    plain, hostile = (Elements(task_page(replace(task_of(one), settings=TaskSettings(as_a_whole=as_a_whole)))) for one in ("plain", text))
    assert hostile.tags == plain.tags and hostile.tags.count("script") == 3
    assert not [name for _, attributes in hostile.found for name in attributes if name.startswith("on")]
    assert hostile.scripts[2] == plain.scripts[2], "the program is that of the template"
    (row,) = json.loads(hostile.scripts[0])
    assert row["explanation"] == text and row["dictionary"] == f"{text}/09/a", "data arrive as they are"


@pytest.mark.parametrize("text", [*HOSTILE, "$x^$", "a_$b", "\\frac{"])
def test_no_element_of_the_report_comes_from_data(tmp_path: Path, text: str) -> None:
    pages = []
    for one in ("plain", text):
        table = TableText(one, (one, "n"), ((one, "1"),))
        words = ReportText(one, one, (one,), one, (one,), (table,), (one,), ("interp ratings import FILE",))
        pages.append(Elements(write_page(words, (), tmp_path / "page", one).read_text()))
    plain, hostile = pages
    assert hostile.tags == plain.tags and "script" not in hostile.tags
    assert hostile.text.count(text) == plain.text.count("plain") >= 6


@pytest.mark.parametrize("text", FORMULAS)
def test_cells_of_a_task_are_no_formulas_and_come_back_as_they_were(tmp_path: Path, text: str) -> None:
    content = task_csv(task_of(text))
    (row,) = csv.DictReader(io.StringIO(content, newline=""))
    assert all(cell[:1] not in tuple("=+-@\t\r|%＝") for cell in row.values())
    file = tmp_path / "ratings.csv"
    file.write_text(content, newline="")
    (read,) = read_rating_rows(file, "Ada")
    assert read.fields["explanation"] == text.replace("\r", "\n") or read.fields["explanation"] == text
    assert set(COLUMNS) <= set(read.fields)


@given(st.text(st.sampled_from("'=+-@\t 1a|%.e;,\n\r\u200b\u202e"), max_size=10))
def test_an_inert_cell_is_read_back_as_the_text(text: str) -> None:
    assert written_cell(inert_cell(text)) == text or inert_cell(text) == text


@pytest.mark.parametrize("separator", [";", "\t", "\n", "\r"])
@pytest.mark.parametrize("text", [";=cmd", "a;=1+1;b", "x\t=1", "x\n@SUM(A1)", "x\r\n -1+cmd", "b;\u202e=1", "c;\u200b\u2066+1-1", "-5;=1"])
def test_no_cell_is_a_formula_where_lines_are_split_at_other_separators(separator: str, text: str) -> None:
    """As a spreadsheet opens it where numbers are written with commas: at semicolons or tabs, and quotes hold nothing together."""
    line = f'1,"{inert_cell(text)}"'
    for cell in line.split(separator)[1:]:
        begins = cell.strip().lstrip("\u200b\u202e\u2066").strip()
        assert not begins.startswith(("=", "+", "-", "@")), line
    assert written_cell(inert_cell(text)) == text


@pytest.mark.parametrize("text", ["a; -5", "x;-0.5,+1", "1;+2\n", "tea; coffee", "a -> b; c => d"])
def test_lists_of_numbers_and_of_words_stay_as_they_are(text: str) -> None:
    assert inert_cell(text) == text == written_cell(text)


@pytest.mark.parametrize(("text", "cell"), [("-0.5", "-0.5"), ("+1e-3", "+1e-3"), ("-1+1", "'-1+1"), ("cats", "cats"), ("", "")])
def test_numbers_and_plain_texts_stay_as_they_are(text: str, cell: str) -> None:
    assert inert_cell(text) == cell


def test_the_csv_of_a_query_has_no_formulas_and_keeps_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    import polars as pl

    frame = pl.DataFrame({"=cmd": ["=1+1", None, "plain"], "n": [-1.5, 2.0, None], "l": [["=1"], [], None]})
    print_frame(frame, OutputFormat.csv, 0)
    header, *rows = csv.reader(io.StringIO(capsys.readouterr().out))
    assert header == ["'=cmd", "n", "l"]
    assert rows[0][:2] == ["'=1+1", "-1.5"] and rows[2] == ["plain", "", ""]
