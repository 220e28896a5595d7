"""A reader takes what is ready, and waits a while for the rest."""

from collections.abc import Hashable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


class NotReadYet(RuntimeError):
    """The dictionary, or the answer to a question, is being read for the first time."""


def held_or_awaited(held: T | None, future: "Future[T] | None", key: Hashable, patience: float) -> T:
    """`held`, or without it the result of `future`. Raises `NotReadYet` where there is neither within `patience` seconds, and what
    the work behind `future` raises."""
    if held is not None:
        return held
    if future is None:
        raise NotReadYet(key)
    try:
        return future.result(patience)
    except TimeoutError:
        raise NotReadYet(key) from None
