"""Rows of answers: all, or the first with their number, without the rest in memory."""

import datetime
import subprocess
import sys
import time

import duckdb
import pyarrow as pa
import pytest

from resources.store.answer_rows import BATCH_ROWS, answer_rows


@pytest.mark.parametrize("most", [0, 1, BATCH_ROWS, BATCH_ROWS + 1, 200_000, 300_000])
def test_the_first_rows_come_with_the_number_of_all(most: int) -> None:
    sql = "SELECT range AS n, CASE WHEN range % 7 = 0 THEN NULL ELSE 'text ' || range END AS text FROM range(200000) ORDER BY n"
    whole, total = answer_rows(duckdb.connect(), sql)
    assert (whole.num_rows, total) == (200_000, (200_000, True))
    first, total = answer_rows(duckdb.connect(), sql, most, 600)
    assert total == (200_000, True) and first.equals(whole.slice(0, most))


def test_first_rows_have_the_columns_of_all_rows() -> None:
    sql = "SELECT 1 AS a, 2 AS a, 3::UHUGEINT AS b, DATE '0001-01-01' - 1 AS c, DATE '2000-01-01' AS d FROM range(3)"
    first, total = answer_rows(duckdb.connect(), sql, 1)
    assert total.n == 3 and first.equals(answer_rows(duckdb.connect(), sql)[0].slice(0, 1))
    assert first.column_names == ["a", "a_1", "b", "c", "d"] and first["b"].to_pylist() == ["3"]
    assert first["d"].to_pylist() == [datetime.date(2000, 1, 1)]
    made, total = answer_rows(duckdb.connect(), "CREATE TABLE t (a INT)", 1)
    assert (made.num_rows, total.n) == (0, 0)
    nothing, total = answer_rows(duckdb.connect(), "SELECT 1 AS a WHERE false", 5)
    assert (nothing.num_rows, nothing.column_names, total.n) == (0, ["a"], 0)


def test_rows_that_are_not_asked_for_take_no_memory() -> None:
    program = (
        "import resource, duckdb; from resources.store.answer_rows import answer_rows; connection = duckdb.connect(); "
        "answer_rows(connection, 'SELECT 1', 1); before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss; "
        "rows, total = answer_rows(connection, 'SELECT * FROM range(50000000)', 40, 600); "
        "assert (rows.num_rows, total.n) == (40, 50_000_000); "
        "print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)"
    )
    grown = int(subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout)
    assert grown < 150, f"{grown} MB, where the rows are 400 MB"


def test_rows_that_nobody_asked_for_are_not_counted_without_end() -> None:
    connection, began = duckdb.connect(), time.monotonic()
    first, total = answer_rows(connection, "SELECT * FROM range(1000000) a, range(1000000) b", 40, 0.2)
    assert (first.num_rows, total.is_all) == (40, False) and total.n >= BATCH_ROWS and time.monotonic() - began < 30
    assert answer_rows(connection, "SELECT 1 AS a", 40) == (pa.table({"a": pa.array([1], pa.int32())}), (1, True))
