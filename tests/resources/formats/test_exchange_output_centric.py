"""Results with three columns a method: what is read, where it stood, and what is refused."""

import gzip
from pathlib import Path

import pytest

from resources.formats.interface import BadRow, ExchangeError
from resources.formats.output_centric import ResultsRow, StatedSuccess, open_results, read_results

HEADER = (
    "Layer,Feature,MaxAct Description,MaxAct Input Success,MaxAct Output Success,"
    "Ensemble Raw (All) Description,Ensemble Raw (All) Input Success"
)


def write(folder: Path, *lines: str, header: str = HEADER, name: str = "results.csv") -> Path:
    content = "\n".join([header, *lines])
    (folder / name).write_bytes(gzip.compress(content.encode()) if name.endswith(".gz") else content.encode())
    return folder / name


def read(file: Path, layer: str | None = None, width: int = 10) -> list[ResultsRow | BadRow]:
    return list(read_results(open_results(file, layer), width))


def test_each_method_states_its_description_and_what_is_known_of_it(tmp_path: Path) -> None:
    lines = ('20,7,"cats, big",True,0,felines,1.0', "20,3,dates,,FALSE,,", "", "20,4,,,,,")
    for name in ("results.csv", "results.csv.gz"):
        file = write(tmp_path, *lines, name=name)
        at = [f"{file} line {number}" for number in (2, 3, 5)]
        assert read(file) == [
            ResultsRow(at[0], 7, (
                StatedSuccess(at[0], 7, "MaxAct", "cats, big", True, False),
                StatedSuccess(at[0], 7, "Ensemble Raw (All)", "felines", True, None),
            )),
            ResultsRow(at[1], 3, (StatedSuccess(at[1], 3, "MaxAct", "dates", None, False),)),
            ResultsRow(at[2], 4, ()),
        ]  # fmt: skip


def test_columns_may_stand_anywhere_and_others_are_not_read(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        "x,1,felines,9,5",
        header=",VocabProj output success,VocabProj description, feature ,LAYER",
    )
    found = open_results(file, None)
    assert (found.layer, found.unread) == ("5", ("",)) and found.methods == {"VocabProj": {"Output Success": 1, "Description": 2}}
    (row,) = read_results(found, 10)
    assert isinstance(row, ResultsRow) and row.stated[0].output_success is True and row.stated[0].input_success is None


def test_of_several_layers_one_is_named(tmp_path: Path) -> None:
    file = write(tmp_path, "20,7,cats,1,1,,", "9,7,dogs,1,1,,", "9,9,mice,x,1,,")
    (row,) = read(file, "20")
    assert isinstance(row, ResultsRow) and row.stated[0].text == "cats"
    assert [type(row) for row in read(file, "9")] == [ResultsRow, BadRow]
    with pytest.raises(ExchangeError, match=r"has results of the layers \['20', '9'\]\. Name the dictionary's: --layer '20'"):
        open_results(file, None)
    with pytest.raises(ExchangeError, match=r"has no row of the layer '09'; it has \['20', '9'\]"):
        open_results(file, "09")


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("20,10,cats,1,1,,", "column 'Feature': '10'; allowed are 0 to 9"),
        ("20,7.0,cats,1,1,,", "column 'Feature': '7.0'; allowed are 0 to 9"),
        ("20,,cats,1,1,,", "column 'Feature': ''; allowed are 0 to 9"),
        (",7,cats,1,1,,", "column 'Layer': ''; allowed is the name of a layer"),
        ("20,7,cats,maybe,1,,", "column 'MaxAct Input Success': 'maybe'; allowed are True, False, 1, 0, or nothing"),
        ("20,7,cats,1,0.5,,", "column 'MaxAct Output Success': '0.5'; allowed are True, False, 1, 0, or nothing"),
        ("20,7,,1,,,", "column 'MaxAct Description': ''; allowed is text that is not empty, since its success is stated"),
        ("20,7,cats,1,1,", "6 fields, but 7 columns; text with a comma stands in double quotes"),
        (
            "20,-1,cats,1,2,,no",
            "column 'Feature': '-1'; allowed are 0 to 9; column 'MaxAct Output Success': '2'; allowed are True, False, 1, 0, or nothing; "
            "column 'Ensemble Raw (All) Input Success': 'no'; allowed are True, False, 1, 0, or nothing",
        ),
    ],
)
def test_a_bad_row_names_column_value_and_what_was_allowed(tmp_path: Path, line: str, problem: str) -> None:
    file = write(tmp_path, "20,1,dogs,1,1,,", line)
    assert read(file)[1] == BadRow(f"{file} line 3", problem)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("Layer,MaxAct Description", "has no column 'Feature'; its columns are"),
        ("Feature,MaxAct Description", "has no column 'Layer'"),
        ("Layer,Feature,Explanation", "has no column '<method> Description', such as 'MaxAct Description'"),
        (
            "Layer,Feature,MaxAct Description,VocabProj Input Success",
            "says how 'VocabProj' succeeded and has no column 'VocabProj Description'",
        ),
        ("Layer,Feature,A Description,a description", r"has the columns \['A Description', 'a description'\] more than once"),
    ],
)
def test_a_header_without_what_is_needed_is_refused(tmp_path: Path, header: str, message: str) -> None:
    with pytest.raises(ExchangeError, match=message):
        open_results(write(tmp_path, header=header), None)


def test_a_file_that_is_not_there_and_one_without_rows(tmp_path: Path) -> None:
    with pytest.raises(ExchangeError, match="there is no file"):
        open_results(tmp_path / "none.csv", None)
    assert read(write(tmp_path)) == []
