"""Partitions of a stage that a thread of its own writes, while the stage makes the next rows.

    rows are made        p1 p1 p1 p2 p2 p2 p3 …
    another thread          p1 p1 p1 ✓  p2 p2 p2 ✓ …       ✓ the files are on the disk and in their place

Encoding rows and waiting for the disk leave Python's lock free, so that both go on at the same time.
"""

import contextlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from queue import Empty, Full, Queue
from threading import Event

import pyarrow as pa

from interp_assets.orchestration.range_partition import PartitionReport, RangePartition
from interp_assets.orchestration.range_run import RangeRun
from interp_assets.orchestration.threads import INTERRUPTIBLE_SECONDS, awaited
from interp_assets.tables import Table

Part = tuple[Table, pa.Table]
Write = Callable[[RangePartition, Sequence[Table], Iterable[Part], PartitionReport], None]
"""Writes a partition's tables out of parts, each for one of the tables; the stage's own table is the last of the tables."""

MOST_PARTS = 2
"""Most parts of a partition that wait for the thread."""


class _Abandoned(Exception):
    """Ends the writing of a partition whose rows could not be made: the partition stays as it was."""


@contextlib.contextmanager
def written_behind(stage: RangeRun, n_threads: int) -> Iterator[Write]:
    """A function that writes partitions one after another. With one thread a partition is written when the function returns.

    With more threads it is written and reported on at the end of the block at the latest; at most two partitions wait. The report may be
    completed until then. An error of writing is raised at a later call, or at the end of the block. After an error in making the rows of a
    partition the partitions before it are whole, or as they were.
    """
    if n_threads == 1:

        def write(partition: RangePartition, tables: Sequence[Table], parts: Iterable[Part], report: PartitionReport) -> None:
            with stage.writing(partition, tables) as writer:
                for table, rows in parts:
                    writer.add(table, rows)
                writer.commit(report)

        yield write
        return
    with ThreadPoolExecutor(1, "writer") as pool:
        behind = _Behind(stage, pool)
        try:
            yield behind.write
            behind.finish(0)
        finally:
            behind.abandon()  # whatever was interrupted, or the end of the block would wait for the thread
            pool.shutdown(wait=False, cancel_futures=True)


class _Behind:
    """Hands the parts of partitions to the one thread of a pool."""

    def __init__(self, stage: RangeRun, pool: ThreadPoolExecutor) -> None:
        self._stage, self._pool = stage, pool
        self._waiting: deque[tuple[RangePartition, PartitionReport, Future[int | None]]] = deque()
        self._abandoned = Event()

    def write(self, partition: RangePartition, tables: Sequence[Table], parts: Iterable[Part], report: PartitionReport) -> None:
        """See `Write`."""
        self.finish(1)
        given: Queue[Part | PartitionReport | None] = Queue(MOST_PARTS)
        future = self._pool.submit(self._written, partition, tables, given)
        try:
            for part in parts:
                _put(given, part, future)
            _put(given, report, future)
        except BaseException:
            future.cancel()
            while not future.done():
                with contextlib.suppress(Full):
                    given.put(None, timeout=INTERRUPTIBLE_SECONDS)
                    break
            raise
        self._waiting.append((partition, report, future))

    def abandon(self) -> None:
        """Let the thread wait for no further part."""
        self._abandoned.set()

    def finish(self, n_left: int) -> None:
        """Report on the partitions that were written before the last `n_left`, when they are in their place."""
        while len(self._waiting) > n_left:
            partition, report, future = self._waiting.popleft()
            self._stage.made(partition, report, awaited(future))

    def _written(self, partition: RangePartition, tables: Sequence[Table], given: "Queue[Part | PartitionReport | None]") -> int | None:
        """The rows of the partition, which is then in its place; runs in the thread."""
        with self._stage.writing(partition, tables) as writer:
            while not isinstance(part := self._next(given), PartitionReport):
                if part is None:
                    raise _Abandoned(partition.key)
                writer.add(*part)
            return writer.place(part)

    def _next(self, given: "Queue[Part | PartitionReport | None]") -> Part | PartitionReport | None:
        """The next part, or None where no part will come."""
        while True:
            with contextlib.suppress(Empty):
                return given.get(timeout=INTERRUPTIBLE_SECONDS)
            if self._abandoned.is_set():
                return None


def _put(given: "Queue[Part | PartitionReport | None]", part: Part | PartitionReport, future: Future[int | None]) -> None:
    """Hand a part over; raises the error of the thread where the thread has ended."""
    while True:
        if future.done():
            future.result()
        with contextlib.suppress(Full):
            given.put(part, timeout=INTERRUPTIBLE_SECONDS)
            return
