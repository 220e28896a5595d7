"""Runs over partitions: which partitions still need work, under which data version each is written, and what a run reports."""

import contextlib
import functools
import inspect
import time
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
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
from interp_assets.orchestration.partitions import DICTIONARIES, DICTIONARY_BY_RANGE, ON_A_CARD, SUBJECT_POOL
from interp_assets.orchestration.stage import RangeStage
from interp_assets.orchestration.waiting import (
    RangesWait,
    note_left_out,
    note_maker,
    note_waiting,
    partition_key,
    ranges_that_waited,
)
from interp_assets.orchestration.watching import watchers
from interp_assets.reporting.materialisation import column_schema, path_lines, rounded
from interp_assets.tables import EXPLANATIONS, LEDGER, SCORES, Table
from resources.progress import Progress
from resources.store.lake import Lake, LakeError, PartitionWriter

EXPLORER = "http://127.0.0.1:3001"
"""Where `interp explore` answers unless it is told otherwise."""

OBSERVE_SECONDS = 30.0
LOG_SECONDS = 10.0
"""Pause between two lines of progress in the log of a run that is watched, whose stages report more often."""
NO_FEATURES = "no selected feature is in this range"
DATA_VERSION_TAG = "dagster/data_version"
AssetMaker = Callable[[Callable[..., Any]], dg.AssetsDefinition]


@dataclass(frozen=True)
class RangePartition:
    """One partition to be made: its record and settings, and the data version that its content will have."""

    key: RangeKey
    record: DictionaryRecord
    settings: StageSettings
    data_version: str
    inputs: Mapping[str, str]

    @property
    def narrowed(self) -> bool:
        """Whether the partition is made for some features of its range alone."""
        return directions_of(self.record).narrowed

    @property
    def only(self) -> list[int] | None:
        """The features that the partition is made for, ascending; None where it is made for all features of its range."""
        return self.record.features_of(self.key).tolist() if self.narrowed else None


@dataclass
class PartitionReport:
    """Numbers of one finished partition, shown on its materialisation."""

    outcomes: Counter = field(default_factory=Counter)
    numbers: dict[str, Any] = field(default_factory=dict)


def range_asset(table: Table, **options: Any) -> AssetMaker:
    """`dg.asset` with the options of all per-range stages: partitions, one run per backfill, owner, and the columns of `table`.

    Where steps are Ray jobs, a stage in the subject model's pool has a GPU of its own.
    """
    return lambda function: _asset(table, DICTIONARY_BY_RANGE, {"output_required": False, **options})(_or_waits(function))


def _or_waits(function: Callable[..., dg.MaterializeResult]) -> Callable[..., Iterator[Any]]:
    """The function of an asset by range as Dagster calls it: where ranges wait, it yields the checks and no materialisation, so that the
    run leaves out all that comes after."""

    @functools.wraps(function)
    def yielding(*args: Any, **named: Any) -> Iterator[Any]:
        try:
            yield function(*args, **named)
        except RangesWait as waiting:
            yield from waiting.checks

    takes = inspect.signature(function)
    yielding.__signature__ = takes.replace(return_annotation=takes.empty)  # type: ignore[attr-defined]
    return yielding


def dictionary_asset(table: Table, **options: Any) -> AssetMaker:
    """`dg.asset` with the options of all stages by dictionary: partitions, one run per backfill, owner, and the columns of `table`."""
    return _asset(table, DICTIONARIES, options)


def _asset(table: Table, partitions: dg.PartitionsDefinition, options: dict[str, Any]) -> AssetMaker:
    on_a_card = {"op_tags": ON_A_CARD} if options.get("pool") == SUBJECT_POOL else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)  # Dagster calls backfill_policy a beta
        return dg.asset(
            partitions_def=partitions,
            backfill_policy=dg.BackfillPolicy.single_run(),
            owners=["team:interp"],
            metadata={"dagster/column_schema": column_schema(table.schema), "table": table.name},
            **{**on_a_card, **options},
        )


class DictionaryRun:
    """A materialisation of one per-dictionary asset: gathers data versions, metadata and failures, separately for each dictionary."""

    def __init__(self, context: dg.AssetExecutionContext) -> None:
        self.context = context
        self.keys = list(context.partition_keys)
        self.versions: dict[str, str] = {}
        """Data version of each dictionary that was made."""
        self.failures: dict[str, str] = {}
        """The reason of each failure, by dictionary."""
        self._metadata: dict[str, dict[str, Any]] = defaultdict(dict)

    @contextlib.contextmanager
    def failing_alone(self, *keys: str) -> Iterator[None]:
        """An exception in the block is the failure of these dictionaries, and the rest of the run goes on. Without a rest, it is raised."""
        try:
            yield
        except Exception as error:
            if set(self.keys) == set(keys):
                raise
            self.context.log.exception(f"{', '.join(keys)}: failed; the other dictionaries of the run go on")
            reason = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
            self.failures = dict.fromkeys(keys, reason) | self.failures

    @property
    def made(self) -> list[str]:
        """The dictionaries that did not fail, in key order of the run."""
        return [key for key in self.keys if key not in self.failures]

    def report(self, key: str, numbers: Mapping[str, Any]) -> None:
        """More metadata for one dictionary's materialisation."""
        self._metadata[key].update(rounded(numbers))

    def result(self, checks: Sequence[dg.AssetCheckResult] = ()) -> dg.MaterializeResult:
        """The materialisation of all dictionaries of the run.

        Raises `Failure`, naming each failed dictionary, when some failed. The other dictionaries still count as made, so that their next
        stages can begin, unless one of `checks` finds an error among them.
        """
        if not self.failures:
            for key in self.keys:
                self.context.add_asset_metadata(self._metadata[key], partition_key=key)
            distinct = sorted(set(self.versions.values()))
            version = distinct[0] if len(distinct) == 1 else fingerprint(distinct)
            return dg.MaterializeResult(data_version=dg.DataVersion(version), check_results=list(checks))
        failed = "; ".join(f"{key} failed: {reason}" for key, reason in self.failures.items())
        told = f"{len(self.failures)} of {len(self.keys)} dictionaries failed"
        not_passed = [check for check in checks if not check.passed]
        for check in not_passed:
            self.context.log.warning(f"check {check.check_name} did not pass: {check.metadata}")
        errors = [str(check.check_name) for check in not_passed if check.severity is dg.AssetCheckSeverity.ERROR]
        if errors:
            raise dg.Failure(f"{told}, the others do not count as made, since {', '.join(errors)} did not pass. {failed}")
        for key in self.made:
            tags = {DATA_VERSION_TAG: self.versions[key]}
            event = dg.AssetMaterialization(self.context.asset_key, partition=key, metadata=self._metadata[key], tags=tags)
            self.context.log_event(event)
        raise dg.Failure(f"{told}, the others are made. {failed}")


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
        for watcher in watchers():
            watcher.begun("/".join(context.asset_key.path), context.run.run_id)

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
    def writing(self, partition: RangePartition, tables: Sequence[Table]) -> Iterator["PartitionTables"]:
        """A partition's tables, all open for writing at the same time. The stage's own table must come last, as in `write`."""
        assert tables[-1] is self.table, f"{self.table.name} must be written last"
        with contextlib.ExitStack() as stack:
            writers = {
                table.name: stack.enter_context(
                    self.lake.writer(table.name, self._partition_of(table, partition), table.schema, row_group_rows=table.row_group_rows)
                )
                for table in tables
            }
            yield PartitionTables(self, partition, writers)

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


def add_partition_metadata(context: dg.AssetExecutionContext, by_partition: Mapping[str, Mapping[str, Any]]) -> None:
    """`context.add_asset_metadata` for each of some partitions of the run.

    That method lists all partitions of the run, and looks each up in a database, to see that the one partition is among them: a thousand
    partitions would be a million look-ups. Here all are compared with the run's partitions once.
    """
    step = context.op_execution_context.get_step_execution_context()
    assert set(by_partition) <= set(context.partition_keys), set(by_partition) - set(context.partition_keys)
    accumulator = step._metadata_accumulator
    for partition, metadata in by_partition.items():
        accumulator = accumulator.with_additional_asset_metadata(asset_key=context.asset_key, partition_key=partition, metadata=metadata)
    step._metadata_accumulator = accumulator


def explorer_page(record: DictionaryRecord, key: RangeKey) -> str:
    """The address of a range's features in the explorer, where `interp explore` answers on its usual port."""
    features = record.features_of(key)
    bounds = f"?first={features[0]}&last={features[-1]}" if len(features) else ""
    return f"{EXPLORER}/d/{key.dictionary}{bounds}"


class PartitionTables:
    """The tables of one partition while they are written; made by `RangeRun.writing`."""

    BUFFERED_ROWS = 65_536
    """Small parts are gathered into row groups of this many rows."""
    WAITING_PARTS = 512
    """Most small parts that wait as they came. More parts are joined into one, since a table of one row takes kilobytes."""

    def __init__(self, stage: RangeRun, partition: RangePartition, writers: Mapping[str, PartitionWriter]) -> None:
        self._stage, self._partition, self._writers = stage, partition, writers
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
        """Put the tables in place.

        A partition with model errors is written, but not under the version that counts as complete: the next run asks the failed questions
        again. The same holds for a partition with features on which the code failed: the next run tries these features again.
        """
        stage, partition = self._stage, self._partition
        if stage.made_whole_meanwhile(partition):
            stage.context.log.info(f"{partition.key}: another run has made the whole partition meanwhile, which is kept")
            return
        unasked, failed = report.outcomes["model_error"], report.outcomes[FAILED]
        version = f"{partition.data_version}-incomplete" if unasked or failed else partition.data_version
        if unasked:
            stage.context.log.warning(f"{partition.key}: {unasked} questions ended in model_error; materialise it again to ask them again")
        if failed:
            stage.context.log.error(
                f"{partition.key}: {failed} outcomes are {FAILED!r}, for the errors above; the rest of the range is whole"
            )
        rows = 0
        for name, writer in self._writers.items():
            self._flush(name)
            rows = writer.commit(version, partition.inputs).rows
        stage.reports[partition.key] = report
        stage.context.log.info(f"{partition.key}: {rows} rows, {dict(report.outcomes)}")

    def _flush(self, name: str) -> None:
        if self._waiting[name]:
            self._writers[name].add(pa.concat_tables(self._waiting[name]))
        self._waiting[name], self._waiting_rows[name] = [], 0


def features_done(context: dg.AssetExecutionContext, partition: RangePartition, what: str) -> Callable[[int], None]:
    """A function to call with the number of newly done features; it reports the progress of the partition.

    `what` says in the report what is done to a feature, such as "explained".
    """
    report, started, done = progress_of(context, f"{partition.key}: features {what}"), time.monotonic(), 0
    total = len(partition.record.features_of(partition.key))

    def advance(n_features: int) -> None:
        nonlocal done
        done += n_features
        rate = done / max(time.monotonic() - started, 1e-9)
        report(Progress(done, total, 0, rate, (total - done) / rate if rate else None))

    return advance


def progress_of(context: dg.AssetExecutionContext, what: str) -> Callable[[Progress], None]:
    """A callback that logs `what` with done, total, rate and ETA. From time to time it also records these numbers as an observation of the
    asset, so that the asset's page shows them during the run."""
    observed = logged = time.monotonic()

    def report(progress: Progress) -> None:
        nonlocal observed, logged
        for watcher in watchers():
            watcher.progressed("/".join(context.asset_key.path), what, progress)
        if watchers() and progress.done < progress.total and time.monotonic() - logged < LOG_SECONDS:
            return
        logged = time.monotonic()
        context.log.info(f"{what}: {progress}")
        if time.monotonic() - observed >= OBSERVE_SECONDS:
            observed = time.monotonic()
            now = {"done": progress.done, "total": progress.total, "kept": progress.kept, "rate": round(progress.rate, 2)}
            if progress.eta_seconds is not None:
                now["eta_seconds"] = round(progress.eta_seconds)
            context.log_event(dg.AssetObservation(context.asset_key, description=f"{what} so far", metadata=now))

    return report
