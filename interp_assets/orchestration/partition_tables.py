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
    LARGE_ROW_GROUPS = 1
    """A part of so many row groups need not wait for further parts: the last of its row groups may be smaller."""
    WAITING_PARTS = 512
    """Most small parts that wait as they came. More parts are joined into one, since a table of one row takes kilobytes."""

    def __init__(
        self,
        writers: Mapping[str, PartitionWriter],
        placed: Callable[[PartitionReport], int | None],
        made: Callable[[PartitionReport, int | None], None],
    ) -> None:
        """`placed` commits the writers once all rows are in them, and gives the rows of the stage's own table; `made` notes them."""
        self._writers, self._placed, self._made = writers, placed, made
        self._waiting: dict[str, list[pa.Table]] = {name: [] for name in writers}
        self._waiting_rows = dict.fromkeys(writers, 0)

    def add(self, table: Table, rows: pa.Table) -> None:
        """Append rows to one of the tables. A part of several row groups is written as it comes."""
        waiting = self._waiting[table.name]
        waiting.append(rows)
        self._waiting_rows[table.name] += rows.num_rows
        is_large = table.row_group_rows is not None and rows.num_rows >= self.LARGE_ROW_GROUPS * table.row_group_rows
        if is_large or self._waiting_rows[table.name] >= self.BUFFERED_ROWS:
            self._flush(table.name)
        elif len(waiting) > self.WAITING_PARTS:
            self._waiting[table.name] = [pa.concat_tables(waiting).combine_chunks()]

    def commit(self, report: PartitionReport) -> None:
        """Put the tables in place, and note what the partition's materialisation is to report."""
        self._made(report, self.place(report))

    def place(self, report: PartitionReport) -> int | None:
        """Put the tables in place, and note nothing: the rows of the stage's own table; None where another run has made the whole partition
        meanwhile, which is then kept."""
        for name in self._writers:
            self._flush(name)
        return self._placed(report)

    def _flush(self, name: str) -> None:
        if self._waiting[name]:
            self._writers[name].add(pa.concat_tables(self._waiting[name]))
        self._waiting[name], self._waiting_rows[name] = [], 0
