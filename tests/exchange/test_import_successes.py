"""Imported successes in the lake and in the view that holds our own: the same table from the same numbers."""

import math
from pathlib import Path

import pyarrow as pa
import pytest
from typer.testing import CliRunner

from interp_assets.assets.warehouse.duckdb_file import Warehouse
from interp_assets.cli.main import app
from interp_assets.config.records import DictionaryRecord
from interp_assets.config.registry import DictionaryRegistry
from interp_assets.domain.statistics.intervals import t_quantile
from interp_assets.domain.statistics.metrics import wilson
from interp_assets.exchange.import_successes import import_successes
from interp_assets.installation.home import Home
from interp_assets.tables import IMPORTED_SUCCESSES, SCHEMA_VERSION, SCORES
from resources.formats.interface import ExchangeError
from resources.store.lake import Lake

KEY, OWN = "m/20/res", "m/20/own"
HEADER = "Layer,Feature,max_act Description,max_act Input Success,max_act Output Success,vocab_proj Description,vocab_proj Output Success"


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"), SCHEMA_VERSION)


def record(**changes: object) -> DictionaryRecord:
    fields = {"key": KEY, "hook": "blocks.0.mlp.hook_post", "kind": "topk_neurons", "k": 4, "width": 64, **changes}
    return DictionaryRecord(**fields)  # type: ignore[arg-type]


def results(folder: Path, *lines: str) -> Path:
    (folder / "results.csv").write_text("\n".join([HEADER, *lines]))
    return folder / "results.csv"


def success_by_method(lake: Lake, tmp_path: Path, where: str) -> list[tuple]:
    registry = DictionaryRegistry(tmp_path / "dictionaries")
    warehouse = Warehouse(tmp_path / "warehouse.duckdb", lake, registry)
    warehouse.build()
    columns = "explanation_method, scorer, n, successes, rate, ci_low, ci_high, floor, n_unscored"
    with warehouse.open() as connection:
        return connection.execute(f"SELECT {columns} FROM success_by_method WHERE {where} ORDER BY 1, 2").fetchall()


def test_imported_results_give_the_table_that_the_same_scores_of_our_own_give(lake: Lake, tmp_path: Path) -> None:
    """Ten features: by inputs 7 of 9 succeed and of one nothing is known; by outputs 3 of 10. Of vocab_proj 2 of 2."""
    inputs = [True] * 7 + [False] * 2 + [None]
    outputs = [True] * 3 + [False] * 7
    lines = [
        f"20,{f},text {f},{'' if a is None else a},{int(b)},{'t,1' if f < 2 else ','}"
        for f, (a, b) in enumerate(zip(inputs, outputs, strict=True))
    ]
    manifest = import_successes(lake, record(), results(tmp_path, *lines))
    assert manifest.rows == 12
    scores = [("input_based", "max_act", inputs), ("output_based", "max_act", outputs), ("output_based", "vocab_proj", [True, True])]
    for scorer in ("input_based", "output_based"):
        own = [
            {
                "dictionary": OWN, "feature_range": "00of16", "feature": feature, "explanation_method": method, "scorer": scorer,
                "metric": "success", "headline": True, "stratum": None, "value": None if value is None else float(value),
                "floor": None if scorer == "input_based" else 1 / 3, "n_positive": 1, "n_negative": 5, "n_unanswered": 0,
                "outcome": "no_answers" if value is None else "ok",
            }
            for name, method, values in scores if name == scorer for feature, value in enumerate(values)
        ]  # fmt: skip
        other = {**own[0], "metric": "auroc", "headline": False, "value": 0.0}
        unexplained = {**own[0], "feature": 60, "value": None, "outcome": "no_explanation"}
        table = pa.Table.from_pylist([*own, other, unexplained], schema=SCORES.schema)
        cell = {"scorer": scorer, "dictionary": OWN, "feature_range": "00of16"}
        lake.write(SCORES.name, cell, SCORES.schema, table, "v")
    imported = success_by_method(lake, tmp_path, f"dictionary = '{KEY}' AND origin = 'imported'")
    assert imported == success_by_method(lake, tmp_path, f"dictionary = '{OWN}' AND origin = 'own'")
    assert [row[:4] for row in imported] == [
        ("max_act", "input_based", 9, 7), ("max_act", "output_based", 10, 3), ("vocab_proj", "output_based", 2, 2),
    ]  # fmt: skip
    assert [row[8] for row in imported] == [1, 0, 0] and [row[7] for row in imported] == [None, pytest.approx(1 / 3), pytest.approx(1 / 3)]
    assert imported[2][4:7] == (1.0, None, None)  # two features have no interval
    # Wilson's closed form for 7 of 9 with t of 8 degrees of freedom in z's place: centre (p + z²/2n) / (1 + z²/n), half its root's part.
    z, p, n = 2.306004, 7 / 9, 9  # as tables of t give it
    centre, half = (p + z**2 / (2 * n)) / (1 + z**2 / n), z * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    assert imported[0][4:7] == pytest.approx((p, centre - half, centre + half), abs=1e-5)
    for _, _, n, successes, rate, low, high, *_ in imported[:2]:
        expected = wilson(successes, n, t_quantile(n - 1))
        assert (rate, low, high) == pytest.approx((expected.value, expected.ci_low, expected.ci_high), abs=1e-5)


def test_every_bad_row_is_named_and_nothing_is_written(lake: Lake, tmp_path: Path) -> None:
    file = results(tmp_path, "20,1,cats,1,1,,", "20,2,dogs,perhaps,1,,", "20,1,mice,1,1,,", "20,64,mice,1,1,,")
    with pytest.raises(ExchangeError, match=r"3 of 4 rows are bad, allowed is a share of 0:") as refusal:
        import_successes(lake, record(), file)
    for problem in (
        f"{file} line 3: column 'max_act Input Success': 'perhaps'; allowed are True, False, 1, 0, or nothing",
        f"{file} line 4: column 'Feature': 1 has a row already, at {file} line 2; allowed is one a feature",
        f"{file} line 5: column 'Feature': '64'; allowed are 0 to 63",
    ):
        assert problem in str(refusal.value)
    assert lake.manifest(IMPORTED_SUCCESSES.name, {"dictionary": KEY}) is None
    said: list[str] = []
    assert import_successes(lake, record(), file, max_bad_share=0.75, say=said.append).rows == 1
    assert sum(line.startswith("left out") for line in said) == 3
    many = results(tmp_path, *(f"20,{feature},,x,,," for feature in range(30)))
    with pytest.raises(ExchangeError, match="20 more bad rows"):
        import_successes(lake, record(), many)


def test_a_new_file_replaces_the_last_and_features_not_selected_are_counted(lake: Lake, tmp_path: Path) -> None:
    lines = [f"20,{feature},text,1,0,," for feature in range(4)]
    first = import_successes(lake, record(), results(tmp_path, *lines))
    assert import_successes(lake, record(), results(tmp_path, *lines)) == first
    said: list[str] = []
    import_successes(lake, record(features=(2, 9)), results(tmp_path, *lines), say=said.append)
    rows = lake.read(IMPORTED_SUCCESSES.name, {"dictionary": KEY}).to_pylist()
    assert [(row["feature"], row["input_success"], row["output_success"], row["source"]) for row in rows] == [
        (2, True, False, "results.csv line 4")
    ]
    assert said[-1] == f"left out 3 rows of features that the record of {KEY} does not select"
    with pytest.raises(ExchangeError, match=r"no description of a feature that m/20/res selects \(4 rows read\)"):
        import_successes(lake, record(features=(9,)), results(tmp_path, *lines))


def test_on_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INTERP_HOME", str(tmp_path))
    Home.from_environment().registry.write(record())
    lines = ("20,1,cats,1,1,felines,0", "9,1,dogs,1,1,,")
    run = CliRunner().invoke(app, ["import", "output-centric", str(results(tmp_path, *lines)), "--dictionary", KEY, "--layer", "20"])
    assert run.exit_code == 0 and "m/20/res has 2 descriptions" in run.output
    asked = CliRunner().invoke(
        app, ["query", "SELECT explanation_method, scorer, rate FROM success_by_method ORDER BY 1, 2", "--format", "csv"]
    )
    assert asked.output.splitlines()[1:] == ["max_act,input_based,1.0", "max_act,output_based,1.0", "vocab_proj,output_based,0.0"]
    refused = CliRunner().invoke(app, ["import", "output-centric", str(tmp_path / "results.csv"), "--dictionary", KEY])
    assert refused.exit_code == 1 and "--layer" in refused.output and "Traceback" not in refused.output
