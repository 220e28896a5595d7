"""Which partitions of a table can hold rows of an answer: read from the conditions of the SQL, so that DuckDB is given no other file.

    SELECT * FROM scores WHERE dictionary = 'm/09/a' AND feature = 7     scores: dictionary is m/09/a

DuckDB itself skips files by the values in their folders' names, after it has looked at every file of the list twice. Narrowing the list
beforehand makes a question about one dictionary independent of how many dictionaries there are. Only a plain SELECT from one table is
narrowed. Wherever the syntax tree holds something else, nothing is narrowed, and DuckDB decides alone.
"""

import json
from collections.abc import Collection
from typing import Any

import duckdb

REFINES = ("modifiers", "having", "qualify", "group_expressions", "group_sets")
"""Parts of a SELECT after which its count is no longer the number of its rows."""

BROKEN = (duckdb.Error, ValueError, RecursionError, AttributeError, KeyError, TypeError, IndexError)
"""SQL that DuckDB does not parse, or the syntax tree of another version of DuckDB."""


def partition_values(connection: duckdb.DuckDBPyConnection, sql: str, columns: Collection[str]) -> tuple[str, dict[str, set[str]]] | None:
    """(table, values by column): rows of the answer lie in partitions of this table whose columns have one of these values.

    None where the SQL is not one SELECT from one table under such conditions. `columns` are the names of the partition columns.
    """
    try:
        node = _node(connection, sql)
        found = _values_of(node, columns) if _is_plain(node, columns) else {}
        return (_table_of(node), found) if found else None
    except BROKEN:
        return None


def counted_rows(connection: duckdb.DuckDBPyConnection, sql: str, columns: Collection[str]) -> tuple[str, dict[str, set[str]], str] | None:
    """(table, values by column, name of the answer's column) of SQL that does nothing but count the rows of a table, in partitions whose
    columns have one of these values. Manifests answer `SELECT count(*) FROM scores WHERE dictionary = 'm/09/a'`. None for other SQL."""
    try:
        node = _node(connection, sql)
        (counted,) = node["select_list"]
        if not _is_plain(node, columns) or any(node.get(part) for part in REFINES) or not _counts_all(counted):
            return None
        if any(_allowed(one, node["from_table"])[0] not in columns for one in _conditions(node["where_clause"])):
            return None
        return _table_of(node), _values_of(node, columns), str(counted.get("alias") or "count_star()")
    except BROKEN:
        return None


def _node(connection: duckdb.DuckDBPyConnection, sql: str) -> dict[str, Any]:
    """The query node of one statement."""
    tree = json.loads(connection.execute("SELECT json_serialize_sql(?::VARCHAR)", [sql]).fetchall()[0][0])
    (statement,) = tree["statements"]
    return statement["node"]


def _table_of(node: dict[str, Any]) -> str:
    return str(node["from_table"]["table_name"]).lower()


def _counts_all(value: dict[str, Any]) -> bool:
    """Whether an expression is `count(*)`, without filter or window."""
    return (
        value.get("class") == "FUNCTION"
        and str(value.get("function_name")).lower() == "count_star"
        and not value.get("filter")
        and not value.get("distinct")
        and not value.get("schema")
        and not value.get("catalog")
    )


def _values_of(node: dict[str, Any], columns: Collection[str]) -> dict[str, set[str]]:
    """The values that the conditions of a plain SELECT leave to partition columns."""
    found: dict[str, set[str]] = {}
    for condition in _conditions(node["where_clause"]):
        column, values = _allowed(condition, node["from_table"])
        if column in columns:
            found[column] = found[column] & values if column in found else values
    return found


def _is_plain(node: dict[str, Any], columns: Collection[str]) -> bool:
    """Whether a query node is one SELECT from one table, without samples, other queries inside it, or a partition column's name for
    something else."""
    source = node.get("from_table")
    if node.get("type") != "SELECT_NODE" or not isinstance(source, dict) or source.get("type") != "BASE_TABLE":
        return False
    if source.get("sample") or node.get("sample") or source.get("column_name_alias") or source.get("at_clause"):
        return False
    if source.get("schema_name") or source.get("catalog_name") or (node.get("cte_map") or {}).get("map"):
        return False
    aliases = {str(one.get("alias", "")).lower() for one in node.get("select_list") or []}
    return not aliases.intersection(columns) and not _holds_a_query(node)


def _holds_a_query(value: Any) -> bool:
    """Whether a part of a syntax tree holds another query node or table."""
    if isinstance(value, list):
        return any(map(_holds_a_query, value))
    if not isinstance(value, dict):
        return False
    if value.get("class") == "SUBQUERY" or "subquery" in value:
        return True
    return any(_holds_a_query(one) for one in value.values())


def _conditions(clause: Any) -> list[dict[str, Any]]:
    """The conditions of a WHERE clause that must all hold."""
    if not isinstance(clause, dict):
        return []
    if clause.get("type") == "CONJUNCTION_AND":
        return [condition for child in clause.get("children", ()) for condition in _conditions(child)]
    return [clause]


def _allowed(condition: dict[str, Any], source: dict[str, Any]) -> tuple[str, set[str]]:
    """(column, values) of `column = 'value'` and `column IN ('value', …)`; ("", {}) for every other condition."""
    if condition.get("type") == "COMPARE_EQUAL":
        sides = [condition.get("left"), condition.get("right")]
        sides = sides if _column(sides[0], source) else sides[::-1]
    elif condition.get("type") == "COMPARE_IN":
        sides = list(condition.get("children") or ())
    else:
        return "", set()
    column, values = _column(sides[0], source) if sides else "", [_text(side) for side in sides[1:]]
    if not column or not values or None in values:
        return "", set()
    return column, {value for value in values if value is not None}


def _column(value: Any, source: dict[str, Any]) -> str:
    """The name of a column of the table; "" for anything else."""
    names = value.get("column_names") if isinstance(value, dict) and value.get("class") == "COLUMN_REF" else None
    if not names or (len(names) == 2 and names[0].lower() not in (source.get("alias", "").lower(), source["table_name"].lower())):
        return ""
    return str(names[-1]).lower() if len(names) <= 2 else ""


def _text(value: Any) -> str | None:
    """The text of a constant; None for anything else. Its place in the tree is another in DuckDB from 1.5 on."""
    if not isinstance(value, dict) or value.get("class") != "CONSTANT":
        return None
    literal = value.get("literal")
    if isinstance(literal, dict):
        return str(literal["text"]) if literal.get("kind") == "STRING" and "text" in literal else None
    held = value.get("value")
    if isinstance(held, dict) and (held.get("type") or {}).get("id") == "VARCHAR" and isinstance(held.get("value"), str):
        return held["value"]
    return None
