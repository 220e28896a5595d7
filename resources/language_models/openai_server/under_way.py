"""The state that all questions of one batch share: connections that fail, and whether the batch is over for questions not yet begun.

When a batch is over, by a server that refuses all questions or by a caller that asks no more, no question is begun or tried again. The
questions that the server is answering at that moment are waited for: they are paid for.
"""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field


class NotTriedAgain(Exception):
    """The batch is over: this question has no reply, and is asked by the next run."""


@dataclass
class UnderWay:
    """Consecutive connection failures of a batch. While there are any, only one request at a time is tried, with growing pauses.

    `unanswered` counts consecutive requests that were given up after all their tries. `asking` counts requests that the server is
    answering.
    """

    failures: int = 0
    unanswered: int = 0
    asking: int = 0
    cause: Exception | None = None
    gate: asyncio.Lock = field(default_factory=asyncio.Lock)
    _over: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def over(self) -> bool:
        """Whether no question is begun or tried again."""
        return self._over.is_set()

    def end(self, cause: Exception | None = None) -> bool:
        """Begin and try no question again, because of `cause`. False where the batch was over already; the first cause stays."""
        first = not self.over
        if first:
            self.cause = cause
            self._over.set()
        return first

    def refuse_further_try(self) -> None:
        """Raise `NotTriedAgain` where the batch is over."""
        if self.over:
            raise NotTriedAgain

    async def pause(self, seconds: float) -> None:
        """Wait between two tries. Raises `NotTriedAgain` as soon as the batch is over."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._over.wait(), seconds)
        self.refuse_further_try()
