"""A lake that is away is told from a lake that was never begun, and no new lake begins in its place unasked."""

from pathlib import Path

import pyarrow as pa
import pytest

from resources.store.lake import Lake, LakeError
from resources.store.lake_memory import LakeMemory

SCHEMA = pa.schema([pa.field("feature", pa.uint32())])
CELL = {"dictionary": "m/09/a"}


def lake_at(folder: Path, name: str = "lake") -> Lake:
    return Lake(str(folder / name), 1, LakeMemory(folder / "lake_in_use.json"))


def write(lake: Lake) -> None:
    lake.write("t", CELL, SCHEMA, pa.table({"feature": [1]}, schema=SCHEMA), "v1")


def test_a_new_home_has_lost_nothing(tmp_path: Path) -> None:
    lake = lake_at(tmp_path)
    assert lake.loss is None and not (tmp_path / "lake_in_use.json").exists()
    write(lake)
    assert lake.loss is None


@pytest.mark.parametrize("left", ["nothing", "an empty folder", "a link to nowhere"])
def test_a_lake_whose_disk_is_gone_is_said_and_no_run_begins_another(tmp_path: Path, left: str) -> None:
    open_all_along = lake_at(tmp_path)
    write(open_all_along)
    place = tmp_path / "lake"
    place.rename(tmp_path / "disk")
    if left == "an empty folder":
        place.mkdir()
    elif left == "a link to nowhere":
        place.symlink_to("nowhere")
    for lake in (open_all_along, lake_at(tmp_path)):
        assert lake.loss is not None and f"{place} holds nothing, and this home's results were in it" in lake.loss
        with pytest.raises(LakeError, match=r"Mount its disk\. .*`interp backfill` or `interp run` begins a new lake"):
            write(lake)
    assert not (place / "lake.json").exists() and not (place / "t").exists()
    if left == "a link to nowhere":
        place.unlink()
    elif left == "an empty folder":
        place.rmdir()
    (tmp_path / "disk").rename(place)
    assert lake_at(tmp_path).loss is None and open_all_along.manifest("t", CELL) is not None


def test_a_lake_that_was_removed_on_purpose_is_begun_anew_once_it_is_asked_for(tmp_path: Path) -> None:
    write(lake_at(tmp_path))
    (tmp_path / "lake").rename(tmp_path / "away")
    lake, other_process = lake_at(tmp_path), lake_at(tmp_path)
    lake.begin_anew()
    write(other_process)
    assert lake.loss is None and lake_at(tmp_path).loss is None
    (tmp_path / "lake").rename(tmp_path / "away again")
    assert lake_at(tmp_path).loss is not None


def test_another_address_without_a_lake_names_the_lake_that_the_home_knows(tmp_path: Path) -> None:
    write(lake_at(tmp_path))
    mistyped = lake_at(tmp_path, "lakke")
    assert f"results are in {tmp_path / 'lake'}. Correct INTERP_LAKE" in str(mistyped.loss)
    with pytest.raises(LakeError, match="Correct INTERP_LAKE"):
        write(mistyped)
    assert not (tmp_path / "lakke").exists()
    write(Lake(str(tmp_path / "lakke"), 1))
    assert lake_at(tmp_path, "lakke").loss is None, "a lake with results in it is one"


@pytest.mark.parametrize("content", ["", "{", "[]", '{"lake": 3}', "\x00"])
def test_a_damaged_memory_is_written_again(tmp_path: Path, content: str) -> None:
    write(lake_at(tmp_path))
    memory = LakeMemory(tmp_path / "lake_in_use.json")
    memory.file.write_text(content)
    assert memory.url is None and lake_at(tmp_path).loss is None and memory.url == str(tmp_path / "lake")
