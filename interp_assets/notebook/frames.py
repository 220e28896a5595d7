"""Rows of Arrow as the frames that a notebook is given."""

import polars as pl
import pyarrow as pa

from resources.formats.answer_frames import frame_of


def plain_frame(rows: pa.Table) -> pl.DataFrame:
    """The rows as a frame with plain text columns."""
    frame = frame_of(rows)
    return frame.with_columns(pl.col(name).cast(pl.String) for name, type_ in frame.schema.items() if type_ in (pl.Categorical, pl.Enum))
