"""What of a lake can be read, found by stats; queries over exactly that, and the notes on what is not among their rows."""

import contextlib
import datetime
import json
import os
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from test_warehouse import score

from interp_assets.assets.warehouse.duckdb_file import Warehouse
from interp_assets.assets.warehouse.views import view_files
from interp_assets.config.base import UserError
from interp_assets.config.records import DictionaryRecord
from interp_assets.config.registry import DictionaryRegistry
from interp_assets.tables import SCHEMA_VERSION, SCORES, TABLES, Table
from resources.store import lake_index, table_copies
from resources.store.duckdb_views import QueryDatabase, RefusedStatement, named_in
from resources.store.lake import PART, Lake, LakeError

COUNT = "SELECT count(*) AS n FROM scores"


def write(house: Warehouse, feature_range: str, features: range, dictionary: str = "m/09/a", value: float = 0.5) -> Path:
    """The folder of a partition of scores with a row a feature."""
    partition = {"scorer": "detection", "dictionary": dictionary, "feature_range": feature_range}
    rows = [{**score(dictionary, feature, "max_act", value), "feature_range": feature_range} for feature in features]
    house.lake.write(SCORES.name, partition, SCORES.schema, pa.Table.from_pylist(rows, schema=SCORES.schema), "v1")
    return Path(house.lake.path(SCORES.name, partition))


def warehouse(root: Path) -> Warehouse:
    registry = DictionaryRegistry(root / "dictionaries")
    registry.write(DictionaryRecord(key="m/09/a", hook="h", kind="topk_neurons", width=8, k=4))
    return Warehouse(root / "warehouse.duckdb", Lake(str(root / "lake"), SCHEMA_VERSION), registry)


@pytest.fixture
def house(tmp_path: Path) -> Warehouse:
    return warehouse(tmp_path)


def count(house: Warehouse, verify: bool = False) -> tuple[int, list[str]]:
    """(rows, notes) of a new process."""
    answer = Warehouse(house.path, house.lake, house.registry).query(COUNT, verify)
    return answer.rows.to_pylist()[0]["n"], answer.notes


@pytest.mark.parametrize("copied", [False, True])
def test_what_is_withdrawn_gone_or_half_written_is_left_out_and_named(house: Warehouse, copied: bool) -> None:
    folders = [write(house, f"{i:02d}of16", range(10 * i, 10 * i + 10)) for i in range(4)]
    if copied:
        assert house.copy() == 1
    assert count(house) == (40, [])
    (folders[0] / PART).unlink()
    n, (note,) = count(house)
    assert n == 30 and f"{folders[0]}/{PART}" in note and "is not there" in note and "1 of 4" in note
    house.lake.discard(SCORES.name, {"scorer": "detection", "dictionary": "m/09/a", "feature_range": "01of16"})
    n, notes = count(house)
    assert n == 20 and len(notes) == 2 and str(folders[1]) in notes[1] and "no manifest vouches" in notes[1]
    (folders[2] / "manifest.json").write_text("{")
    n, notes = count(house)
    assert n == 10 and "2 of 4" in notes[0] and f"{folders[2]}/manifest.json vouches for nothing" in notes[0]
    for i in range(4):
        write(house, f"{i:02d}of16", range(5))
    assert count(house) == (20, [])


def forbid(monkeypatch: pytest.MonkeyPatch, place: Path) -> None:
    """Let this user neither list nor enter a folder, whoever the user is."""

    def guarded(ask: Any) -> Any:
        def asked(path: Any, *rest: Any, **named: Any) -> Any:
            if str(path).startswith(f"{place}/") or (str(path) == str(place) and ask is scan):
                raise PermissionError(13, "Permission denied", str(path))
            return ask(path, *rest, **named)

        return asked

    scan = os.scandir
    monkeypatch.setattr(os, "scandir", guarded(scan))
    monkeypatch.setattr(os, "stat", guarded(os.stat))


@pytest.mark.parametrize("looked_before", [False, True])
def test_folders_that_may_not_be_looked_into_are_named_and_not_taken_for_empty(
    house: Warehouse, monkeypatch: pytest.MonkeyPatch, looked_before: bool
) -> None:
    folders = [
        write(house, f"{i:02d}of16", range(10 * i, 10 * i + 10), dictionary) for i in range(2) for dictionary in ("m/09/a", "m/09/b")
    ]
    if looked_before:
        assert count(house) == (40, [])
    with monkeypatch.context() as patch:
        forbid(patch, folders[0].parent)
        n, (note,) = count(house)
        assert n == 20 and "cannot be looked into" in note and str(folders[0].parent) in note and "Permission denied" in note
    with monkeypatch.context() as patch:
        forbid(patch, folders[0])
        n, (note,) = count(house)
        assert n == 30 and "1 folders cannot be looked into" in note and str(folders[0]) in note
    with monkeypatch.context() as patch:
        forbid(patch, Path(house.lake.root))
        with pytest.raises(LakeError, match=r"lake/scores cannot be looked into: Permission denied\. Give this user permission"):
            count(house)
    assert count(house) == (40, [])  # nothing of it was kept


def test_a_part_that_can_no_longer_be_read_leaves_the_answer_by_name(house: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its size, time and inode are as they were: a disk that fails, or a mode that has changed."""
    folder, _ = write(house, "00of16", range(10)), write(house, "01of16", range(10, 20))
    assert count(house) == (20, [])
    damage, connection = Lake.damage, QueryDatabase.connection
    asked: list[bool] = []

    @contextlib.contextmanager
    def failing_first(database: Any, *given: Any) -> Any:
        with connection(database, *given) as found:
            asked.append(True)
            if len(asked) == 1:
                raise duckdb.IOException(f'Cannot open file "{folder}/{PART}": Permission denied')
            yield found

    monkeypatch.setattr(QueryDatabase, "connection", failing_first)
    monkeypatch.setattr(
        Lake,
        "damage",
        lambda lake, one, whole: (
            "part-0.parquet cannot be read: Permission denied" if one.partition["feature_range"] == "00of16" else damage(lake, one, whole)
        ),
    )
    answer = Warehouse(house.path, house.lake, house.registry).query("SELECT feature FROM scores")
    (note,) = answer.notes
    assert answer.rows.num_rows == 10 and f"{folder}/{PART}: part-0.parquet cannot be read: Permission denied" in note


def test_a_file_that_is_replaced_while_it_is_read_is_read_again(house: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    write(house, "00of16", range(10))
    connection, failures, asked = QueryDatabase.connection, [2], Warehouse(house.path, house.lake, house.registry)

    @contextlib.contextmanager
    def failing(database: Any, *given: Any) -> Any:
        with connection(database, *given) as found:
            failures[0] -= 1
            if failures[0] >= 0:
                raise duckdb.Error("don't know what type: \x0f")  # of the footer of one file and the data of another
            yield found

    monkeypatch.setattr(QueryDatabase, "connection", failing)
    assert asked.query("SELECT feature FROM scores").rows.num_rows == 10 and failures == [-1]
    failures[0] = 100
    with pytest.raises(duckdb.Error, match="what type"):
        asked.query("SELECT feature FROM scores")
    assert failures == [96]
    failures[0] = 0
    with pytest.raises(duckdb.BinderException):
        asked.query("SELECT nothing FROM scores")
    assert failures == [-1], "a mistake is not tried again"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_part_of_another_user_leaves_the_answer_by_name(house: Warehouse) -> None:
    folder, _ = write(house, "00of16", range(10)), write(house, "01of16", range(10, 20))
    (folder / PART).chmod(0)
    n, (note,) = count(house)
    assert n == 10 and "cannot be read: Permission denied" in note


def test_a_broken_record_is_named_beside_the_others(house: Warehouse) -> None:
    (house.registry.folder / "m__09__b.yaml").write_text("key: m/09/b\nwidht: 3")
    answer = house.query("SELECT dictionary FROM dictionaries")
    assert answer.rows.to_pylist() == [{"dictionary": "m/09/a"}]
    assert "1 records cannot be read" in answer.notes[0] and "m__09__b.yaml" in answer.notes[0]
    assert house.query(COUNT).notes == []


def test_records_that_may_not_be_listed_are_not_taken_for_none(house: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    forbid(monkeypatch, house.registry.folder)
    with pytest.raises(UserError, match="dictionaries cannot be listed: Permission denied"):
        house.query("SELECT dictionary FROM dictionaries")
    assert DictionaryRegistry(house.path.parent / "none yet").read_all() == ({}, {})


@pytest.mark.parametrize("copied", [False, True])
def test_flipped_bytes_give_no_wrong_rows(house: Warehouse, copied: bool) -> None:
    folder = write(house, "00of16", range(2000))
    write(house, "01of16", range(2000, 2010))
    if copied:
        house.copy()
    assert count(house)[0] == 2010
    content = (folder / PART).read_bytes()
    for place in range(40, len(content), len(content) // 25):
        flipped = bytearray(content)
        flipped[place] ^= 4
        (folder / PART).write_bytes(flipped)
        n, notes = count(house)
        assert n == 10 and "is damaged" in notes[0], place
    (folder / PART).write_bytes(content)
    assert count(house) == (2010, [])


def test_parts_beyond_what_one_look_reads_are_counted_and_read_with_verify(house: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lake_index, "READ_BYTES", 0)
    folder = write(house, "00of16", range(100))
    content = bytearray((folder / PART).read_bytes())
    content[16] ^= 1  # before the footer
    (folder / PART).write_bytes(content)
    _, (note,) = count(house)
    assert "1 of 1 partitions were compared" in note and "--verify" in note
    assert count(house, verify=True)[0] == 0
    assert count(house)[0] == 0


def test_a_replaced_partition_is_read_anew_and_no_footer_or_view_is_kept(house: Warehouse) -> None:
    for turn, (n, value) in enumerate([(10, 0.5), (10, 0.25), (9, 0.125), (10, 0.75)]):
        write(house, "00of16", range(n), value=value)
        answer = house.query("SELECT max(value) AS value, count(feature) AS n FROM scores").rows.to_pylist()
        assert answer == [{"value": value, "n": n}], turn
        key = f"m/09/new{turn}"
        house.registry.write(DictionaryRecord(key=key, hook="h", kind="topk_neurons", width=8, k=4))
        found = house.query("SELECT dictionary FROM dictionaries").rows["dictionary"].to_pylist()
        assert found[-1] == key and len(found) == turn + 2


def test_a_look_opens_only_what_has_moved(house: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    for i in range(4):
        write(house, f"{i:02d}of16", range(10))
    house.query(COUNT)
    opened: list[str] = []
    read = Lake.read_manifest
    monkeypatch.setattr(Lake, "read_manifest", lambda lake, folder: opened.append(folder) or read(lake, folder))
    new = Warehouse(house.path, house.lake, house.registry)
    assert new.query(COUNT).rows.to_pylist() == [{"n": 40}] and opened == []
    changed = [write(house, "01of16", range(3)), write(house, "05of16", range(3))]
    opened.clear()
    assert new.query(COUNT).rows.to_pylist() == [{"n": 36}]
    assert sorted(set(opened)) == list(map(str, changed))


@pytest.mark.parametrize("damage", [b"", b"12\n{", b"[]"])
def test_an_index_or_list_of_copies_that_is_lost_or_damaged_is_made_again(house: Warehouse, damage: bytes) -> None:
    write(house, "00of16", range(10))
    write(house, "01of16", range(10))
    house.copy()
    kept = [house.path.parent / "warehouse/index/scores.json", house.copies_folder / "scores/copies.json"]
    for path in kept:
        path.write_bytes(damage)
    assert count(house) == (20, []) and house.copy() == 1 and count(house) == (20, [])


def test_a_copy_is_sorted_stands_for_its_parts_alone_and_a_damaged_one_is_not_read(house: Warehouse) -> None:
    write(house, "01of16", range(10, 20))
    write(house, "00of16", range(10))
    write(house, "00of16", range(7), "m/09/b")  # one part: nothing to gain
    assert house.copy() == 1 and house.copy() == 0
    new = Warehouse(house.path, house.lake, house.registry)
    sources = new.copies.sources("scores", new.index.look("scores", 3), SCORES.schema)
    assert len(sources.copies) == 1 and len(sources.parts) == 1
    assert count(house) == (27, [])
    rows = new.query("SELECT feature FROM scores WHERE dictionary = 'm/09/a'").rows.column("feature").to_pylist()
    assert rows == list(range(20))
    copy = Path(sources.copies[0])
    copy.write_bytes(copy.read_bytes()[:-20])
    assert count(house) == (27, [])
    write(house, "02of16", range(20, 25))
    assert count(house)[0] == 32
    assert house.copy() == 1 and copy.with_suffix(".replaced").exists(), "a reader that has a warehouse open keeps its copy for an hour"


def test_a_copy_has_headline_scores_first_by_feature_in_small_row_groups(house: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_copies, "HEADLINE_GROUP_ROWS", 4)
    for i in (1, 0):
        rows = [{**score("m/09/a", feature, "max_act", 0.5), "headline": feature % 2 == 0} for feature in range(20 * i, 20 * i + 20)]
        where = {"scorer": "detection", "dictionary": "m/09/a", "feature_range": f"{i:02d}of16"}
        house.lake.write(SCORES.name, where, SCORES.schema, pa.Table.from_pylist(rows, schema=SCORES.schema), "v")
    house.copy()
    with pq.ParquetFile(house.copies.sources("scores", house.index.look("scores", 3), SCORES.schema).copies[0]) as copy:
        assert [copy.metadata.row_group(i).num_rows for i in range(copy.num_row_groups)] == [4] * 5 + [20]
        assert copy.read()["feature"].to_pylist() == [*range(0, 40, 2), *range(1, 40, 2)]


CHANGES = (
    "DELETE FROM dictionaries", "INSERT INTO dictionaries FROM dictionaries", "UPDATE dictionaries SET key = 'x'",
    "MERGE INTO dictionaries USING a ON true WHEN MATCHED THEN DELETE",
)  # fmt: skip


def test_a_query_reads_the_lake_and_does_nothing_else(house: Warehouse, tmp_path: Path) -> None:
    write(house, "00of16", range(3))
    secret = tmp_path / "secret.csv"
    secret.write_text("key\nhunter2\n")
    target = tmp_path / "out.csv"
    part = next(Path(house.lake.root).rglob(PART))
    before = part.read_bytes()
    for sql in (
        f"SELECT * FROM read_csv('{secret}')", f"SELECT * FROM '{secret}'", f"SELECT content FROM read_text('{secret}')",
        f"SELECT * FROM glob('{tmp_path}/*')", f"COPY scores TO '{target}'", f"COPY (SELECT 1) TO '{part}'", f"ATTACH '{target}'",
        f"EXPLAIN ANALYZE COPY (SELECT 1) TO '{target}'", "SET enable_external_access = true", "INSTALL httpfs", "LOAD httpfs",
        f"SELECT 1; COPY (SELECT 1) TO '{target}'", "CREATE TABLE t (a INT)", f"EXPORT DATABASE '{target}'", "PRAGMA database_list",
        "CALL pragma_version()", *(f"WITH a AS (FROM (PIVOT scores ON scorer USING count(*))) {one}" for one in CHANGES),
        "SELECT '\udce9'", "/* WITH */ COPY (PIVOT scores ON scorer USING count(*)) TO 'x'", "SELECT * FROM house",
        f"FROM query('COPY (SELECT 1) TO ''{target}'' ')", "", f"SELECT * FROM read_text('{house.lake.root}/../secret.csv')",
        f"IMPORT DATABASE '{tmp_path}'",
    ):  # fmt: skip
        with pytest.raises((duckdb.Error, RefusedStatement)):
            house.query(sql)
    assert not target.exists() and part.read_bytes() == before
    assert house.query("SELECT count(*) AS n FROM dictionaries").rows.to_pylist() == [{"n": 1}]
    for sql in (
        "SELECT 1", "WITH a(x) AS (SELECT ')'), \"(\" AS (PIVOT scores ON scorer USING count(*)) /* DELETE */ FROM a",
        "WITH a AS (PIVOT scores ON scorer USING count(*)) (SELECT 1)", "(PIVOT scores ON scorer USING count(*))", "FROM scores",
        "WITH a AS (FROM scores) FROM a", "DESCRIBE scores", "SUMMARIZE scores", "SHOW TABLES", "EXPLAIN SELECT * FROM scores",
        "EXPLAIN ANALYZE FROM scores", "PIVOT scores ON scorer USING count(*)", "VALUES (1)", "SELECT * FROM leaderboard",
        "SELECT table_name FROM information_schema.tables",
    ):  # fmt: skip
        assert house.query(sql).rows.num_rows > 0, sql
    assert house.query(f"SELECT * FROM read_csv('{secret}')", unsafe=True).rows.num_rows == 1


def test_records_are_read_only_for_a_query_that_needs_them(house: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    write(house, "00of16", range(3))
    reads: list[int] = []
    read_all = DictionaryRegistry.read_all
    monkeypatch.setattr(DictionaryRegistry, "read_all", lambda registry: reads.append(1) or read_all(registry))
    assert count(house) == (3, []) and house.query("SELECT 1").rows.num_rows == 1 and not reads
    for sql, rows in (("SELECT * FROM dictionaries", 1), ("SELECT * FROM scores_by_layer", 0), ("SHOW TABLES", len(house.views))):
        before = len(reads)
        assert house.query(sql).rows.num_rows >= rows and len(reads) > before, sql


def test_a_query_makes_the_views_that_it_names_and_those_that_they_read() -> None:
    tables, views = named_in("SELECT * FROM Leaderboard -- scores", ["scores", "examples", "explanations"], view_files())
    assert (tables, views) == (["scores", "explanations"], ["lift_over_shuffled", "leaderboard"])
    assert named_in("SELECT 1", ["scores"], view_files()) == ([], [])


NAMES = (
    "it's", "[x]", "a::b", "s*r", "h#h", "sp ace", "new\nline", "ünï☃", "$VAR", "~", "a=b", "{a,b}", 'dq"', "dictionary=q", "%", "<x>",
    "q?", "p%20p",
)  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_lake_in_a_folder_of_any_name_is_read_and_none_other(tmp_path: Path, name: str) -> None:
    neighbour = warehouse(tmp_path / {"[x]": "x", "s*r": "star", "q?": "qa", "p%20p": "p p"}.get(name, "x"))
    write(neighbour, "00of16", range(100))
    house = warehouse(tmp_path / name)
    write(house, "00of16", range(2))
    write(house, "01of16", range(2, 4))
    where = " WHERE dictionary = 'm/09/a' AND feature_range = '01of16'"
    for _ in range(2):
        assert count(house) == (4, [])
        assert house.query(COUNT + where).rows.to_pylist() == [{"n": 2}]
        house.copy()
    if "?" not in name:  # such a home is refused, for DuckDB's own files
        house.build()
        with house.open() as connection:
            assert connection.execute(COUNT).fetchall() == [(4,)]


def test_a_lake_on_an_object_store_is_looked_at_by_its_listing(tmp_path: Path) -> None:
    house = Warehouse(tmp_path / "w.duckdb", Lake(f"memory://{tmp_path.name}/lake", SCHEMA_VERSION), DictionaryRegistry(tmp_path / "d"))
    partition = {"scorer": "detection", "dictionary": "m/09/a", "feature_range": "00of16"}
    rows = pa.Table.from_pylist([score("m/09/a", 0, "max_act", 0.5)], schema=SCORES.schema)
    house.lake.write(SCORES.name, partition, SCORES.schema, rows, "v1")
    house.lake.write(SCORES.name, {**partition, "feature_range": "01of16"}, SCORES.schema, rows, "v1")
    assert count(house) == (2, [])
    house.lake.fs.rm_file(f"{house.lake.path(SCORES.name, partition)}/{PART}")
    n, (note,) = count(house)
    assert n == 1 and "is not there" in note
    assert json.loads((tmp_path / "warehouse/index/scores.json").read_bytes().splitlines()[1])["lake"].startswith("memory://")


@pytest.mark.parametrize("table", [table for table in TABLES if not table.partition_columns], ids=lambda table: table.name)
def test_a_table_without_partition_columns_is_read_too(house: Warehouse, table: Table) -> None:
    count = f"SELECT count(*) AS n FROM {table.name}"
    assert house.query(count).rows.to_pylist() == [{"n": 0}]
    for n in (1, 2):
        columns = {field.name: pa.array([None if field.nullable else _some(field.type)] * n, field.type) for field in table.schema}
        house.lake.write(table.name, {}, table.schema, pa.table(columns, schema=table.schema), f"v{n}")
        answer = house.query(count)
        assert (answer.rows.to_pylist(), answer.notes) == ([{"n": n}], [])


def _some(type_: pa.DataType) -> object:
    """A value of a type."""
    if pa.types.is_list(type_):
        return [_some(type_.value_type)]
    if pa.types.is_boolean(type_):
        return True
    return "x" if pa.types.is_string(type_) or pa.types.is_dictionary(type_) else 1


@pytest.mark.parametrize("how", ["gone", "a link to nowhere", "an empty folder"])
def test_a_lake_that_is_not_there_is_not_taken_for_an_empty_one(house: Warehouse, tmp_path: Path, how: str) -> None:
    for number in range(4):
        write(house, f"{number:02d}of16", range(10 * number, 10 * number + 10))
    assert count(house) == (40, [])
    house.index.look(SCORES.name, len(SCORES.partition_columns))
    house.index.keep(SCORES.name)
    root, away = Path(house.lake.root), tmp_path / "away"
    root.rename(away)
    if how == "a link to nowhere":
        root.symlink_to("nowhere")
    elif how == "an empty folder":
        root.mkdir()
    for _ in range(2):
        n, notes = count(house)
        assert n == 0 and len(notes) == 1
        assert f"the lake {root} holds nothing, and held 4 partitions of scores at the last look: mount its disk" in notes[0]
    if root.is_symlink():
        root.unlink()
    elif root.is_dir():
        root.rmdir()
    away.rename(root)
    assert count(house) == (40, [])


def test_answers_hold_every_type_and_every_column(house: Warehouse) -> None:
    write(house, "00of16", range(3))
    answer = house.query(
        "SELECT DATE '5000-01-01 (BC)' AS d, 'infinity'::TIMESTAMP AS t, TIME '24:00:00' AS c, "
        "340282366920938463463374607431768211455::UHUGEINT AS u, union_value(a := 1) AS v, '7'::BIGNUM AS b, DATE '2024-01-02' AS plain, "
        "1 AS a, 2 AS a, 3 AS A, 4 AS a_1"
    ).rows
    assert list(answer.to_pylist()[0].items()) == [
        ("d", "5000-01-01 (BC)"), ("t", "infinity"), ("c", "24:00:00"), ("u", "340282366920938463463374607431768211455"), ("v", "1"),
        ("b", "7"), ("plain", datetime.date(2024, 1, 2)), ("a", 1), ("a_2", 2), ("A_3", 3), ("a_1", 4),
    ]  # fmt: skip
    joined = house.query("SELECT * FROM scores AS x JOIN scores AS y ON x.feature = y.feature ORDER BY x.feature").rows
    assert joined.column("feature_1").to_pylist() == [0, 1, 2] and len(set(joined.column_names)) == len(joined.column_names)
