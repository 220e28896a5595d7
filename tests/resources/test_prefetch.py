"""Items made in advance: in order, as many as asked for and no more, with what making them raises."""

import threading
from collections.abc import Iterator

import pytest

from resources.prefetch import prefetched


class Made:
    """The numbers from 0 on, noting how many were begun, by which threads; raises at `broken`."""

    def __init__(self, n: int, broken: int | None = None) -> None:
        self.begun, self.threads = 0, set[str]()
        self.changed = threading.Condition()
        self._n, self._broken = n, broken

    def numbers(self) -> Iterator[int]:
        for number in range(self._n):
            with self.changed:
                self.begun += 1
                self.threads.add(threading.current_thread().name)
                self.changed.notify_all()
            if number == self._broken:
                raise OSError(f"number {number} is broken")
            yield number

    def wait_for(self, n: int) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: self.begun >= n, timeout=10), f"{self.begun} of {n} were begun"


@pytest.mark.parametrize("n", [1, 2, 7])
def test_items_come_in_their_order_and_those_after_are_made_meanwhile(n: int) -> None:
    made = Made(5)
    for number, item in enumerate(prefetched(made.numbers(), n)):
        assert item == number
        made.wait_for(min(number + 1 + n, 5))
    assert made.begun == 5 and all(name.startswith("looked-ahead") for name in made.threads)


def test_no_more_are_made_than_asked_for() -> None:
    made = Made(100)
    items = prefetched(made.numbers(), 3)
    assert next(items) == 0
    made.wait_for(4)
    items.close()  # type: ignore[attr-defined]
    assert made.begun == 4
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("looked-ahead")]


def test_an_error_comes_after_the_items_before_it() -> None:
    items = prefetched(Made(5, broken=2).numbers(), 4)
    assert [next(items), next(items)] == [0, 1]
    with pytest.raises(OSError, match="number 2 is broken"):
        next(items)
    assert list(items) == []


def test_of_nothing_comes_nothing_and_less_than_one_is_refused() -> None:
    assert list(prefetched(iter([]), 2)) == []
    with pytest.raises(ValueError, match="n is 0"):
        next(prefetched(iter([1]), 0))
