"""Rows of views that are kept are the rows that the view's SQL gives over the partitions as they are now."""

import shutil
import threading
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from interp_assets.assets.warehouse import keeping, kept_answers
from interp_assets.assets.warehouse.duckdb_file import Warehouse
from interp_assets.assets.warehouse.question import Question
from interp_assets.assets.warehouse.units import tables_of
from interp_assets.assets.warehouse.views import KEPT_BY, order_of, view_files
from interp_assets.config.records import DictionaryRecord
from interp_assets.config.registry import DictionaryRegistry
from interp_assets.installation.forgetting import forget_copies
from interp_assets.installation.home import Home
from interp_assets.tables import SCHEMA_VERSION, SCORES, TABLES, Table
from resources.store.duckdb_views import duckdb_type
from resources.store.lake import Lake

KEYS = ("m/00/a", "m/00/frozen", "m/00/neurons", "m/01/a", "m/01/other")
WORDS: dict[str, list[str]] = {
    "dictionary": ["x"], "other_dictionary": list(KEYS), "scorer": ["detection", "fuzzing", "intervention", "output_based"],
    "explanation_method": ["max_act", "shuffled", "none"], "metric": ["balanced_accuracy", "gini"], "source": ["model", "store"],
    "assignment": ["nearest", "one_to_one"], "perturbation": ["false", "narrowed", "broadened"], "model": ["judge"],
}  # fmt: skip
READ = sorted({name for view in KEPT_BY for name in tables_of(view, [table.name for table in TABLES])})


def value(field: pa.Field, table: Table, rng: np.random.Generator) -> Any:
    """A random value of a column, the same few again and again, so that groups have several rows."""
    kind = field.type
    if field.name == "outcome":
        return table.outcomes[rng.integers(2)] if table.outcomes else "ok"
    if field.nullable and rng.random() < 0.1:
        return None
    if pa.types.is_dictionary(kind) or pa.types.is_string(kind):
        return str(rng.choice(WORDS.get(field.name, ["x", "y"])))
    if pa.types.is_boolean(kind):
        return bool(rng.random() < 0.7)
    if pa.types.is_floating(kind):
        return float(rng.random())
    if pa.types.is_integer(kind):
        return 0 if field.name == "rank" else int(rng.integers(12))
    return []


def write(house: Warehouse, table: Table, dictionary: str, feature_range: str, seed: int) -> None:
    """A partition of random rows, one a key of the table."""
    rng = np.random.default_rng([seed, *table.name.encode(), *dictionary.encode(), *feature_range.encode()])
    fixed = {"dictionary": dictionary, "feature_range": feature_range}
    partition = {name: fixed.get(name) or str(rng.choice(WORDS.get(name, ["x"]))) for name in table.partition_columns}
    rows = {}
    for _ in range(60):
        row = {field.name: value(field, table, rng) for field in table.schema} | partition
        row["feature" if "feature" in row else "x"] = int(rng.integers(10)) + 10 * int(feature_range[:2])
        rows[tuple(row[name] for name in table.keys)] = {name: row[name] for name in table.schema.names}
    if table is SCORES:  # a scorer has one headline metric
        for row in rows.values():
            row["headline"], row["stratum"] = row["metric"] == "balanced_accuracy", None
        rows = {tuple(row[name] for name in table.keys): row for row in rows.values()}
    house.lake.write(table.name, partition, table.schema, pa.Table.from_pylist(list(rows.values()), schema=table.schema), f"v{seed}")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home of five dictionaries with random rows of every table that a kept view reads."""
    root = tmp_path_factory.mktemp("home")
    registry = DictionaryRegistry(root / "dictionaries")
    for number, key in enumerate(KEYS):
        kind = "topk_neurons" if key.endswith("neurons") else "random_topk"
        record: dict[str, Any] = {"key": key, "hook": "h", "kind": kind, "width": 32, "k": 4}
        record |= {"d_in": 4} if kind == "random_topk" else {}
        record |= {"control": "frozen_decoder"} if key.endswith("frozen") else {}
        record |= {"checkpoint": {"series": "run", "step": 100 * number}} if key.startswith("m/01") else {}
        registry.write(DictionaryRecord.model_validate(record))
    house = warehouse(root)
    for table in TABLES:
        if table.name in READ:
            for key in KEYS:
                for feature_range in ("00of16", "01of16")[: 2 if "feature_range" in table.partition_columns else 1]:
                    for seed in range(3 if table.partition_columns[0] in ("scorer", "explanation_method") else 1):
                        write(house, table, key, feature_range, seed)
    return root


@pytest.fixture
def house(written: Path, tmp_path: Path) -> Warehouse:
    """The warehouse of a copy of that home."""
    shutil.copytree(written, tmp_path / "home")
    return warehouse(tmp_path / "home")


def warehouse(root: Path) -> Warehouse:
    return Warehouse(root / "warehouse.duckdb", Lake(str(root / "lake"), SCHEMA_VERSION), DictionaryRegistry(root / "dictionaries"))


def answer(house: Warehouse, sql: str, verify: bool = False) -> pa.Table:
    """The rows of a question."""
    return house.query(sql, verify).rows


def alike(one: pa.Table, other: pa.Table) -> bool:
    """Whether two tables have the same columns and rows, but for the last bits of numbers and the order of equal ranks."""

    def rounded(value: Any) -> Any:
        if isinstance(value, float):
            return round(value, 9) + 0.0
        return [rounded(item) for item in value] if isinstance(value, list | tuple) else value

    def listed(table: pa.Table) -> list[str]:
        return sorted(repr([rounded(value) for value in row.values()]) for row in table.to_pylist())

    return one.schema.equals(other.schema) and listed(one) == listed(other)


def kept_units(house: Warehouse, view: str) -> set[str]:
    """The units of a view of which rows are kept in their present state."""
    state = house._state([table.name for table in TABLES], house._records.read())
    kept = Question(state, f"FROM {view}")._kept
    return kept[view].units if view in kept else set()


def test_kept_rows_are_what_the_views_answer(house: Warehouse) -> None:
    before = {view: answer(house, f"SELECT * FROM {view}") for view in KEPT_BY}
    empty = [view for view, rows in before.items() if not rows.num_rows]
    assert not empty, "a view without rows shows nothing"
    house.copy()
    for view, rows in before.items():
        assert kept_units(house, view) == {
            "dictionary": set(KEYS), "layer": {"m/00", "m/01"}, "series": {"run"},
            "kind of a layer": {"m/00/random_topk", "m/00/topk_neurons", "m/01/random_topk"},
        }[KEPT_BY[view]], view  # fmt: skip
        now = answer(house, f"SELECT * FROM {view}")
        assert alike(rows, now), view
        first = order_of(view_files()[view]).split(",")[0].split()
        assert first[1:] or now[first[0]].to_pylist() == sorted(now[first[0]].to_pylist()), view
    house.build()
    with house.open() as connection:
        for view, rows in before.items():
            assert alike(rows, connection.sql(f"SELECT * FROM {view}").to_arrow_table()), view


def test_a_changed_dictionary_is_worked_out_anew_at_once_and_kept_by_the_next_copy(house: Warehouse) -> None:
    house.copy()
    write(house, SCORES, "m/00/a", "01of16", 7)
    for view in KEPT_BY:
        reads_scores = "scores" in tables_of(view, ["scores"])
        assert ("m/00/a" in kept_units(house, view)) != reads_scores or KEPT_BY[view] != "dictionary", view
        rows = answer(house, f"SELECT * FROM {view}", verify=True)
        assert alike(answer(house, f"SELECT * FROM {view}"), rows), view
        if KEPT_BY[view] != "kind of a layer":
            for asked in (["m/00/a"], ["m/00/a", "m/01/a"], ["m/01/other"]):
                sql = f"SELECT * FROM {view} WHERE dictionary IN ({', '.join(map(repr, asked))})"
                assert alike(answer(house, sql), rows.filter(pc.is_in(rows["dictionary"], pa.array(asked)))), sql
    written: list[str] = []
    write_kept = kept_answers.KeptAnswers.write
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            kept_answers.KeptAnswers, "write", lambda self, view, *rest: written.extend(rest[-1]) or write_kept(self, view, *rest)
        )
        house.copy()
        assert set(written) == {"m/00/a", "m/00", "m/00/random_topk"}, "increments alone"
        written.clear()
        house.copy()
        assert not written
    assert kept_units(house, "leaderboard") == set(KEYS)


def test_a_record_that_changes_and_a_dictionary_that_goes_change_the_rows(house: Warehouse) -> None:
    house.copy()
    sql = "SELECT * FROM against_controls"
    before = answer(house, sql)
    record = house.registry.get("m/00/frozen")
    house.registry.write(record.model_copy(update={"control": "shuffled_weights"}))
    changed = answer(house, sql)
    assert not alike(before, changed) and alike(changed, answer(house, sql, verify=True))
    for manifest in list(house.lake.manifests("scores")):
        if manifest.partition["dictionary"] == "m/00/a":
            house.lake.remove("scores", manifest.partition)
    for view in ("leaderboard", "against_controls", "scores_by_layer", "disagreements"):
        sql = f"SELECT * FROM {view}"
        assert alike(answer(house, sql), answer(house, sql, verify=True)), view
    assert answer(house, "SELECT * FROM leaderboard WHERE dictionary = 'm/00/a'").num_rows == 0
    house.copy()
    assert answer(house, "SELECT * FROM leaderboard WHERE dictionary = 'm/00/a'").num_rows == 0


@pytest.mark.parametrize("file_rows", [0, 1_000_000])
def test_small_files_are_put_together_and_large_files_stay(house: Warehouse, monkeypatch: pytest.MonkeyPatch, file_rows: int) -> None:
    monkeypatch.setattr(keeping, "KEPT_BY", {"leaderboard": "dictionary"})
    monkeypatch.setattr(keeping, "CHUNK_ROWS", 1)
    monkeypatch.setattr(kept_answers, "FILE_ROWS", file_rows)
    house.copy()
    folder = house.answers.folder / "leaderboard"
    held = [file.file for file in house.answers._list("leaderboard")]
    assert len(held) == (1 if file_rows else len(KEYS))
    write(house, SCORES, "m/00/a", "01of16", 7)
    house.copy()
    assert alike(answer(house, "SELECT * FROM leaderboard"), answer(house, "SELECT * FROM leaderboard", verify=True))
    now = [file.file for file in house.answers._list("leaderboard")]
    assert len(now) == len(held) and len(set(now) & set(held)) == (0 if file_rows else len(KEYS) - 1)
    assert all((folder / name).exists() for name in held), "readers with an open warehouse keep their files for an hour"


def test_lost_files_and_lists_cost_time_and_no_rows(house: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "KEPT_BY", dict.fromkeys(["leaderboard", "scores_by_method"], "dictionary"))
    house.copy()
    sql = "SELECT * FROM leaderboard"
    expected = answer(house, sql, verify=True)
    for damage in (b"", b"[]", b'{"format": 1}'):
        (house.answers.folder / "leaderboard" / "files.json").write_bytes(damage)
        assert alike(answer(house, sql), expected) and not kept_units(house, "leaderboard")
    for file in (house.answers.folder / "scores_by_method").glob("*.parquet"):
        file.write_bytes(b"damage")
    sql = "SELECT * FROM scores_by_method"
    assert alike(answer(house, sql), answer(house, sql, verify=True))
    house.copy()
    assert kept_units(house, "leaderboard") == kept_units(house, "scores_by_method") == set(KEYS)


def test_nothing_is_kept_of_a_forgotten_dictionary(house: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "CHUNK_ROWS", 1)
    monkeypatch.setattr(kept_answers, "FILE_ROWS", 0)
    house.copy()
    forget_copies(Home(house.path.parent, house.lake.root), "m/00/a")
    for view, kind in KEPT_BY.items():
        assert kept_units(house, view) == (set(KEYS) - {"m/00/a"} if kind == "dictionary" else set()), view
    for file in house.answers.folder.rglob("*.parquet"):
        assert "m/00/a" not in pq.read_table(file)["kept_unit"].to_pylist()


def test_readers_go_on_while_copies_are_made_again(house: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "KEPT_BY", dict.fromkeys(["leaderboard", "scores_by_method"], "dictionary"))
    house.copy()
    over, failures, counts = threading.Event(), [], []
    reader = Warehouse(house.path, house.lake, house.registry)

    def read() -> None:
        while not over.is_set():
            try:
                counts.append(reader.query("SELECT dictionary, n_features FROM leaderboard").rows.num_rows)
                reader.query("SELECT max(value) FROM scores")
            except duckdb.Error as error:
                failures.append(error)

    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    for seed in range(7, 9):
        write(house, SCORES, "m/01/a", "00of16", seed)
        house.copy()
    over.set()
    for thread in threads:
        thread.join()
    assert not failures and len(counts) > 1 and min(counts) > 0


def test_kept_views_read_only_tables_by_dictionary_and_order_by_their_own_columns() -> None:
    by_dictionary = {table.name for table in TABLES if "dictionary" in table.partition_columns}
    assert set(READ) <= by_dictionary and set(KEPT_BY) <= set(view_files())


def test_an_empty_table_has_the_types_of_a_file(tmp_path: Path) -> None:
    with duckdb.connect() as connection:
        for table in TABLES:
            pq.write_table(pa.Table.from_batches([], table.schema), tmp_path / "empty.parquet")
            described = connection.execute(f"DESCRIBE SELECT * FROM '{tmp_path}/empty.parquet'").fetchall()
            expected = connection.execute(f"DESCRIBE SELECT {', '.join(f'NULL::{duckdb_type(one.type)} AS x' for one in table.schema)}")
            assert [row[1] for row in described] == [row[1] for row in expected.fetchall()], table.name
