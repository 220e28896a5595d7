"""`interp query` in a terminal: names, nearest names, tables that fit, and what to do in an empty home."""

import os
import pydoc
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from interp_assets.assets.warehouse.views import view_files
from interp_assets.cli import output
from interp_assets.cli.main import app
from interp_assets.cli.output import OutputFormat, fitting, print_frame
from interp_assets.installation.home import Home
from interp_assets.installation.one_dagster import claimed
from interp_assets.installation.server import ServerError, running_server
from interp_assets.tables import SCORES

FRAME = pl.DataFrame({"feature": [1, 2], "explanation": ["a long text " * 9, "short"], **{f"score_{n}": [0.5, 0.25] for n in range(9)}})


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Runs `interp` in an empty home."""
    monkeypatch.setenv("INTERP_HOME", str(tmp_path / "home"))
    return lambda *arguments: CliRunner().invoke(app, list(arguments))


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch):
    """Makes the output a terminal of so many columns and lines."""

    def of(columns: int, lines: int = 100) -> None:
        monkeypatch.setattr(output.sys.stdout, "isatty", lambda: True, raising=False)
        monkeypatch.setattr(output.shutil, "get_terminal_size", lambda fallback=(80, 24): os.terminal_size((columns, lines)))

    return of


def test_every_view_and_table_has_a_line(run) -> None:
    lines = run("query", "views").output.splitlines()
    described = {line.split()[0]: line.split(maxsplit=1)[1] for line in lines}
    assert list(described)[: len(view_files())] == list(view_files())
    assert described["outcomes"] == "How every feature and every trial of every stage ended"
    assert described["scores"] == "one metric of one scorer for one feature's explanation"
    assert all(len(text) > 10 for text in described.values())


def test_a_typo_is_answered_with_the_nearest_names(run) -> None:
    said = run("query", "score").output
    assert "did you mean 'scores'" in said and "`interp query views` lists" in said and "leaderboard" not in said
    said = run("query", "SELECT * FROM scors_by_methd").output
    assert "?." not in said
    assert said.index("does not exist") < said.index("did you mean 'scores_by_method'") < said.index("interp query views")


def test_sql_without_a_blank_is_sql(run) -> None:
    for written in ("SELECT\n1\nAS\none", "FROM\t(VALUES(1))\tAS\tt(one)"):
        assert run("query", written, "--format", "csv").output.splitlines()[0] == "one"
    assert run("query", "Scores;", "--format", "csv").output.splitlines()[0].startswith("dictionary,")


def test_duckdbs_own_hint_comes_first(run) -> None:
    said = run("query", "SELECT explanatio FROM explanations").output
    assert said.index("Candidate bindings") < said.index("interp query views") and "no view is called" not in said


def test_an_empty_home_says_what_fills_it(run, tmp_path: Path) -> None:
    said = run("query", "scores_by_method").output
    assert f"no dictionary is registered in the home {tmp_path / 'home'}" in said and "interp demo" in said
    (tmp_path / "home" / "dictionaries").mkdir(parents=True)
    (tmp_path / "home" / "dictionaries" / "m__00__n.yaml").write_text("{key: m/00/n, hook: h, kind: topk_neurons, k: 4, width: 64}")
    assert "interp run m/00/n --features firing:10" in run("query", "scores_by_method").output
    assert "note" not in run("query", "dictionaries").output


def test_commands_say_that_the_lake_is_away(run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    home = Home(tmp_path / "home", str(tmp_path / "home" / "lake"))
    home.root.mkdir()
    write_scores(home)
    run("query", "scores")
    assert "holds nothing" not in caplog.text
    (home.root / "lake").rename(tmp_path / "disk")
    (home.root / "lake").mkdir()
    answer = run("query", "scores_by_method")
    assert f"{home.root / 'lake'} holds nothing, and this home's results were in it" in caplog.text and "interp demo" not in answer.output
    said = run("doctor")
    assert said.exit_code == 1 and any(line.split()[:2] == ["FAIL", "lake"] for line in said.output.splitlines())
    caplog.clear()
    monkeypatch.setenv("INTERP_LAKE", str(tmp_path / "lakke"))
    run("query", "scores")
    assert f"{tmp_path / 'lakke'} holds nothing, and this home's results are in {home.root / 'lake'}" in caplog.text
    lines: list[str] = []
    opened = Home.from_environment()
    opened.begin_lost_lake_anew(lines.append)
    opened.begin_lost_lake_anew(lines.append)
    assert len(lines) == 1 and "everything is made again: Ctrl-C" in lines[0]


def write_scores(home: Home) -> None:
    """A partition of scores without rows."""
    cell = {"dictionary": "m/00/n", "feature_range": "00of16", "explanation_method": "max_act", "scorer": "detection"}
    home.lake.write(SCORES.name, cell, SCORES.schema, SCORES.schema.empty_table(), "v1")


def test_doctor_says_the_next_step(run, tmp_path: Path) -> None:
    assert "interp demo" in run("doctor").output and "interp register my-sae.yaml" in run("doctor").output
    (tmp_path / "home" / "dictionaries").mkdir(parents=True)
    (tmp_path / "home" / "dictionaries" / "m__00__n.yaml").write_text("{key: m/00/n, hook: h, kind: topk_neurons, k: 4, width: 64}")
    said = run("doctor").output
    assert "interp run m/00/n --features firing:10" in said and "settings.yaml before you believe a score" in said


def test_a_port_where_no_server_is_is_said(tmp_path: Path) -> None:
    home = Home(tmp_path / "home", str(tmp_path / "home" / "lake"))
    with pytest.raises(ServerError, match=r"not answer at http://127.0.0.1:1: start it with `interp ui --port 1`"), running_server(home, 1):
        pass
    with (
        claimed(home.dagster, "http://127.0.0.1:2"),
        pytest.raises(ServerError, match=r"it answers at http://127.0.0.1:2, or leave --port out"),
        running_server(home, 1),
    ):
        pass


@pytest.mark.parametrize("columns", [40, 80, 120, 200])
def test_a_table_fits_the_terminal(columns: int, terminal, capsys: pytest.CaptureFixture) -> None:
    terminal(columns)
    print_frame(FRAME, OutputFormat.table, 40)
    lines = capsys.readouterr().out.splitlines()
    table = [line for line in lines if line[:1] in "┌│╞└"]
    assert table and all(len(line) <= columns for line in table)
    shown, _ = fitting(FRAME, columns)
    hidden = [name for name in FRAME.columns if name not in shown]
    assert any("--wide prints all" in line for line in lines) == bool(hidden)
    assert all(name in "\n".join(lines) for name in FRAME.columns)


def test_a_number_of_rows_that_was_not_counted_whole_says_so(capsys: pytest.CaptureFixture) -> None:
    print_frame(FRAME, OutputFormat.table, 1, total=3_000_000, is_all=False)
    assert capsys.readouterr().out.endswith("\n1 rows of 3,000,000 or more\n")
    print_frame(FRAME, OutputFormat.table, 1)
    assert capsys.readouterr().out.endswith("\n1 of 2 rows; --limit 0 prints all\n")


def test_a_table_holds_nothing_that_a_terminal_obeys(terminal, capsys: pytest.CaptureFixture) -> None:
    terminal(120)
    texts = ["\x1b[31mred", "\u202ecba", "a\u2028b\u2029c", "\u200bnothing", "two\nlines", None]
    print_frame(pl.DataFrame({"text": texts, "n": range(6)}), OutputFormat.table, 0)
    out = capsys.readouterr().out
    assert not set("\x1b\u202e\u2028\u2029\u200b") & set(out) and "\ufffdcba" in out and "two" in out and "lines" in out and "null" in out


def test_wide_and_piped_tables_have_every_column(terminal, capsys: pytest.CaptureFixture) -> None:
    print_frame(FRAME, OutputFormat.table, 40)
    assert "score_8" in capsys.readouterr().out
    terminal(60)
    print_frame(FRAME, OutputFormat.table, 40, wide=True)
    wide = capsys.readouterr().out
    assert "score_8" in wide and ("a long text " * 9).strip() in wide


def test_a_long_table_goes_to_the_pager(terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    paged: list[str] = []
    monkeypatch.setattr(pydoc, "pager", paged.append)
    terminal(80, 5)
    print_frame(FRAME, OutputFormat.table, 40)
    assert len(paged) == 1 and "feature" in paged[0]


@pytest.mark.parametrize(
    ("output", "told"),
    [
        ("csv", "i,m,b,z\nP3D,P1MT90.5S,00ff,PT0S\n"),
        ("json", '[{"i":"P3D","m":"P1MT90.5S","b":"00ff","z":"PT0S"}]\n'),
    ],
)
def test_intervals_and_bytes_are_texts(run, output: str, told: str) -> None:
    sql = r"SELECT INTERVAL 3 DAY AS i, INTERVAL '1 month 90.5 seconds' AS m, '\x00\xff'::BLOB AS b, INTERVAL 0 SECOND AS z"
    done = run("query", sql, "--format", output)
    assert (done.exit_code, done.stdout) == (0, told), done.output
