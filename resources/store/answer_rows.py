"""The rows of an answer as an Arrow table whose values every reader holds: pandas, polars, JSON and CSV.

DuckDB knows types that Arrow has no room for (UHUGEINT comes out as another number) and dates outside of the years 1 to 9999, which Python
does not hold. Columns with such types or values are texts, as DuckDB prints them. Of columns with one name, the second is `name_1`.
"""

import math
import re
import time
from typing import NamedTuple

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

FOREIGN = re.compile(r"UHUGEINT|BIGNUM|VARINT|VARIANT|UNION|TIME WITH TIME ZONE|TIMETZ|GEOMETRY")
FIRST_DAY, LAST_DAY = -719_162, 2_932_896
"""The first day of the year 1 and the last day of 9999, in days since 1970."""

PER_DAY = {"s": 86_400, "ms": 86_400_000, "us": 86_400_000_000, "ns": 86_400_000_000_000}


BATCH_ROWS = 65_536


COUNTING_SECONDS = 2.0
"""How long rows are counted that nobody asked for. Unit: seconds."""


class Counted(NamedTuple):
    """The number of an answer's rows. `is_all` is False where counting stopped: there may be more."""

    n: int
    is_all: bool = True


def answer_rows(
    connection: duckdb.DuckDBPyConnection, sql: str, most: int | None = None, seconds: float = COUNTING_SECONDS
) -> tuple[pa.Table, Counted]:
    """(rows of a question, number of its rows); an empty table for a statement without rows. With `most`, the table has at most so many
    rows, memory holds no more of the answer, and further rows are counted for so many `seconds`."""
    relation = connection.sql(sql)
    if relation is None:
        return pa.table({}), Counted(0)
    names, foreign = _distinct(relation.columns), [bool(FOREIGN.search(str(type_))) for type_ in relation.types]
    if any(foreign):
        kept = ", ".join(f"c{place}::VARCHAR" if is_foreign else f"c{place}" for place, is_foreign in enumerate(foreign))
        columns = ", ".join(f"c{place}" for place in range(len(names)))
        relation = relation.query("answer", f"SELECT {kept} FROM answer AS answer({columns})")
        assert relation is not None, "a SELECT has rows"
    rows, total = (whole := relation.to_arrow_table(), Counted(whole.num_rows)) if most is None else _first(relation, most, seconds)
    rows = rows.rename_columns(names)
    for place, column in enumerate(rows.columns):
        if _beyond_python(column):
            texts = connection.from_arrow(pa.table({"x": column})).query("answer", "SELECT x::VARCHAR AS x FROM answer")
            assert texts is not None, "a SELECT has rows"
            rows = rows.set_column(place, names[place], texts.to_arrow_table().column(0))
    return rows, total


def _first(relation: duckdb.DuckDBPyRelation, most: int, seconds: float) -> tuple[pa.Table, Counted]:
    """(first rows of a relation, number of its rows)."""
    kept, total, counting_since = list[pa.RecordBatch](), 0, math.inf
    reader = relation.to_arrow_reader(BATCH_ROWS)
    is_all = True
    for batch in reader:
        kept += [batch.slice(0, most - total)] if total < most else []
        total += batch.num_rows
        if total >= most:
            counting_since = min(counting_since, time.monotonic())
            if not (is_all := time.monotonic() - counting_since <= seconds):
                break
    schema = reader.schema
    reader.close()
    return pa.Table.from_batches(kept, schema), Counted(total, is_all)


def _distinct(names: list[str]) -> list[str]:
    """The names of columns, where a name that stands before, in letters of any case, has a number behind it."""
    taken, made = {name.lower() for name in names}, list[str]()
    for place, name in enumerate(names):
        if name.lower() in {one.lower() for one in names[:place]}:
            name = next(one for n in range(1, len(names) + 1) if (one := f"{name}_{n}").lower() not in taken)
            taken.add(name.lower())
        made.append(name)
    return made


def _beyond_python(column: pa.ChunkedArray) -> bool:
    """Whether a column of dates or times has a value outside of the years 1 to 9999."""
    if pa.types.is_date32(column.type):
        numbers, per_day = column.cast(pa.int32()), 1
    elif pa.types.is_timestamp(column.type):
        numbers, per_day = column.cast(pa.int64()), PER_DAY[column.type.unit]
    elif pa.types.is_time64(column.type):
        return (pc.max(column.cast(pa.int64())).as_py() or 0) >= PER_DAY[column.type.unit]  # 24:00:00
    else:
        return False
    bounds = pc.min_max(numbers).as_py()
    return bounds["min"] is not None and not (FIRST_DAY * per_day <= bounds["min"] and bounds["max"] < (LAST_DAY + 1) * per_day)
