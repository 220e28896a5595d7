"""Answers of DuckDB as polars frames. Intervals, which polars does not hold, are texts of ISO 8601, such as P3DT43200S."""

from typing import TYPE_CHECKING, Any

import pyarrow as pa

if TYPE_CHECKING:
    import polars as pl


def frame_of(rows: pa.Table) -> "pl.DataFrame":
    """The rows as a polars frame."""
    import polars as pl

    for place, field in enumerate(rows.schema):
        if field.type == pa.month_day_nano_interval():
            texts = [None if one is None else interval_text(one) for one in rows.column(place).to_pylist()]
            rows = rows.set_column(place, field.name, pa.array(texts, pa.string()))
    return pl.DataFrame(pl.from_arrow(rows))


def interval_text(interval: Any) -> str:
    """An interval of months, days and nanoseconds as a text."""
    seconds = f"{interval.nanoseconds / 1e9:.9f}".rstrip("0").rstrip(".")
    date = f"{f'{interval.months}M' if interval.months else ''}{f'{interval.days}D' if interval.days else ''}"
    time = f"T{seconds}S" if interval.nanoseconds or not date else ""
    return f"P{date}{time}"
