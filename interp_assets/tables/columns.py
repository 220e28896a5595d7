"""What tables are declared with: columns with their units, and the columns that many tables share."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from resources.store.later_columns import LATER_COLUMN


def column(name: str, type_: pa.DataType, unit: str, nullable: bool = False) -> pa.Field:
    """An Arrow field whose metadata says its unit or meaning."""
    return pa.field(name, type_, nullable=nullable, metadata={"unit": unit})


def later_column(name: str, type_: pa.DataType, unit: str) -> pa.Field:
    """A nullable column that came to its table after the schema version: partitions written before it are read as if it were null."""
    return pa.field(name, type_, nullable=True, metadata={"unit": unit, LATER_COLUMN: "yes"})


@dataclass(frozen=True)
class Table:
    """A table of the lake: `grain` says what one row is; `partition_columns` name its folders; `keys` identify a row.

    `written_by` names the asset that writes it, or assets between commas, or a command where no asset does. `outcomes` are the values that
    its column `outcome` may have; none where it has no such column. `row_group_rows` bounds a row group of its files, so that one feature,
    or one context, is read with little around it: about 1 MB, a few range requests on an object store.
    """

    name: str
    grain: str
    partition_columns: tuple[str, ...]
    keys: tuple[str, ...]
    schema: pa.Schema
    written_by: str
    outcomes: tuple[str, ...] = ()
    row_group_rows: int | None = None


KEY = pa.dictionary(pa.int32(), pa.string())


def constant(text: str, n: int) -> pa.DictionaryArray:
    """A KEY column of `n` rows that all say `text`."""
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(n, dtype=np.int32)), pa.array([text]))


DICTIONARY = column("dictionary", KEY, "key: model, layer and name, separated by slashes")
FEATURE_RANGE = column("feature_range", KEY, "range i of N")
FEATURE = column("feature", pa.uint32(), "index in the dictionary")
OUTCOME = column("outcome", KEY, "named outcome; 'ok' when all is well")
EXPLANATION_METHOD = column("explanation_method", KEY, "explainer that wrote the explanation")
SCORER = column("scorer", KEY, "scorer")
BY_RANGE = ("dictionary", "feature_range")
