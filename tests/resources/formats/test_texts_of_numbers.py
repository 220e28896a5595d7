"""Numbers and texts of CSV and JSON: single precision at its own digits, JSON in cells, and CSV that Excel opens without loss."""

import csv
import datetime
import io
import json

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resources.formats.decimal_floats import decimal_array, decimal_frame, decimal_table, holds_single
from resources.formats.spreadsheet_cells import csv_text, excel_csv, inert_csv

SINGLE = st.floats(width=32, allow_nan=True, allow_infinity=True)


@given(st.lists(SINGLE, max_size=20))
def test_single_precision_keeps_its_own_shortest_text(values: list[float]) -> None:
    single = np.array(values, dtype=np.float32)
    written = decimal_array(single)
    assert np.array_equal(written.astype(np.float32), single, equal_nan=True)
    for value, stored in zip(written.tolist(), single, strict=True):
        assert len(repr(value)) <= len(repr(float(stored))) and float(str(stored)) == pytest.approx(value, nan_ok=True, rel=0)
    assert decimal_array(np.array([0.1 + 0.2])).tolist() == [0.1 + 0.2]  # double precision stays


@given(st.lists(st.none() | st.lists(st.none() | SINGLE, max_size=3), max_size=8))
def test_lists_and_structures_keep_their_form(rows: list) -> None:
    nested = [None if row is None else [{"value": value, "token": "a"} for value in row] for row in rows]
    table = pa.table({
        "many": pa.array([[0.5], *rows], pa.list_(pa.float32())),
        "deep": pa.array([[], *nested], pa.list_(pa.struct([("value", pa.float32()), ("token", pa.string())]))),
    }).slice(1)  # fmt: skip
    found = decimal_table(table)
    assert holds_single(table.schema) and not holds_single(found.schema)
    single = [None if row is None else [None if one is None else float(str(np.float32(one))) for one in row] for row in rows]
    assert repr(found["many"].to_pylist()) == repr(single)
    assert repr(found["deep"].to_pylist()) == repr(
        [None if row is None else [{"value": one, "token": "a"} for one in row] for row in single]
    )
    frame = pl.DataFrame(pl.from_arrow(table))
    assert repr(decimal_frame(frame)["many"].to_list()) == repr(single)


def test_a_cell_with_a_list_or_a_structure_is_json() -> None:
    frame = pl.DataFrame(
        {
            "values": [[0.3, None, float("nan")], [], None],
            "tokens": [[" it's", 'a "b"', "é"], ["\n"], []],
            "row": [{"hit": True, "on": datetime.date(2026, 1, 2)}] * 3,
            "single": [0.3, 1e-7, None],
        },
        schema_overrides={"values": pl.List(pl.Float32), "single": pl.Float32},
    )
    rows = list(csv.DictReader(io.StringIO(inert_csv(frame), newline="")))
    assert [row["values"] for row in rows] == ["[0.3, null, null]", "[]", ""]
    assert [json.loads(row["tokens"]) for row in rows] == [[" it's", 'a "b"', "é"], ["\n"], []] and "é" in rows[0]["tokens"]
    assert json.loads(rows[0]["row"]) == {"hit": True, "on": "2026-01-02"}
    assert [row["single"] for row in rows] == ["0.3", "1e-7", ""]
    assert csv_text(["a", "b"], [{"a": True, "b": None}, {"a": [1, None], "b": 0.5}]) == 'a,b\ntrue,\n"[1, null]",0.5\n'


@pytest.mark.parametrize(
    "text",
    ["1/2/1999", "1-2", "3.10", "007", " 2001", "1e5", "12:30", "50%", "$5", "1,234", "MAR1", "Sept 2", "dec-10", "März 3", "TRUE", "false",
     "2 January", "1234567890123456", "(5)", "-1-2", '5"'],
)  # fmt: skip
def test_a_text_that_excel_takes_for_a_value_stays_a_text(text: str) -> None:
    made, notes = excel_csv(pl.DataFrame({"text": [text]}))
    (row,) = csv.DictReader(io.StringIO(made.removeprefix("\ufeff")))
    assert row["text"] == '="' + text.replace('"', '""') + '"' and not notes


def test_other_texts_and_numbers_are_as_in_any_csv() -> None:
    frame = pl.DataFrame({"text": ["résumé 户", "smollm2-135m/09/res-2k", "=1+1", "a\nb", "", None], "n": [1, 2, 3, 4, 5, 2**53]})
    made, notes = excel_csv(frame)
    assert made.startswith("\ufefftext,n\n") and not notes
    assert list(csv.reader(io.StringIO(made[1:], newline="")))[1:] == [
        ["résumé 户", "1"], ["smollm2-135m/09/res-2k", "2"], ["'=1+1", "3"], ["a\nb", "4"], ["", "5"],
        ["", '="9007199254740992"'],
    ]  # fmt: skip
    assert excel_csv(pl.DataFrame({"n": [10**14, -7]}))[0] == "\ufeffn\n100000000000000\n-7\n"


def test_a_text_too_long_for_a_cell_is_cut_and_that_is_said() -> None:
    made, notes = excel_csv(pl.DataFrame({"text": ["😀" * 20_000, "x" * 32_767]}))
    first, second = (row["text"] for row in csv.DictReader(io.StringIO(made[1:])))
    assert len(first.encode("utf-16-le")) // 2 <= 32_767 and first.endswith("😀…") and len(second) == 32_767
    assert notes == ["1 cells are cut: a cell of Excel holds 32,767 characters"]
