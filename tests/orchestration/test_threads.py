"""A stage's blocks by several threads: in order, bounded, and stopped by an error."""

import threading
import time

import polars as pl
import pytest

from interp_assets.orchestration.threads import cores, in_order


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


def test_a_stage_takes_no_more_cores_than_the_process_may(monkeypatch: pytest.MonkeyPatch) -> None:
    for asked, found in (("1", 1), ("100000", pl.thread_pool_size()), ("", pl.thread_pool_size()), ("0", pl.thread_pool_size())):
        monkeypatch.setenv("OMP_NUM_THREADS", asked)
        assert cores() == found
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert cores() == pl.thread_pool_size()
