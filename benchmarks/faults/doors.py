"""Attacks through doors that are meant for something else: SQL that writes, cells that are formulas, text that is HTML."""

import csv
import io
import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import duckdb

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))

from browser import EVERYTHING, NO_BROWSER, browser, opened, ran

from benchmarks.faults.attacks import REFUSED, RIGHT, SKIPPED, WRONG, Result, attack
from benchmarks.faults.stores import warehouse, written
from interp_assets.domain.ratings.rating_tasks import Candidate
from interp_assets.ratings.tasks import RatingTask, TaskItem, TaskSettings, Window, task_csv, task_page
from resources.formats.answer_frames import frame_of
from resources.formats.spreadsheet_cells import inert_csv
from resources.store.duckdb_views import RefusedStatement

SQL = {
    "reads a file": "SELECT * FROM read_csv('{secret}')",
    "reads a file by its name": "SELECT * FROM '{secret}'",
    "reads text": "SELECT content FROM read_text('{secret}')",
    "lists a folder": "SELECT * FROM glob('{folder}/*')",
    "goes up from the lake": "SELECT * FROM read_text('{folder}/lake/../secret.csv')",
    "writes a file": "COPY scores TO '{out}'",
    "writes over a part": "COPY (SELECT 1) TO '{part}'",
    "writes while it explains": "EXPLAIN ANALYZE COPY (SELECT 1) TO '{out}'",
    "writes in a second statement": "SELECT 1; COPY (SELECT 1) TO '{out}'",
    "attaches a file": "ATTACH '{out}'",
    "exports": "EXPORT DATABASE '{out}'",
    "imports": "IMPORT DATABASE '{folder}'",
    "unlocks": "SET enable_external_access = true",
    "installs": "INSTALL httpfs",
    "loads": "LOAD httpfs",
    "creates": "CREATE TABLE t (a INT)",
    "reads Python's variables": "SELECT * FROM house",
    "reads secrets": "SELECT * FROM duckdb_secrets()",
    "hides a write": "/**/ COPY (SELECT 1) TO '{out}'",
    "deletes behind a pivot": "WITH a AS (FROM (PIVOT scores ON scorer USING count(*))) DELETE FROM dictionaries",
    "inserts behind a pivot": "WITH a AS (FROM (PIVOT scores ON scorer USING count(*))) INSERT INTO dictionaries FROM dictionaries",
    "is no UTF-8": "SELECT '\udce9'",
    "reads the network": "SELECT * FROM 'http://127.0.0.1:9/x.csv'",
}


def bad_sql(folder: Path, quick: bool, sql: str) -> Result:
    first = written(folder)
    (folder / "secret.csv").write_text("key\nhunter2\n")
    part, out = first / "part-0.parquet", folder / "out"
    before, house = part.read_bytes(), warehouse(folder)
    try:
        found = house.query(sql.format(secret=folder / "secret.csv", folder=folder, out=out, part=part))
    except (duckdb.Error, RefusedStatement) as error:
        wrote = out.exists() or part.read_bytes() != before
        return Result(WRONG, "refused, and written") if wrote else Result(REFUSED, str(error).splitlines()[0])
    return Result(RIGHT) if "hunter2" not in str(found.rows) and not found.rows.num_rows else Result(WRONG, str(found.rows)[:200])


for name, sql in SQL.items():
    attack(f"SQL that {name}", sql=sql)(bad_sql)


ANSWERS = {
    "a join with all columns twice": ("SELECT * FROM scores x JOIN scores y ON x.feature = y.feature", "feature_1"),
    "two columns of one name": ("SELECT 1 AS a, 2 AS a", "a_1"),
    "a year before Christ": ("SELECT DATE '5000-01-01 (BC)' AS a", "5000-01-01 (BC)"),
    "a time without end": ("SELECT 'infinity'::TIMESTAMP AS a", "infinity"),
    "24 o'clock": ("SELECT TIME '24:00:00' AS a", "24:00:00"),
    "an unsigned number of 128 bits": (
        "SELECT 340282366920938463463374607431768211455::UHUGEINT AS a",
        "340282366920938463463374607431768211455",
    ),
    "a union": ("SELECT union_value(b := 7) AS a", "7"),
    "a big number": ("SELECT '12345678901234567890123456789012345678901234567890'::BIGNUM AS a", "12345678901234567890123456789"),
}


def odd_answer(folder: Path, quick: bool, sql: str, told: str) -> Result:
    """The answer is printed whole in every form."""
    written(folder)
    frame = frame_of(warehouse(folder).query(sql).rows)
    printed = (str(frame), inert_csv(frame), frame.write_json())
    return Result(RIGHT) if all(told in text.replace("\\", "") for text in printed[1:]) else Result(WRONG, printed[1][:200])


for name, (sql, told) in ANSWERS.items():
    attack(f"an answer with {name}", sql=sql, told=told)(odd_answer)


def task_of(text: str) -> RatingTask:
    window = Window(text, 0, (text, " a"), (1.0, 0.0))
    return RatingTask("t", (TaskItem(Candidate(f"{text}/09/a", 1, text, text, "max_act", {}, None), (window,), 1.0),), TaskSettings())


class _Tags(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        assert not any(name.startswith("on") for name, _ in attrs)


for text in (
    "<script>alert(1)</script>",
    "</script><script>x</script>",
    '"><img src=x onerror=x>',
    "<!--<script>",
    "{{ 7 * 7 }}",
    "\u2028",
):

    @attack(f"a rating page with {text!r} everywhere", text=text)
    def hostile_page(folder: Path, quick: bool, text: str) -> Result:
        return Result(RIGHT) if _Tags(task_page(task_of(text))).tags == _Tags(task_page(task_of("plain"))).tags else Result(WRONG)


for text in ("=1+1", "+1+1", "-1+cmd", "@SUM(A1)", "\t=1", "\r=1", " =1+1", "＝1"):

    @attack(f"a CSV with {text!r} as an explanation", text=text)
    def formula(folder: Path, quick: bool, text: str) -> Result:
        rows = list(csv.reader(io.StringIO(task_csv(task_of(text)), newline="")))
        return Result(RIGHT) if len(rows) == 2 and not any(cell.startswith(tuple("=+-@\t\r＝")) for cell in rows[1]) else Result(WRONG)


for text in (";=1+1", "x;+1+1", "x\n=1", "x\t@SUM(A1)", "x;\u202e=1", "x\r\n-1+cmd"):

    @attack(f"a CSV with {text!r} as an explanation, split at semicolons, tabs and lines", text=text)
    def formula_behind_separator(folder: Path, quick: bool, text: str) -> Result:
        cells = re.split(r"[;\t\r\n]", task_csv(task_of(text)))
        return Result(RIGHT) if not any(cell.strip(" \u202e").startswith(tuple("=+-@")) for cell in cells) else Result(WRONG)


@attack("a rating page with every hostile text, in a real browser")
def in_a_browser(folder: Path, quick: bool) -> Result:
    if browser() is None:
        return Result(SKIPPED, NO_BROWSER)
    page = folder / "page.html"
    page.write_text(task_page(task_of(EVERYTHING)))
    dom = opened(page)
    return Result(RIGHT) if not ran(dom) and '<span id="count">0 of 1</span>' in dom else Result(WRONG, f"ran: {ran(dom)}")
