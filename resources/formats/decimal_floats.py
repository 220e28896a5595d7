"""Numbers of single precision for texts: 0.3 and not 0.30000001192092896, which is what Python writes of the float32 nearest to 0.3.

A float32 becomes the float64 whose shortest text is the shortest text of the float32. Read back as float32 it is the stored number.
"""

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    import polars as pl


COMPUTED_DIGITS = 15
"""Significant digits of computed numbers."""
WHOLE = 2**24
"""Whole numbers below this one are exact in single precision, and their text is the same in both."""


def decimal_array(values: np.ndarray) -> np.ndarray:
    """float64 of the shape of `values`; `values` as they are where they are no float32."""
    if values.dtype != np.float32:
        return values
    with np.errstate(invalid="ignore"):  # of some NaNs
        written = values.astype(np.float64)
        longer = (values != np.rint(values)) | (np.abs(values) >= WHOLE)  # most activations are 0
    written[longer] = values[longer].astype(str).astype(np.float64)
    return written


def decimal_table(table: pa.Table) -> pa.Table:
    """The table with float64 in place of float32, also inside lists and structures."""
    for place, field in enumerate(table.schema):
        if _holds_single(field.type):
            table = table.set_column(place, field.name, _decimal(_whole(table.column(place))))
    return table


def decimal_frame(frame: "pl.DataFrame") -> "pl.DataFrame":
    """The polars frame with Float64 in place of Float32, also inside lists and structures."""
    import polars as pl

    columns = {series.name: series.to_arrow() for series in frame if _holds_single(series.to_arrow().type)}
    return frame.with_columns(pl.Series(name, pl.from_arrow(_decimal(column))) for name, column in columns.items())


def computed_table(table: pa.Table) -> pa.Table:
    """The table of numbers that SQL computes, with COMPUTED_DIGITS of each: later digits depend on which thread adds first."""
    table = decimal_table(table)
    for place, field in enumerate(table.schema):
        if pa.types.is_float64(field.type):
            digits = [value if value is None else float(f"{value:.{COMPUTED_DIGITS}g}") for value in table.column(place).to_pylist()]
            table = table.set_column(place, field, pa.array(digits, pa.float64()))
    return table


def holds_single(schema: pa.Schema) -> bool:
    """Whether any column has numbers of single precision."""
    return any(_holds_single(field.type) for field in schema)


def _holds_single(type_: pa.DataType) -> bool:
    if pa.types.is_map(type_):
        return False  # no table has such a column
    if pa.types.is_nested(type_):
        return any(_holds_single(type_.field(place).type) for place in range(type_.num_fields))
    return pa.types.is_float32(type_)


def _whole(column: pa.ChunkedArray) -> pa.Array:
    found = column.combine_chunks()
    return pa.concat_arrays(found.chunks) if isinstance(found, pa.ChunkedArray) else found


def _decimal(array: pa.Array) -> pa.Array:
    """The array with float64 in place of float32."""
    if pa.types.is_float32(array.type):
        return pa.array(decimal_array(array.to_numpy(zero_copy_only=False)), mask=np.asarray(array.is_null()))
    if not _holds_single(array.type):
        return array
    absent = pc.is_null(array)
    if pa.types.is_struct(array.type):
        fields = [array.type.field(place) for place in range(array.type.num_fields)]
        return pa.StructArray.from_arrays([_decimal(part) for part in array.flatten()], [field.name for field in fields], mask=absent)
    lengths = np.asarray(pc.fill_null(pc.list_value_length(array), 0), dtype=np.int64)
    offsets = pa.array(np.concatenate([[0], lengths.cumsum()]), pa.int64())
    return pa.LargeListArray.from_arrays(offsets, _decimal(array.flatten()), mask=absent)
