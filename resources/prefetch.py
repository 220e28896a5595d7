"""An iterator that makes its next items while an item is worked on."""

from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

Item = TypeVar("Item")
_END: Any = object()


def prefetched(items: Iterator[Item], n: int) -> Generator[Item, None, None]:
    """The items in their order, up to `n` of them made in advance by one thread. An exception in making an item is raised in the item's
    place.

    It pays where making an item waits for something other than the interpreter, such as a GPU. A consumer that stops early closes the
    generator, and so waits for the item that is being made. With n below 1 it raises `ValueError` when the first item is asked for.
    """
    if n < 1:
        raise ValueError(f"n is {n}; 1 or more items are made in advance")
    pool = ThreadPoolExecutor(1, thread_name_prefix="looked-ahead")
    try:
        coming = deque(pool.submit(next, items, _END) for _ in range(n))
        while (item := coming.popleft().result()) is not _END:
            coming.append(pool.submit(next, items, _END))
            yield item
    finally:
        pool.shutdown(cancel_futures=True)
