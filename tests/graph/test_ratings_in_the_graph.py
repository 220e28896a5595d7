"""From finished scores to a task, from a task to ratings, and from ratings to the report; the ratings are a script's and say so."""

import csv
import html
import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest
from installation import KEY, STAGES, Installation
from typer.testing import CliRunner, Result

from interp_assets.cli.main import app
from interp_assets.config.base import UserError
from interp_assets.config.settings import PlatformSettings
from interp_assets.domain.ratings.ratings import COLUMNS
from interp_assets.graph.sensors import automation_sensors
from interp_assets.ratings.tasks import TASK_COLUMNS, RatingTask, TaskSettings, rating_task, task_csv, task_page, task_rows
from interp_assets.tables import EXAMPLES, HUMAN_CORRELATIONS, HUMAN_RATINGS, SCORES

REPORTING = ("human_ratings", "human_correlation_report", "warehouse")
Rows = Callable[[str], list[tuple]]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, corpus: Path) -> Installation:
    """An installation whose graph has run over 32 features, without any ratings."""
    installation = Installation(tmp_path_factory.mktemp("rated"), corpus)
    installation.register(installation.record(features=tuple(range(0, 64, 2)), stages=STAGES))
    installation.home.settings_file.write_text("human_correlations: {n_bootstrap: 300}\n")
    installation.run_all()
    return installation


@pytest.fixture
def rows(finished: Installation) -> Rows:
    def answer(sql: str) -> list[tuple]:
        finished.home.warehouse.build()
        with finished.home.warehouse.open() as connection:
            return connection.execute(sql).fetchall()

    return answer


@pytest.fixture
def interp(finished: Installation, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Runs `interp` over the installation, whose ratings are taken away afterwards."""
    monkeypatch.setenv("INTERP_HOME", str(finished.home.root))
    monkeypatch.delenv("INTERP_LAKE", raising=False)
    yield lambda *arguments: CliRunner().invoke(app, ["ratings", *map(str, arguments)])
    for file in finished.home.ratings.glob("*"):
        file.unlink()


def task(finished: Installation, **changes: object) -> RatingTask:
    return rating_task(finished.home.lake, finished.home.registry, [KEY], TaskSettings(**changes))  # type: ignore[arg-type]


def metadata(finished: Installation, asset: str) -> dict[str, object]:
    (record,) = finished.instance.fetch_materializations(dg.AssetKey(asset), limit=1).records
    return {name: value.value for name, value in record.asset_materialization.metadata.items()}  # type: ignore[union-attr]


def checks(result: dg.ExecuteInProcessResult) -> dict[str, bool]:
    return {evaluation.check_name: evaluation.passed for evaluation in result.get_asset_check_evaluations()}


def fill_in(finished: Installation, rows_of_task: list[dict[str, str]], rater: str, folder: Path) -> Path:
    """The task as the page would save it, rated by rule: by the detection score of the explanation, with the rater's own slips."""
    scores = {}
    for manifest in finished.home.lake.manifests(SCORES.name):
        if manifest.partition["scorer"] == "detection":
            found = finished.home.lake.read(SCORES.name, manifest.partition).to_pylist()
            scores |= {(r["feature"], r["explanation_method"]): r["value"] for r in found if r["headline"]}
    path = folder / f"{rater}.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, [name for name in COLUMNS if name != "explanation_method"], extrasaction="ignore")
        writer.writeheader()
        for number, row in enumerate(rows_of_task):
            score = scores[int(row["feature"]), "max_act"] or 0.5
            rating = min(4, max(1, round(1 + 3 * score + (0.7 if number % len(rater) == 0 else -0.3))))
            writer.writerow({**row, "rater": rater, "rating": rating, "seconds": "2.5"})
    return path


def test_without_ratings_the_report_is_complete_and_says_what_to_do(finished: Installation, rows: Rows) -> None:
    assert metadata(finished, "human_correlation_report")["ratings_are"] == "none yet"
    page = (finished.home.reports / "human_correlations" / "index.html").read_text()
    assert "There are no ratings yet" in page and "interp ratings template" in page
    for table in ("human_ratings", "rated_explanations", "human_correlations", "scorer_pairs", "rater_agreement", "scorers_that_differ"):
        assert rows(f"SELECT count(*) FROM {table}") == [(0,)], table


def test_a_task_is_blind_stratified_and_held_out(finished: Installation, rows: Rows) -> None:
    made = task(finished, n=12, n_contexts=4)
    assert len(made.items) == 12 == len({item.chosen.feature for item in made.items})
    assert {item.chosen.method for item in made.items} == {"max_act"}  # baselines are not asked about unless named
    held_out = {r[0] for r in rows(f"SELECT example_id FROM {EXAMPLES.name} WHERE role = 'held_out' AND kind = 'activating'")}
    windows = [window for item in made.items for window in item.windows]
    assert {window.example_id for window in windows} <= held_out and len(windows) == 48
    assert all(len({window.stratum for window in item.windows}) == 4 for item in made.items)
    page, table = task_page(made), task_csv(made)
    for telling in ("max_act", "shuffled", "detection", "fuzzing", "score"):
        assert telling not in page + table.split("\n", 1)[1], telling
    visible = re.sub(r"<(script|style).*?</\1>", "", page, flags=re.S)
    assert KEY not in visible and "feature" not in visible
    assert task_rows(task(finished, n=12, n_contexts=4)) == task_rows(made) != task_rows(task(finished, n=12, n_contexts=4, seed=1))
    order = [item.chosen.feature for item in made.items]
    assert order != sorted(order)


def test_the_page_stands_on_its_own_and_carries_the_rows_that_it_saves(finished: Installation) -> None:
    made = task(finished, n=5, n_contexts=3)
    page = task_page(made)
    assert "http" not in page and "src=" not in page and "@import" not in page and "url(" not in page
    carried = json.loads(re.search(r'<script type="application/json" id="rows">(.*?)</script>', page, re.S)[1])  # type: ignore[index]
    columns = json.loads(re.search(r'<script type="application/json" id="columns">(.*?)</script>', page, re.S)[1])  # type: ignore[index]
    assert [{name: row[name] for name in columns} for row in task_rows(made)] == carried and set(columns) < set(COLUMNS)
    assert [int(number) for number in re.findall(r'<fieldset data-row="(\d+)"', page)] == list(range(15))
    assert page.count('<input type="radio"') == 4 * 15
    shown = [html.unescape(text) for text in re.findall(r"</small>(.*?)</h2>", page)]
    assert shown == [item.chosen.text for item in made.items]
    first = re.search(r'<p class="window">(.*?)</p>', page, re.S)[1]  # type: ignore[index]
    assert html.unescape(re.sub(r"<[^>]+>", "", first)) == "".join(made.items[0].windows[0].tokens) and "background:rgba" in first


def test_a_task_of_whole_explanations_and_of_what_matters_most(finished: Installation, rows: Rows) -> None:
    whole = task(finished, n=4, as_a_whole=True)
    assert [row["context"] for row in task_rows(whole)] == [""] * 4 and task_page(whole).count("<fieldset") == 4
    assert task_page(whole).count('class="window"') == 4 * 5
    mass = dict(rows("SELECT feature, firing_count * mean_activation FROM feature_statistics WHERE firing_count > 0"))
    matters = task(finished, n=6, n_contexts=1, selection="importance")
    assert all(item.chosen.importance == pytest.approx(mass[item.chosen.feature]) for item in matters.items) and len(matters.items) == 6
    baselines = task(finished, n=10, methods=("max_act", "shuffled"))
    assert min(Counter(item.chosen.method for item in baselines.items)[method] for method in ("max_act", "shuffled")) >= 4


def test_from_a_task_to_the_report(finished: Installation, interp: Callable[..., Result], rows: Rows, tmp_path: Path) -> None:
    done = interp("template", "--dictionary", KEY, "--n", "24", "--out", tmp_path / "task")
    assert done.exit_code == 0 and "24 explanations of 24 features in 120 windows" in done.output, done.output
    assert "correlation from 0.56 up, with probability 0.8" in done.output
    table = next((tmp_path / "task").glob("*.csv"))
    with table.open() as file:
        asked = list(csv.DictReader(file))
    assert list(asked[0]) == list(TASK_COLUMNS) and len(asked) == 120 and all("<<" in row["window"] for row in asked)
    refused = interp("import", table)
    assert refused.exit_code == 1 and "no rating yet" in refused.output and not list(finished.home.ratings.glob("*"))
    for rater in ("script-a", "script-bb"):
        done = interp("import", fill_in(finished, asked, rater, tmp_path), "--generated")
        assert done.exit_code == 0 and f"120 ratings by {rater}; 0 rows are not yet rated" in done.output, done.output
    result = finished.run(*REPORTING)
    assert checks(result) == {
        "every_row_is_a_rating": True, "raters_are_people": False, "correlations_are_in_their_intervals": True, "enough_is_rated": False,
        "every_view_answers": True,
    }  # fmt: skip
    by_rater = "SELECT rater, count(DISTINCT explanation_id), count(*) / 24 FROM human_ratings GROUP BY 1 ORDER BY 1"
    assert rows(by_rater) == [
        ("script-a", 24, 5.0), ("script-bb", 24, 5.0),
    ]  # fmt: skip
    assert rows("SELECT outcome, count(*), min(n_contexts), min(n_raters) FROM rated_explanations GROUP BY 1") == [("ok", 24, 5, 2)]
    view = "SELECT rater_kind, scorer, n_features, spearman, ci_low, ci_high, published_spearman, outcome FROM scorers_against_people"
    detection, fuzzing = rows(view)
    assert detection[:3] == ("generated", "detection", 24) and detection[-2:] == (0.59, "ok") and fuzzing[-2] == 0.69
    assert detection[4] <= detection[3] <= detection[5] and detection[3] > 0.3  # the script rated by this scorer
    assert rows("SELECT corr(rating, scores['detection']) > 0.3, count(*) FROM rated_explanations_scored") == [(True, 24)]
    assert rows("SELECT count(*) FROM scorer_pairs") == [(1,)] and rows("SELECT count(*) FROM rater_agreement") == [(4,)]
    page = (finished.home.reports / "human_correlations" / "index.html").read_text()
    assert "Rehearsal on generated ratings" in page and "240 ratings by 2 raters of 24 explanations of 24 features" in page
    assert "300 bootstrap replicates" in page
    shown = metadata(finished, "human_correlation_report")
    assert "data:image/png;base64" in str(shown["report"])
    assert str(shown["correlations"]).startswith("![Which scorers follow the ratings?](data:image/svg+xml;base64,")
    _second_run_changes_nothing(finished)
    _a_changed_score_makes_the_report_stale(finished)


def _second_run_changes_nothing(finished: Installation) -> None:
    before, page = finished.lake_bytes(), (finished.home.reports / "human_correlations" / "index.html").read_bytes()
    finished.run(*REPORTING)
    assert finished.lake_bytes() == before and (finished.home.reports / "human_correlations" / "index.html").read_bytes() == page


def _a_changed_score_makes_the_report_stale(finished: Installation) -> None:
    version = finished.home.lake.require(HUMAN_CORRELATIONS.name, {}).data_version
    partition = next(m.partition for m in finished.home.lake.manifests(SCORES.name) if m.rows)
    scores, manifest = finished.home.lake.read(SCORES.name, partition), finished.home.lake.require(SCORES.name, partition)
    finished.home.lake.write(SCORES.name, partition, SCORES.schema, scores, "another version", manifest.inputs)
    finished.run("human_ratings", "human_correlation_report")
    assert finished.home.lake.require(HUMAN_CORRELATIONS.name, {}).data_version != version
    finished.home.lake.write(SCORES.name, partition, SCORES.schema, scores, manifest.data_version, manifest.inputs)


def test_a_dropped_file_with_bad_rows_is_read_and_its_bad_rows_are_named(
    finished: Installation, interp: Callable[..., Result], rows: Rows
) -> None:
    finished.home.ratings.mkdir(exist_ok=True)
    text = rows("SELECT feature, explanation FROM explanations WHERE explanation_method = 'max_act' AND outcome = 'ok' ORDER BY 1 LIMIT 1")[
        0
    ]
    lines = [
        f'{rater},{KEY},{feature},"{text[1]}",1,5,{rating}'
        for rater, feature, rating in (("x", text[0], 4), ("x", 1, 4), ("x", text[0], 7))
    ]
    header = "rater,dictionary,feature,explanation,scale_min,scale_max,rating"
    (finished.home.ratings / "dropped.csv").write_text("\n".join([header, *lines]))
    result = finished.run(*REPORTING)
    assert result.success and not checks(result)["every_row_is_a_rating"]
    assert rows('SELECT file, line, "column", value FROM rejected_ratings ORDER BY line') == [
        ("dropped.csv", 3, "feature", "1"), ("dropped.csv", 4, "rating", "7"),
    ]  # fmt: skip
    assert "0, 2, 4, 6" in rows("SELECT allowed FROM rejected_ratings WHERE line = 3")[0][0]
    assert "dropped.csv" in str(metadata(finished, "human_ratings")["rejected"])
    assert rows("SELECT rater_kind, normalised FROM human_ratings") == [("human", 0.75)]
    assert (
        "1 rated feature with scores: no correlation is given below 10"
        in (finished.home.reports / "human_correlations" / "index.html").read_text()
    )
    (finished.home.ratings / "dropped.csv").unlink()
    finished.run(*REPORTING)
    assert finished.home.lake.require(HUMAN_RATINGS.name, {}).rows == 0 and rows("SELECT count(*) FROM human_correlations") == [(0,)]


def test_stupid_inputs(finished: Installation, interp: Callable[..., Result], tmp_path: Path) -> None:
    def refused(*arguments: object) -> str:
        result = interp(*arguments)
        assert result.exit_code == 1 and "error:" in result.output and "Traceback" not in result.output, result.output
        return " ".join(result.output.split())

    out = ("--out", tmp_path / "task")
    assert KEY in refused("template", "--dictionary", "fake/00/typo", *out)
    assert "there is no such explanation method; did you mean 'max_act'?; there are max_act" in refused(
        "template", "--dictionary", KEY, "--method", "maxact", *out
    )
    assert "has no explanation by human in the lake" in refused("template", "--dictionary", KEY, "--method", "human", *out)
    assert interp("template", "--dictionary", KEY, "--n", "0", *out).exit_code == 2 and not (tmp_path / "task").exists()
    more = interp("template", "--dictionary", KEY, "--n", "500", *out)
    assert more.exit_code == 0 and "500 explanations were asked for, and there are no more" in more.output
    table = next((tmp_path / "task").glob("*.csv"))
    table.write_text(table.read_text().replace("\n,", "\n3,", 1))
    assert "has been filled in. Import it" in refused("template", "--dictionary", KEY, "--n", "500", *out)
    assert "1 of 1 rated rows are rejected" in refused("import", table)  # nobody is named
    assert "there is no file" in refused("import", tmp_path / "nowhere.csv")
    assert "is not registered" in refused("import", table, "--dictionary", "fake/00/typo")
    assert "is no file name" in refused("import", table, "--name", "../x")
    wrong = tmp_path / "wrong.csv"
    wrong.write_text(f"rater,dictionary,feature,explanation,scale_min,scale_max,rating\nx,{KEY},0,no such words,1,4,3\n")
    said = refused("import", wrong)
    assert (
        "wrong.csv line 2, explanation 'no such words': allowed is an explanation of feature 0 of fake/00/neurons:" in said
        and "max_act" in said
    )
    assert not list(finished.home.ratings.glob("*"))
    columns = interp("columns").output
    assert all(name in columns for name in COLUMNS)
    with pytest.raises(UserError, match="has no feature statistics"):
        empty = Installation(tmp_path / "empty", finished.corpus)
        empty.register(finished.record(features=(0,)))
        for name in ("explanations", "feature_examples", "examples"):
            for manifest in finished.home.lake.manifests(name):
                schema = finished.home.lake.read(name, manifest.partition)
                empty.home.lake.write(name, manifest.partition, schema.schema, schema, "1")
        rating_task(empty.home.lake, empty.home.registry, [KEY], TaskSettings(selection="importance"))


def test_the_sensor_asks_for_a_run_when_the_files_change(tmp_path: Path) -> None:
    new_ratings = next(sensor for sensor in automation_sensors(PlatformSettings()) if sensor.name == "new_ratings")

    def asked(cursor: str | None) -> tuple[int, str | None]:
        with dg.build_sensor_context(cursor=cursor, resources={"ratings_folder": tmp_path / "ratings"}) as context:
            result = new_ratings(context)
        assert isinstance(result, dg.SensorResult)
        return len(result.run_requests or []), result.cursor if result.run_requests else cursor

    assert asked(None) == (0, None)
    (tmp_path / "ratings").mkdir()
    (tmp_path / "ratings" / "a.csv").write_text("rater")
    n, cursor = asked(None)
    assert n == 1 and cursor and asked(cursor) == (0, cursor)
    (tmp_path / "ratings" / "a.csv").write_text("rater,")
    n, later = asked(cursor)
    assert n == 1 and later != cursor
    (tmp_path / "ratings" / "a.csv").unlink()
    assert asked(later) == (1, "") and asked("") == (0, "")
