"""The tables of docs/dictionaries.md say what the files of every format give: see coverage_table.py."""

import re

import pytest
from coverage_table import PAGE, all_covered, coverage_rows, loader_rows, table_of
from trained_files import CASES, trained

from resources.dictionaries import KINDS

pytest.importorskip("sae_lens")
FAIR = 0.02
"""Shares of variance on another processor."""


def test_the_table_of_loaders_is_current() -> None:
    assert table_of(f"<!-- loaders -->\n{loader_rows()}\n", "loaders") == table_of(PAGE.read_text(encoding="utf-8"), "loaders")


def test_every_kind_with_files_is_covered() -> None:
    with_files = {kind for kind, one in KINDS.items() if one.may_be_on_the_hub}
    assert {case.kind for case in CASES} == with_files


@pytest.mark.filterwarnings("ignore")
def test_the_table_of_formats_is_what_their_files_give() -> None:
    found = all_covered(trained())
    made = table_of(f"<!-- coverage -->\n{coverage_rows(found)}\n", "coverage")
    written = table_of(PAGE.read_text(encoding="utf-8"), "coverage")
    assert [row[:3] for row in made] == [row[:3] for row in written]
    for one, new, old in zip(found, made, written, strict=True):
        assert one.error <= 1e-4, (one.case.what, one.error)
        assert float(new[3]) <= 10 * float(old[3]), (new, old)  # rounding differs between processors
        assert abs(float(new[4]) - float(old[4])) <= 1 and (new[5] == "—") == (old[5] == "—"), (new, old)
        assert new[5] == "—" or abs(float(new[5]) - float(old[5])) <= FAIR, (new, old)
        assert re.fullmatch(r"1e-[4-7]", old[3]), old
