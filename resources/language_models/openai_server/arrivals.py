"""The replies of a batch on their way from the thread that asks to the caller, also where the caller stops in the middle."""

import math
import queue
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import replace

from resources.language_models.interface import LINGER_SECONDS, NoMoreQuestions, Reply
from resources.language_models.openai_server.background import Background
from resources.language_models.openai_server.under_way import UnderWay

Numbered = tuple[int, Reply]


class Arrivals:
    """Replies in the order in which they came. The first stays until it is dropped: an interrupt, which may come between any two steps of
    the caller, loses none."""

    def __init__(self) -> None:
        self._items: deque[Numbered | None] = deque()
        self._news: queue.SimpleQueue[None] = queue.SimpleQueue()

    def __len__(self) -> int:
        """Number of replies that wait."""
        return len(self._items)

    def put(self, item: Numbered | None) -> None:
        """Add a reply, or None for the end of the batch."""
        self._items.append(item)
        self._news.put(None)

    def first(self, until: float) -> Numbered | None:
        """The first item that waits. Raises `queue.Empty` where there is none at the time `until`, of `time.perf_counter`."""
        while not self._items:
            left = until - time.perf_counter()
            self._news.get(timeout=None if left == math.inf else max(left, 0))
        return self._items[0]

    def drop(self, item: Numbered | None) -> None:
        """Remove the first item where it is this one."""
        if self._items and item is not None and self._items[0] is item:
            self._items.popleft()


def taken_from(arrivals: Arrivals, batch: Background, under_way: UnderWay) -> Iterator[Numbered]:
    """The replies of a batch as they come, to its end. `seconds` of a reply is the time since the reply before it.

    An interrupt ends the batch, and so does `NoMoreQuestions`. The last reply comes once more where the caller may not have taken it. Then
    come replies to the questions that the server is answering: LINGER_SECONDS long after an interrupt, `seconds` of `NoMoreQuestions` long
    after that. The interrupt is raised at the end; a second interrupt is raised at once.
    """
    last, until, interrupt, taken = time.perf_counter(), math.inf, None, None
    while True:
        try:
            arrivals.drop(taken)
            item = arrivals.first(until)
            if item is None:
                break
            now = time.perf_counter()
            yield item[0], replace(item[1], seconds=now - last)
            last, taken = now, item
        except GeneratorExit:
            raise
        except NoMoreQuestions as stop:
            until = min(until, time.perf_counter() + stop.seconds)
            batch.call(under_way.end)
        except queue.Empty:
            batch.cancel()
            until = math.inf
        except BaseException as error:
            if until < math.inf:
                raise
            interrupt, until = error, time.perf_counter() + LINGER_SECONDS
            batch.call(under_way.end)
    if interrupt is not None:
        raise interrupt
