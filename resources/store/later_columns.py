"""Columns that came to a table after its schema version: files written before a column are read as if it were null there."""

import pyarrow as pa

LATER_COLUMN = "later column"
"""Key in the metadata of the Arrow field of such a column."""


def has_later_columns(schema: pa.Schema) -> bool:
    """Whether files of the table may lack a column."""
    return any(is_later(field) for field in schema)


def with_later_columns(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """The rows with a column of nulls for each later column of `schema` that they lack, all in the order of the schema.

    Other columns are left as they are: a row without a column that every file must have is refused where it is cast.
    """
    missing = [field for field in schema if is_later(field) and field.name not in rows.column_names]
    if not missing:
        return rows
    for field in missing:
        rows = rows.append_column(field, pa.nulls(rows.num_rows, field.type))
    known = [name for name in schema.names if name in rows.column_names]
    return rows.select([*known, *(name for name in rows.column_names if name not in schema.names)])


def is_later(field: pa.Field) -> bool:
    """Whether files written before the field came to its table lack it."""
    return LATER_COLUMN.encode() in (field.metadata or {})
