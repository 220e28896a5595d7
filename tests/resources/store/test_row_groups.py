"""How columns of a partition's file are encoded, and lists of texts that are written from codes."""

from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from interp_assets.tables import TABLES
from resources.store.lake import Lake
from resources.store.row_groups import CODED_TEXTS, encodings

SCHEMA = pa.schema(
    [
        pa.field("feature", pa.uint32(), nullable=False, metadata={"unit": "index"}),
        pa.field("tokens", pa.list_(pa.string()), nullable=False),
    ]
)
WORDS = np.array(["the", " cat", " sat", " on", " mat", ".", "日本", ""])


def plain(n: int, seed: int = 0) -> pa.Table:
    """`n` rows with 0 to 5 words each."""
    rng = np.random.default_rng(seed)
    lists = [WORDS[rng.integers(0, len(WORDS), rng.integers(0, 6))].tolist() for _ in range(n)]
    return pa.table({"feature": np.arange(n, dtype=np.uint32), "tokens": lists}, schema=SCHEMA)


def coded(rows: pa.Table, words: list[str]) -> pa.Table:
    """The rows, their texts as codes into `words`, of which some are in no row."""
    lists = rows.column("tokens").combine_chunks()
    codes = pa.array([words.index(text) for text in lists.flatten().to_pylist()], pa.int32())
    tokens = pa.ListArray.from_arrays(lists.offsets, pa.DictionaryArray.from_arrays(codes, pa.array(words)))
    return pa.Table.from_arrays([rows.column("feature"), tokens], schema=SCHEMA.set(1, SCHEMA.field(1).with_type(CODED_TEXTS)))


@pytest.mark.parametrize("row_group_rows", [7, 100, None])
def test_texts_written_from_codes_read_back_as_texts(tmp_path: Path, row_group_rows: int | None) -> None:
    """Parts whose dictionaries have other orders and other texts, in row groups that run over the ends of parts."""
    lake, rows = Lake(str(tmp_path), 1), plain(60)
    orders = [["unused", *WORDS], [*WORDS[::-1], "unused too"], list(WORDS)]
    parts = [coded(rows.slice(first, 20).combine_chunks(), words) for first, words in zip((0, 20, 40), orders, strict=True)]
    lake.write("t", {"d": "a"}, SCHEMA, pa.concat_tables(parts), "v1", row_group_rows=row_group_rows)
    lake.write("t", {"d": "b"}, SCHEMA, coded(rows, [*WORDS[::-1]]), "v1", row_group_rows=row_group_rows)
    lake.write("t", {"d": "c"}, SCHEMA, rows, "v1", row_group_rows=row_group_rows)
    found = lake.read("t", {"d": "a"})
    assert found.equals(rows) and found.schema.equals(lake.read("t", {"d": "c"}).schema, check_metadata=True)
    files = [Path(lake.path("t", {"d": name}), "part-0.parquet") for name in "abc"]
    assert files[0].read_bytes() == files[1].read_bytes()  # whatever the codes were
    assert [pq.ParquetFile(file).num_row_groups for file in files] == [-(-60 // (row_group_rows or 60))] * 3
    assert b"unused" not in files[0].read_bytes()
    assert pq.ParquetFile(files[0]).schema.equals(pq.ParquetFile(files[2]).schema)


def test_a_partition_without_rows_has_the_schema(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path), 1)
    for name, parts in {"none": [], "empty": [coded(plain(0), ["a"])]}.items():
        lake.write("t", {"d": name}, SCHEMA, parts, "v1")
        assert lake.read("t", {"d": name}).equals(SCHEMA.empty_table())


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_flat_columns_have_statistics_and_lists_have_none(table, tmp_path: Path) -> None:
    """The paths are the paths of the Parquet file: a name that is none of them would leave its column without an encoding."""
    chosen = encodings(table.schema)
    with pq.ParquetWriter(tmp_path / "t.parquet", table.schema) as writer:
        writer.write_table(table.schema.empty_table())
    schema = pq.ParquetFile(tmp_path / "t.parquet").schema
    columns = [schema.column(i) for i in range(len(schema))]
    assert chosen["write_statistics"] == [column.path for column in columns if column.max_repetition_level == 0]
    texts = [column.path for column in columns if column.max_repetition_level == 0 or column.physical_type == "BYTE_ARRAY"]
    assert chosen["use_dictionary"] == texts


def test_columns_are_encoded_and_compressed_as_suits_them(tmp_path: Path) -> None:
    """Codes, truth values and activations are packed with LZ4, all else with zstd."""
    schema = pa.schema([*SCHEMA, pa.field("ids", pa.list_(pa.int32())), pa.field("activations", pa.list_(pa.float32()))])
    further = {"role": pa.dictionary(pa.int32(), pa.string()), "begins_in_word": pa.bool_(), "start": pa.uint32()}
    schema = pa.schema([*schema, *(pa.field(name, type_) for name, type_ in further.items())])
    rows = coded(plain(300), list(WORDS))
    lists = rows.column("tokens").combine_chunks()
    numbers = np.arange(len(lists.flatten()))
    for name, type_ in (("ids", pa.int32()), ("activations", pa.float32())):
        rows = rows.append_column(schema.field(name), pa.ListArray.from_arrays(lists.offsets, pa.array(numbers, type_)))
    values = {"role": ["shown", "held_out", "shown"] * 100, "begins_in_word": [True, False] * 150, "start": range(300)}
    for name, type_ in further.items():
        rows = rows.append_column(schema.field(name), pa.array(values[name], type_))
    lake = Lake(str(tmp_path), 1)
    lake.write("t", {"d": "a"}, schema, rows, "v1")
    group = pq.ParquetFile(Path(lake.path("t", {"d": "a"}), "part-0.parquet")).metadata.row_group(0)
    columns = {group.column(i).path_in_schema: group.column(i) for i in range(group.num_columns)}
    assert {path: column.compression for path, column in columns.items()} == {
        "feature": "ZSTD", "tokens.list.element": "LZ4", "ids.list.element": "ZSTD", "activations.list.element": "LZ4",
        "role": "LZ4", "begins_in_word": "LZ4", "start": "ZSTD",
    }  # fmt: skip
    used = {encoding for column in columns.values() for encoding in column.encodings}
    assert used == {"PLAIN", "RLE", "RLE_DICTIONARY"}, (
        "other readers lack rarer encodings: DuckDB 1 lacks BYTE_STREAM_SPLIT of whole numbers"
    )
    assert "RLE_DICTIONARY" in columns["tokens.list.element"].encodings
    assert lake.read("t", {"d": "a"}).column("ids").to_pylist() == rows.column("ids").to_pylist()
    folder = lake.path("t", {"d": "a"})
    found = duckdb.sql(f"SELECT sum(len(ids)), sum(list_sum(ids)), sum(list_sum(activations)) FROM '{folder}/*.parquet'").fetchall()
    assert found == [(len(numbers), numbers.sum(), numbers.sum())]
