"""A question about some partitions of one table is given their files alone, and its answer is the answer over all files."""

from pathlib import Path

import duckdb
import pytest
from test_lake_index import warehouse, write

from interp_assets.assets.warehouse import duckdb_file
from interp_assets.assets.warehouse.duckdb_file import Warehouse
from resources.store import narrowing
from resources.store.narrowing import partition_values
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
    monkeypatch.setattr(duckdb_file, "FEW_PARTS", 0)
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
    monkeypatch.setattr(duckdb_file, "partition_values", lambda *_: None)
    whole = house.query(sql)
    if not sql.startswith("EXPLAIN"):
        assert narrow.rows.equals(whole.rows) and narrow.notes == whole.notes


def test_only_the_files_that_can_hold_rows_are_read(house: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Sources] = []
    add = duckdb_file.query_connection
    monkeypatch.setattr(
        duckdb_file, "query_connection", lambda lake, copies, schemas, sources, *rest: add(
            lake, copies, schemas, lambda connection: given.append(sources(connection)["scores"]) or {"scores": given[-1]}, *rest
        )
    )  # fmt: skip
    house.query(f"SELECT * FROM scores WHERE dictionary = '{A}' AND feature_range = '01of16'")
    (only,) = given.pop().parts
    assert "feature_range=01of16" in only and "%2Fa" in only
    assert house.copy() == 2
    house.query(f"SELECT * FROM scores WHERE dictionary = '{A}'")
    assert given.pop().parts == []


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


def test_a_constant_is_read_from_the_syntax_trees_of_all_versions() -> None:
    newest = {"class": "CONSTANT", "literal": {"kind": "STRING", "text": "a"}}
    earlier = {"class": "CONSTANT", "value": {"type": {"id": "VARCHAR", "type_info": None}, "is_null": False, "value": "a"}}
    number = {"class": "CONSTANT", "value": {"type": {"id": "INTEGER", "type_info": None}, "is_null": False, "value": 3}}
    assert [narrowing._text(one) for one in (newest, earlier, number, {}, None)] == ["a", "a", None, None, None]
