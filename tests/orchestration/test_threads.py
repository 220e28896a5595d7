"""A stage's blocks by several threads: in order, bounded, and stopped by an error."""

import threading
import time

import polars as pl
import pytest

from interp_assets.orchestration.threads import cores, groups_in_order, in_order


@pytest.mark.parametrize("n_threads", [1, 2, 5])
def test_results_come_in_the_order_of_the_items(n_threads: int) -> None:
    def work(item: int) -> int:
        time.sleep(0.002 * (item % 3 == 0))
        return item * item

    assert list(in_order(work, range(30), n_threads)) == [n * n for n in range(30)]
    assert list(in_order(work, [], n_threads)) == []


def test_two_threads_work_at_the_same_time() -> None:
    both = threading.Barrier(2)
    assert len(list(in_order(lambda item: both.wait(timeout=10), range(4), 2))) == 4


def test_items_are_read_ahead_no_further_than_the_threads_need() -> None:
    read: list[int] = []

    def items():
        for item in range(20):
            read.append(item)
            yield item

    found = in_order(lambda item: item, items(), 3)
    assert read == [] and next(found) == 0 and len(read) == 4


@pytest.mark.parametrize("n_threads", [1, 3])
def test_an_error_comes_in_its_place_and_ends_the_work(n_threads: int) -> None:
    done: list[int] = []

    def work(item: int) -> int:
        if item == 3:
            raise TimeoutError("of the work itself")
        done.append(item)
        return item

    taken: list[int] = []
    with pytest.raises(TimeoutError, match="of the work itself"):
        for result in in_order(work, range(100), n_threads):
            taken.append(result)
    assert taken == [0, 1, 2] and len(done) <= 3 + n_threads + 1
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("block")]


@pytest.mark.parametrize("n_threads", [1, 2, 5])
def test_groups_come_whole_and_in_order_also_without_items(n_threads: int) -> None:
    def work(group: str, item: int) -> str:
        time.sleep(0.002 * (item % 3 == 0))
        return f"{group}{item}"

    groups = [("a", range(3)), ("b", []), ("c", range(1)), ("c", range(2)), ("d", [])]
    found = [(group, list(results)) for group, results in groups_in_order(work, groups, n_threads)]
    assert found == [("a", ["a0", "a1", "a2"]), ("b", []), ("c", ["c0"]), ("c", ["c0", "c1"]), ("d", [])]


def test_groups_of_one_item_are_worked_on_at_the_same_time() -> None:
    both = threading.Barrier(2)
    groups = ((group, [group]) for group in range(4))
    found = groups_in_order(lambda group, item: both.wait(timeout=10), groups, 2)
    assert [len(list(results)) for _, results in found] == [1, 1, 1, 1]


@pytest.mark.parametrize("n_threads", [1, 3])
def test_an_error_in_reading_a_group_leaves_the_groups_before_it_whole(n_threads: int) -> None:
    def damaged():
        yield 1
        raise OSError("a damaged page")

    groups = [("whole", [1, 2]), ("damaged", damaged()), ("after", [1])]
    taken: list[tuple[str, int]] = []
    with pytest.raises(OSError, match="a damaged page"):
        for _, results in groups_in_order(lambda group, item: (group, item), groups, n_threads):
            for result in results:
                taken.append(result)
    assert taken == [("whole", 1), ("whole", 2), ("damaged", 1)]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("block")]


def test_a_stage_takes_no_more_cores_than_the_process_may(monkeypatch: pytest.MonkeyPatch) -> None:
    for asked, found in (("1", 1), ("100000", pl.thread_pool_size()), ("", pl.thread_pool_size()), ("0", pl.thread_pool_size())):
        monkeypatch.setenv("OMP_NUM_THREADS", asked)
        assert cores() == found
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert cores() == pl.thread_pool_size()
