"""A materialisation of an asset by feature range: which partitions still need work, under which data version each is written, and what
the run reports."""

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import dagster as dg
import pyarrow as pa

from interp_assets.config.base import UserError, fingerprint
from interp_assets.config.directions import directions_of
from interp_assets.config.keys import FEATURE_RANGE_KEYS, RangeKey, lake_partition
from interp_assets.config.records import DictionaryRecord
from interp_assets.config.registry import DictionaryRegistry
from interp_assets.config.settings import PlatformSettings, StageSettings
from interp_assets.domain.outcomes import FAILED
from interp_assets.orchestration.chosen_features import with_chosen_features
from interp_assets.orchestration.narrowing import FEATURES_MADE, WholeVersions, features_made, narrowed_version
from interp_assets.orchestration.partition_metadata import DATA_VERSION_TAG, add_partition_metadata, explorer_page
from interp_assets.orchestration.partition_tables import PartitionTables
from interp_assets.orchestration.range_partition import PartitionReport, RangePartition
from interp_assets.orchestration.stage import RangeStage
from interp_assets.orchestration.stage_progress import tell_begun
from interp_assets.orchestration.waiting import (
    RangesWait,
    note_left_out,
    note_maker,
    note_waiting,
    partition_key,
    ranges_that_waited,
)
from interp_assets.reporting.materialisation import path_lines, rounded
from interp_assets.tables import EXPLANATIONS, LEDGER, SCORES, Table
from resources.store.lake import Lake, LakeError, PartitionWriter

NO_FEATURES = "no selected feature is in this range"


def _planned(
    stage: RangeStage, lake: Lake, record: DictionaryRecord, key: RangeKey, stages: StageSettings, settings: PlatformSettings
) -> RangePartition:
    """A partition with the version that it will have. Made for some features, it has the mark of these features."""
    if not directions_of(record).narrowed:
        inputs = stage.inputs(lake, record, key, stages)
        return RangePartition(key, record, stages, stage.data_version(stages, settings, inputs), inputs)
    inputs = stage.inputs(WholeVersions(lake), record, key, stages)
    features = record.features_of(key).tolist()
    version = narrowed_version(stage.data_version(stages, settings, inputs), features)
    return RangePartition(key, record, stages, version, {**inputs, FEATURES_MADE: ",".join(map(str, features))})


def _holds_nothing(record: DictionaryRecord, key: RangeKey) -> bool:
    """Whether no selected feature is in a range; never of a record that is narrowed for one run, whose other features are not looked at."""
    return not directions_of(record).narrowed and not len(record.features_of(key))


class RangeRun:
    """A materialisation of one per-range asset: plans which of its partitions still need work and reports on all of them.

    A partition that is complete in the lake under the data version that it would get is skipped. So a rerun after a crash continues, and an
    identical rerun does nothing.
    """

    def __init__(
        self,
        context: dg.AssetExecutionContext,
        lake: Lake,
        registry: DictionaryRegistry,
        settings: PlatformSettings,
        stage: RangeStage,
    ) -> None:
        """Plan the partitions of the run. Raises `UserError` for an unregistered dictionary and `LakeError` for a missing input, but not
        for an input in other ranges of the dictionary: a range without it waits."""
        self.context, self.lake, self.stage, self.table = context, lake, stage, stage.table
        self.started = time.monotonic()
        self.reports: dict[RangeKey, PartitionReport] = {}
        self.partitions: list[RangePartition] = []
        """The partitions of the run that have their inputs, in key order; then partitions that an earlier run left waiting."""
        self.waiting: dict[RangeKey, str] = {}
        """The partitions of the run that lack inputs in other ranges of their dictionary, and which."""
        self._registry, self._settings = registry, settings
        self._records: dict[str, tuple[DictionaryRecord, StageSettings]] = {}
        self._there_before: dict[RangeKey, str] = {}
        """The version of each partition at the beginning, where the run is to make some of its features."""
        keys = [RangeKey.of(one) for one in context.partition_keys]
        self._plan(keys)
        self._beside: list[RangePartition] = []
        """Ranges without a feature, of the same dictionaries, that are not in the run."""
        for name in dict.fromkeys(key.dictionary for key in keys):
            for key in (RangeKey(name, one) for one in FEATURE_RANGE_KEYS):
                if key not in keys and _holds_nothing(self._record(name)[0], key):
                    with contextlib.suppress(LakeError):  # an input is missing: a later run completes the range
                        self._beside.append(self._planned(key))
        self._taken_over = self._take_over()
        tell_begun(context)

    def _record(self, dictionary: str) -> tuple[DictionaryRecord, StageSettings]:
        """The record of a dictionary with its chosen features, and its settings. Raises `UserError` where it is not registered."""
        if dictionary not in self._records:
            record = with_chosen_features(self.lake, self._registry.get(dictionary))
            self._records[dictionary] = record, self._settings.stage_settings(record.stages)
        return self._records[dictionary]

    def _planned(self, key: RangeKey) -> RangePartition:
        record, stages = self._record(key.dictionary)
        return _planned(self.stage, self.lake, record, key, stages, self._settings)

    def _plan(self, keys: Sequence[RangeKey]) -> None:
        """Plan the partitions of the run. Partitions that lack inputs of other ranges are noted, looked at once more, and left waiting."""
        planned = self._planned_or_waiting(keys)
        if self.waiting:
            note_waiting(self.context, self.waiting)
            planned |= self._planned_or_waiting(list(self.waiting))
        if self.waiting:
            note_left_out(self.context, self.waiting)
        self.partitions = [planned[key] for key in keys if key in planned]

    def _planned_or_waiting(self, keys: Sequence[RangeKey]) -> dict[RangeKey, RangePartition]:
        planned: dict[RangeKey, RangePartition] = {}
        for key in keys:
            self.waiting.pop(key, None)
            record, stages = self._record(key.dictionary)
            narrowed = directions_of(record).narrowed
            try:
                planned[key] = self._planned(key)
            except LakeError as error:
                if narrowed or not self.stage.lacks_other_ranges_alone(self.lake, record, key, stages):
                    raise
                self.waiting[key] = str(error)
            if narrowed and (there := self.lake.manifest(self.table.name, self.stage.partition(key))) is not None:
                self._there_before[key] = there.data_version
        return planned

    def _take_over(self) -> set[RangeKey]:
        """Add the partitions that an earlier run left waiting and whose inputs are there; returns their keys."""
        if any(partition.narrowed for partition in self.partitions):
            return set()
        waited = []
        for key in ranges_that_waited(self.context):
            with contextlib.suppress(LakeError, UserError):  # an input is still missing, or the dictionary has been forgotten
                waited.append(self._planned(key))
        waited = [partition for partition in waited if self._needs_work(partition)]
        if waited:
            keys = [partition.key for partition in waited]
            note_maker(self.context, keys)
            self.context.log.info(f"{len(keys)} ranges that an earlier run left waiting are made too: {', '.join(map(str, keys))}")
        self.partitions += waited
        return {partition.key for partition in waited}

    def partition(self, partition: RangePartition) -> dict[str, str]:
        """Where a partition is in this stage's own tables in the lake."""
        return self.stage.partition(partition.key)

    def to_do(self) -> list[RangePartition]:
        """Partitions with features that are not complete in the lake under their data version, in key order. The number of skipped
        partitions is logged.

        Partitions without a feature are completed at once without rows, also partitions of the same dictionaries beside the run: so a
        backfill of the ranges that hold anything makes a dictionary whole.
        """
        beside_it = (*([LEDGER] if self.table in (EXPLANATIONS, SCORES) else []), *self.stage.side_tables)
        for partition in filter(self._needs_work, self._beside):
            self._write_nothing(partition, beside_it, NO_FEATURES)
            self._log_made(partition.key, {"preview": NO_FEATURES}, partition.data_version)
        todo = []
        for partition in filter(self._needs_work, self.partitions):
            if _holds_nothing(partition.record, partition.key):
                self._write_nothing(partition, beside_it, NO_FEATURES)
            else:
                todo.append(partition)
        if len(todo) < len(self.partitions):
            n_kept = len(self.partitions) - len(todo)
            self.context.log.info(f"{n_kept} of {len(self.partitions)} ranges are already complete, or hold no selected feature")
        return todo

    def _needs_work(self, partition: RangePartition) -> bool:
        """Whether a partition is to be made: it is not current, or the run's directions say to make it again. A partition that the
        directions keep is not made."""
        directions, name = directions_of(partition.record), (self.stage.asset, partition.key.feature_range)
        if name in directions.kept:
            return False
        return name in directions.again or not self.lake.is_current(self.table.name, self.partition(partition), partition.data_version)

    def made_whole_meanwhile(self, partition: RangePartition) -> bool:
        """Whether another run has made the whole partition while this run made some of its features."""
        if not partition.narrowed:
            return False
        there = self.lake.manifest(self.table.name, self.partition(partition))
        before = self._there_before.get(partition.key)
        return there is not None and features_made(there) is None and there.data_version != before

    def _write_nothing(self, partition: RangePartition, tables: Sequence[Table], note: str) -> None:
        """Complete a partition without rows in its main table and in `tables`."""
        empty = [(table, table.schema.empty_table()) for table in (*tables, self.table)]
        self.write(partition, empty, PartitionReport(numbers={"preview": dg.MetadataValue.md(f"*{note}*")}))

    def to_do_where(self, asked_for: Callable[[StageSettings], bool], tables: Sequence[Table], note: str) -> list[RangePartition]:
        """Partitions to do whose settings ask for the stage, in key order.

        All other partitions are completed at once without rows, with `note` as their preview. `tables` are all tables of the stage: in its
        side tables, rows that an earlier run left for these partitions are removed.
        """
        asked = []
        for partition in self.to_do():
            if asked_for(partition.settings):
                asked.append(partition)
                continue
            left = [t for t in tables if t is not self.table and self.lake.manifest(t.name, self._partition_of(t, partition)) is not None]
            self._write_nothing(partition, left, note)
        return asked

    def write(
        self,
        partition: RangePartition,
        tables: Sequence[tuple[Table, pa.Table | Iterable[pa.Table]]],
        report: PartitionReport | None = None,
    ) -> None:
        """Write a partition's tables, each table whole or part by part.

        The stage's own table must come last: the manifest of that table says that the partition is complete.
        """
        with self.writing(partition, [table for table, _ in tables]) as writer:
            for table, rows in tables:
                for part in (rows,) if isinstance(rows, pa.Table) else rows:
                    writer.add(table, part)
            writer.commit(report or PartitionReport())

    @contextlib.contextmanager
    def writing(self, partition: RangePartition, tables: Sequence[Table]) -> Iterator[PartitionTables]:
        """A partition's tables, all open for writing at the same time. The stage's own table must come last, as in `write`."""
        assert tables[-1] is self.table, f"{self.table.name} must be written last"
        with contextlib.ExitStack() as stack:
            writers = {
                table.name: stack.enter_context(
                    self.lake.writer(table.name, self._partition_of(table, partition), table.schema, row_group_rows=table.row_group_rows)
                )
                for table in tables
            }
            yield PartitionTables(writers, partial(self._placed, partition, writers), partial(self.made, partition))

    def _placed(self, partition: RangePartition, writers: Mapping[str, PartitionWriter], report: PartitionReport) -> int | None:
        """Commit the tables of a partition: the rows of the stage's own table; None where another run has made the whole partition
        meanwhile, which is then kept.

        A partition with model errors is written, but not under the version that counts as complete: the next run asks the failed questions
        again. The same holds for a partition with features on which the code failed: the next run tries these features again.
        """
        if self.made_whole_meanwhile(partition):
            return None
        is_whole = not (report.outcomes["model_error"] or report.outcomes[FAILED])
        version = partition.data_version if is_whole else f"{partition.data_version}-incomplete"
        return [writer.commit(version, partition.inputs).rows for writer in writers.values()][-1]

    def made(self, partition: RangePartition, report: PartitionReport, rows: int | None) -> None:
        """Note that a partition was made with so many rows; with None, that another run has made the whole partition meanwhile."""
        key, log = partition.key, self.context.log
        if rows is None:
            log.info(f"{key}: another run has made the whole partition meanwhile, which is kept")
            return
        if unasked := report.outcomes["model_error"]:
            log.warning(f"{key}: {unasked} questions ended in model_error; materialise it again to ask them again")
        if failed := report.outcomes[FAILED]:
            log.error(f"{key}: {failed} outcomes are {FAILED!r}, for the errors above; the rest of the range is whole")
        self.reports[key] = report
        log.info(f"{key}: {rows} rows, {dict(report.outcomes)}")

    def _partition_of(self, table: Table, partition: RangePartition) -> dict[str, str]:
        if table.name == LEDGER.name:
            return {"asset": "/".join(self.context.asset_key.path), **lake_partition(partition.key)}
        return self.partition(partition)

    def result(self, metadata: Mapping[str, Any], checks: Sequence[dg.AssetCheckResult] = ()) -> dg.MaterializeResult:
        """The materialisation: row counts, bytes and outcomes per partition, with `metadata` and the data version on every partition.

        Raises `RangesWait` where partitions of the run wait; the partitions that were made then count as made.
        """
        versions: set[str] = set()
        by_partition: dict[str, dict[str, Any]] = {}
        for partition in self.partitions:
            manifest = self.lake.require(self.table.name, self.partition(partition))
            versions.add(manifest.data_version)  # of the content: it differs from the planned version where questions stayed unanswered
            report = self.reports.get(partition.key)
            own: dict[str, Any] = {"dagster/partition_row_count": manifest.rows, "bytes": manifest.bytes}
            own["path_in_lake"] = path_lines(self.lake.relative_path(self.table.name, self.partition(partition)))
            own["explorer"] = dg.MetadataValue.url(explorer_page(partition.record, partition.key))
            own["kept_from_an_earlier_run"] = report is None
            if report is not None:
                own["outcomes"] = dg.MetadataValue.json(dict(report.outcomes))
                own.update(rounded(report.numbers))
            if self.waiting or partition.key in self._taken_over:
                self._log_made(partition.key, own, manifest.data_version)
            else:
                by_partition[str(partition.key)] = own
        if self.waiting:
            raise RangesWait(checks)
        add_partition_metadata(self.context, by_partition)
        version = next(iter(versions)) if len(versions) == 1 else fingerprint(sorted(versions))
        seconds = round(time.monotonic() - self.started, 2)
        return dg.MaterializeResult(
            metadata={"run_seconds": seconds, **metadata}, data_version=dg.DataVersion(version), check_results=list(checks)
        )

    def _log_made(self, key: RangeKey, metadata: Mapping[str, Any], version: str) -> None:
        """The materialisation of one partition, for a partition that is not in the run and for a run that ends without a result."""
        partition, tags = partition_key(key), {DATA_VERSION_TAG: version}
        self.context.log_event(dg.AssetMaterialization(self.context.asset_key, partition=partition, metadata=metadata, tags=tags))
