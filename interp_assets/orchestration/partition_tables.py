"""The tables of one partition while rows come in."""

from collections.abc import Callable, Mapping

import pyarrow as pa

from interp_assets.orchestration.range_partition import PartitionReport
from interp_assets.tables import Table
from resources.store.lake import PartitionWriter


class PartitionTables:
    """The tables of one partition while they are written; made by `RangeRun.writing`."""

    BUFFERED_ROWS = 65_536
    """Small parts are gathered into row groups of this many rows."""
    WAITING_PARTS = 512
    """Most small parts that wait as they came. More parts are joined into one, since a table of one row takes kilobytes."""

    def __init__(self, writers: Mapping[str, PartitionWriter], put_in_place: Callable[[PartitionReport], None]) -> None:
        """`put_in_place` commits the writers once all rows are in them."""
        self._writers, self._put_in_place = writers, put_in_place
        self._waiting: dict[str, list[pa.Table]] = {name: [] for name in writers}
        self._waiting_rows = dict.fromkeys(writers, 0)

    def add(self, table: Table, rows: pa.Table) -> None:
        """Append rows to one of the tables."""
        waiting = self._waiting[table.name]
        waiting.append(rows)
        self._waiting_rows[table.name] += rows.num_rows
        if self._waiting_rows[table.name] >= self.BUFFERED_ROWS:
            self._flush(table.name)
        elif len(waiting) > self.WAITING_PARTS:
            self._waiting[table.name] = [pa.concat_tables(waiting).combine_chunks()]

    def commit(self, report: PartitionReport) -> None:
        """Put the tables in place, with what the partition's materialisation is to report."""
        for name in self._writers:
            self._flush(name)
        self._put_in_place(report)

    def _flush(self, name: str) -> None:
        if self._waiting[name]:
            self._writers[name].add(pa.concat_tables(self._waiting[name]))
        self._waiting[name], self._waiting_rows[name] = [], 0
