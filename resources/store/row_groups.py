"""Row groups of a partition's file: how their columns are encoded, and lists of texts that are written from codes.

    [["the", " cat"], ["the"]] as codes [[7, 3], [7]] into all texts  ─▶  codes [[1, 0], [1]] into the two texts of the row group

Parquet keeps a column of few distinct texts as a dictionary and codes. A list of texts that comes dictionary-encoded is written so,
without a look at each text. It is read back as the list of texts of the table's schema.
"""

import base64
from collections.abc import Iterator, Mapping
from typing import IO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq


def encodings(schema: pa.Schema) -> dict[str, object]:
    """Options of a `ParquetWriter`: how each column is encoded and compressed, and the columns with statistics.

    No query looks for the least element of a list, so lists have no statistics. Numbers in lists are smaller without a dictionary.
    Encodings are such as every reader of Parquet knows: DuckDB 1 reads no whole numbers with their bytes split.
    """
    leaves = [leaf for field in schema for leaf in _leaves(field.name, field.type, in_list=False)]
    return {
        "use_dictionary": [path for path, type_, in_list in leaves if not in_list or _is_text(type_)],
        "write_statistics": [path for path, _, in_list in leaves if not in_list],
        "compression": {path: "lz4" if _packs_fast(type_, in_list) else "zstd" for path, type_, in_list in leaves},
        "write_batch_size": BATCH_ELEMENTS,
    }


def _packs_fast(type_: pa.DataType, in_list: bool) -> bool:
    """Whether LZ4 suits a column. Codes and truth values are dense already: zstd would take a fifth of the time of a row group of examples,
    and save a sixth of the texts. Of activations, nearly all zeros, either leaves little."""
    return pa.types.is_dictionary(type_) or pa.types.is_boolean(type_) or (in_list and pa.types.is_float32(type_))


def _leaves(path: str, type_: pa.DataType, in_list: bool) -> Iterator[tuple[str, pa.DataType, bool]]:
    """(path in the Parquet schema, type, whether it is in a list) of each column that Parquet makes of a column."""
    if pa.types.is_list(type_) or pa.types.is_large_list(type_) or pa.types.is_fixed_size_list(type_):
        yield from _leaves(f"{path}.list.element", type_.value_type, True)
    elif pa.types.is_struct(type_):
        for field in type_:
            yield from _leaves(f"{path}.{field.name}", field.type, in_list)
    else:
        yield path, type_, in_list


def _is_text(type_: pa.DataType) -> bool:
    return pa.types.is_string(type_) or pa.types.is_dictionary(type_)


BATCH_ELEMENTS = 65_536
"""Elements of a column that are encoded at a time."""

CODED_TEXTS = pa.list_(pa.dictionary(pa.int32(), pa.string()))
"""Type of a list of texts that is written from codes."""


def opened(file: IO[bytes], schema: pa.Schema, first: pa.Schema, options: Mapping[str, object]) -> pq.ParquetWriter:
    """A writer of a file that is read back with `schema`; lists of texts that are dictionary-encoded in `first` are written from codes."""
    written = schema
    for place, field in enumerate(schema):
        if field.type == pa.list_(pa.string()) and first.field(field.name).type == CODED_TEXTS:
            written = written.set(place, field.with_type(CODED_TEXTS))
    if written == schema:
        return pq.ParquetWriter(file, schema, **{**encodings(schema), **options})
    parquet = pq.ParquetWriter(file, written, **{**encodings(written), **options, "store_schema": False})
    parquet.add_key_value_metadata({"ARROW:schema": base64.b64encode(schema.serialize())})
    return parquet


def row_groups(rows: pa.Table, n_rows: int | None) -> Iterator[pa.Table]:
    """`rows` in parts of at most `n_rows`.

    Each dictionary of texts in lists holds the texts of its part alone, in the order in which
    they come. So equal rows are equal bytes, whichever codes their texts came with.
    """
    coded = [place for place, field in enumerate(rows.schema) if field.type == CODED_TEXTS]
    if not coded:
        yield rows
        return
    rows = rows.unify_dictionaries()
    for first in range(0, rows.num_rows, n_rows or max(rows.num_rows, 1)):
        part = rows.slice(first, n_rows)
        for place in coded:
            part = part.set_column(place, part.schema.field(place), _with_own_texts(part.column(place).combine_chunks()))
        yield part


def _with_own_texts(lists: pa.ListArray) -> pa.ListArray:
    """The lists, their dictionary without the texts that no list holds; as they are where a list or a text is null."""
    values = lists.flatten()
    if lists.null_count or values.null_count:
        return lists
    codes = values.indices.to_numpy()
    place = np.full(len(values.dictionary), len(codes), dtype=np.int32)  # where each text comes first
    backwards = codes[::-1].astype(np.intp)  # numpy looks up by its own type of index at a third of the time
    place[backwards] = np.arange(len(codes) - 1, -1, -1, dtype=np.int32)  # of equal codes the last assignment stays
    used = codes[np.sort(place)[: np.count_nonzero(place < len(codes))]]
    place[used] = np.arange(len(used), dtype=np.int32)
    texts = pa.DictionaryArray.from_arrays(pa.array(place.take(codes)), values.dictionary.take(pa.array(used)))
    offsets = lists.offsets.to_numpy()
    return pa.ListArray.from_arrays(pa.array(offsets - offsets[0]), texts)
