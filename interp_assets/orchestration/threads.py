"""Work on a stage's blocks by several threads of its process, in order."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotDoneYet
from functools import partial
from itertools import chain, groupby
from operator import itemgetter
from typing import Any, TypeVar

Group = TypeVar("Group")
Item = TypeVar("Item")
Result = TypeVar("Result")

INTERRUPTIBLE_SECONDS = 1.0
"""Longest single wait for a thread, seconds: with Polars, a wait without a limit does not notice an interrupt."""


def cores() -> int:
    """Cores that a stage may use: the cores of this process as Polars counts them (`POLARS_MAX_THREADS`), at most `OMP_NUM_THREADS`."""
    import polars as pl

    asked = os.environ.get("OMP_NUM_THREADS", "")
    return min(pl.thread_pool_size(), int(asked)) if asked.isdigit() and int(asked) else pl.thread_pool_size()


def in_order(work: Callable[[Item], Result], items: Iterable[Item], n_threads: int) -> Iterator[Result]:
    """`work(item)` for each item, in the order of the items; `n_threads` items are worked on at a time.

    With one thread, nothing is begun before the result of the item before is taken. With more threads, items are read ahead: memory holds
    at most `n_threads` + 1 items and results. The caller's thread reads the items and takes the results, beside the threads. An exception
    in `work` is raised where its result would come, and no further item is begun.
    """
    if n_threads == 1:
        yield from map(work, items)
        return
    with ThreadPoolExecutor(n_threads, "block") as pool:
        waiting: deque[Future[Result]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) > n_threads:
                    yield awaited(waiting.popleft())
            while waiting:
                yield awaited(waiting.popleft())
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def groups_in_order(
    work: Callable[[Group, Item], Result], groups: Iterable[tuple[Group, Iterable[Item]]], n_threads: int
) -> Iterator[tuple[Group, Iterator[Result]]]:
    """Each group with `work(group, item)` for each of its items, all in order; `n_threads` items are worked on at a time, as in `in_order`.

    With more threads than one, items of the next groups are worked on while the results of a group are taken, so that small groups keep all
    threads at work. The results of a group must be taken before the next group is asked for. An error in reading a group's items is raised
    where the next result of that group would come, after all results of the groups before.
    """

    def steps() -> Iterator[Callable[[], tuple[tuple[int, Group], list[Result]]]]:
        for place, (group, items) in enumerate(groups):
            is_empty = True
            try:
                for item in items:
                    yield partial(_done, work, place, group, item)
                    is_empty = False
            except Exception as error:
                yield partial(_raised, error)
                return
            if is_empty:
                yield partial(_nothing, place, group)

    for (_, group), found in groupby(in_order(_call, steps(), n_threads), key=itemgetter(0)):
        yield group, chain.from_iterable(map(itemgetter(1), found))


def _call(step: Callable[[], Result]) -> Result:
    return step()


def _done(work: Callable[[Group, Item], Result], place: int, group: Group, item: Item) -> tuple[tuple[int, Group], list[Result]]:
    return (place, group), [work(group, item)]


def _nothing(place: int, group: Group) -> tuple[tuple[int, Group], list[Any]]:
    return (place, group), []


def _raised(error: Exception) -> Any:
    raise error


def awaited(future: Future[Result]) -> Result:
    """The result of a future, or its error; the wait can be interrupted."""
    while True:
        try:
            return future.result(INTERRUPTIBLE_SECONDS)
        except NotDoneYet:
            if future.done():
                raise
