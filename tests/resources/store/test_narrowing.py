"""A question about some partitions of one table is given their files alone, and its answer is the answer over all files."""

from pathlib import Path

import duckdb
import pytest
from test_lake_index import warehouse, write

from interp_assets.assets.warehouse import question
from interp_assets.assets.warehouse.duckdb_file import Warehouse
from resources.store import narrowing
from resources.store.duckdb_views import QueryDatabase
from resources.store.narrowing import counted_rows, partition_values
from resources.store.table_copies import Sources

COLUMNS = ("scorer", "dictionary", "feature_range")
A, B = "m/09/a", "m/09/b"

NARROWED = {
    f"SELECT * FROM scores WHERE dictionary = '{A}'": {"dictionary": {A}},
    f"select feature from Scores where Dictionary = '{A}' and feature < 3 order by 1": {"dictionary": {A}},
    f"SELECT s.feature FROM scores AS s WHERE s.dictionary = '{A}' AND s.scorer = 'detection'":
        {"dictionary": {A}, "scorer": {"detection"}},
    f"SELECT scores.feature FROM scores WHERE '{A}' = scores.dictionary": {"dictionary": {A}},
    f"SELECT count(*) FROM scores WHERE dictionary IN ('{A}', 'none') AND feature_range = '00of16'":
        {"dictionary": {A, "none"}, "feature_range": {"00of16"}},
    f"SELECT feature FROM scores WHERE dictionary = '{A}' AND dictionary = '{B}'": {"dictionary": set()},
    f"SELECT count(*) FROM scores WHERE dictionary = '{A}' AND (feature = 1 OR dictionary = '{B}')": {"dictionary": {A}},
    f"SELECT max(value) OVER (), feature FROM scores WHERE dictionary = '{B}'": {"dictionary": {B}},
    "SELECT count(*) FROM scores WHERE dictionary = 'it''s'": {"dictionary": {"it's"}},
    f"FROM scores WHERE dictionary = '{A}'": {"dictionary": {A}},
}  # fmt: skip
NOT_NARROWED = (
    "SELECT count(*) FROM scores",
    f"SELECT count(*) FROM scores WHERE dictionary <> '{A}'",
    f"SELECT count(*) FROM scores WHERE NOT dictionary = '{A}'",
    f"SELECT count(*) FROM scores WHERE dictionary NOT IN ('{A}')",
    f"SELECT count(*) FROM scores WHERE dictionary = '{A}' OR feature = 11",
    f"SELECT count(*) FROM scores WHERE dictionary = '{A}' OR true",
    "SELECT count(*) FROM scores WHERE dictionary LIKE 'm/09/_'",
    f"SELECT count(*) FROM scores WHERE lower(dictionary) = '{A}'",
    "SELECT count(*) FROM scores WHERE dictionary = 'M/09/A' COLLATE NOCASE",
    "SELECT count(*) FROM scores WHERE dictionary = NULL",
    "SELECT count(*) FROM scores WHERE dictionary = feature_range",
    "SELECT count(*) FROM scores WHERE dictionary IN (SELECT dictionary FROM scores)",
    f"SELECT (SELECT count(*) FROM scores) FROM scores WHERE dictionary = '{A}'",
    f"SELECT count(*) FROM scores a, scores b WHERE a.dictionary = '{A}' AND a.feature = b.feature",
    f"SELECT count(*) FROM scores a LEFT JOIN scores b ON a.feature = b.feature AND b.dictionary = '{A}'",
    f"WITH w AS (SELECT * FROM scores) SELECT count(*) FROM w WHERE dictionary = '{A}'",
    f"WITH scores AS (SELECT '{B}' AS dictionary) SELECT count(*) FROM scores WHERE dictionary = '{A}'",
    f"SELECT count(*) FROM (SELECT * FROM scores) WHERE dictionary = '{A}'",
    f"SELECT count(*) FROM scores WHERE dictionary = '{A}' UNION ALL SELECT count(*) FROM scores",
    f"SELECT '{A}' AS dictionary, feature FROM scores WHERE dictionary = '{A}' ORDER BY 2",
    f"SELECT count(*) FROM scores AS t(dictionary) WHERE dictionary = '{A}'",
    f"SELECT count(*) FROM scores HAVING count(*) > 0 AND '{A}' = '{A}'",
    f"SELECT count(*) FROM scores TABLESAMPLE reservoir(40 ROWS) WHERE dictionary = '{A}'",
    f"SELECT count(*) FILTER (dictionary = '{A}') FROM scores",
    f"EXPLAIN SELECT * FROM scores WHERE dictionary = '{A}'",
)


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Warehouse:
    """A warehouse of two dictionaries with two partitions each, of which every question is narrowed."""
    monkeypatch.setattr(question, "FEW_PARTS", 0)
    house = warehouse(tmp_path)
    for number, dictionary in enumerate((A, B)):
        for one in range(2):
            write(house, f"{one:02d}of16", range(20 * number + 10 * one, 20 * number + 10 * one + 10), dictionary)
    return house


@pytest.mark.parametrize("sql", [*NARROWED, *NOT_NARROWED])
def test_the_conditions_of_a_plain_question_are_read_and_its_answer_stays(
    house: Warehouse, monkeypatch: pytest.MonkeyPatch, sql: str
) -> None:
    found = partition_values(duckdb.connect(), sql, COLUMNS)
    assert found == (("scores", NARROWED[sql]) if sql in NARROWED else None)
    narrow = house.query(sql)
    monkeypatch.setattr(QueryDatabase, "partition_values", lambda *_: None)
    monkeypatch.setattr(QueryDatabase, "counted_rows", lambda *_: None)
    whole = house.query(sql)
    if not sql.startswith("EXPLAIN"):
        assert narrow.rows.equals(whole.rows) and narrow.notes == whole.notes


def test_only_the_files_that_can_hold_rows_are_read(house: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Sources] = []
    select = question.table_select
    monkeypatch.setattr(question, "table_select", lambda lake, schema, sources: given.append(sources) or select(lake, schema, sources))
    house.query(f"SELECT * FROM scores WHERE dictionary = '{A}' AND feature_range = '01of16'")
    (only,) = given.pop().parts
    assert "feature_range=01of16" in only and "%2Fa" in only
    assert house.copy() == 2
    house.query(f"SELECT * FROM scores WHERE dictionary = '{A}'")
    assert given.pop().parts == []


COUNTED = {
    "SELECT count(*) FROM scores": ({}, "count_star()", 40),
    f"select COUNT(*) AS n from Scores s where s.dictionary = '{A}'": ({"dictionary": {A}}, "n", 20),
    f"FROM scores SELECT count(*) WHERE dictionary IN ('{A}', '{B}') AND feature_range = '01of16'":
        ({"dictionary": {A, B}, "feature_range": {"01of16"}}, "count_star()", 20),
    f"SELECT count(*) FROM scores WHERE dictionary = '{A}' AND dictionary = '{B}'": ({"dictionary": set()}, "count_star()", 0),
    "SELECT count(*) FROM scores WHERE dictionary = 'none'": ({"dictionary": {"none"}}, "count_star()", 0),
}  # fmt: skip
NOT_COUNTED = (
    "SELECT count(feature) FROM scores", "SELECT count(*) FILTER (headline) FROM scores", "SELECT count(*) + 1 FROM scores",
    "SELECT count(*), count(*) FROM scores", "SELECT count(*) FROM scores GROUP BY dictionary", "SELECT count(*) FROM scores LIMIT 0",
    "SELECT count(*) FROM scores HAVING count(*) > 99", "SELECT count(*) OVER () FROM scores", "SELECT DISTINCT count(*) FROM scores",
    "SELECT count(*) FROM scores WHERE feature = 3", f"SELECT count(*) FROM scores WHERE dictionary = '{A}' AND value > 0.6",
    "SELECT count(*) FROM scores WHERE false", "SELECT count(*) FROM scores USING SAMPLE 2", "SELECT count(DISTINCT feature) FROM scores",
)  # fmt: skip


@pytest.mark.parametrize("sql", [*COUNTED, *NOT_COUNTED])
def test_rows_are_counted_by_manifests_where_that_is_all_that_is_asked(house: Warehouse, monkeypatch: pytest.MonkeyPatch, sql: str) -> None:
    found = counted_rows(duckdb.connect(), sql, COLUMNS)
    assert found == (("scores", *COUNTED[sql][:2]) if sql in COUNTED else None)
    counted = house.query(sql).rows
    monkeypatch.setattr(QueryDatabase, "counted_rows", lambda *_: None)
    if "SAMPLE" not in sql:
        assert counted.equals(house.query(sql).rows)
    if sql in COUNTED:
        assert counted.to_pylist() == [{COUNTED[sql][1]: COUNTED[sql][2]}]


@pytest.mark.parametrize(
    "tree", ["", "[]", "{}", '{"statements": [{}]}', '{"statements": [{"node": {"type": "SELECT_NODE"}}]}', "nonsense"]
)
def test_another_syntax_tree_narrows_nothing(tree: str) -> None:
    class Connection:
        def execute(self, *_: object) -> "Connection":
            return self

        def fetchall(self) -> list[tuple[str]]:
            return [(tree,)]

    assert partition_values(Connection(), "SELECT 1", COLUMNS) is None  # type: ignore[arg-type]
    assert counted_rows(Connection(), "SELECT 1", COLUMNS) is None  # type: ignore[arg-type]


def test_a_constant_is_read_from_the_syntax_trees_of_all_versions() -> None:
    newest = {"class": "CONSTANT", "literal": {"kind": "STRING", "text": "a"}}
    earlier = {"class": "CONSTANT", "value": {"type": {"id": "VARCHAR", "type_info": None}, "is_null": False, "value": "a"}}
    number = {"class": "CONSTANT", "value": {"type": {"id": "INTEGER", "type_info": None}, "is_null": False, "value": 3}}
    assert [narrowing._text(one) for one in (newest, earlier, number, {}, None)] == ["a", "a", None, None, None]
