"""A look at a large table goes down only where something was written or withdrawn, and sees all of that at once."""

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from test_lake_index import warehouse, write

from interp_assets.assets.warehouse.duckdb_file import Warehouse
from interp_assets.tables import SCORES
from resources.store import lake_index, table_index
from resources.store.dictionary_partitions import remove_folder
from resources.store.lake import CorruptPartition, Lake
from resources.store.lake_index import LakeIndex

KEYS = ("m/09/a", "m/09/b")


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Warehouse:
    """A warehouse of two dictionaries with four partitions each, which count as many; nothing was written in the last seconds."""
    monkeypatch.setattr(table_index, "LEAST_TRUSTED_PARTS", 1)
    monkeypatch.setattr(table_index, "SECONDS_A_PART", 100.0)
    house = warehouse(tmp_path)
    for key in KEYS:
        for number in range(4):
            write(house, f"{number:02d}of16", range(10 * number, 10 * number + 10), key)
    settle(house)
    return house


def settle(house: Warehouse) -> None:
    """Make all folders an hour old."""
    before = time.time() - 3600
    for folder, _, _ in os.walk(house.lake.root):
        os.utime(folder, (before, before))


def partition(key: str, number: int) -> dict[str, str]:
    return {"scorer": "detection", "dictionary": key, "feature_range": f"{number:02d}of16"}


def stats(monkeypatch: pytest.MonkeyPatch, look: Callable[[], Any]) -> list[str]:
    """The places that are looked at meanwhile."""
    seen: list[str] = []
    stat = os.stat
    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", lambda path, *rest, **named: seen.append(str(path)) or stat(path, *rest, **named))
        look()
    return [path for path in seen if "scores" in path and "warehouse" not in path]


def test_an_unchanged_table_is_one_stat(house: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    first = house.index.look("scores", 3)
    root = f"{house.lake.root}/scores"
    assert stats(monkeypatch, lambda: house.index.look("scores", 3)) == [root]
    assert house.index.look("scores", 3) is first
    new = LakeIndex(house.lake, house.path.parent / "warehouse" / "index")
    assert stats(monkeypatch, lambda: new.look("scores", 3)) == [root], "another process trusts the kept index as long"
    assert new.look("scores", 3).parts == first.parts and new.look("scores", 3).digests == first.digests


def test_a_commit_is_seen_at_once_and_only_its_dictionary_is_looked_at(house: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    before = house.index.look("scores", 3)
    digests = dict(before.digests)
    write(house, "02of16", range(3), KEYS[1])
    looked = stats(monkeypatch, lambda: house.index.look("scores", 3))
    assert len([path for path in looked if "feature_range" in path]) == 8 and not any("09%2Fa/" in path for path in looked)
    now = house.index.look("scores", 3)
    assert now.rows == 73 and before.rows == 80, "an index that a question holds stays as it is"
    assert now.digests[KEYS[0]] == digests[KEYS[0]] and now.digests[KEYS[1]] != digests[KEYS[1]]
    fresh = LakeIndex(house.lake, house.path.parent / "elsewhere").look("scores", 3)
    assert list(now.parts) == list(fresh.parts) and now.digests == fresh.digests and now.by_dictionary == fresh.by_dictionary


def test_every_way_of_withdrawing_is_seen_at_once(house: Warehouse) -> None:
    def rows() -> int:
        return house.query("SELECT count(*) AS n FROM scores").rows["n"][0].as_py()

    assert rows() == 80
    house.lake.discard("scores", partition(KEYS[0], 0))
    assert rows() == 70
    settle(house)
    assert rows() == 70
    house.lake.remove("scores", partition(KEYS[0], 1))
    assert rows() == 60
    settle(house)
    part = Path(house.lake.path("scores", partition(KEYS[0], 2))) / "part-0.parquet"
    part.write_bytes(part.read_bytes()[:-30])
    with pytest.raises(CorruptPartition):
        house.lake.read("scores", partition(KEYS[0], 2))
    assert rows() == 50
    settle(house)
    remove_folder(house.lake, f"{house.lake.root}/scores/scorer=detection/dictionary=m%2F09%2Fb")
    assert rows() == 10


def test_a_change_by_hand_is_seen_by_the_next_whole_look(house: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    index = house.index
    assert index.look("scores", 3).rows == 80
    folder = Path(house.lake.path("scores", partition(KEYS[0], 0)))
    shutil.rmtree(folder)
    assert index.look("scores", 3).rows == 80
    monkeypatch.setattr(table_index, "SECONDS_A_PART", 0.0)
    assert index.look("scores", 3).rows == 70
    monkeypatch.setattr(table_index, "LEAST_TRUSTED_PARTS", 1_000)
    assert index.look("scores", 3).trusted_seconds == 0.0, "a small table is looked at whole each time"


def test_a_whole_look_that_examined_a_few_parts_is_the_last_one_for_the_next_process(
    house: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = house.path.parent / "warehouse" / "index"
    monkeypatch.setattr(lake_index, "READ_BYTES", 0)
    assert house.index.look("scores", 3).n_unread == 8
    monkeypatch.setattr(lake_index, "READ_BYTES", 64 << 20)
    monkeypatch.setattr(lake_index, "MOST_READ_LATER", 2)
    monkeypatch.setattr(lake_index, "EXAMINED_SECONDS", 0.0)  # as in a table of so many partitions that these two do not count
    monkeypatch.setattr(time, "time", lambda: 1e10)  # trust in the first look is over
    assert LakeIndex(house.lake, folder).look("scores", 3).n_unread == 6
    later = LakeIndex(house.lake, folder)
    assert stats(monkeypatch, lambda: later.look("scores", 3)) == [f"{house.lake.root}/scores"]
    assert later.look("scores", 3).n_unread == 6


def test_a_question_reads_the_partitions_that_it_asks_for_out_of_a_stored_index(house: Warehouse) -> None:
    house.index.look("scores", 3)
    found = LakeIndex(house.lake, house.path.parent / "warehouse" / "index").look("scores", 3)
    assert (found.rows, found.n_parts, found.n_unread, found.missing, len(found.digests)) == (80, 8, 0, [], 2)
    assert [group._parts is None for group in found.groups.values()] == [True, True], "numbers need no partition"
    assert [part.rows for part in found.by_dictionary[KEYS[1]]] == [10] * 4
    assert [group._parts is None for group in found.groups.values()] == [True, False]


def test_a_part_that_is_read_and_found_damaged_leaves_the_sums(house: Warehouse) -> None:
    index = house.index.look("scores", 3)
    assert index.rows == 80 and len(index.by_dictionary[KEYS[0]]) == 4
    digest = index.digests[KEYS[0]]
    house.index.note_read("scores", index.by_dictionary[KEYS[0]][0], "its bytes are others")
    assert index.rows == 70 and len(index.by_dictionary[KEYS[0]]) == 3 and index.digests[KEYS[0]] != digest
    assert [part.problem for part in index.missing] == ["its bytes are others"]


def test_a_folder_of_another_user_does_not_stop_a_commit(house: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any, **__: Any) -> None:
        raise PermissionError(1, "Operation not permitted")

    with monkeypatch.context() as patch:
        patch.setattr(os, "utime", refused)
        write(house, "05of16", range(3))
    assert Lake(house.lake.root, house.lake.schema_version).is_current(SCORES.name, partition(KEYS[0], 5), "v1")
