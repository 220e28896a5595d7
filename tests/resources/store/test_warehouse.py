"""The DuckDB file: views over whatever the lake holds, and every question in sql/."""

import math
import subprocess
import sys
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from interp_assets.assets.warehouse.duckdb_file import Warehouse
from interp_assets.assets.warehouse.views import view_files
from interp_assets.config.records import DictionaryRecord
from interp_assets.config.registry import DictionaryRegistry
from interp_assets.tables import SCHEMA_VERSION, SCORES, TABLES
from resources.store.duckdb_views import hide_progress
from resources.store.lake import Lake


def score(dictionary: str, feature: int, method: str, value: float | None, scorer: str = "detection") -> dict:
    return {
        "dictionary": dictionary, "feature_range": "00of16", "feature": feature, "explanation_method": method, "scorer": scorer,
        "metric": "balanced_accuracy", "headline": True, "stratum": None, "value": value, "ci_low": value, "ci_high": value, "floor": 0.5,
        "n_positive": 5, "n_negative": 5, "n_unanswered": 0, "outcome": "ok" if value is not None else "no_explanation",
    }  # fmt: skip


def warehouse(tmp_path: Path) -> Warehouse:
    registry = DictionaryRegistry(tmp_path / "dictionaries")
    for name, kind, k in (("sae", "sae_lens", None), ("neurons", "topk_neurons", 4), ("rotated", "rotated_topk_neurons", 4)):
        hook = "h" if k is None else "g"
        registry.write(DictionaryRecord(key=f"m/09/{name}", hook=hook, kind=kind, width=8, k=k, source="x" if k is None else None))
    registry.write(DictionaryRecord(key="m/08/rotated", hook="g", kind="rotated_topk_neurons", width=8, k=4))
    return Warehouse(tmp_path / "warehouse.duckdb", Lake(str(tmp_path / "lake"), SCHEMA_VERSION), registry)


def test_every_view_answers_on_an_empty_lake(tmp_path: Path) -> None:
    house = warehouse(tmp_path)
    views = house.build()
    assert set(views) == {t.name for t in TABLES} | set(view_files())
    with house.open() as connection:
        for view in views:
            assert connection.execute(f"SELECT count(*) FROM {view}").fetchone() == (0,), view


def test_scores_show_up_in_the_views_with_medians_worked_out_by_hand(tmp_path: Path) -> None:
    house = warehouse(tmp_path)
    scored = {"09/sae": [0.6, 0.8, 1.0, None], "09/neurons": [0.5, 0.5, 0.7], "09/rotated": [0.4, 0.6], "08/rotated": [0.1]}
    for name, values in scored.items():
        rows = [score(f"m/{name}", i, "max_act", v) for i, v in enumerate(values)]
        rows += [score(f"m/{name}", i, "shuffled", 0.5 + i / 10) for i in range(len(values))]
        table = pa.Table.from_pylist(rows, schema=SCORES.schema)
        cell = {"scorer": "detection", "dictionary": f"m/{name}", "feature_range": "00of16"}
        house.lake.write(SCORES.name, cell, SCORES.schema, table, "v")
    house.build()
    with house.open() as connection:
        sae = "dictionary = 'm/09/sae'"
        method = f"SELECT n_features, n_unscored, median, floor FROM scores_by_method WHERE {sae} AND explanation_method = 'max_act'"
        assert connection.execute(method).fetchall() == [(3, 1, 0.8, 0.5)]
        sql = (
            "SELECT control, control_dictionary, same_hook, n_features, n_control_features, median, control_median, difference, "
            "ci_low, ci_high FROM against_controls WHERE explanation_method = 'max_act' AND dictionary = "
        )
        found = connection.execute(sql + "'m/09/sae'").fetchall()
        # Paired: 0.1, 0.2 and 0.3 above the shuffled 0.5, 0.6 and 0.7. Dictionaries of another layer are no controls. Of three features no
        # honest interval of the mean exists, so none is given.
        assert [row[:5] for row in found] == [
            ("rotated_topk_neurons", "m/09/rotated", False, 3, 2), ("shuffled", "m/09/sae", True, 3, 3),
            ("topk_neurons", "m/09/neurons", False, 3, 3),
        ]  # fmt: skip
        expected = [(0.8, 0.5, 0.3), (0.8, 0.6, 0.2), (0.8, 0.5, 0.8 - 1.7 / 3)]
        for (*_, median, control, difference, low, high), numbers in zip(found, expected, strict=True):
            assert (median, control, difference) == pytest.approx(numbers) and low is high is None
        controls = {"m/09/neurons": ["m/09/rotated", "m/09/neurons"], "m/09/rotated": ["m/09/rotated"], "m/08/rotated": ["m/08/rotated"]}
        for dictionary, named in controls.items():  # of a single feature there is no interval
            assert [row[1] for row in connection.execute(f"{sql}'{dictionary}'").fetchall()] == named
        alone = connection.execute(f"{sql}'m/08/rotated'").fetchone()
        assert alone is not None and alone[-3:] == (pytest.approx(-0.4), None, None)


def test_trained_controls_stand_first_and_are_no_dictionary_of_their_own_right(tmp_path: Path) -> None:
    house = warehouse(tmp_path)
    fields = {"hook": "h", "kind": "random_topk", "width": 8, "d_in": 4, "k": 4}
    house.registry.write(DictionaryRecord(key="m/09/zz-frozen", control="frozen_decoder", **fields))
    house.registry.write(DictionaryRecord(key="m/09/aa-random", **fields))
    for number, name in enumerate(["sae", "rotated", "zz-frozen", "aa-random"]):
        rows = [score(f"m/09/{name}", i, method, 0.9 - number / 10) for i in range(4) for method in ("max_act", "shuffled")]
        cell = {"scorer": "detection", "dictionary": f"m/09/{name}", "feature_range": "00of16"}
        house.lake.write(SCORES.name, cell, SCORES.schema, pa.Table.from_pylist(rows, schema=SCORES.schema), "v")
    house.build()
    with house.open() as connection:
        columns = "control, control_dictionary, trained_control"
        sql = f"SELECT {columns} FROM against_controls WHERE explanation_method = 'max_act' AND dictionary = "
        assert connection.execute(f"{sql}'m/09/sae'").fetchall() == [
            ("frozen_decoder", "m/09/zz-frozen", True), ("random_topk", "m/09/aa-random", False),
            ("rotated_topk_neurons", "m/09/rotated", False), ("shuffled", "m/09/sae", False),
        ]  # fmt: skip
        assert connection.execute(f"{sql}'m/09/zz-frozen'").fetchall() == [("shuffled", "m/09/zz-frozen", False)]
        found = connection.execute("SELECT dictionary, control FROM dictionaries WHERE control IS NOT NULL").fetchall()
        assert found == [("m/09/zz-frozen", "frozen_decoder")]


@pytest.mark.parametrize(("n", "bounds"), [(12, (3, 10)), (6, (1, 6)), (100, (41, 60)), (5, (None, None))])
def test_a_median_lies_between_the_order_statistics_of_the_sign_test(tmp_path: Path, n: int, bounds: tuple[int | None, int | None]) -> None:
    house = warehouse(tmp_path)
    rows = [score("m/09/sae", i, "max_act", float(1 + i * 7 % n if math.gcd(7, n) == 1 else 1 + i)) for i in range(n)]
    cell = {"scorer": "detection", "dictionary": "m/09/sae", "feature_range": "00of16"}
    house.lake.write(SCORES.name, cell, SCORES.schema, pa.Table.from_pylist(rows, schema=SCORES.schema), "v")
    house.build()
    with house.open() as connection:
        assert connection.execute("SELECT median_ci_low, median_ci_high FROM scores_by_method").fetchall() == [bounds]


def test_quadrants_and_correlations_worked_out_by_hand(tmp_path: Path) -> None:
    """Features 0 to 3 in the four quadrants; gains 4, 3, 2, 1 against fuzzing 0.9, 0.6, 0.8, 0.5: ranks 4 3 2 1 against 4 2 3 1."""
    house = warehouse(tmp_path)
    gains, fuzzing = ((4.0, 1.0), (3.0, 1.0), (2.0, -1.0), (1.0, -2.0)), ((0.9, 0.7), (0.6, 0.4), (0.8, 0.6), (0.5, 0.3))
    rows = {"intervention": [], "fuzzing": []}
    for scorer, pairs, floor in (("intervention", gains, 0.0), ("fuzzing", fuzzing, 0.5)):
        for feature, (value, low) in enumerate(pairs):
            known = {"floor": floor, "ci_high": 9.0}
            rows[scorer].append({**score("m/09/sae", feature, "max_act", value, scorer), **known, "ci_low": low})
            # Higher by value, but its interval is not above the floor; and a baseline, which does not count.
            rows[scorer].append(
                {**score("m/09/sae", feature, "vocab_proj", value if low <= floor else 5.0, scorer), **known, "ci_low": floor - 1}
            )
            rows[scorer].append({**score("m/09/sae", feature, "shuffled", 8.0, scorer), **known, "ci_low": 7.0})
        rows[scorer].append({**score("m/09/sae", 9, "max_act", None, scorer), "floor": None})
        cell = {"scorer": scorer, "dictionary": "m/09/sae", "feature_range": "00of16"}
        house.lake.write(SCORES.name, cell, SCORES.schema, pa.Table.from_pylist(rows[scorer], schema=SCORES.schema), "v")
    house.build()
    with house.open() as connection:
        columns = "feature, quadrant, intervention, intervention_ci_low, intervention_method, fuzzing, fuzzing_ci_low, fuzzing_method"
        assert connection.execute(f"SELECT {columns} FROM feature_quadrants").fetchall() == [
            (0, "both", 4.0, 1.0, "max_act", 0.9, 0.7, "max_act"), (1, "output_only", 3.0, 1.0, "max_act", 0.6, 0.4, "max_act"),
            (2, "input_only", 2.0, -1.0, "max_act", 0.8, 0.6, "max_act"), (3, "neither", 1.0, -2.0, "max_act", 0.5, 0.3, "max_act"),
        ]  # fmt: skip
        assert connection.execute("SELECT feature, explanation FROM output_features").fetchall() == [(1, None)]
        (found,) = connection.execute("SELECT * FROM intervention_against_fuzzing").fetchall()
    assert found[:2] == ("m/09/sae", 4) and found[4:] == (1, 1, 1, 1)
    assert round(found[2], 9) == 0.8  # 1 - 6 · (1 + 1) / (4 · 15)
    # Deviations 1.5 0.5 -0.5 -1.5 and 0.2 -0.1 0.1 -0.2: 0.5 / sqrt(5 · 0.1)
    assert round(found[3], 9) == round(0.5 / 0.5**0.5, 9)


def test_readers_keep_reading_while_the_file_is_rebuilt(tmp_path: Path) -> None:
    house = warehouse(tmp_path)
    house.build()
    with house.open() as reader:
        house.build()
        assert reader.execute("SELECT count(*) FROM scores").fetchone() == (0,)
        with house.open() as second:
            assert second.execute("SELECT count(*) FROM dictionaries").fetchone() == (4,)


def test_a_lake_on_an_object_store_is_read_through_its_own_file_system(tmp_path: Path) -> None:
    lake = Lake(f"memory://{tmp_path.name}/lake", SCHEMA_VERSION)
    house = Warehouse(tmp_path / "warehouse.duckdb", lake, warehouse(tmp_path).registry)
    table = pa.Table.from_pylist([score("m/09/sae", i, "max_act", v) for i, v in enumerate((0.6, 0.8, 1.0))], schema=SCORES.schema)
    lake.write(SCORES.name, {"scorer": "detection", "dictionary": "m/09/sae", "feature_range": "00of16"}, SCORES.schema, table, "v")
    house.build()
    with house.open() as connection:
        assert connection.execute("SELECT n_features, median FROM scores_by_method").fetchall() == [(3, 0.8)]


def scored(house: Warehouse) -> dict[str, str]:
    """A partition of scores in the lake, and its name."""
    cell = {"scorer": "detection", "dictionary": "m/09/sae", "feature_range": "00of16"}
    table = pa.Table.from_pylist([score("m/09/sae", 3, "max_act", 0.8)], schema=SCORES.schema)
    house.lake.write(SCORES.name, cell, SCORES.schema, table, "v")
    return cell


def test_a_log_that_a_killed_writer_left_does_not_close_the_next_file(tmp_path: Path) -> None:
    house = warehouse(tmp_path)
    scored(house)
    house.build()
    code = f"import duckdb, os; c = duckdb.connect({str(house.path)!r}); c.execute('create table mine as select 1 as a'); os._exit(9)"
    subprocess.run([sys.executable, "-c", code])
    assert Path(f"{house.path}.wal").exists(), "the writer left its log"
    house.build()
    with house.open() as connection:
        assert connection.execute("SELECT value FROM scores").fetchall() == [(0.8,)]


def test_a_table_on_another_disk_is_read_and_a_linked_part_is_named(tmp_path: Path) -> None:
    house = warehouse(tmp_path)
    cell, question = scored(house), "SELECT value FROM scores"
    table = Path(house.lake.root) / SCORES.name
    table.rename(tmp_path / "elsewhere")
    table.symlink_to(tmp_path / "elsewhere")
    assert warehouse(tmp_path).query(question).rows.column(0).to_pylist() == [0.8]
    table.unlink()
    (tmp_path / "elsewhere").rename(table)
    part = next(Path(house.lake.path(SCORES.name, cell)).glob("*.parquet"))
    part.rename(tmp_path / "part.parquet")
    part.symlink_to(tmp_path / "part.parquet")
    with pytest.raises(duckdb.PermissionException, match=r"is a link to .*outside of the lake"):
        warehouse(tmp_path).query(question)


def test_a_notebook_without_widgets_has_no_progress_bar_to_turn_off() -> None:
    asked = []

    class InJupyter:
        def execute(self, sql: str) -> None:
            asked.append(sql)
            raise duckdb.InvalidInputException("required package 'ipywidgets' is missing, which is needed to render progress bars")

    hide_progress(InJupyter())  # type: ignore[arg-type]
    assert asked == ["SET enable_progress_bar = false"]
    with duckdb.connect(":memory:") as connection:
        hide_progress(connection)
        assert connection.execute("SELECT current_setting('enable_progress_bar')").fetchone() == (False,)
